package storetest

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
		{"chains of concurrent ledgers verify", s.manyLedgers},
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

func mustCommit(t testing.TB, l *trust.Ledger, e trust.Entry, want trust.Ending) trust.Outcome {
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
