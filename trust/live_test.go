package trust_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/comity-auth/comity/trust"
)

var errDown = errors.New("connection refused")

// registry is a source in memory with faults to order.
type registry struct {
	mu      sync.Mutex
	state   trust.State   // whole
	parts   []trust.State // what each revision changed
	down    error
	slow    chan struct{} // when set, Load waits for it or for its context
	loads   int
	whole   int
	changed chan struct{}
}

func newRegistry(t testing.TB) *registry {
	return &registry{state: trust.State{}, changed: make(chan struct{}, 1)}
}

func (r *registry) Load(ctx context.Context, since trust.Revision) (trust.State, error) {
	r.mu.Lock()
	r.loads++
	slow := r.slow
	r.mu.Unlock()
	if slow != nil {
		select {
		case <-slow:
		case <-ctx.Done():
			return trust.State{}, ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.down != nil:
		return trust.State{}, r.down
	case since == r.state.Revision:
		return trust.State{Revision: since, Since: since, Revocations: r.state.Revocations}, nil
	case since == 0 || since > r.state.Revision || r.state.Revision-since > trust.Revision(len(r.parts)):
		r.whole++
		return r.state, nil
	}
	out := trust.State{Revision: r.state.Revision, Since: since, Revocations: r.state.Revocations}
	for _, part := range r.parts[len(r.parts)-int(r.state.Revision-since):] {
		out.Objects = append(out.Objects, part.Objects...)
		out.Removed = append(out.Removed, part.Removed...)
	}
	return out, nil
}

func (r *registry) Revocations(context.Context, uint64, int) ([]trust.Revocation, uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return nil, r.state.Revocations, r.down
}

func (r *registry) Changed() <-chan struct{} { return r.changed }

// apply makes the registry equal to the file.
func (r *registry) apply(t testing.TB, f *trust.File) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	change, _, err := trust.Plan(r.state, f)
	if err != nil {
		t.Fatal(err)
	}
	r.parts = append(r.parts, trust.State{Objects: change.Put, Removed: change.Remove})
	r.state = applied(r.state, change)
}

func (r *registry) breaks(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = err
}

func (r *registry) counts() (loads, whole int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loads, r.whole
}

func live(t testing.TB, r *registry, opts trust.LiveOptions) *trust.Live {
	t.Helper()
	l, err := trust.NewLive(t.Context(), r, newCompiler(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run follows the source until the test ends.
func run(t testing.TB, l *trust.Live) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { l.Run(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
}

func peersOf(names ...string) *trust.File {
	f := peersNamed(names...)
	for i := range f.Peers {
		f.Peers[i].Expires.Time = expiry
	}
	return f
}

func TestFirstLoadDecides(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	r.apply(t, peersOf("a"))
	s, err := live(t, r, trust.LiveOptions{}).Snapshot()
	if err != nil || s.Peer("a") == nil || s.Revision() != 1 {
		t.Fatalf("Snapshot = %v, %v", s, err)
	}
	r.breaks(errDown)
	l, err := trust.NewLive(t.Context(), r, newCompiler(t), trust.LiveOptions{})
	if !errors.Is(err, errDown) {
		t.Errorf("NewLive on a broken source = %v", err)
	}
	if _, err := l.Snapshot(); !errors.Is(err, trust.ErrStale) || !errors.Is(err, trust.ErrUnavailable) {
		t.Errorf("Snapshot before any load = %v, want ErrStale", err)
	}
	if l.Revision() != 0 || l.Age() < time.Hour {
		t.Errorf("revision %d, age %v before any load", l.Revision(), l.Age())
	}
}

func TestRunFollowsByPollAndByNotice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		r.apply(t, peersOf("a"))
		var seen []trust.Revision
		l := live(t, r, trust.LiveOptions{OnChange: func(s *trust.Snapshot) { seen = append(seen, s.Revision()) }})
		run(t, l)
		r.apply(t, peersOf("a", "b"))
		synctest.Wait()
		if l.Revision() != 1 {
			t.Fatalf("revision %d before poll and notice", l.Revision())
		}
		r.changed <- struct{}{}
		synctest.Wait()
		if l.Revision() != 2 {
			t.Fatalf("revision %d after a notice, want 2", l.Revision())
		}
		r.apply(t, peersOf("b"))
		time.Sleep(time.Second)
		synctest.Wait()
		s, err := l.Snapshot()
		if err != nil || s.Revision() != 3 || s.Peer("a") != nil || s.Peer("b") == nil {
			t.Fatalf("after a poll: %v, %v", s, err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if !slices.Equal(seen, []trust.Revision{1, 2, 3}) {
			t.Errorf("OnChange saw %v, want each once and in order", seen)
		}
		if _, whole := r.counts(); whole != 1 {
			t.Errorf("%d whole loads, want 1", whole)
		}
	})
}

func TestStaleRegistryRefuses(t *testing.T) {
	t.Parallel()
	clock := now
	r := newRegistry(t)
	r.apply(t, peersOf("a"))
	l := live(t, r, trust.LiveOptions{MaxStale: time.Minute, Now: func() time.Time { return clock }})
	clock = now.Add(time.Minute)
	if _, err := l.Snapshot(); err != nil {
		t.Errorf("Snapshot at MaxStale = %v", err)
	}
	clock = now.Add(time.Minute + 1)
	if _, err := l.Snapshot(); !errors.Is(err, trust.ErrStale) {
		t.Errorf("Snapshot past MaxStale = %v, want ErrStale", err)
	}
	r.breaks(errDown)
	if err := l.Refresh(t.Context()); !errors.Is(err, errDown) {
		t.Errorf("Refresh = %v", err)
	}
	if _, err := l.Snapshot(); !errors.Is(err, trust.ErrStale) {
		t.Errorf("Snapshot after a failed load = %v, want ErrStale", err)
	}
	r.breaks(nil)
	if err := l.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err := l.Snapshot(); err != nil || s.Revision() != 1 {
		t.Errorf("Snapshot after contact without a change = %v, %v", s, err)
	}
}

// The age counts from before the question, not from its answer: what the store
// said is no newer than that.
func TestAgeCountsFromTheQuestion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		l := live(t, r, trust.LiveOptions{Timeout: time.Minute})
		r.slow = make(chan struct{})
		var done sync.WaitGroup
		done.Go(func() { l.Refresh(t.Context()) })
		time.Sleep(20 * time.Second)
		close(r.slow)
		done.Wait()
		if got := l.Age(); got != 20*time.Second {
			t.Errorf("age = %v, want 20s", got)
		}
	})
}

