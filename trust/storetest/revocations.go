package storetest

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

func (s suite) revocationTests() []test {
	tests := []test{
		{"a revocation is read back whole, on another handle too", s.revokeRoundTrip},
		{"an empty store has revoked nothing", s.revokeNothing},
		{"concurrent revocations are numbered without a gap, and their chain verifies", s.revokeConcurrently},
		{"revocations and changes do not disturb each other", s.revokeBesideChanges},
		{"revocations come in pages, in order", s.revokePages},
		{"a decision on an older revocation is stale, on another handle too", s.revokeFences},
		{"a list that cannot be kept is refused and nothing is written", s.revokeRefuses},
		{"RV-11 an expired revocation is forgotten, a live one is not, and no number is given again", s.revokeExpires},
		{"a revocation is announced to the handle that made it", s.revokeLocal},
		{"another handle sees a revocation by polling alone", s.revokeAcross(FeedPoll)},
	}
	if s.CutFeed != nil {
		tests = append(tests, test{"another handle sees a revocation by notification alone", s.revokeAcross(FeedPush)})
	}
	return tests
}

func handleOf(name string) (h trust.Handle) {
	sum := sha256.Sum256([]byte(name))
	copy(h[:], sum[:])
	return h
}

func revocation(name string) trust.Revocation {
	now := time.Now()
	before := trust.Cutoff(now).UTC()
	return trust.Revocation{Handle: handleOf(name), Kind: trust.RevokeClient, Before: before, Expires: before.Add(time.Hour),
		By: "admin", Comment: "because of " + name, At: now.UTC().Truncate(time.Microsecond)}
}

func mustRevoke(t testing.TB, store trust.Store, list ...trust.Revocation) uint64 {
	t.Helper()
	head, err := store.Revoke(t.Context(), list)
	if err != nil {
		t.Fatalf("Revoke = %v", err)
	}
	return head
}

func revokedAfter(t testing.TB, store trust.Source, after uint64, limit int) ([]trust.Revocation, uint64) {
	t.Helper()
	list, head, err := store.Revocations(t.Context(), after, limit)
	if err != nil {
		t.Fatalf("Revocations(%d, %d) = %v", after, limit, err)
	}
	return list, head
}

func (s suite) revokeRoundTrip(t *testing.T) {
	location := s.New(t)
	store, other := s.open(t, location, FeedAll), s.open(t, location, FeedAll)
	want := []trust.Revocation{revocation("клиент 🦆"), revocation("b")}
	want[1].Kind, want[1].Before, want[1].Comment = trust.RevokeAll, time.Unix(0, 0).UTC(), ""
	if head := mustRevoke(t, store, want...); head != 2 {
		t.Errorf("head = %d, want 2", head)
	}
	want[0].Seq, want[1].Seq = 1, 2
	for _, at := range []trust.Store{store, other} {
		list, head := revokedAfter(t, at, 0, 10)
		if diff := gocmp.Diff(want, list); diff != "" || head != 2 {
			t.Errorf("head = %d, revocations (-want +got):\n%s", head, diff)
		}
		if state := mustLoad(t, at, 0); state.Revocations != 2 || state.Revision != 0 {
			t.Errorf("state = %+v, want revocation 2 at revision 0", state)
		}
	}
}

func (s suite) revokeNothing(t *testing.T) {
	if list, head := revokedAfter(t, s.fresh(t), 0, 10); len(list) != 0 || head != 0 {
		t.Errorf("Revocations = %v, head %d, want none", list, head)
	}
}

// revoker finds the writer of the revocations' chain.
func revoker(t testing.TB, store trust.Store) uint32 {
	t.Helper()
	heads, err := store.Writers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range heads {
		row, err := store.Record(t.Context(), audit.Position{Writer: h.Writer, Seq: 1})
		if err == nil && strings.Contains(string(row.Body), `"event":"revocation"`) {
			return h.Writer
		}
	}
	t.Fatal("no chain holds revocations")
	return 0
}

