package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

// gate holds a ledger's first transaction until it is opened.
type gate struct {
	trust.Committer
	entered chan struct{} // closed when the first transaction waits
	open    chan struct{}
	first   sync.Once
}

func newGate(c trust.Committer) *gate {
	return &gate{Committer: c, entered: make(chan struct{}), open: make(chan struct{})}
}

func (g *gate) Commit(ctx context.Context, b *trust.Batch) error {
	g.first.Do(func() {
		close(g.entered)
		<-g.open
	})
	return g.Committer.Commit(ctx, b)
}

// ended is an entry of the model and how it ended.
type ended struct {
	ids []string
	out trust.Outcome
}

// model puts many entries that share identifiers into few batches and replays
// their outcomes in the order of the chain.
func (s suite) model(t *testing.T) {
	const entries, batch = 200, 64
	g := newGate(s.fresh(t))
	room := make(chan struct{}, entries) // one value for each entry that left the queue
	l := newLedger(t, g, trust.LedgerOptions{Queue: batch, Batch: batch, Observe: func(n int, _ time.Duration, _ error) {
		for range n {
			room <- struct{}{}
		}
	}})
	full := make(chan struct{})
	var once sync.Once
	all := make([]ended, entries)
	var group errgroup.Group
	rnd := rand.New(rand.NewPCG(3, 4))
	for i := range all {
		for _, id := range rnd.Perm(90)[:1+rnd.IntN(3)] {
			all[i].ids = append(all[i].ids, fmt.Sprint(id))
		}
		group.Go(func() (err error) {
			for {
				all[i].out, err = l.Commit(t.Context(), entryOf(all[i].ids))
				if !errors.Is(err, trust.ErrOverloaded) {
					return err
				}
				// The first transaction is held, so a whole batch waits behind it.
				once.Do(func() { close(full) })
				<-room
			}
		})
	}
	<-full
	close(g.open)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	checkModel(t, all)
}

func entryOf(ids []string) trust.Entry {
	e := entry()
	for _, id := range ids {
		e.Once = append(e.Once, once(id))
	}
	return e
}

func checkModel(t *testing.T, all []ended) {
	t.Helper()
	slices.SortFunc(all, func(x, y ended) int { return cmp.Compare(x.out.At.Seq, y.out.At.Seq) })
	used := map[string]bool{}
	for _, e := range all {
		want := trust.Committed
		if slices.ContainsFunc(e.ids, func(id string) bool { return used[id] }) {
			want = trust.Replayed
		}
		if e.out.Status != want {
			t.Fatalf("record %d with %v ended in %d, want %d", e.out.At.Seq, e.ids, e.out.Status, want)
		}
		for _, id := range e.ids {
			used[id] = used[id] || want == trust.Committed
		}
	}
}

// A change that one handle acknowledged is seen by every batch that another
// handle begins after it.
func (s suite) fenceAcrossHandles(t *testing.T) {
	location := s.New(t)
	admin := s.open(t, location, FeedAll)
	l := newLedger(t, s.open(t, location, FeedAll), trust.LedgerOptions{})
	for i := range 50 {
		seen := trust.Fence{Revision: trust.Revision(i)}
		stop := make(chan struct{})
		var load errgroup.Group
		for n := range 4 {
			load.Go(func() error { return busy(t.Context(), l, fmt.Sprintf("%d-%d", i, n), stop) })
		}
		mustApply(t, admin, put(trust.Revision(i), peer("a", fmt.Sprint(i))))
		e := entry(once(fmt.Sprint("after", i)))
		e.Seen = seen
		mustCommit(t, l, e, trust.Stale)
		close(stop)
		if err := load.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

// busy keeps a ledger's batches coming until stopped.
func busy(ctx context.Context, l *trust.Ledger, name string, stop <-chan struct{}) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		e := trust.Entry{Record: record(audit.Deny, name), Once: []trust.Once{once(fmt.Sprint(name, i))}}
		if _, err := l.Commit(ctx, e); err != nil {
			return err
		}
	}
}

// failing loses the answer of transactions, before or after they took place.
type failing struct {
	trust.Committer
	before, after atomic.Bool
}

var errInjected = errors.New("injected")

func (f *failing) Commit(ctx context.Context, b *trust.Batch) error {
	if f.before.Load() {
		return errInjected
	}
	err := f.Committer.Commit(ctx, b)
	if f.after.Load() {
		return errInjected
	}
	return err
}

func (s suite) failedCommit(t *testing.T) {
	store := s.fresh(t)
	f := &failing{Committer: store}
	l := newLedger(t, f, trust.LedgerOptions{})
	writers := map[uint32]int{}
	for i, fault := range []*atomic.Bool{&f.before, &f.after, &f.before} {
		for n := range i + 1 {
			out := mustCommit(t, l, entry(once(fmt.Sprintf("%d-%d", i, n))), trust.Committed)
			writers[out.At.Writer]++
		}
		fault.Store(true)
		out, err := l.Commit(t.Context(), entry(once(fmt.Sprint("lost", i))))
		wantErr(t, "Commit", err, trust.ErrUnavailable)
		if diff := gocmp.Diff(trust.Outcome{}, out); diff != "" {
			t.Errorf("an outcome came with the error: %+v", out)
		}
		fault.Store(false)
	}
	out := mustCommit(t, l, entry(), trust.Committed)
	writers[out.At.Writer]++
	if len(writers) != 4 {
		t.Fatalf("chains = %v, want a new one after each failure", writers)
	}
	heads, err := store.Writers(t.Context())
	if err != nil || len(heads) != 4 {
		t.Fatalf("Writers = %v, %v, want 4", heads, err)
	}
	lost := 0
	for _, h := range heads {
		rows := mustChain(t, store, h.Writer)
		if len(rows) == 0 || rows[len(rows)-1].Head() != h {
			t.Errorf("chain of writer %d ends elsewhere than Writers says", h.Writer)
		}
		lost += len(rows) - writers[h.Writer]
	}
	if lost != 1 {
		t.Errorf("%d records without an acknowledgement, want the one whose answer was lost", lost)
	}
}

func (s suite) cancelQueued(t *testing.T) {
	store := s.fresh(t)
	g := newGate(store)
	l := newLedger(t, g, trust.LedgerOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	type result struct {
		out trust.Outcome
		err error
	}
	got := make(chan result, 1)
	go func() {
		out, err := l.Commit(ctx, entry(once("a")))
		got <- result{out, err}
	}()
	<-g.entered
	cancel()
	close(g.open)
	r := <-got
	if r.err != nil || r.out.Status != trust.Committed {
		t.Fatalf("Commit = %+v, %v, want it committed", r.out, r.err)
	}
	if _, err := store.Record(t.Context(), r.out.At); err != nil {
		t.Errorf("Record = %v", err)
	}
	if _, err := l.Commit(ctx, entry(once("b"))); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit with a cancelled context = %v, want it refused", err)
	}
}
