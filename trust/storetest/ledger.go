package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

func (s suite) ledgerTests() []test {
	return []test{
		{"an entry is readable where its outcome says", s.committed},
		{"an identifier is used up once, also after reopening", s.replay},
		{"a replayed entry leaves its other identifiers usable", s.replayReleases},
		{"outcomes within and between batches follow the chain", s.model},
		{"two ledgers on one database accept an identifier once", s.twoLedgers},
		{"ST-19 an identifier of another kind or issuer is another", s.namespaces},
		{"a decision on an old registry is stale and uses up nothing", s.staleFence},
		{"a refusal is recorded whatever it was decided on", s.denyUnfenced},
		{"a change acknowledged before a batch fences it", s.fenceAcrossHandles},
		{"a failed transaction mints nothing and begins a new chain", s.failedCommit},
		{"cancelling a queued entry does not undo it", s.cancelQueued},
		{"an expired identifier is forgotten, a live one is not", s.expire},
		{"ST-05 chains of concurrent ledgers verify", s.manyLedgers},
	}
}

func record(outcome audit.Outcome, detail string) audit.Record {
	return audit.Record{At: time.Now(), Event: "token.exchange", Outcome: outcome, Detail: detail}
}

// entry is one that allows, decided on revision 0.
func entry(once ...trust.Once) trust.Entry {
	return trust.Entry{Record: record(audit.Allow, "fresh"), IfReplayed: record(audit.Deny, "replayed"), Once: once}
}

func once(id string) trust.Once {
	return trust.NewOnce(trust.OnceSubject, "https://as.acme.example", id, time.Now().Add(time.Hour))
}

func mustCommit(t testing.TB, l *trust.Ledger, e trust.Entry, want trust.Status) trust.Outcome {
	t.Helper()
	out, err := l.Commit(t.Context(), e)
	if err != nil || out.Status != want {
		t.Fatalf("Commit = %+v, %v, want status %d", out, err, want)
	}
	return out
}

func (s suite) committed(t *testing.T) {
	store := s.fresh(t)
	l := newLedger(t, store, trust.LedgerOptions{})
	e := entry(once("a"))
	e.Record.Client, e.Record.Address = "клиент 🦆", "[2001:db8::1]:4711"
	e.Record.At = time.Date(2026, 11, 21, 23, 30, 0, 0, time.FixedZone("far", 11*3600))
	for i := range 100 {
		e.Record.Checks = append(e.Record.Checks, audit.Check{Step: "subject", Name: fmt.Sprint(i), Result: audit.Pass,
			Expected: strings.Repeat("ы", 500)})
	}
	out := mustCommit(t, l, e, trust.Committed)
	row, err := store.Record(t.Context(), out.At)
	if err != nil || row.Position != out.At {
		t.Fatalf("Record(%v) = %v, %v", out.At, row.Position, err)
	}
	want, err := e.Record.Encode()
	if err != nil || string(row.Body) != string(want) {
		t.Errorf("record = %.200s, want %.200s (%v)", row.Body, want, err)
	}
	for _, at := range []audit.Position{{}, {Writer: out.At.Writer}, {Writer: out.At.Writer, Seq: out.At.Seq + 1}, {Writer: 1 << 30, Seq: 1}, {Seq: 1}} {
		_, err := store.Record(t.Context(), at)
		wantErr(t, fmt.Sprintf("Record(%v)", at), err, trust.ErrNotFound)
	}
}

func (s suite) replay(t *testing.T) {
	location := s.New(t)
	first := s.open(t, location, FeedAll)
	l := trust.NewLedger(first, trust.LedgerOptions{})
	mustCommit(t, l, entry(once("a")), trust.Committed)
	out := mustCommit(t, l, entry(once("a")), trust.Replayed)
	if out.Replay != trust.OnceSubject {
		t.Errorf("Replay = %q, want %q", out.Replay, trust.OnceSubject)
	}
	row, err := first.Record(t.Context(), out.At)
	if err != nil || !strings.Contains(string(row.Body), `"detail":"replayed"`) {
		t.Errorf("record of the replay = %s, %v", row.Body, err)
	}
	l.Close()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again := s.open(t, location, FeedAll)
	mustCommit(t, newLedger(t, again, trust.LedgerOptions{}), entry(once("a")), trust.Replayed)
	if rows := mustChain(t, again, out.At.Writer); len(rows) != 2 {
		t.Errorf("chain of the closed ledger has %d records, want 2", len(rows))
	}
}

func (s suite) replayReleases(t *testing.T) {
	l := newLedger(t, s.fresh(t), trust.LedgerOptions{})
	mustCommit(t, l, entry(once("used")), trust.Committed)
	mustCommit(t, l, entry(once("fresh"), once("used")), trust.Replayed)
	mustCommit(t, l, entry(once("used"), once("fresh")), trust.Replayed)
	mustCommit(t, l, entry(once("fresh")), trust.Committed)
	mustCommit(t, l, entry(once("fresh")), trust.Replayed)
}

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

