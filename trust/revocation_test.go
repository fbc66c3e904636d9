package trust_test

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/comity-auth/comity/trust"
)

// feed is a source of an empty registry and of the revocations it is given.
type feed struct {
	mu       sync.Mutex
	list     []trust.Revocation
	head     uint64
	fail     error
	asked    int // how often the revocations were asked for
	revision trust.Revision
}

func (f *feed) Load(_ context.Context, since trust.Revision) (trust.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return trust.State{Revision: f.revision, Since: since, Revocations: f.head}, nil
}

func (f *feed) Revocations(_ context.Context, after uint64, limit int) ([]trust.Revocation, uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	if f.fail != nil {
		return nil, 0, f.fail
	}
	i, _ := slices.BinarySearchFunc(f.list, after+1, func(r trust.Revocation, seq uint64) int { return int(r.Seq) - int(seq) })
	list := f.list[i:]
	return slices.Clone(list[:min(len(list), limit)]), f.head, nil
}

func (*feed) Changed() <-chan struct{} { return nil }

// revoke adds revocations of the handles.
func (f *feed) revoke(before, expires time.Time, handles ...trust.Handle) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range handles {
		f.head++
		f.list = append(f.list, trust.Revocation{Seq: f.head, Handle: h, Kind: trust.RevokeToken, Before: before, Expires: expires, At: before})
	}
}

func handle(n uint64) (h trust.Handle) {
	binary.BigEndian.PutUint64(h[:], n)
	h[11] = 1 // never the zero handle
	return h
}

