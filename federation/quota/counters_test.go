package quota_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/quota"
)

// counted are counters whose answer to a full table is told by the Decision,
// which must agree with the error.
type counted struct{ counters *quota.Counters }

func (c counted) Take(key string, rules []quota.Rule, until time.Time) quota.Decision {
	d, err := c.counters.Take(context.Background(), key, rules, until)
	if d.Full != errors.Is(err, quota.ErrFull) || d.Full != errors.Is(err, quota.ErrUnavailable) {
		panic(fmt.Sprintf("Take = %+v, %v: Full and ErrFull disagree", d, err))
	}
	return d
}

func counters(c *clock, keys int) counted {
	o, _ := options(c, keys)
	return counted{quota.NewCounters(o)}
}

func TestX17DailyLimitResetsAtMidnightUTC(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T23:59:59.999999999Z")
	n, until := counters(c, 10), c.now().Add(time.Hour)
	rules := []quota.Rule{{Span: quota.Day, Max: 1}}
	if d := n.Take("k", rules, until); !d.OK || d.Remaining != 0 {
		t.Fatalf("first request of the day: %+v", d)
	}
	if d := n.Take("k", rules, until); d.OK || d.RetryAfter != 1 || d.Seconds() != 1 {
		t.Fatalf("second request of the day: %+v, want a retry after 1ns", d)
	}
	c.forward(1)
	if d := n.Take("k", rules, until); !d.OK {
		t.Fatalf("at 00:00:00Z: %+v, want OK", d)
	}
	if d := n.Take("k", rules, until); d.OK || d.RetryAfter != 24*time.Hour {
		t.Fatalf("second request of the new day: %+v, want a retry after 24h", d)
	}
}

// The zone of the clock must not move the day.
func TestX17DayIsUTCWhateverTheZone(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T23:30:00-05:00") // 04:30Z on the 22nd
	n, until := counters(c, 10), c.now().Add(48*time.Hour)
	rules := []quota.Rule{{Span: quota.Day, Max: 1}}
	n.Take("k", rules, until)
	c.forward(time.Hour) // local midnight has passed
	if d := n.Take("k", rules, until); d.OK || d.RetryAfter != 18*time.Hour+30*time.Minute {
		t.Errorf("after local midnight: %+v, want refused for 18h30m", d)
	}
}

func TestX18StampExactly60sOldIsNotCounted(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:30Z")
	n, until := counters(c, 10), c.now().Add(time.Hour)
	rules := []quota.Rule{{Span: quota.Minute, Max: 1}}
	n.Take("k", rules, until)
	c.forward(time.Minute - 1)
	if d := n.Take("k", rules, until); d.OK || d.RetryAfter != 1 {
		t.Fatalf("one nanosecond short of 60s: %+v, want a retry after 1ns", d)
	}
	c.forward(1)
	if d := n.Take("k", rules, until); !d.OK {
		t.Fatalf("exactly 60s later: %+v, want OK", d)
	}
}

func TestHourStartsAtMinuteZero(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:20:00Z")
	n, until := counters(c, 10), c.now().Add(3*time.Hour)
	rules := []quota.Rule{{Span: quota.Hour, Max: 2}}
	n.Take("k", rules, until)
	n.Take("k", rules, until)
	if d := n.Take("k", rules, until); d.OK || d.Seconds() != 2400 {
		t.Fatalf("at 12:20: %+v, want a retry after 2400 s", d)
	}
	c.forward(40 * time.Minute)
	if d := n.Take("k", rules, until); !d.OK || d.Remaining != 1 {
		t.Fatalf("at 13:00: %+v, want a fresh hour", d)
	}
}

// A request refused by one window must use up nothing in the others, and must
// not extend the sliding window.
func TestTakeIsAllOrNothing(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	n, until := counters(c, 10), c.now().Add(24*time.Hour)
	rules := []quota.Rule{{quota.Minute, 1}, {quota.Hour, 3}, {quota.Day, 4}}
	n.Take("k", rules, until)
	for range 50 {
		c.forward(time.Second)
		if d := n.Take("k", rules, until); d.OK {
			t.Fatal("the minute had room for a second event")
		}
	}
	for i := range 2 {
		c.forward(time.Minute)
		if d := n.Take("k", rules, until); !d.OK {
			t.Fatalf("event %d: %+v; refused requests were counted", i+2, d)
		}
	}
	c.forward(time.Minute)
	if d := n.Take("k", rules, until); d.OK || d.RetryAfter < 50*time.Minute {
		t.Fatalf("fourth event of the hour: %+v, want the longest wait", d)
	}
	c.forward(time.Hour)
	if d := n.Take("k", rules, until); !d.OK || d.Remaining != 0 {
		t.Fatalf("next hour: %+v, want the last event of the day", d)
	}
	c.forward(time.Minute)
	if d := n.Take("k", rules, until); d.OK || d.RetryAfter < 10*time.Hour {
		t.Fatalf("fifth event of the day: %+v", d)
	}
}

