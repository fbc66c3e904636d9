package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/comity-auth/comity/fixtures/pg"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
	"github.com/comity-auth/comity/trust/postgres"
)

func mustOpen(t *testing.T, opts postgres.Options) *postgres.Store {
	t.Helper()
	store, err := postgres.Open(t.Context(), opts)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func mustExec(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func scan[T any](t *testing.T, conn *pgx.Conn, query string) (v T) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

func entry(id string) trust.Entry {
	return trust.Entry{
		Record:     audit.Record{At: time.Now(), Event: "token.exchange", Outcome: audit.Allow},
		IfReplayed: audit.Record{At: time.Now(), Event: "token.exchange", Outcome: audit.Deny},
		Once:       []trust.Once{trust.NewOnce(trust.OnceGrant, "acme", id, time.Now().Add(time.Hour))},
	}
}

func change(base trust.Revision) trust.Change {
	o := trust.NewObject(trust.Key{Kind: trust.KindPeer, Name: "a"}, 0, []byte(strconv.Itoa(int(base))))
	return trust.Change{Base: base, Put: []trust.Object{o}, By: "admin", Origin: "api", At: time.Now()}
}

// inject makes transactions fail as the database would for the sake of others.
// A sequence is not rolled back, so it counts the attempts.
func inject(t *testing.T, conn *pgx.Conn, condition string) {
	t.Helper()
	mustExec(t, conn, `CREATE SEQUENCE attempts`)
	mustExec(t, conn, `CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
		DECLARE n bigint := nextval('attempts');
		BEGIN
			IF `+condition+` THEN
				RAISE EXCEPTION 'injected' USING ERRCODE = CASE WHEN n % 2 = 0 THEN '40001' ELSE '40P01' END;
			END IF;
			RETURN NULL;
		END $$`)
	for _, table := range []string{"records", "revisions"} {
		mustExec(t, conn, `CREATE TRIGGER fail AFTER INSERT ON `+table+` FOR EACH STATEMENT EXECUTE FUNCTION fail()`)
	}
}

// ST-05: one transaction in five fails and is retried; nothing is lost or
// written twice.
func TestSerializationFailuresAreRetried(t *testing.T) {
	t.Parallel()
	const entries, changes = 150, 20
	dsn := pg.New(t)
	store, conn := mustOpen(t, options(dsn)), connect(t, dsn)
	inject(t, conn, `n % 5 = 0`)
	l := trust.NewLedger(store, trust.LedgerOptions{Batch: 1, Timeout: time.Minute})
	t.Cleanup(l.Close)
	var group errgroup.Group
	group.Go(func() error {
		for i := range trust.Revision(changes) {
			if _, err := store.Apply(t.Context(), change(i)); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range entries {
		group.Go(func() error {
			e := entry(strconv.Itoa(i))
			e.Seen = trust.Fence{Revision: changes}
			out, err := l.Commit(t.Context(), e)
			if err == nil && out.Status != trust.Committed {
				err = fmt.Errorf("entry %d ended in %d, want it committed", i, out.Status)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := scan[int](t, conn, `SELECT count(*) FROM records`); n != entries {
		t.Errorf("%d records, want %d", n, entries)
	}
	if n := scan[int](t, conn, `SELECT count(*) FROM revisions`); n != changes {
		t.Errorf("%d revisions, want %d", n, changes)
	}
	if n := scan[int](t, conn, `SELECT last_value FROM attempts`); n < (entries+changes)*6/5 {
		t.Errorf("%d attempts for %d transactions: too few were failed", n, entries+changes)
	}
}

func TestRetriesEnd(t *testing.T) {
	t.Parallel()
	dsn := pg.New(t)
	store, conn := mustOpen(t, options(dsn)), connect(t, dsn)
	inject(t, conn, `true`)
	if _, err := store.Apply(t.Context(), change(0)); !errors.Is(err, trust.ErrUnavailable) {
		t.Fatalf("Apply = %v, want ErrUnavailable", err)
	}
	if n := scan[int](t, conn, `SELECT last_value FROM attempts`); n != 4 {
		t.Errorf("%d attempts, want 4", n)
	}
	mustExec(t, conn, `DROP TRIGGER fail ON revisions`)
	if _, err := store.Apply(t.Context(), change(0)); err != nil {
		t.Errorf("Apply afterwards = %v", err)
	}
}

// ST-11: with every connection in a slow query, the next request fails while
// they still wait, and all is well once they are through.
func TestAFullPoolRefuses(t *testing.T) {
	t.Parallel()
	dsn := pg.New(t)
	const conns = 5
	store := mustOpen(t, postgres.Options{DSN: dsn, MaxConns: conns, Timeout: time.Minute, Poll: time.Hour, NoListen: true})
	blocker, watch := connect(t, dsn), connect(t, dsn)
	mustExec(t, blocker, `BEGIN`)
	mustExec(t, blocker, `LOCK TABLE head IN ACCESS EXCLUSIVE MODE`)
	var slow errgroup.Group
	for range conns {
		slow.Go(func() error {
			// A connection that is being made can itself be waited for too long.
			for {
				_, err := store.Load(t.Context(), 0)
				if err == nil || scan[int](t, watch, waiting) >= conns {
					return err
				}
			}
		})
	}
	for scan[int](t, connect(t, dsn), waiting) < conns {
		if t.Context().Err() != nil {
			t.Fatal("the pool never filled")
		}
	}
	if _, err := store.Load(t.Context(), 0); !errors.Is(err, trust.ErrUnavailable) {
		t.Errorf("Load = %v, want ErrUnavailable", err)
	}
	if n := scan[int](t, connect(t, dsn), waiting); n != conns {
		t.Errorf("%d requests still wait, want %d", n, conns)
	}
	mustExec(t, blocker, `ROLLBACK`)
	if err := slow.Wait(); err != nil {
		t.Errorf("a slow request failed: %v", err)
	}
	if _, err := store.Load(t.Context(), 0); err != nil {
		t.Errorf("Load afterwards = %v", err)
	}
}

const waiting = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`

// ST-20: a migrator that is killed half way leaves nothing that stops the next.
func TestAKilledMigratorCanBeFollowed(t *testing.T) {
	t.Parallel()
	dsn := pg.New(t)
	blocker, watch := connect(t, dsn), connect(t, dsn)
	// The migration gets as far as this table and waits for us.
	mustExec(t, blocker, `BEGIN`)
	mustExec(t, blocker, `CREATE TABLE records (x integer)`)
	failed := make(chan error, 1)
	go func() {
		_, err := postgres.Migrate(t.Context(), postgres.Options{DSN: dsn})
		failed <- err
	}()
	for scan[int](t, watch, waiting) == 0 {
		if t.Context().Err() != nil {
			t.Fatal("the migration never got to the table")
		}
	}
	mustExec(t, watch, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND wait_event_type = 'Lock'`)
	if err := <-failed; !errors.Is(err, trust.ErrUnavailable) {
		t.Fatalf("Migrate = %v, want ErrUnavailable", err)
	}
	mustExec(t, blocker, `ROLLBACK`)
	store := mustOpen(t, options(dsn))
	if _, err := store.Apply(t.Context(), change(0)); err != nil {
		t.Errorf("Apply = %v", err)
	}
}

// Not parallel: it counts goroutines.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	dsn := pg.New(t)
	before := goleak.IgnoreCurrent()
	store := mustOpen(t, options(dsn))
	if _, err := store.Load(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}
