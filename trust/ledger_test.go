package trust_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

// book is a committer in memory with faults to order.
type book struct {
	mu      sync.Mutex
	writers uint32
	used    map[[32]byte]bool
	rows    []audit.Row
	batches []int // records of each transaction
	head    trust.Fence
	open    error
	fail    error
	skip    bool          // commits without settling
	hold    chan struct{} // when set, Commit waits for it
	entered chan struct{} // receives when Commit begins
}

func newBook() *book { return &book{used: map[[32]byte]bool{}, entered: make(chan struct{}, 64)} }

func (b *book) OpenWriter(context.Context) (uint32, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open != nil {
		return 0, b.open
	}
	b.writers++
	return b.writers, nil
}

func (b *book) Commit(ctx context.Context, batch *trust.Batch) error {
	b.entered <- struct{}{}
	b.mu.Lock()
	hold := b.hold
	b.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil || b.skip {
		return b.fail
	}
	var fresh [][32]byte
	var last [32]byte
	for i, o := range batch.Once() {
		if i > 0 && string(last[:]) >= string(o.Key[:]) {
			return errors.New("identifiers are not in order")
		}
		if last = o.Key; !b.used[o.Key] {
			fresh = append(fresh, o.Key)
		}
	}
	s, err := batch.Settle(b.head, fresh)
	if err != nil {
		return err
	}
	for _, k := range fresh {
		b.used[k] = true
	}
	for _, k := range s.Unclaimed {
		delete(b.used, k)
	}
	b.rows = append(b.rows, s.Rows...)
	b.batches = append(b.batches, len(s.Rows))
	return nil
}

func (b *book) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

func record(outcome audit.Outcome) audit.Record {
	return audit.Record{At: now, Event: "token.exchange", Outcome: outcome}
}

func entry(ids ...string) trust.Entry {
	e := trust.Entry{Record: record(audit.Allow), IfReplayed: record(audit.Deny)}
	for _, id := range ids {
		e.Once = append(e.Once, trust.NewOnce(trust.OnceProof, "key", id, now.Add(time.Minute)))
	}
	return e
}

func ledger(t testing.TB, b *book, opts trust.LedgerOptions) *trust.Ledger {
	t.Helper()
	l := trust.NewLedger(b, opts)
	t.Cleanup(l.Close)
	return l
}

type answer struct {
	out trust.Outcome
	err error
}

// queue commits in the background; the answers come in no particular order.
func queue(l *trust.Ledger, entries ...trust.Entry) <-chan answer {
	out := make(chan answer, len(entries))
	for _, e := range entries {
		go func() {
			o, err := l.Commit(context.Background(), e)
			out <- answer{o, err}
		}()
	}
	return out
}

func TestCommitGivesTheRecordsPlace(t *testing.T) {
	t.Parallel()
	b := newBook()
	l := ledger(t, b, trust.LedgerOptions{})
	for i := range 3 {
		out, err := l.Commit(t.Context(), entry(fmt.Sprint(i)))
		if err != nil || out.Status != trust.Committed || out.At != (audit.Position{Writer: 1, Seq: uint64(i + 1)}) {
			t.Errorf("Commit %d = %+v, %v", i, out, err)
		}
	}
	chain := func(yield func(audit.Row, error) bool) {
		for _, row := range b.rows {
			if !yield(row, nil) {
				return
			}
		}
	}
	if end, err := audit.VerifyChain(audit.Head{Position: audit.Position{Writer: 1}}, chain); err != nil || end.Seq != 3 {
		t.Errorf("VerifyChain = %+v, %v", end, err)
	}
}

func TestReplayTakesNothing(t *testing.T) {
	t.Parallel()
	b := newBook()
	l := ledger(t, b, trust.LedgerOptions{})
	l.Commit(t.Context(), entry("a"))
	out, err := l.Commit(t.Context(), entry("b", "a"))
	if err != nil || out.Status != trust.Replayed || out.Replay != trust.OnceProof {
		t.Fatalf("Commit = %+v, %v, want a replay", out, err)
	}
	if out, err := l.Commit(t.Context(), entry("b")); err != nil || out.Status != trust.Committed {
		t.Errorf("Commit = %+v, %v: the replay used up what was new", out, err)
	}
	if !strings.Contains(string(b.rows[1].Body), `"outcome":"deny"`) {
		t.Errorf("record of the replay = %s", b.rows[1].Body)
	}
}

// Kinds, issuers and ids do not run into each other (CL-30).
func TestOnceKeysAreDistinct(t *testing.T) {
	t.Parallel()
	seen := map[[32]byte]string{}
	for _, o := range [][3]string{{"grant", "ab", "c"}, {"grant", "a", "bc"}, {"grant", "", "abc"}, {"dpop_proof", "ab", "c"}, {"grant", "ab", "c "}, {"grant", "1:a", "b"}, {"grant", "1", ":ab"}} {
		k := trust.NewOnce(trust.OnceKind(o[0]), o[1], o[2], now).Key
		if other, dup := seen[k]; dup {
			t.Errorf("%v and %s share a key", o, other)
		}
		seen[k] = fmt.Sprint(o)
	}
}

