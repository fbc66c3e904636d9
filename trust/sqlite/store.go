package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/comity-auth/comity/trust"
)

// Options say which file to open and how. Path is required.
type Options struct {
	// Path of the database file. It is created with mode 0600 when absent; its
	// folder has to exist.
	Path string
	// Domain is the trust domain that the file belongs to. The first one that
	// is given marks the file, and a file marked otherwise is refused. Empty
	// skips the comparison.
	Domain string
	// Poll is how often to look for changes made by other processes; default 1 s.
	Poll time.Duration
	// Busy is how long to wait for another process that writes; default 5 s.
	Busy time.Duration
	// NoMigrate refuses a file whose schema is older than this binary's instead
	// of bringing it up to date.
	NoMigrate bool
	// Logger hears of what nobody is waiting for; default discards.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.Poll = cmp.Or(o.Poll, time.Second)
	o.Busy = cmp.Or(o.Busy, 5*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Store is an open database file. It implements [trust.Store] and is safe for
// concurrent use.
type Store struct {
	opts   Options
	reader *sql.DB
	writer *writer

	changed chan struct{}
	// The newest revision and revocation that changed was told of.
	seen, revoked atomic.Uint64

	stop    context.CancelFunc
	polling sync.WaitGroup
	closing sync.Once
	closed  error
}

var _ trust.Store = (*Store)(nil)

// Open opens the file, brings its schema up to date unless told otherwise, and
// starts to watch for changes. The context bounds the opening only. The error
// wraps trust.ErrSchema when the file is of a version that this binary cannot
// use or belongs to another domain. Close the store when done.
func Open(ctx context.Context, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	if err := prepare(ctx, opts); err != nil {
		return nil, fmt.Errorf("open %s: %w", opts.Path, fault(err))
	}
	s := &Store{opts: opts, changed: make(chan struct{}, 1)}
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", opts.Path, fault(err)), s.disconnect())
	}
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.polling.Go(func() { s.poll(watch) })
	return s, nil
}

func (s *Store) connect(ctx context.Context) (err error) {
	if s.reader, err = openDB(s.opts, readers); err != nil {
		return err
	}
	if s.writer, err = openWriter(ctx, s.opts); err != nil {
		return err
	}
	head, err := readHead(ctx, s.reader)
	if err != nil {
		return err
	}
	s.seen.Store(uint64(head.Revision))
	s.revoked.Store(head.Revocations)
	return nil
}

func (s *Store) disconnect() error {
	var errs []error
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	if s.reader != nil {
		errs = append(errs, s.reader.Close())
	}
	return errors.Join(errs...)
}

// Close waits for what is under way and releases the file. Closing a closed
// store does nothing.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.stop()
		s.polling.Wait()
		s.closed = s.disconnect()
	})
	return s.closed
}

// Ping reports whether the file can be read.
func (s *Store) Ping(ctx context.Context) error {
	_, err := readHead(ctx, s.reader)
	return wrap("ping", err)
}

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
