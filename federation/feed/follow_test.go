package feed_test

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/feed"
	"github.com/comity-auth/comity/federation/fetch"
)

func TestFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		now := time.Now()
		s.revoke(now, handle(1), handle(2))
		f := prepare(t, s)
		if f.Age() != math.MaxInt64 || f.Revoked([]string{handle(1)}, time.Time{}) {
			t.Errorf("before it ran: age %s, revoked %v", f.Age(), f.Revoked([]string{handle(1)}, time.Time{}))
		}
		f.run(t)
		f.wait(t)
		synctest.Wait()
		for _, tt := range []struct {
			name    string
			handles []string
			issued  time.Time
			dead    bool
		}{
			{"kills what was issued before", []string{handle(9), handle(2)}, now.Add(-time.Second), true},
			{"kills what says no time of issue", []string{handle(1)}, time.Time{}, true},
			{"spares what was issued at the instant", []string{handle(1), handle(2)}, now, false},
			{"spares other handles", []string{handle(3)}, now.Add(-time.Hour), false},
			{"spares what bears no handle", nil, time.Time{}, false},
			{"takes no other text for a handle", []string{"", handle(1) + "=", " " + handle(1)[1:], handle(1)[:15] + "\n", strings.ToLower(handle(1)) + "x"}, time.Time{}, false},
		} {
			if dead := f.Revoked(tt.handles, tt.issued); dead != tt.dead {
				t.Errorf("%s: revoked %v, want %v", tt.name, dead, tt.dead)
			}
		}
		generation := f.Generation()
		after(10 * time.Second)
		if f.Generation() != generation || f.Age() > 4*time.Second {
			t.Errorf("while nothing happens: generation %d, was %d; age %s", f.Generation(), generation, f.Age())
		}
		// A revocation wakes the request that waits; a later instant is news, an
		// earlier one is not.
		s.revoke(now, handle(3))
		synctest.Wait()
		if !f.Revoked([]string{handle(3)}, now.Add(-time.Second)) || f.Generation() == generation {
			t.Error("a new revocation is not known at once, or the generation did not change")
		}
		after(time.Second)
		s.revoke(now.Add(5*time.Second), handle(3))
		after(time.Second)
		generation = f.Generation()
		s.revoke(now.Add(-5*time.Second), handle(3))
		after(time.Second)
		if !f.Revoked([]string{handle(3)}, now.Add(4*time.Second)) || f.Generation() != generation || f.Len() != 3 {
			t.Errorf("the latest instant does not count, or generation %d, was %d; %d handles", f.Generation(), generation, f.Len())
		}
	})
}

// It asks for a signed page each time, one after the other, and waits at the
// broker meanwhile.
func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		f := follow(t, s)
		f.wait(t)
		after(time.Minute)
		asked := s.requests()
		if n := len(asked); n < 25 || n > 32 || asked[0] != "since=0" || asked[n-1] != "since=0&wait=2" {
			t.Errorf("%d requests a minute, %q first and %q last", n, asked[0], asked[n-1])
		}
		before := len(s.requests())
		s.set(func() { s.refuse = http.StatusServiceUnavailable })
		after(time.Minute)
		if n := len(s.requests()) - before; n > 100 {
			t.Errorf("%d requests in a minute of 503", n)
		}
	})
}

// A broker that answers at once, as one that drains, is not asked in a tight
// loop.
func TestBrokerThatDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		f := follow(t, s, func(o *feed.Options) { o.Wait = time.Second })
		f.wait(t)
		s.set(func() { s.head = 1 }) // since is behind, so that nothing waits, ever
		s.set(func() { s.forge = func(p claims) string { p["head"], p["since"] = 0, 0; return s.sign(p) } })
		before := len(s.requests())
		after(time.Minute)
		if n := len(s.requests()) - before; n < 100 || n > 250 {
			t.Errorf("%d requests in a minute of answers that bring nothing, want some 160", n)
		}
		if f.Age() > 4*time.Second {
			t.Errorf("age %s", f.Age())
		}
	})
}