func TestStaleEntriesAreDecidedAgain(t *testing.T) {
	t.Parallel()
	b := newBook()
	b.head = trust.Fence{Revision: 5, Revocations: 7}
	l := ledger(t, b, trust.LedgerOptions{})
	for _, row := range []struct {
		name    string
		seen    trust.Fence
		outcome audit.Outcome
		want    trust.Ending
	}{
		{"an older revision is stale", trust.Fence{Revision: 4, Revocations: 7}, audit.Allow, trust.Stale},
		{"older revocations are stale", trust.Fence{Revision: 5, Revocations: 6}, audit.Allow, trust.Stale},
		{"a newer revision does not make up for older revocations", trust.Fence{Revision: 6, Revocations: 6}, audit.Allow, trust.Stale},
		{"the same is committed", b.head, audit.Allow, trust.Committed},
		{"a refusal is committed whatever it saw", trust.Fence{}, audit.Deny, trust.Committed},
	} {
		e := entry("x-" + row.name)
		e.Seen, e.Record.Outcome = row.seen, row.outcome
		rows := len(b.rows)
		out, err := l.Commit(t.Context(), e)
		if err != nil || out.Status != row.want || out.Head != b.head {
			t.Errorf("%s: %+v, %v", row.name, out, err)
		}
		if wrote := len(b.rows) > rows; wrote != (row.want == trust.Committed) {
			t.Errorf("%s: wrote %v", row.name, wrote)
		}
	}
	again := entry("x-an older revision is stale")
	again.Seen = b.head
	if out, err := l.Commit(t.Context(), again); err != nil || out.Status != trust.Committed {
		t.Errorf("deciding again = %+v, %v: staleness used up the identifier", out, err)
	}
}

// holding makes one transaction wait, so that what follows queues.
func holding(t testing.TB, b *book, l *trust.Ledger) (first <-chan answer, release func()) {
	t.Helper()
	hold := make(chan struct{})
	b.set(func() { b.hold = hold })
	first = queue(l, entry("first"))
	<-b.entered
	b.set(func() { b.hold = nil })
	return first, sync.OnceFunc(func() { close(hold) })
}

func TestFullQueueIsOverloaded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		l := trust.NewLedger(b, trust.LedgerOptions{Queue: 2})
		defer l.Close()
		first, release := holding(t, b, l)
		waiting := queue(l, entry("a"), entry("b"))
		synctest.Wait()
		if _, err := l.Commit(t.Context(), entry("c")); !errors.Is(err, trust.ErrOverloaded) || !errors.Is(err, trust.ErrUnavailable) {
			t.Errorf("Commit on a full queue = %v, want ErrOverloaded", err)
		}
		release()
		for _, c := range []<-chan answer{first, waiting, waiting} {
			if a := <-c; a.err != nil || a.out.Status != trust.Committed {
				t.Errorf("an entry that waited ended with %+v", a)
			}
		}
	})
}

func TestBatchesAreBoundedAndShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		var observed []int
		l := trust.NewLedger(b, trust.LedgerOptions{Batch: 4, Observe: func(n int, _ time.Duration, err error) { observed = append(observed, n) }})
		first, release := holding(t, b, l)
		var entries []trust.Entry
		for i := range 10 {
			entries = append(entries, entry(fmt.Sprint(i)))
		}
		waiting := queue(l, entries...)
		synctest.Wait()
		release()
		<-first
		places := map[audit.Position]bool{}
		for range entries {
			a := <-waiting
			if a.err != nil || places[a.out.At] {
				t.Errorf("answer %+v", a)
			}
			places[a.out.At] = true
		}
		l.Close()
		if got := fmt.Sprint(b.batches, observed); got != "[1 4 4 2] [1 4 4 2]" {
			t.Errorf("batches = %s, want 1, 4, 4 and 2", got)
		}
	})
}

// One entry's replay never fails its neighbours, in one batch as in many.
func TestOneBatchSettlesEachEntryByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		l := trust.NewLedger(b, trust.LedgerOptions{})
		defer l.Close()
		first, release := holding(t, b, l)
		broken := entry("first") // a replay whose record cannot be written
		broken.IfReplayed = audit.Record{}
		same := queue(l, entry("twin"), entry("twin"))
		other, bad, replay := queue(l, entry("fine")), queue(l, broken), queue(l, entry("fresh", "first"))
		synctest.Wait()
		release()
		<-first
		ends := map[trust.Ending]int{}
		for range 2 {
			a := <-same
			ends[a.out.Status]++
		}
		if ends[trust.Committed] != 1 || ends[trust.Replayed] != 1 {
			t.Errorf("two entries of one identifier ended %v, want one of each", ends)
		}
		if a := <-other; a.err != nil || a.out.Status != trust.Committed {
			t.Errorf("a neighbour ended with %+v", a)
		}
		if a := <-bad; a.err == nil {
			t.Errorf("an entry without a record ended with %+v", a)
		}
		if a := <-replay; a.err != nil || a.out.Status != trust.Replayed {
			t.Errorf("a replay ended with %+v", a)
		}
		if len(b.batches) != 2 {
			t.Errorf("batches = %v, want 2", b.batches)
		}
		if out, err := l.Commit(t.Context(), entry("fresh")); err != nil || out.Status != trust.Committed {
			t.Errorf("Commit = %+v, %v: a replay used up its neighbour's identifier", out, err)
		}
	})
}

