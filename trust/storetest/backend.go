package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

// Feed says by what a store learns of changes made elsewhere.
type Feed string

// The feeds.
const (
	FeedAll  Feed = "all"
	FeedPoll Feed = "poll" // the poll alone, at its shipped interval or faster
	FeedPush Feed = "push" // notification alone: a poll would come too late
)

// Backend is a kind of database. All fields but CutFeed and Check are required.
type Backend struct {
	// New makes an empty database for the test and returns where it is.
	New func(t testing.TB) (location string)
	// Open opens one more handle on it, as another process would.
	Open func(ctx context.Context, location string, feed Feed) (trust.Store, error)
	// Exec runs a statement behind the stores' backs.
	Exec func(ctx context.Context, location, statement string) error
	// SchemaVersion is what the backend's package says it was made for.
	SchemaVersion int64
	// CutFeed ends the sessions by which changes are pushed. Nil stands for a
	// database that pushes none.
	CutFeed func(ctx context.Context, location string) error
	// Check proves that the database is not damaged, where there is a way.
	Check func(ctx context.Context, location string) error
}

// Run runs the suite. Its processes are re-executions of the test binary, so
// the package's TestMain has to be Main.
func Run(t *testing.T, b Backend) {
	t.Helper()
	s := suite{b}
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"registry", s.registryTests()},
		{"feed", s.feedTests()},
		{"ledger", s.ledgerTests()},
		{"revocations", s.revocationTests()},
		{"records", s.recordTests()},
		{"keys", s.keyTests()},
		{"life", s.lifeTests()},
	} {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					test.run(t)
				})
			}
		})
	}
}

// test is a rule and what proves it.
type test struct {
	name string
	run  func(*testing.T)
}

type suite struct{ Backend }

// fresh opens a store on an empty database.
func (s suite) fresh(t testing.TB) trust.Store {
	t.Helper()
	return s.open(t, s.New(t), FeedAll)
}

func (s suite) open(t testing.TB, location string, feed Feed) trust.Store {
	t.Helper()
	store, err := s.Open(t.Context(), location, feed)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return store
}

func (s suite) exec(t testing.TB, location, statement string) {
	t.Helper()
	if err := s.Exec(t.Context(), location, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// patience bounds a wait that ends much sooner unless something is broken.
const patience = time.Minute

// newLedger opens a ledger that is closed before its store.
func newLedger(t testing.TB, store trust.Committer, opts trust.LedgerOptions) *trust.Ledger {
	t.Helper()
	opts.Timeout = patience
	l := trust.NewLedger(store, opts)
	t.Cleanup(l.Close)
	return l
}

// chain reads a whole chain in small pages and verifies it.
func chain(ctx context.Context, store trust.Store, writer uint32) ([]audit.Row, error) {
	at := audit.Head{Position: audit.Position{Writer: writer}}
	var all []audit.Row
	for {
		rows, err := store.Records(ctx, at.Position, 7)
		if err != nil || len(rows) == 0 {
			return all, err
		}
		at, err = audit.VerifyChain(at, func(yield func(audit.Row, error) bool) {
			for _, r := range rows {
				if !yield(r, nil) {
					return
				}
			}
		})
		if err != nil {
			return all, err
		}
		all = append(all, rows...)
	}
}

func mustChain(t testing.TB, store trust.Store, writer uint32) []audit.Row {
	t.Helper()
	rows, err := chain(t.Context(), store, writer)
	if err != nil {
		t.Fatalf("chain of writer %d: %v", writer, err)
	}
	return rows
}

func mustLoad(t testing.TB, store trust.Source, since trust.Revision) trust.State {
	t.Helper()
	state, err := store.Load(t.Context(), since)
	if err != nil {
		t.Fatalf("Load(%d) = %v", since, err)
	}
	return state
}

func mustApply(t testing.TB, store trust.Store, c trust.Change) trust.Revision {
	t.Helper()
	to, err := store.Apply(t.Context(), c)
	if err != nil {
		t.Fatalf("Apply on %d = %v", c.Base, err)
	}
	return to
}

// wantErr fails unless err wraps want.
func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s = %v, want %v", what, err, want)
	}
}

// applyNext applies a change on whatever the registry is at, as often as it
// takes.
func applyNext(ctx context.Context, store trust.Store, prepare func(trust.State) trust.Change) (trust.Revision, error) {
	for {
		state, err := store.Load(ctx, 0)
		if err != nil {
			return 0, fmt.Errorf("load: %w", err)
		}
		c := prepare(state)
		c.Base = state.Revision
		to, err := store.Apply(ctx, c)
		if !errors.Is(err, trust.ErrConflict) {
			return to, err
		}
	}
}