func (s suite) twoLedgers(t *testing.T) {
	const rounds = 1000
	location := s.New(t)
	ledgers := []*trust.Ledger{
		newLedger(t, s.open(t, location, FeedAll), trust.LedgerOptions{}),
		newLedger(t, s.open(t, location, FeedAll), trust.LedgerOptions{}),
	}
	var accepted [rounds]atomic.Int32
	var group errgroup.Group
	group.SetLimit(64)
	for i := range rounds * len(ledgers) {
		group.Go(func() error {
			round := i / len(ledgers)
			out, err := ledgers[i%len(ledgers)].Commit(t.Context(), entry(once(fmt.Sprint(round))))
			if out.Status == trust.Committed {
				accepted[round].Add(1)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for i := range accepted {
		if n := accepted[i].Load(); n != 1 {
			t.Errorf("round %d was accepted %d times, want once", i, n)
		}
	}
}

func (s suite) namespaces(t *testing.T) {
	l := newLedger(t, s.fresh(t), trust.LedgerOptions{})
	later := time.Now().Add(time.Hour)
	for _, o := range []trust.Once{
		trust.NewOnce(trust.OnceAssertion, "acme", "x", later),
		trust.NewOnce(trust.OnceProof, "acme", "x", later),
		trust.NewOnce(trust.OnceSubject, "acme", "x", later),
		trust.NewOnce(trust.OnceGrant, "acme", "x", later),
		trust.NewOnce(trust.OnceGrant, "globex", "x", later),
		trust.NewOnce(trust.OnceGrant, "acmex", "", later),
		trust.NewOnce(trust.OnceGrant, "", "acmex", later),
	} {
		mustCommit(t, l, entry(o), trust.Committed)
		mustCommit(t, l, entry(o), trust.Replayed)
	}
}

func (s suite) staleFence(t *testing.T) {
	store := s.fresh(t)
	l := newLedger(t, store, trust.LedgerOptions{})
	mustApply(t, store, put(0, peer("a", `{}`)))
	out := mustCommit(t, l, entry(once("a")), trust.Stale)
	if out.Head.Revision != 1 || out.At != (audit.Position{}) {
		t.Errorf("outcome = %+v, want head at revision 1 and no position", out)
	}
	again := entry(once("a"))
	again.Seen = out.Head
	out = mustCommit(t, l, again, trust.Committed)
	if rows := mustChain(t, store, out.At.Writer); len(rows) != 1 {
		t.Errorf("chain has %d records, want the one committed", len(rows))
	}
}

func (s suite) denyUnfenced(t *testing.T) {
	store := s.fresh(t)
	l := newLedger(t, store, trust.LedgerOptions{})
	mustApply(t, store, put(0, peer("a", `{}`)))
	e := trust.Entry{Record: record(audit.Deny, "no"), IfReplayed: record(audit.Deny, "replayed"), Once: []trust.Once{once("a")}}
	mustCommit(t, l, e, trust.Committed)
	mustCommit(t, l, e, trust.Replayed)
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

func (s suite) expire(t *testing.T) {
	store := s.fresh(t)
	l := newLedger(t, store, trust.LedgerOptions{})
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	at := func(id string, expires time.Time) trust.Once {
		return trust.NewOnce(trust.OnceProof, "key", id, expires)
	}
	var many []trust.Once
	for i := range 2500 {
		many = append(many, at(fmt.Sprint(i), now.Add(-time.Minute)))
	}
	mustCommit(t, l, entry(many...), trust.Committed)
	gone := at("gone", now.Add(-time.Millisecond).In(time.FixedZone("far", 14*3600)))
	kept := at("kept", now.In(time.FixedZone("far", -11*3600)))
	live := at("live", now.Add(time.Minute))
	mustCommit(t, l, entry(gone, kept, live), trust.Committed)
	for _, want := range []int64{2501, 0} {
		n, err := store.Expire(t.Context(), now.In(time.FixedZone("here", 5*3600)))
		if err != nil || n != want {
			t.Fatalf("Expire = %d, %v, want %d", n, err, want)
		}
	}
	mustCommit(t, l, entry(gone), trust.Committed)
	mustCommit(t, l, entry(many[1234]), trust.Committed)
	mustCommit(t, l, entry(kept), trust.Replayed)
	mustCommit(t, l, entry(live), trust.Replayed)
}

func (s suite) manyLedgers(t *testing.T) {
	location := s.New(t)
	store := s.open(t, location, FeedAll)
	var group errgroup.Group
	var mu sync.Mutex
	count := map[uint32]int{}
	for i := range 4 {
		l := newLedger(t, s.open(t, location, FeedAll), trust.LedgerOptions{})
		for j := range 8 {
			group.Go(func() error {
				for k := range 10 {
					out, err := l.Commit(t.Context(), entry(once(fmt.Sprint(i, j, k)), once(fmt.Sprint("p", i, j, k))))
					if err != nil || out.Status != trust.Committed {
						return fmt.Errorf("status %d: %w", out.Status, err)
					}
					mu.Lock()
					count[out.At.Writer]++
					mu.Unlock()
				}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(count) != 4 {
		t.Errorf("%d writers, want 4", len(count))
	}
	for writer, want := range count {
		if rows := mustChain(t, store, writer); len(rows) != want || want != 80 {
			t.Errorf("chain of writer %d has %d records, acknowledged %d, want 80", writer, len(rows), want)
		}
	}
}