func TestFailuresAreLoggedOnceAndRecovered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := newRegistry(t)
		r.apply(t, peersOf("a"))
		l := live(t, r, trust.LiveOptions{Logger: slog.New(slog.NewTextHandler(&out, nil))})
		run(t, l)
		r.breaks(errDown)
		time.Sleep(61*time.Second + time.Millisecond)
		synctest.Wait()
		if _, err := l.Snapshot(); !errors.Is(err, trust.ErrStale) {
			t.Errorf("Snapshot after a minute without contact = %v", err)
		}
		r.apply(t, peersOf("a", "b"))
		r.breaks(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if s, err := l.Snapshot(); err != nil || s.Peer("b") == nil {
			t.Errorf("Snapshot after recovery = %v, %v", s, err)
		}
		for event, want := range map[string]int{"registry.unreachable": 1, "registry.reachable": 1} {
			if got := strings.Count(out.String(), "event="+event); got != want {
				t.Errorf("%s logged %d times, want %d", event, got, want)
			}
		}
	})
}

func TestSlowLoadIsCutOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		l := live(t, r, trust.LiveOptions{})
		r.slow = make(chan struct{})
		began := time.Now()
		if err := l.Refresh(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 5*time.Second {
			t.Errorf("Refresh = %v after %v, want a deadline after 5s", err, time.Since(began))
		}
	})
}

// A source that is closing must not make the follower spin.
func TestClosedNoticesLeaveThePoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		l := live(t, r, trust.LiveOptions{})
		run(t, l)
		close(r.changed)
		time.Sleep(3*time.Second + time.Millisecond)
		synctest.Wait()
		if loads, _ := r.counts(); loads != 4 {
			t.Errorf("%d loads, want the first and one for each second", loads)
		}
	})
}

func TestAwaitLoadsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	r.apply(t, peersOf("a"))
	l := live(t, r, trust.LiveOptions{})
	r.apply(t, peersOf("a", "b"))
	if err := l.Await(t.Context(), trust.Fence{Revision: 2}); err != nil || l.Revision() != 2 {
		t.Fatalf("Await = %v at revision %d", err, l.Revision())
	}
	before, _ := r.counts()
	if err := l.Await(t.Context(), trust.Fence{Revision: 1}); err != nil {
		t.Errorf("Await of an older fence = %v", err)
	}
	if after, _ := r.counts(); after != before {
		t.Error("Await of an older fence asked the source")
	}
	r.breaks(errDown)
	if err := l.Await(t.Context(), trust.Fence{Revision: 3}); !errors.Is(err, trust.ErrUnavailable) || !errors.Is(err, errDown) {
		t.Errorf("Await on a broken source = %v, want ErrUnavailable", err)
	}
}

// Requests that were all decided on an old revision ask the store once.
func TestAwaitOfManyLoadsOnce(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	l := live(t, r, trust.LiveOptions{})
	r.apply(t, peersOf("a"))
	r.mu.Lock()
	r.slow = make(chan struct{})
	r.mu.Unlock()
	var started, done sync.WaitGroup
	started.Add(50)
	for range 50 {
		done.Go(func() {
			started.Done()
			if err := l.Await(t.Context(), trust.Fence{Revision: 1}); err != nil {
				t.Errorf("Await = %v", err)
			}
		})
	}
	started.Wait()
	close(r.slow)
	done.Wait()
	if loads, _ := r.counts(); loads != 2 {
		t.Errorf("%d loads, want the first and one for all who waited", loads)
	}
}

func TestAwaitOfAFenceThatNeverComes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(t)
		l := live(t, r, trust.LiveOptions{})
		run(t, l)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := l.Await(ctx, trust.Fence{Revision: 9}); !errors.Is(err, trust.ErrUnavailable) {
			t.Errorf("Await = %v, want ErrUnavailable", err)
		}
	})
}

// A store that was restored from a backup goes back; so does its follower.
func TestRegistryThatWentBackIsFollowed(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	r.apply(t, peersOf("a"))
	kept := r.state
	r.apply(t, peersOf("a", "b"))
	l := live(t, r, trust.LiveOptions{})
	r.mu.Lock()
	r.state, r.parts = kept, nil
	r.mu.Unlock()
	if err := l.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s, err := l.Snapshot(); err != nil || s.Revision() != 1 || s.Peer("b") != nil {
		t.Errorf("Snapshot = %v, %v, want revision 1", s, err)
	}
}

func TestNewFaultsAreLogged(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r := newRegistry(t)
	r.apply(t, peersNamed("a")) // no expiry
	l := live(t, r, trust.LiveOptions{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	r.apply(t, peersNamed("b")) // as many faults, another object
	if err := l.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"peer/a", "peer/b"} {
		if strings.Count(out.String(), "object="+name) != 1 {
			t.Errorf("%s is not logged once:\n%s", name, out.String())
		}
	}
}
