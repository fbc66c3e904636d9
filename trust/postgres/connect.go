package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/comity-auth/comity/trust"
)

// newPool makes the pool; its first connection is made when one is needed.
func newPool(ctx context.Context, opts Options) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(opts.DSN)
	if err != nil {
		return nil, err
	}
	config.MaxConns = opts.MaxConns
	config.MaxConnLifetimeJitter = config.MaxConnLifetime / 10
	config.ConnConfig.ConnectTimeout = opts.Timeout
	// Descriptions are kept on our side alone: nothing is left in a session
	// that a pooler would give to somebody else.
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	config.ConnConfig.StatementCacheCapacity = 0
	return pgxpool.NewWithConfig(ctx, config)
}

// directConfig is for a session of its own.
func directConfig(opts Options) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(opts.DirectDSN)
	if err != nil {
		return nil, err
	}
	config.ConnectTimeout = opts.Timeout
	if opts.Schema != "" {
		config.RuntimeParams["search_path"] = pgx.Identifier{opts.Schema}.Sanitize()
	}
	return config, nil
}

// use lends do a connection. It waits a short time for one, so that requests
// behind a slow database fail instead of piling up, and bounds what is done.
func (s *Store) use(ctx context.Context, do func(context.Context, *pgxpool.Conn) error) error {
	waiting, cancel := context.WithTimeout(ctx, s.opts.Acquire)
	defer cancel()
	conn, err := s.pool.Acquire(waiting)
	if err != nil {
		return fmt.Errorf("%w: no connection within %s: %w", trust.ErrUnavailable, s.opts.Acquire, err)
	}
	defer conn.Release()
	ctx, cancel = context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	err = do(ctx, conn)
	if err != nil {
		rollback(ctx, conn)
	}
	return err
}

// rollback ends a transaction that failed. Should that fail too, the pool drops
// the connection, and the server the transaction.
func rollback(ctx context.Context, conn *pgxpool.Conn) {
	if conn.Conn().IsClosed() || conn.Conn().PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_, _ = conn.Exec(ctx, "rollback")
}

const beginWrite = `begin isolation level read committed`

// The fence is the first thing a transaction takes. What it is compared with is
// read by a later statement, whose snapshot is newer. The settings end with the
// transaction; they keep a process that froze from holding up the others.
const (
	lockShared = `
SELECT set_config('statement_timeout', $2, true), set_config('idle_in_transaction_session_timeout', $2, true),
       pg_advisory_xact_lock_shared($1)`
	lockAlone = `
SELECT set_config('statement_timeout', $2, true), set_config('idle_in_transaction_session_timeout', $2, true),
       pg_advisory_xact_lock($1)`
)

// lockArgs are the arguments of both.
func (s *Store) lockArgs() []any {
	return []any{s.place.fence, strconv.FormatInt(s.opts.Timeout.Milliseconds(), 10)}
}

// alone runs do in a transaction that no other change and no batch of the
// ledger overlaps, and again when the database asks for that.
func (s *Store) alone(ctx context.Context, do func(context.Context, *pgxpool.Conn) error) error {
	return s.again(ctx, func() error {
		return s.use(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
			begin := &pgx.Batch{}
			begin.Queue(beginWrite)
			begin.Queue(lockAlone, s.lockArgs()...)
			if err := conn.SendBatch(ctx, begin).Close(); err != nil {
				return err
			}
			return do(ctx, conn)
		})
	})
}

// queueCommit ends a batch of statements with a commit, which the server may
// answer with a rollback.
func queueCommit(batch *pgx.Batch) {
	batch.Queue("commit").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != "COMMIT" {
			return fmt.Errorf("the transaction ended in %q", tag)
		}
		return nil
	})
}

// attempts is how often a transaction is tried when the database rolled it back
// for the sake of another.
const attempts = 4

func (s *Store) again(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		if err == nil || n == attempts || !retryable(err) {
			return err
		}
		pause := time.NewTimer(time.Duration(n)*2*time.Millisecond + rand.N(time.Duration(n)*8*time.Millisecond))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}

// retryable reports a serialization failure or a deadlock: in both cases the
// transaction is known not to have taken place.
func retryable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}