func TestCancelledContexts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		l := trust.NewLedger(b, trust.LedgerOptions{})
		defer l.Close()
		ctx, cancel := context.WithCancel(t.Context())
		first, release := holding(t, b, l)
		got := make(chan answer, 1)
		go func() {
			out, err := l.Commit(ctx, entry("queued"))
			got <- answer{out, err}
		}()
		synctest.Wait()
		cancel()
		if _, err := l.Commit(ctx, entry("late")); !errors.Is(err, context.Canceled) {
			t.Errorf("Commit with a cancelled context = %v", err)
		}
		synctest.Wait()
		select {
		case a := <-got:
			t.Fatalf("cancelling a queued entry answered it: %+v", a)
		default:
		}
		release()
		<-first
		if a := <-got; a.err != nil || a.out.Status != trust.Committed {
			t.Errorf("the queued entry ended with %+v, want committed", a)
		}
		if len(b.rows) != 2 {
			t.Errorf("%d records, want 2: the late one must not be written", len(b.rows))
		}
	})
}

func TestCloseCommitsWhatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		l := trust.NewLedger(b, trust.LedgerOptions{Batch: 2})
		first, release := holding(t, b, l)
		waiting := queue(l, entry("a"), entry("b"), entry("c"))
		synctest.Wait()
		closed := make(chan struct{})
		go func() { l.Close(); close(closed) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Fatal("Close did not wait for the transaction")
		default:
		}
		release()
		for _, c := range []<-chan answer{first, waiting, waiting, waiting} {
			if a := <-c; a.err != nil || a.out.Status != trust.Committed {
				t.Errorf("an entry that waited ended with %+v", a)
			}
		}
		<-closed
		for range 20 {
			if _, err := l.Commit(t.Context(), entry("after")); !errors.Is(err, trust.ErrUnavailable) {
				t.Fatalf("Commit after Close = %v, want ErrUnavailable", err)
			}
		}
		l.Close()
	})
}

// After an error nobody knows where the chain ends, so a new one begins.
func TestFailedCommitBeginsANewChain(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]func(*book, error){
		"the transaction fails":     func(b *book, err error) { b.fail = err },
		"the store does not settle": func(b *book, err error) { b.skip = err != nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBook()
			l := ledger(t, b, trust.LedgerOptions{})
			l.Commit(t.Context(), entry("a"))
			b.set(func() { breaks(b, errDown) })
			if out, err := l.Commit(t.Context(), entry("b")); !errors.Is(err, trust.ErrUnavailable) || out.Status != 0 {
				t.Errorf("Commit = %+v, %v, want ErrUnavailable", out, err)
			}
			b.set(func() { breaks(b, nil) })
			out, err := l.Commit(t.Context(), entry("c"))
			if err != nil || out.At != (audit.Position{Writer: 2, Seq: 1}) {
				t.Errorf("Commit = %+v, %v, want the first record of writer 2", out, err)
			}
		})
	}
	b := newBook()
	b.open = errDown
	l := ledger(t, b, trust.LedgerOptions{})
	if _, err := l.Commit(t.Context(), entry("a")); !errors.Is(err, trust.ErrUnavailable) || !errors.Is(err, errDown) {
		t.Errorf("Commit without a chain = %v, want ErrUnavailable", err)
	}
	b.set(func() { b.open = nil })
	if out, err := l.Commit(t.Context(), entry("a")); err != nil || out.Status != trust.Committed {
		t.Errorf("Commit after the store came back = %+v, %v", out, err)
	}
}

func TestHangingTransactionIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		l := trust.NewLedger(b, trust.LedgerOptions{})
		defer l.Close()
		first, _ := holding(t, b, l)
		began := time.Now()
		if a := <-first; !errors.Is(a.err, trust.ErrUnavailable) || time.Since(began) != 5*time.Second {
			t.Errorf("ended with %+v after %v, want ErrUnavailable after 5s", a, time.Since(began))
		}
	})
}

func TestRecordsThatCannotBeWrittenAreRefusedBeforeQueueing(t *testing.T) {
	t.Parallel()
	b := newBook()
	l := ledger(t, b, trust.LedgerOptions{})
	if _, err := l.Commit(t.Context(), trust.Entry{}); err == nil {
		t.Error("an entry without a record was committed")
	}
	if len(b.entered) != 0 {
		t.Error("a transaction was begun for it")
	}
}