// Nothing is lost on many pages, and nothing counts as known before the last.
func TestManyPages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.limit = 100
		now := time.Now()
		var all []string
		for n := range uint64(1050) {
			all = append(all, handle(n))
		}
		s.revoke(now, all...)
		s.list = slices.Delete(s.list, 300, 650) // forgotten: numbers have gaps
		var f *follower
		half := func(p claims) string {
			if p["since"].(uint64) >= 800 {
				return "no page"
			}
			return s.sign(p)
		}
		s.forge = half
		f = follow(t, s)
		after(time.Second)
		if f.Age() != math.MaxInt64 || f.Len() != 500 || !f.Revoked(all[:1], time.Time{}) {
			t.Errorf("half way: age %s, %d handles", f.Age(), f.Len())
		}
		s.set(func() { s.forge = nil })
		f.wait(t)
		for i, h := range all {
			if want := i < 300 || i >= 650; f.Revoked([]string{h}, time.Time{}) != want {
				t.Errorf("%d: revoked %v, want %v", i, !want, want)
			}
		}
		// Caught up again after it fell behind by pages.
		s.set(func() { s.refuse = 500 })
		after(10 * time.Second)
		var later []string
		for n := range uint64(250) {
			later = append(later, handle(5000+n))
		}
		s.revoke(now, later...)
		s.set(func() { s.refuse = 0 })
		after(10 * time.Second)
		for i, h := range later {
			if !f.Revoked([]string{h}, time.Time{}) {
				t.Errorf("%d of what came meanwhile is not revoked", i)
			}
		}
		if f.Age() > 4*time.Second {
			t.Errorf("age %s after it caught up", f.Age())
		}
	})
}

// A broker that is gone leaves what was known, which grows old.
func TestBrokerGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.revoke(time.Now(), handle(1))
		f := follow(t, s)
		f.wait(t)
		s.set(func() { s.refuse = http.StatusBadGateway })
		after(40 * time.Second)
		if age := f.Age(); age < 39*time.Second || age > 44*time.Second || !f.Revoked([]string{handle(1)}, time.Time{}) {
			t.Errorf("age %s, want 40 s, and what was known", age)
		}
		if got := f.last(); got.Result != feed.ResultUnreachable || got.Issuer != "globex" || got.Handles != 1 {
			t.Errorf("observed %+v", got)
		}
		s.set(func() { s.refuse = 0 })
		after(6 * time.Second)
		if f.Age() > 4*time.Second {
			t.Errorf("age %s after it came back", f.Age())
		}
	})
}

// RV-11: entries leave when nothing that they kill would be accepted for its
// age; none earlier.
func TestRV11EntriesLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		born := time.Now()
		s.revoke(born, handle(1))
		s.revoke(born.Add(time.Hour), handle(2))
		f := follow(t, s, func(o *feed.Options) { o.Keep = 10 * time.Minute })
		f.wait(t)
		after(10*time.Minute - 3*time.Second)
		if !f.Revoked([]string{handle(1)}, time.Time{}) {
			t.Error("it left early")
		}
		after(5 * time.Minute)
		if f.Revoked([]string{handle(1)}, time.Time{}) || f.Len() != 1 {
			t.Errorf("it is still there; %d handles", f.Len())
		}
		s.revoke(born, handle(3)) // over before it came
		after(time.Minute)
		if f.Len() != 1 || !f.Revoked([]string{handle(2)}, time.Time{}) {
			t.Errorf("%d handles, want the one that is still needed", f.Len())
		}
	})
}