func TestTakeRefusesWhatCannotBeCounted(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	later := c.now().Add(time.Hour)
	one := []quota.Rule{{quota.Hour, 1}}
	tests := []struct {
		name  string
		rules []quota.Rule
		until time.Time
	}{
		{"refuses without rules", nil, later},
		{"refuses a limit of zero", []quota.Rule{{quota.Hour, 0}}, later},
		{"refuses a negative limit", []quota.Rule{{quota.Minute, -1}}, later},
		{"refuses a rule without a span", []quota.Rule{{0, 5}}, later},
		{"refuses an unknown span", []quota.Rule{{quota.Day + 1, 5}}, later},
		{"refuses one bad rule among good ones", []quota.Rule{{quota.Hour, 5}, {0, 5}}, later},
		{"refuses without an expiry", one, time.Time{}},
		{"refuses at the expiry", one, c.now()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if d := counters(c, 10).Take("k", tt.rules, tt.until); d.OK || d.RetryAfter <= 0 {
				t.Errorf("Take = %+v, want refused", d)
			}
		})
	}
}

func TestTwoRulesOfOneSpanCountOnce(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	n := counters(c, 10)
	rules := []quota.Rule{{quota.Minute, 5}, {quota.Minute, 3}}
	for i := range 3 {
		if d := n.Take("k", rules, c.now().Add(time.Hour)); !d.OK || d.Remaining != 2-i {
			t.Fatalf("event %d: %+v", i, d)
		}
	}
	if n.Take("k", rules, c.now().Add(time.Hour)).OK {
		t.Error("the tighter of two rules was not kept")
	}
}

func TestClockSetBackMakesNoRoom(t *testing.T) {
	t.Parallel()
	c := at("2026-11-22T00:00:10Z")
	n, until := counters(c, 10), c.now().Add(48*time.Hour)
	for i, rule := range []quota.Rule{{quota.Minute, 1}, {quota.Hour, 1}, {quota.Day, 1}} {
		key, rules := fmt.Sprint(i), []quota.Rule{rule}
		n.Take(key, rules, until)
		c.forward(-time.Hour)
		if d := n.Take(key, rules, until); d.OK || d.RetryAfter <= 0 {
			t.Errorf("span %d with the clock set back: %+v, want refused", rule.Span, d)
		}
		c.forward(time.Hour)
		if d := n.Take(key, rules, until); d.OK {
			t.Errorf("span %d with the clock back in place: %+v, want refused", rule.Span, d)
		}
	}
}

// With many events a minute stamps are shared; a limit is never exceeded
// within any 60 s, and the room comes back.
func TestSlidingHoldsLargeLimits(t *testing.T) {
	t.Parallel()
	const limit = 5000
	c := at("2026-11-21T12:00:00Z")
	n, until := counters(c, 10), c.now().Add(time.Hour)
	rules := []quota.Rule{{quota.Minute, limit}}
	var taken []time.Time
	for range 3 * 60 * 100 { // three minutes, 100 a second
		if n.Take("k", rules, until).OK {
			taken = append(taken, c.now())
		}
		c.forward(10 * time.Millisecond)
	}
	for i := limit; i < len(taken); i++ {
		if d := taken[i].Sub(taken[i-limit]); d < time.Minute {
			t.Fatalf("%d events within %v", limit+1, d)
		}
	}
	if len(taken) < 3*limit-100 {
		t.Errorf("%d events in three minutes, want nearly %d", len(taken), 3*limit)
	}
}

func TestSlidingRoomOfZeroTellsWhenTheFirstLeaves(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	var s quota.Sliding
	for range 5 {
		s.Add(c.now())
		c.forward(time.Second)
	}
	for limit, want := range map[int]time.Duration{5: 55 * time.Second, 4: 56 * time.Second, 1: 59 * time.Second} {
		if left, next := s.Room(c.now(), limit); left != 0 || next != want {
			t.Errorf("Room for %d = %d, %v; want 0, %v", limit, left, next, want)
		}
	}
	if left, next := s.Room(c.now(), 7); left != 2 || next != 0 {
		t.Errorf("Room for 7 = %d, %v; want 2, 0", left, next)
	}
}

