package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/comity-auth/comity/fixtures/pg"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/postgres"
	"github.com/comity-auth/comity/trust/storetest"
)

// backend gives each test a database of its own. Waits are long because the
// tests share the machine; that requests fail fast has a test of its own.
var backend = storetest.Backend{
	New: pg.New,
	Open: func(ctx context.Context, dsn string, feed storetest.Feed) (trust.Store, error) {
		opts := options(dsn)
		switch feed {
		case storetest.FeedPoll:
			opts.NoListen = true
		case storetest.FeedPush:
			opts.Poll = time.Hour
		}
		return open(ctx, opts)
	},
	Exec:          execute,
	SchemaVersion: postgres.SchemaVersion,
	CutFeed: func(ctx context.Context, dsn string) error {
		_, err := pg.KillListeners(ctx, dsn)
		return err
	},
}

func options(dsn string) postgres.Options {
	return postgres.Options{DSN: dsn, Poll: 50 * time.Millisecond, MaxConns: 4,
		Acquire: time.Minute, Timeout: time.Minute}
}

// open keeps a nil store from becoming an interface that is not nil.
func open(ctx context.Context, opts postgres.Options) (trust.Store, error) {
	store, err := postgres.Open(ctx, opts)
	if err != nil {
		return nil, err
	}
	return store, nil
}

func execute(ctx context.Context, dsn, statement string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

func TestMain(m *testing.M) { storetest.Main(m, backend) }

// ST-21: the suite that both stores pass.
func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, backend)
}

func BenchmarkCommit(b *testing.B) { storetest.Benchmark(b, backend) }
