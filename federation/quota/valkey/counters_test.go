package valkey_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/comity-auth/comity/federation/quota"
	"github.com/comity-auth/comity/federation/quota/valkey"
	server "github.com/comity-auth/comity/fixtures/valkey"
)

// twins are the counters of one process and shared ones, asked the same at the
// same time.
type twins struct {
	now    time.Time
	own    *quota.Counters
	shared *valkey.Counters
	prefix string
}

func newTwins(t testing.TB, store *valkey.Store) *twins {
	t.Helper()
	// Ahead of the server's clock, by which it drops keys, also after the tests
	// have set the clock back. A key then goes within some days.
	w := &twins{shared: store.Counters(), prefix: unique("twins"), now: time.Now().UTC().Truncate(24 * time.Hour).Add(72 * time.Hour)}
	w.own = quota.NewCounters(quota.Options{MaxKeys: 100, Now: func() time.Time { return w.now }})
	return w
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// take asks both and fails unless they agree.
func (w *twins) take(t testing.TB, f fataler, key string, rules []quota.Rule, until time.Time) quota.Decision {
	t.Helper()
	f.Helper()
	own, err := w.own.Take(t.Context(), w.prefix+key, rules, until)
	if err != nil {
		f.Fatalf("own: Take error = %v", err)
	}
	shared, err := w.shared.TakeAt(t.Context(), w.now, w.prefix+key, rules, until)
	if err != nil {
		f.Fatalf("shared: Take error = %v", err)
	}
	if own != shared {
		f.Fatalf("at %v, %v until %v:\n own    %+v\n shared %+v", w.now.Format(time.RFC3339Nano), rules, until, own, shared)
	}
	return own
}

// step draws how the clock moves: mostly a little, often to the very edge of a
// window, and at times back.
func step(t *rapid.T, now time.Time) time.Duration {
	const us = time.Microsecond
	next := func(d time.Duration) time.Duration { return now.Truncate(d).Add(d).Sub(now) }
	return rapid.SampledFrom([]time.Duration{
		0, 0, us, time.Second, 10 * time.Second, 20 * time.Second,
		time.Minute - us, time.Minute, time.Minute + us,
		next(time.Hour) - us, next(time.Hour), next(24*time.Hour) - us, next(24 * time.Hour), time.Hour,
		-us, -time.Second, -time.Minute, -time.Hour,
	}).Draw(t, "step")
}

func drawRules(t *rapid.T) []quota.Rule {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) quota.Rule {
		return quota.Rule{
			Span: quota.Span(rapid.SampledFrom([]int{1, 1, 1, 2, 2, 3, 3, 0, 4}).Draw(t, "span")),
			Max:  rapid.SampledFrom([]int{1, 2, 3, 4, 5, 7, 1000, 0, -1}).Draw(t, "max"),
		}
	}), 0, 4).Draw(t, "rules")
}

// One arithmetic: whatever happens to a key, the process and the server decide
// alike. It is one key, since either side drops a key that no window counts any
// longer when it comes to it, and so may another key's call.
func TestSharedCountersDecideAsThoseOfOneProcess(t *testing.T) {
	t.Parallel()
	store := open(t, server.New(t), unhurried)
	rapid.Check(t, func(rt *rapid.T) {
		w := newTwins(t, store)
		first := w.now
		usual := drawRules(rt)
		for range rapid.IntRange(1, 60).Draw(rt, "events") {
			// A day back at most, so that the server does not drop the key.
			if moved := w.now.Add(step(rt, w.now)); moved.After(first.Add(-24 * time.Hour)) {
				w.now = moved
			}
			rules := usual
			if rapid.IntRange(0, 5).Draw(rt, "other rules") == 0 {
				rules = drawRules(rt)
			}
			left := rapid.SampledFrom([]time.Duration{
				48 * time.Hour, 48 * time.Hour, 48 * time.Hour, time.Hour, time.Minute, 1500 * time.Microsecond,
				time.Microsecond, 0, -time.Microsecond, -time.Hour, 200 * 365 * 24 * time.Hour,
			}).Draw(rt, "until")
			w.take(t, rt, "k", rules, w.now.Add(left))
		}
	})
}

// Beyond a thousand runs a minute stamps are shared, alike on both sides.
func TestSharedCountersDecideAlikeUnderLargeLimits(t *testing.T) {
	t.Parallel()
	w := newTwins(t, open(t, server.New(t), unhurried))
	rules, until := []quota.Rule{{Span: quota.Minute, Max: 3000}}, w.now.Add(time.Hour)
	var taken []time.Time
	steps := []time.Duration{7 * time.Millisecond, 0, 13123 * time.Microsecond, 31 * time.Millisecond, time.Microsecond}
	for i := range 9000 { // some 90 s
		if w.take(t, t, "k", rules, until).OK {
			taken = append(taken, w.now)
		}
		w.now = w.now.Add(steps[i%len(steps)])
	}
	if len(taken) <= 3000 || len(taken) == 9000 {
		t.Errorf("%d of 9000 events went through, want the limit to have been at work", len(taken))
	}
	for i := 3000; i < len(taken); i++ {
		if d := taken[i].Sub(taken[i-3000]); d < time.Minute {
			t.Fatalf("3001 events within %v", d)
		}
	}
}