func (s suite) revokeConcurrently(t *testing.T) {
	const callers, each, batch = 8, 5, 3
	location := s.New(t)
	stores := []trust.Store{s.open(t, location, FeedAll), s.open(t, location, FeedAll)}
	group, ctx := errgroup.WithContext(t.Context())
	for c := range callers {
		group.Go(func() error {
			for i := range each {
				var list []trust.Revocation
				for j := range batch {
					list = append(list, revocation(fmt.Sprint(c, i, j)))
				}
				if _, err := stores[c%len(stores)].Revoke(ctx, list); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	list, head := revokedAfter(t, stores[0], 0, 1000)
	if len(list) != callers*each*batch || head != callers*each*batch {
		t.Fatalf("%d revocations, head %d, want %d", len(list), head, callers*each*batch)
	}
	for i, r := range list {
		if r.Seq != uint64(i)+1 {
			t.Fatalf("revocation %d has number %d", i+1, r.Seq)
		}
	}
	if rows := mustChain(t, stores[1], revoker(t, stores[1])); len(rows) != callers*each {
		t.Errorf("the chain has %d records, want one for each of %d calls", len(rows), callers*each)
	}
}

func (s suite) revokeBesideChanges(t *testing.T) {
	store := s.fresh(t)
	l := newLedger(t, store, trust.LedgerOptions{})
	mustApply(t, store, put(0, peer("a", `{}`)))
	mustRevoke(t, store, revocation("a"))
	if to := mustApply(t, store, put(1, peer("b", `{}`))); to != 2 {
		t.Errorf("revision = %d, want 2", to)
	}
	e := entry()
	e.Seen = trust.Fence{Revision: 2, Revocations: 1}
	out := mustCommit(t, l, e, trust.Committed)
	mustRevoke(t, store, revocation("b"))
	for writer, want := range map[uint32]int{trust.RegistryWriter: 2, out.At.Writer: 1, revoker(t, store): 2} {
		if rows := mustChain(t, store, writer); len(rows) != want {
			t.Errorf("chain of writer %d has %d records, want %d", writer, len(rows), want)
		}
	}
}

func (s suite) revokePages(t *testing.T) {
	store := s.fresh(t)
	for i := range 10 {
		mustRevoke(t, store, revocation(fmt.Sprint(i)))
	}
	for _, tc := range []struct {
		after       uint64
		limit, want int
	}{{0, 4, 4}, {4, 4, 4}, {8, 4, 2}, {0, 100, 10}, {10, 4, 0}, {99, 4, 0}, {1 << 63, 4, 0}, {0, 0, 0}, {0, -1, 0}} {
		list, head := revokedAfter(t, store, tc.after, tc.limit)
		if len(list) != tc.want || head != 10 {
			t.Errorf("Revocations(%d, %d) = %d, head %d, want %d, head 10", tc.after, tc.limit, len(list), head, tc.want)
		}
		for i, r := range list {
			if r.Seq != tc.after+uint64(i)+1 {
				t.Errorf("Revocations(%d, %d)[%d] has number %d", tc.after, tc.limit, i, r.Seq)
			}
		}
	}
}

func (s suite) revokeFences(t *testing.T) {
	location := s.New(t)
	admin, other := s.open(t, location, FeedAll), s.open(t, location, FeedAll)
	for i, store := range []trust.Store{admin, other, admin} {
		l := newLedger(t, store, trust.LedgerOptions{})
		head := mustRevoke(t, admin, revocation("a"))
		e := entry(once(fmt.Sprint(i)))
		e.Seen.Revocations = head - 1
		out := mustCommit(t, l, e, trust.Stale)
		if out.Head.Revocations != head {
			t.Errorf("head = %+v, want revocation %d", out.Head, head)
		}
		e.Seen = out.Head
		mustCommit(t, l, e, trust.Committed)
	}
}

func (s suite) revokeRefuses(t *testing.T) {
	store := s.fresh(t)
	mustRevoke(t, store, revocation("a"))
	long := make([]trust.Revocation, trust.MaxRevocations+1)
	for i := range long {
		long[i] = revocation(fmt.Sprint(i))
	}
	with := func(change func(*trust.Revocation)) []trust.Revocation {
		list := []trust.Revocation{revocation("b"), revocation("c")}
		change(&list[1])
		return list
	}
	for name, list := range map[string][]trust.Revocation{
		"no revocations":           nil,
		"too many":                 long,
		"no handle":                with(func(r *trust.Revocation) { r.Handle = trust.Handle{} }),
		"no kind":                  with(func(r *trust.Revocation) { r.Kind = "" }),
		"an unknown kind":          with(func(r *trust.Revocation) { r.Kind = "everything" }),
		"no instant":               with(func(r *trust.Revocation) { r.Before = time.Time{} }),
		"a fraction of a second":   with(func(r *trust.Revocation) { r.Before = r.Before.Add(time.Millisecond) }),
		"no expiry":                with(func(r *trust.Revocation) { r.Expires = time.Time{} }),
		"expiry before the cutoff": with(func(r *trust.Revocation) { r.Expires = r.Before }),
		"no time of revocation":    with(func(r *trust.Revocation) { r.At = time.Time{} }),
	} {
		_, err := store.Revoke(t.Context(), list)
		wantErr(t, "Revoke with "+name, err, trust.ErrRevocation)
	}
	if list, head := revokedAfter(t, store, 0, 10); len(list) != 1 || head != 1 {
		t.Errorf("%d revocations, head %d, want the first alone", len(list), head)
	}
	if rows := mustChain(t, store, revoker(t, store)); len(rows) != 1 {
		t.Errorf("the chain has %d records, want 1", len(rows))
	}
}

func (s suite) revokeExpires(t *testing.T) {
	store := s.fresh(t)
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	at := func(name string, expires time.Time) trust.Revocation {
		r := revocation(name)
		r.Before, r.Expires = now.Add(-time.Hour), expires
		return r
	}
	for range 3 {
		many := make([]trust.Revocation, 800)
		for i := range many {
			many[i] = at(fmt.Sprint(i), now.Add(-time.Second))
		}
		mustRevoke(t, store, many...)
	}
	mustRevoke(t, store, at("kept", now.In(time.FixedZone("far", -11*3600))), at("live", now.Add(time.Minute)),
		at("gone", now.Add(-time.Microsecond)))
	for _, want := range []int64{2401, 0} {
		n, err := store.Expire(t.Context(), now.In(time.FixedZone("here", 5*3600)))
		if err != nil || n != want {
			t.Fatalf("Expire = %d, %v, want %d", n, err, want)
		}
	}
	list, head := revokedAfter(t, store, 0, 10)
	if len(list) != 2 || list[0].Handle != handleOf("kept") || list[1].Handle != handleOf("live") || head != 2403 {
		t.Errorf("revocations = %v, head %d, want kept and live, head 2403", list, head)
	}
	if next := mustRevoke(t, store, revocation("next")); next != 2404 {
		t.Errorf("the next has number %d, want 2404", next)
	}
}

func (s suite) revokeLocal(t *testing.T) {
	store := s.fresh(t)
	mustRevoke(t, store, revocation("a"))
	select {
	case <-store.Changed():
	default:
		t.Error("nothing was announced when Revoke returned")
	}
}

func (s suite) revokeAcross(feed Feed) func(*testing.T) {
	return func(t *testing.T) {
		location := s.New(t)
		admin, other := s.open(t, location, FeedAll), s.open(t, location, feed)
		for i := range uint64(3) {
			mustRevoke(t, admin, revocation("a"))
			for mustLoad(t, other, 0).Revocations <= i {
				select {
				case <-other.Changed():
				case <-time.After(patience):
					t.Fatalf("revocation %d was not announced", i+1)
				}
			}
			// Drain what the poll may have left, so that the next one counts.
			select {
			case <-other.Changed():
			default:
			}
		}
	}
}
