package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/sqlite"
	"github.com/comity-auth/comity/trust/storetest"
)

// backend keeps its databases in files. Nothing is pushed between processes.
var backend = storetest.Backend{
	// The name holds what a URI would take for syntax.
	New: func(t testing.TB) string { return filepath.Join(t.TempDir(), "comity ?#%41é.db") },
	Open: func(ctx context.Context, path string, feed storetest.Feed) (trust.Store, error) {
		return open(ctx, sqlite.Options{Path: path, Poll: 20 * time.Millisecond, Busy: time.Minute})
	},
	Exec:          execute,
	SchemaVersion: sqlite.SchemaVersion,
	Check: func(ctx context.Context, path string) (err error) {
		return query(ctx, path, func(db *sql.DB) error {
			var verdict string
			if err := db.QueryRowContext(ctx, `PRAGMA integrity_check`).Scan(&verdict); err != nil {
				return err
			}
			if verdict != "ok" {
				return errors.New(verdict)
			}
			return nil
		})
	},
}

// open keeps a nil store from becoming an interface that is not nil.
func open(ctx context.Context, opts sqlite.Options) (trust.Store, error) {
	store, err := sqlite.Open(ctx, opts)
	if err != nil {
		return nil, err
	}
	return store, nil
}

func query(ctx context.Context, path string, do func(*sql.DB) error) error {
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: "_busy_timeout=60000"}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return err
	}
	return errors.Join(do(db), db.Close())
}

func execute(ctx context.Context, path, statement string) error {
	return query(ctx, path, func(db *sql.DB) error {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
		return nil
	})
}

func TestMain(m *testing.M) { storetest.Main(m, backend) }

// ST-21: the suite that both stores pass.
func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, backend)
}

func BenchmarkCommit(b *testing.B) { storetest.Benchmark(b, backend) }