func TestX17SharedDayEndsAtMidnightUTC(t *testing.T) {
	t.Parallel()
	w := newTwins(t, open(t, server.New(t), unhurried))
	rules := []quota.Rule{{Span: quota.Day, Max: 1}}
	midnight := w.now
	w.now = midnight.Add(-time.Microsecond)
	until := midnight.Add(time.Hour)
	if d := w.take(t, t, "k", rules, until); !d.OK {
		t.Fatalf("first request of the day: %+v", d)
	}
	if d := w.take(t, t, "k", rules, until); d.OK || d.RetryAfter != time.Microsecond {
		t.Fatalf("second request of the day: %+v, want a retry after 1µs", d)
	}
	w.now = midnight
	if d := w.take(t, t, "k", rules, until); !d.OK {
		t.Errorf("at 00:00:00Z: %+v, want OK", d)
	}
}

func TestX18SharedStampExactly60sOldIsNotCounted(t *testing.T) {
	t.Parallel()
	w := newTwins(t, open(t, server.New(t), unhurried))
	rules, until := []quota.Rule{{Span: quota.Minute, Max: 1}}, w.now.Add(time.Hour)
	w.take(t, t, "k", rules, until)
	w.now = w.now.Add(time.Minute - time.Microsecond)
	if d := w.take(t, t, "k", rules, until); d.OK || d.RetryAfter != time.Microsecond {
		t.Fatalf("one microsecond short of 60s: %+v, want a retry after 1µs", d)
	}
	w.now = w.now.Add(time.Microsecond)
	if d := w.take(t, t, "k", rules, until); !d.OK {
		t.Errorf("exactly 60s later: %+v, want OK", d)
	}
}

func TestSharedClockSetBackMakesNoRoom(t *testing.T) {
	t.Parallel()
	w := newTwins(t, open(t, server.New(t), unhurried))
	w.now = w.now.Add(10 * time.Second) // of a new day
	until := w.now.Add(48 * time.Hour)
	for _, span := range []quota.Span{quota.Minute, quota.Hour, quota.Day} {
		rules, key := []quota.Rule{{Span: span, Max: 1}}, fmt.Sprint(span)
		w.take(t, t, key, rules, until)
		w.now = w.now.Add(-time.Hour)
		if d := w.take(t, t, key, rules, until); d.OK || d.RetryAfter <= 0 {
			t.Errorf("span %d with the clock set back: %+v, want refused", span, d)
		}
		w.now = w.now.Add(time.Hour)
		if d := w.take(t, t, key, rules, until); d.OK {
			t.Errorf("span %d with the clock back in place: %+v, want refused", span, d)
		}
	}
}

// What a refused request has seen of the time counts, too.
func TestSharedWindowsMoveOnWithARefusedRequest(t *testing.T) {
	t.Parallel()
	w := newTwins(t, open(t, server.New(t), unhurried))
	until := w.now.Add(48 * time.Hour)
	minute, both := []quota.Rule{{Span: quota.Minute, Max: 1}}, everySpan(1)
	w.take(t, t, "k", both, until)
	w.now = w.now.Add(time.Minute)
	if d := w.take(t, t, "k", both, until); d.OK {
		t.Fatalf("second request of the day: %+v, want refused", d)
	}
	w.now = w.now.Add(-time.Second)
	w.take(t, t, "k", minute, until)
}

func TestSharedCountsEndWithTheToken(t *testing.T) {
	t.Parallel()
	w := newTwins(t, open(t, server.New(t), unhurried))
	until := w.now.Add(time.Minute)
	w.take(t, t, "k", everySpan(1), until)
	w.now = until.Add(-time.Microsecond)
	if d := w.take(t, t, "k", everySpan(1), until.Add(time.Hour)); d.OK {
		t.Errorf("before the expiry: %+v, want refused", d)
	}
	w.now = until
	if d := w.take(t, t, "k", everySpan(1), until.Add(time.Hour)); !d.OK {
		t.Errorf("at the expiry: %+v, want a count that starts anew", d)
	}
}

