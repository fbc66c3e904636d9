package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/comity-auth/comity/fixtures/pg"
	"github.com/comity-auth/comity/trust"
)

const waitingAtFence = `SELECT count(*) FROM pg_stat_activity
	WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory'`

// A change is acknowledged only once every batch that was decided before it has
// ended, and a batch that comes later waits for the change.
func TestAChangeWaitsForTheBatchesBeforeIt(t *testing.T) {
	t.Parallel()
	dsn := pg.New(t)
	admin, replica := mustOpen(t, options(dsn)), mustOpen(t, options(dsn))
	early := trust.NewLedger(replica, trust.LedgerOptions{Timeout: time.Minute})
	t.Cleanup(early.Close)
	late := trust.NewLedger(replica, trust.LedgerOptions{Timeout: time.Minute})
	t.Cleanup(late.Close)
	blocker, watch := connect(t, dsn), connect(t, dsn)
	await := func(query string, want int) {
		for scan[int](t, watch, query) < want {
			if t.Context().Err() != nil {
				t.Fatal("the transactions never got to where they wait")
			}
		}
	}
	mustExec(t, blocker, `BEGIN`)
	mustExec(t, blocker, `LOCK TABLE records IN SHARE MODE`)

	before := commit(t, early, "early")
	await(waiting, 1) // it has read the fence and waits to write its record
	applied := make(chan error, 1)
	go func() {
		_, err := admin.Apply(t.Context(), change(0))
		applied <- err
	}()
	// Were the change not held back, it would not be seen to wait.
	for scan[int](t, watch, waitingAtFence) == 0 {
		select {
		case err := <-applied:
			t.Fatalf("Apply = %v while a batch decided before it was under way", err)
		default:
		}
	}
	after := commit(t, late, "late")
	await(waitingAtFence, 2)
	mustExec(t, blocker, `ROLLBACK`)

	if err := <-applied; err != nil {
		t.Errorf("Apply = %v", err)
	}
	if e := <-before; e.err != nil || e.out.Status != trust.Committed || e.out.Head.Revision != 0 {
		t.Errorf("the batch before ended in %+v, %v, want it committed on revision 0", e.out, e.err)
	}
	if e := <-after; e.err != nil || e.out.Status != trust.Stale || e.out.Head.Revision != 1 {
		t.Errorf("the batch after ended in %+v, %v, want it stale on revision 1", e.out, e.err)
	}
}

type ended struct {
	out trust.Outcome
	err error
}

// commit commits an entry decided on revision 0 in the background.
func commit(t *testing.T, l *trust.Ledger, id string) <-chan ended {
	t.Helper()
	done := make(chan ended, 1)
	go func() {
		out, err := l.Commit(t.Context(), entry(id))
		done <- ended{out, err}
	}()
	return done
}

// A batch that takes too long ends, and holds back the changes of others no more.
func TestASlowBatchIsEnded(t *testing.T) {
	t.Parallel()
	dsn := pg.New(t)
	opts := options(dsn)
	opts.Timeout = 500 * time.Millisecond
	store := mustOpen(t, opts)
	l := trust.NewLedger(store, trust.LedgerOptions{Timeout: time.Minute})
	t.Cleanup(l.Close)
	blocker := connect(t, dsn)
	mustExec(t, blocker, `BEGIN`)
	mustExec(t, blocker, `LOCK TABLE records IN SHARE MODE`)
	if _, err := l.Commit(t.Context(), entry("a")); !errors.Is(err, trust.ErrUnavailable) {
		t.Errorf("Commit = %v, want ErrUnavailable", err)
	}
	mustExec(t, blocker, `ROLLBACK`)
	if _, err := mustOpen(t, options(dsn)).Apply(t.Context(), change(0)); err != nil {
		t.Errorf("Apply afterwards = %v", err)
	}
}