// A clock of ours that jumps ahead makes the feed stale and forgets nothing.
func TestClockThatJumps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.revoke(time.Now(), handle(1))
		ahead := make(chan time.Duration, 1)
		ahead <- 0
		now := func() time.Time { d := <-ahead; ahead <- d; return time.Now().Add(d).Round(0) }
		f := follow(t, s, func(o *feed.Options) { o.Keep, o.Now = 10*time.Minute, now })
		f.wait(t)
		<-ahead
		ahead <- 24 * time.Hour
		after(5 * time.Minute)
		if f.Age() < 23*time.Hour || !f.Revoked([]string{handle(1)}, time.Time{}) {
			t.Errorf("ahead: age %s, revoked %v", f.Age(), f.Revoked([]string{handle(1)}, time.Time{}))
		}
		<-ahead
		ahead <- 0
		after(10 * time.Second)
		if f.Age() > 4*time.Second || !f.Revoked([]string{handle(1)}, time.Time{}) {
			t.Errorf("back: age %s, revoked %v", f.Age(), f.Revoked([]string{handle(1)}, time.Time{}))
		}
	})
}

// A page says how old it is: of a broker that has lost its store, and of one
// whose clock differs.
func TestAgeIsThePagesOwn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		ahead    time.Duration
		min, max time.Duration
	}{
		{"counts what the page says to be old", -20 * time.Second, 20 * time.Second, 24 * time.Second},
		{"excuses a clock that is ahead", 8 * time.Second, 0, 4 * time.Second},
		{"refuses pages of the future", 30 * time.Second, math.MaxInt64, math.MaxInt64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStation(t)
				s.clock = tt.ahead
				f := follow(t, s)
				after(15 * time.Second)
				if age := f.Age(); age < tt.min || age > tt.max {
					t.Errorf("age %s, want %s to %s", age, tt.min, tt.max)
				}
			})
		})
	}
}

func TestRunEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		f := follow(t, s)
		f.wait(t)
		if err := f.Run(t.Context()); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("a second Run = %v, want an error at once", err)
		}
		f.stop()
		if err := <-f.done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want the context's error", err)
		}
		f.run(t) // it may be run again
		after(10 * time.Second)
		if f.Age() > 4*time.Second {
			t.Errorf("age %s in its second life", f.Age())
		}
	})
}

func TestZeroFollowerKnowsNothing(t *testing.T) {
	t.Parallel()
	var f feed.Follower
	if f.Age() != math.MaxInt64 || f.Revoked([]string{handle(1)}, time.Time{}) || f.Len() != 0 || f.Generation() != 0 {
		t.Errorf("age %s", f.Age())
	}
	if err := f.Run(t.Context()); err == nil {
		t.Error("it ran")
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	client, err := fetch.New(fetch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	good := func() feed.Options {
		return feed.Options{Issuer: federation.Peer{Issuer: "https://broker.globex.example/"}, Fetcher: client, Verifier: federation.NewVerifier(nil, time.Now)}
	}
	if _, err := feed.New(good()); err != nil {
		t.Fatalf("New = %v", err)
	}
	for name, change := range map[string]func(*feed.Options){
		"no issuer":       func(o *feed.Options) { o.Issuer.Issuer = "" },
		"no fetcher":      func(o *feed.Options) { o.Fetcher = nil },
		"no verifier":     func(o *feed.Options) { o.Verifier = nil },
		"a negative keep": func(o *feed.Options) { o.Keep = -1 },
		"a short wait":    func(o *feed.Options) { o.Wait = time.Millisecond },
		"a broken wait":   func(o *feed.Options) { o.Wait = 1500 * time.Millisecond },
		"a long wait":     func(o *feed.Options) { o.Wait = 31 * time.Second },
		"plain http":      func(o *feed.Options) { o.URL = "http://broker.globex.example/revocations" },
		"a query":         func(o *feed.Options) { o.URL = "https://broker.globex.example/revocations?a=b" },
		"an empty query":  func(o *feed.Options) { o.URL = "https://broker.globex.example/revocations?" },
		"a fragment":      func(o *feed.Options) { o.URL = "https://broker.globex.example/revocations#a" },
	} {
		o := good()
		change(&o)
		if f, err := feed.New(o); err == nil || f != nil {
			t.Errorf("%s: New = %v, %v", name, f, err)
		}
	}
}
