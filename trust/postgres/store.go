package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/comity-auth/comity/trust"
)

// Options say which database to use and how. DSN is required.
type Options struct {
	// DSN names the database, as a URL or in key=value form. It may lead
	// through a pooler in transaction mode.
	DSN string
	// DirectDSN leads to the same database without a pooler, for migrations and
	// notifications; default DSN.
	DirectDSN string
	// Schema holds the tables. It is created when absent, unless NoMigrate is
	// set. Default: where the search path of DirectDSN's role leads.
	Schema string
	// Domain is the trust domain that the tables belong to. The first one that
	// is given marks them, and tables marked otherwise are refused. Empty skips
	// the comparison.
	Domain string
	// Poll is how often to look for changes beneath the notifications; default 1 s.
	Poll time.Duration
	// MaxConns bounds the connections, the listener's not counted; default 10.
	MaxConns int32
	// Acquire is how long to wait for one of them; default 500 ms.
	Acquire time.Duration
	// Timeout bounds everything else that is asked of the database; default 5 s.
	Timeout time.Duration
	// NoListen leaves changes made elsewhere to the poll alone.
	NoListen bool
	// NoMigrate refuses a schema that is older than this binary's instead of
	// bringing it up to date.
	NoMigrate bool
	// Logger hears of what nobody is waiting for; default discards.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.DirectDSN = cmp.Or(o.DirectDSN, o.DSN)
	o.Poll = cmp.Or(o.Poll, time.Second)
	o.MaxConns = cmp.Or(o.MaxConns, 10)
	o.Acquire = cmp.Or(o.Acquire, 500*time.Millisecond)
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Store is an open database. It implements [trust.Store] and is safe for
// concurrent use.
type Store struct {
	opts  Options
	place place
	pool  *pgxpool.Pool

	changed chan struct{}
	// The newest revision and revocation that changed was told of.
	seen, revoked atomic.Uint64

	stop    context.CancelFunc
	feed    sync.WaitGroup
	closing sync.Once
}

var _ trust.Store = (*Store)(nil)

// Open connects, brings the schema up to date unless told otherwise, and starts
// to watch for changes. The context bounds the opening only. The error wraps
// trust.ErrSchema when the schema is of a version that this binary cannot use
// or belongs to another domain. Close the store when done.
func Open(ctx context.Context, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	where, err := prepare(ctx, opts)
	if err != nil {
		return nil, wrap("open database", err)
	}
	s := &Store{opts: opts, place: where, changed: make(chan struct{}, 1)}
	if s.pool, err = newPool(ctx, opts); err != nil {
		return nil, wrap("open database", err)
	}
	if err := s.first(ctx); err != nil {
		s.pool.Close()
		return nil, wrap("open database", err)
	}
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.feed.Go(func() { s.poll(watch) })
	if !opts.NoListen {
		s.feed.Go(func() { s.listen(watch) })
	}
	return s, nil
}

// first makes the first connection, which may take longer than a request would
// wait for one.
func (s *Store) first(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	var fence trust.Fence
	err := s.pool.QueryRow(ctx, s.sql(selectFence)).Scan(&fence.Revision, &fence.Revocations)
	s.seen.Store(uint64(fence.Revision))
	s.revoked.Store(fence.Revocations)
	return err
}

// Close waits for what is under way and disconnects. Closing a closed store
// does nothing.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.stop()
		s.feed.Wait()
		s.pool.Close()
	})
	return nil
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.head(ctx)
	return wrap("ping", err)
}

// sql puts the schema where a statement has an @.
func (s *Store) sql(text string) string { return strings.ReplaceAll(text, "@", s.place.qualifier) }

// wrap says what was being done, and that the store is unavailable unless the
// error says something else.
func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, fault(err))
}

func fault(err error) error {
	for _, known := range []error{trust.ErrConflict, trust.ErrNotFound, trust.ErrSchema, trust.ErrRevocation, trust.ErrUnavailable} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", trust.ErrUnavailable, err)
}