func handles(n int) []trust.Handle {
	out := make([]trust.Handle, n)
	for i := range out {
		out[i] = handle(uint64(i))
	}
	return out
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func follow(t testing.TB, f *feed, now func() time.Time) *trust.Live {
	t.Helper()
	live, err := trust.NewLive(t.Context(), f, newCompiler(t), trust.LiveOptions{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return live
}

func at(when time.Time) func() time.Time { return func() time.Time { return when } }

func current(t testing.TB, l *trust.Live) *trust.Snapshot {
	t.Helper()
	if err := l.Refresh(t.Context()); err != nil {
		t.Fatalf("Refresh = %v", err)
	}
	s, err := l.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRevoked(t *testing.T) {
	t.Parallel()
	f := &feed{}
	f.revoke(noon, noon.Add(time.Hour), handle(1))
	f.revoke(noon.Add(-time.Minute), noon.Add(2*time.Hour), handle(1)) // does not bring back what the first killed
	f.revoke(noon.Add(time.Minute), noon.Add(time.Hour), handle(2))
	s := current(t, follow(t, f, at(noon)))
	one, two, other := handle(1).String(), handle(2).String(), handle(3).String()
	for _, tc := range []struct {
		name    string
		handles []string
		issued  time.Time
		want    time.Time
		dead    bool
	}{
		{"issued before", []string{one}, noon.Add(-time.Second), noon, true},
		{"issued at the cutoff", []string{one}, noon, noon, false},
		{"issued after", []string{one}, noon.Add(time.Hour), noon, false},
		{"the latest cutoff of several counts", []string{one, two, other}, noon, noon.Add(time.Minute), true},
		{"of no known time of issue", []string{other, one}, time.Time{}, noon, true},
		{"another handle", []string{other}, time.Time{}, time.Time{}, false},
		{"no handle", nil, time.Time{}, time.Time{}, false},
		{"texts that are no handles", []string{"", "x", one + "A", "????????????????"}, time.Time{}, time.Time{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if before, dead := s.Revoked(tc.handles, tc.issued); dead != tc.dead || !before.Equal(tc.want) {
				t.Errorf("Revoked = %v, %v, want %v, %v", before, dead, tc.want, tc.dead)
			}
		})
	}
}

func TestCutoffSparesNothingOfItsSecond(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ at, want time.Duration }{{0, 0}, {1, time.Second}, {time.Second - 1, time.Second}, {time.Second, time.Second}} {
		if got := trust.Cutoff(noon.Add(tc.at)); !got.Equal(noon.Add(tc.want)) {
			t.Errorf("Cutoff(noon + %s) = %s, want noon + %s", tc.at, got, tc.want)
		}
	}
}

func TestParseHandleRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing": "", "15 characters": "AAAAAAAAAAAAAAA", "17 characters": "AAAAAAAAAAAAAAAAA",
		"another alphabet": "AAAAAAAAAAAAAA+/", "padding": "AAAAAAAAAAAAAAA=", "a line break": "AAAAAAAAAAAAAAA\n",
	} {
		if _, err := trust.ParseHandle(text); !errors.Is(err, trust.ErrRevocation) {
			t.Errorf("%s: ParseHandle(%q) = %v, want ErrRevocation", name, text, err)
		}
	}
	if h, err := trust.ParseHandle(handle(7).String()); err != nil || h != handle(7) {
		t.Errorf("ParseHandle of a handle's text = %v, %v", h, err)
	}
}

// A replica is ready only with the whole feed loaded.
func TestLiveLoadsTheWholeFeedOrNothing(t *testing.T) {
	t.Parallel()
	f := &feed{}
	all := handles(25_000) // several pages
	f.revoke(noon, noon.Add(time.Hour), all...)
	live := follow(t, f, at(noon))
	s := current(t, live)
	for _, h := range all {
		if _, dead := s.Revoked([]string{h.String()}, noon.Add(-1)); !dead {
			t.Fatalf("handle %s is not revoked", h)
		}
	}
	if got := s.Fence().Revocations; got != 25_000 {
		t.Errorf("fence at %d, want 25000", got)
	}

	f.revoke(noon, noon.Add(time.Hour), handle(1<<40))
	f.fail = trust.ErrUnavailable
	if err := live.Refresh(t.Context()); !errors.Is(err, trust.ErrUnavailable) {
		t.Errorf("Refresh = %v, want ErrUnavailable", err)
	}
	if got, _ := live.Snapshot(); got != s {
		t.Error("a snapshot was published that lacks revocations")
	}
	f.fail = nil
	if next := current(t, live); next.Fence().Revocations != 25_001 {
		t.Errorf("fence at %d, want 25001", next.Fence().Revocations)
	}
	if _, dead := s.Revoked([]string{handle(1 << 40).String()}, noon.Add(-1)); dead {
		t.Error("an old snapshot changed")
	}
}

func TestLiveWithAnUnreadableFeedDoesNotStart(t *testing.T) {
	t.Parallel()
	f := &feed{fail: trust.ErrUnavailable}
	f.revoke(noon, noon.Add(time.Hour), handle(1))
	live, err := trust.NewLive(t.Context(), f, newCompiler(t), trust.LiveOptions{})
	if !errors.Is(err, trust.ErrUnavailable) {
		t.Fatalf("NewLive = %v, want ErrUnavailable", err)
	}
	if _, err := live.Snapshot(); !errors.Is(err, trust.ErrStale) {
		t.Errorf("Snapshot = %v, want ErrStale", err)
	}
}

func TestLiveAsksOnlyForWhatIsNew(t *testing.T) {
	t.Parallel()
	f := &feed{}
	f.revoke(noon, noon.Add(time.Hour), handles(10)...)
	live := follow(t, f, at(noon))
	for range 5 {
		current(t, live)
	}
	if f.asked != 1 {
		t.Errorf("asked %d times, want once", f.asked)
	}
	f.revision++ // a change of the registry alone
	if s := current(t, live); f.asked != 1 || s.Fence() != (trust.Fence{Revision: 1, Revocations: 10}) {
		t.Errorf("asked %d times, fence %+v", f.asked, s.Fence())
	}
	if _, dead := current(t, live).Revoked([]string{handle(3).String()}, noon.Add(-1)); !dead {
		t.Error("a change of the registry brought the dead back")
	}
}

// A registry restored from a backup has fewer revocations than were seen.
func TestLiveFollowsARestoredRegistry(t *testing.T) {
	t.Parallel()
	f := &feed{}
	f.revoke(noon, noon.Add(time.Hour), handles(10)...)
	live := follow(t, f, at(noon))
	f.list, f.head = nil, 0
	f.revoke(noon, noon.Add(time.Hour), handle(99))
	s := current(t, live)
	_, old := s.Revoked([]string{handle(3).String()}, noon.Add(-1))
	_, restored := s.Revoked([]string{handle(99).String()}, noon.Add(-1))
	if old || !restored || s.Fence().Revocations != 1 {
		t.Errorf("old %v, restored %v, fence %+v, want what is there now", old, restored, s.Fence())
	}
}

// RV-11: entries leave after their expiry, none earlier.
func TestExpiredRevocationsLeaveTheSnapshot(t *testing.T) {
	t.Parallel()
	f := &feed{}
	f.revoke(noon, noon.Add(10*time.Minute), handle(1))
	f.revoke(noon, noon.Add(20*time.Minute), handle(2))
	now := noon
	live := follow(t, f, func() time.Time { return now })
	for _, tc := range []struct {
		after time.Duration
		want  []bool // of handles 1 and 2
	}{{10 * time.Minute, []bool{true, true}}, {10*time.Minute + time.Second, []bool{false, true}},
		{20 * time.Minute, []bool{false, true}}, {22 * time.Minute, []bool{false, false}}} {
		now = noon.Add(tc.after)
		s := current(t, live)
		for i, want := range tc.want {
			if _, dead := s.Revoked([]string{handle(uint64(i) + 1).String()}, noon.Add(-1)); dead != want {
				t.Errorf("after %s: handle %d is dead: %v, want %v", tc.after, i+1, dead, want)
			}
		}
		list, _ := s.RevokedSince(0, 10)
		if want := tc.want[0] && tc.want[1]; (len(list) == 2) != want {
			t.Errorf("after %s: %d in the feed", tc.after, len(list))
		}
		if s.Fence().Revocations != 2 {
			t.Errorf("after %s: fence %+v, want 2", tc.after, s.Fence())
		}
	}
}

func TestRevokedSince(t *testing.T) {
	t.Parallel()
	f := &feed{}
	f.revoke(noon, noon.Add(time.Hour), handles(10)...)
	f.list = slices.Delete(f.list, 2, 4) // 3 and 4 were forgotten
	s := current(t, follow(t, f, at(noon)))
	for _, tc := range []struct {
		since uint64
		limit int
		want  []uint64
		more  bool
	}{
		{0, 3, []uint64{1, 2, 5}, true},
		{1, 2, []uint64{2, 5}, true},
		{3, 2, []uint64{5, 6}, true},
		{8, 2, []uint64{9, 10}, false},
		{9, 2, []uint64{10}, false},
		{10, 2, nil, false},
		{99, 2, nil, false},
	} {
		list, more := s.RevokedSince(tc.since, tc.limit)
		var got []uint64
		for _, r := range list {
			got = append(got, r.Seq)
			if r.Handle != handle(r.Seq-1) || !r.Before().Equal(noon) {
				t.Errorf("revocation %d is %v before %v", r.Seq, r.Handle, r.Before())
			}
		}
		if !slices.Equal(got, tc.want) || more != tc.more {
			t.Errorf("RevokedSince(%d, %d) = %v, %v, want %v, %v", tc.since, tc.limit, got, more, tc.want, tc.more)
		}
	}
}

// RV-11: what a million revocations cost, in memory and to find.
func BenchmarkRevocations(b *testing.B) {
	const million = 1_000_000
	f := &feed{}
	f.revoke(noon, noon.Add(time.Hour), handles(million)...)
	// What the source itself holds is the store's, not the broker's.
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	s := current(b, follow(b, f, at(noon)))
	took := time.Since(began)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if s.Fence().Revocations != million {
		b.Fatalf("fence at %d", s.Fence().Revocations)
	}
	lineage := make([]string, 12)
	for i := range lineage {
		lineage[i] = handle(uint64(i)<<40 | 1<<39).String()
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, dead := s.Revoked(lineage, noon); dead {
			b.Fatal("dead")
		}
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
	b.ReportMetric(float64(took.Milliseconds()), "ms/load")
	runtime.KeepAlive(f)
}