// By the server's own clock.
func TestSharedTakeIsExactUnderConcurrency(t *testing.T) {
	t.Parallel()
	key, until := unique("k"), time.Now().Add(48*time.Hour)
	rules := []quota.Rule{{Span: quota.Minute, Max: 50}, {Span: quota.Hour, Max: 70}, {Span: quota.Day, Max: 60}}
	got := writers(t, 50, func(s *valkey.Store, _ int) (bool, error) {
		d, err := s.Counters().Take(t.Context(), key, rules, until)
		return d.OK, err
	})
	if got != 50 {
		t.Errorf("%d events, want 50", got)
	}
}

func TestSharedTakeRefusesWhatCannotBeCounted(t *testing.T) {
	t.Parallel()
	c := open(t, server.New(t), unhurried).Counters()
	later := time.Now().Add(time.Hour)
	one := []quota.Rule{{Span: quota.Hour, Max: 1}}
	for _, tt := range []struct {
		name  string
		rules []quota.Rule
		until time.Time
	}{
		{"refuses without rules", nil, later},
		{"refuses a limit of zero", []quota.Rule{{Span: quota.Hour}}, later},
		{"refuses a rule without a span", []quota.Rule{{Max: 5}}, later},
		{"refuses without an expiry", one, time.Time{}},
		{"refuses past the expiry", one, time.Now().Add(-time.Second)},
	} {
		if d, err := c.Take(t.Context(), unique("k"), tt.rules, tt.until); err != nil || d.OK || d.RetryAfter <= 0 {
			t.Errorf("%s: Take = %+v, %v, want refused", tt.name, d, err)
		}
	}
	if d, err := c.Take(t.Context(), unique("k"), []quota.Rule{{Span: quota.Day, Max: 1<<63 - 1}}, later); err != nil || !d.OK || d.Remaining < 1<<52 {
		t.Errorf("the largest limit: Take = %+v, %v, want OK", d, err)
	}
}

// What is stored names nobody, expires, and stays in one slot of a cluster.
func TestStoredKeysAreDigestsThatExpire(t *testing.T) {
	t.Parallel()
	s := server.Private(t, server.Options{})
	client, until := raw(t, s.URL()), time.Now().Add(10*time.Minute)
	c := open(t, s.URL(), unhurried).Counters()
	for range 3 {
		if _, err := c.Take(t.Context(), "https://issuer.example\x00the-jti", everySpan(2), until); err != nil {
			t.Fatal(err)
		}
	}
	keys := client.Keys(t.Context(), "*").Val()
	if len(keys) != 2 {
		t.Fatalf("keys = %q, want a state and its runs", keys)
	}
	slots := map[string]bool{}
	for _, key := range keys {
		if !strings.HasPrefix(key, "comity:rate:{") || strings.Contains(key, "jti") || strings.Contains(key, "issuer") {
			t.Errorf("key %q, want a digest", key)
		}
		slots[key[strings.Index(key, "{"):strings.Index(key, "}")]] = true
		expires := client.PExpireTime(t.Context(), key).Val()
		if got, most := expires.Milliseconds(), until.UnixMilli()+1; got <= time.Now().UnixMilli() || got > most {
			t.Errorf("%s expires at %d, want within the token's life, %d", key, got, most)
		}
	}
	if len(slots) != 1 {
		t.Errorf("hash tags %v, want one", slots)
	}
	if err := client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if d, err := c.Take(t.Context(), "https://issuer.example\x00the-jti", everySpan(2), until); err != nil || d.OK {
		t.Errorf("after SCRIPT FLUSH: Take = %+v, %v, want the count as it was", d, err)
	}
}

// However large the limit, a key holds a bounded number of runs.
func TestMemoryOfAKeyIsBounded(t *testing.T) {
	t.Parallel()
	s := server.Private(t, server.Options{})
	w := newTwins(t, open(t, s.URL(), unhurried))
	client := raw(t, s.URL())
	for range 6000 {
		w.take(t, t, "k", []quota.Rule{{Span: quota.Minute, Max: 1_000_000}}, w.now.Add(time.Hour))
		w.now = w.now.Add(9 * time.Millisecond)
	}
	for _, key := range client.Keys(t.Context(), "*:minute").Val() {
		if n := client.LLen(t.Context(), key).Val(); n < 1000 || n > 2001 {
			t.Errorf("%d runs after 6000 events, want between 1000 and 2001", n)
		}
		if n := client.MemoryUsage(t.Context(), key).Val(); n > 64<<10 {
			t.Errorf("%d bytes, want at most 64 KiB", n)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	for _, limit := range []int{50, 1_000_000_000} {
		b.Run(fmt.Sprint(limit), func(b *testing.B) {
			c := open(b, server.New(b), unhurried).Counters()
			key, rules, until := unique("k"), everySpan(limit), time.Now().Add(time.Hour)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := c.Take(b.Context(), key, rules, until); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