func TestFixedWindowBeforeTheEpoch(t *testing.T) {
	t.Parallel()
	var w quota.FixedWindow
	c := at("1969-12-31T23:30:00Z")
	w.Add(c.now(), time.Hour)
	if left, next := w.Room(c.now(), time.Hour, 1); left != 0 || next != 30*time.Minute {
		t.Errorf("Room = %d, %v; want 0, 30m", left, next)
	}
	c.forward(30 * time.Minute)
	if left, _ := w.Room(c.now(), time.Hour, 1); left != 1 {
		t.Errorf("Room in the next hour = %d, want 1", left)
	}
}

func TestCountersFloodCannotEvict(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	o, full := options(c, 4)
	n := counted{quota.NewCounters(o)}
	rules, until := []quota.Rule{{quota.Day, 1}}, c.now().Add(10*time.Minute)
	n.Take("live", rules, until)
	for i := range 1000 {
		n.Take(fmt.Sprint(i), rules, until)
	}
	if full.Load() != 997 {
		t.Errorf("%d refused for want of room, want 997", full.Load())
	}
	if d := n.Take("live", rules, until); d.OK || d.Full {
		t.Errorf("the live count was forgotten: %+v", d)
	}
	c.forward(10 * time.Minute) // the tokens have expired: so have their counts
	if d := n.Take("new", rules, c.now().Add(time.Minute)); !d.OK {
		t.Errorf("after expiry: %+v, want room", d)
	}
}

// A key counts as long as its windows or its token last, whichever is less.
func TestCountsAreForgottenWhenTheyCanNoLongerMatter(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:59:30Z")
	n := counters(c, 1)
	hour, until := []quota.Rule{{quota.Hour, 9}}, c.now().Add(24*time.Hour)
	n.Take("a", hour, until)
	if d := n.Take("b", hour, until); !d.Full {
		t.Fatalf("second key: %+v, want Full", d)
	}
	c.forward(30 * time.Second)
	if d := n.Take("b", hour, until); !d.OK {
		t.Fatalf("second key in the next hour: %+v, want OK", d)
	}
}

// Of many keys that expired at once, one that comes back starts anew even
// before the sweep has reached it.
func TestExpiredCountsStartAnewBeforeTheyAreSwept(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	n := counters(c, 100)
	rules := []quota.Rule{{quota.Day, 1}}
	for i := range 100 {
		n.Take(fmt.Sprint(i), rules, c.now().Add(time.Minute))
	}
	c.forward(time.Minute)
	for i := 99; i >= 0; i-- {
		if d := n.Take(fmt.Sprint(i), rules, c.now().Add(time.Minute)); !d.OK {
			t.Fatalf("key %d after its expiry: %+v, want OK", i, d)
		}
		if d := n.Take(fmt.Sprint(i), rules, c.now().Add(time.Minute)); d.OK {
			t.Fatalf("key %d a second time: %+v, want refused", i, d)
		}
	}
}

// A token may name any expiry up to the year 9999; its counts end with their
// windows.
func TestTakeWithAnExpiryFarAway(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	n := counters(c, 1)
	far := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	rules := []quota.Rule{{quota.Minute, 1}}
	if d := n.Take("k", rules, far); !d.OK {
		t.Fatalf("first event: %+v", d)
	}
	if d := n.Take("k", rules, far); d.OK || d.Full {
		t.Fatalf("second event: %+v, want refused by the limit", d)
	}
	c.forward(time.Minute)
	if d := n.Take("other", rules, far); !d.OK {
		t.Fatalf("another key after the minute: %+v, want room", d)
	}
}

func TestTakeIsExactUnderConcurrency(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	n, until := counters(c, 100), c.now().Add(time.Hour)
	rules := []quota.Rule{{quota.Minute, 70}, {quota.Hour, 60}, {quota.Day, 50}}
	var ok atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 100 {
				if n.Take("k", rules, until).OK {
					ok.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if ok.Load() != 50 {
		t.Errorf("%d events, want 50", ok.Load())
	}
}

func BenchmarkTake(b *testing.B) {
	for _, limit := range []int{50, 1_000_000_000} {
		b.Run(fmt.Sprint(limit), func(b *testing.B) {
			n := counted{quota.NewCounters(quota.Options{MaxKeys: 1 << 16, Now: time.Now})}
			rules := []quota.Rule{{quota.Minute, limit}, {quota.Hour, limit}, {quota.Day, limit}}
			until := time.Now().Add(time.Hour)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					n.Take("jti", rules, until)
				}
			})
		})
	}
}
