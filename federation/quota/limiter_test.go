package quota_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/quota"
)

func TestLimiterGivesBurstThenSpacing(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	o, _ := options(c, 10)
	l := quota.NewLimiter(o)
	limit := quota.Limit{Events: 60, Per: time.Minute, Burst: 3}
	for i := range 3 {
		if d := l.Allow("k", limit); !d.OK || d.Remaining != 2-i {
			t.Fatalf("event %d of the burst: %+v, want %d remaining", i, d, 2-i)
		}
	}
	d := l.Allow("k", limit)
	if d.OK || d.RetryAfter != time.Second {
		t.Fatalf("event beyond the burst: %+v, want a retry after 1s", d)
	}
	c.forward(time.Second - 1)
	if d := l.Allow("k", limit); d.OK || d.RetryAfter != 1 {
		t.Fatalf("one nanosecond early: %+v", d)
	}
	c.forward(1)
	if d := l.Allow("k", limit); !d.OK || d.Remaining != 0 {
		t.Fatalf("after RetryAfter: %+v, want OK", d)
	}
	c.forward(time.Hour)
	if d := l.Allow("k", limit); !d.OK || d.Remaining != 2 {
		t.Fatalf("after rest: %+v, want the whole burst and no more", d)
	}
}

// Over any long time no more than Events in Per go through, whatever the
// pattern of calls.
func TestLimiterHoldsTheRate(t *testing.T) {
	t.Parallel()
	for _, events := range []int{1, 3, 7, 100, 999} {
		c := at("2026-11-21T12:00:00Z")
		o, _ := options(c, 10)
		l := quota.NewLimiter(o)
		limit := quota.Limit{Events: events, Per: time.Minute, Burst: 1}
		allowed := 0
		for range 10 * 60 * 100 { // ten minutes in steps of 10 ms
			if l.Allow("k", limit).OK {
				allowed++
			}
			c.forward(10 * time.Millisecond)
		}
		if allowed > 10*events || allowed < 10*events*6/10 {
			t.Errorf("%d events in 10 minutes, want about %d and never more", allowed, 10*events)
		}
	}
}

func TestLimiterRefusesLimitsThatAllowNothing(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]quota.Limit{
		"zero":            {},
		"no events":       {Per: time.Second, Burst: 5},
		"negative events": {Events: -1, Per: time.Second, Burst: 5},
		"no time":         {Events: 5, Burst: 5},
		"negative time":   {Events: 5, Per: -time.Second, Burst: 5},
	} {
		o, _ := options(at("2026-11-21T12:00:00Z"), 10)
		if d := quota.NewLimiter(o).Allow("k", limit); d.OK || d.RetryAfter <= 0 || d.Full {
			t.Errorf("%s: %+v, want refused", name, d)
		}
	}
}

func TestLimiterBurstBelowOneIsOne(t *testing.T) {
	t.Parallel()
	o, _ := options(at("2026-11-21T12:00:00Z"), 10)
	l := quota.NewLimiter(o)
	limit := quota.Limit{Events: 100, Per: time.Minute}
	if !l.Allow("k", limit).OK || l.Allow("k", limit).OK {
		t.Error("want exactly one event at once")
	}
}

func TestLimiterSurvivesExtremes(t *testing.T) {
	t.Parallel()
	const huge = 1<<63 - 1
	for _, limit := range []quota.Limit{
		{Events: 1, Per: huge, Burst: huge},
		{Events: huge, Per: 1, Burst: huge},
		{Events: huge, Per: huge, Burst: huge},
		{Events: 1, Per: huge, Burst: 1},
	} {
		c := at("2026-11-21T12:00:00Z")
		o, _ := options(c, 10)
		l := quota.NewLimiter(o)
		c.forward(1000 * time.Hour)
		if d := l.Allow("k", limit); !d.OK || d.Remaining < 0 {
			t.Errorf("%+v: %+v, want the first event allowed", limit, d)
		}
		if d := l.Allow("k", limit); d.RetryAfter < 0 || limit.Burst == 1 && d.OK {
			t.Errorf("%+v: second event %+v", limit, d)
		}
	}
}

func TestLimiterKeysAreApart(t *testing.T) {
	t.Parallel()
	o, _ := options(at("2026-11-21T12:00:00Z"), 10)
	l := quota.NewLimiter(o)
	limit := quota.Limit{Events: 1, Per: time.Minute}
	long := strings.Repeat("a", 10_000)
	for _, key := range []string{"", "a", "b", long, long + "b"} {
		if !l.Allow(key, limit).OK {
			t.Errorf("key of %d bytes has no room of its own", len(key))
		}
		if l.Allow(key, limit).OK {
			t.Errorf("key of %d bytes is not counted", len(key))
		}
	}
}

// A flood of keys must not push out a limit that is in force.
func TestLimiterFloodCannotEvict(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	o, full := options(c, 8)
	l := quota.NewLimiter(o)
	limit := quota.Limit{Events: 1, Per: time.Minute}
	if !l.Allow("live", limit).OK {
		t.Fatal("the first event was refused")
	}
	refused := 0
	for i := range 10_000 {
		if d := l.Allow(fmt.Sprint("flood", i), limit); d.Full {
			refused++
			if d.OK || d.RetryAfter < time.Second {
				t.Fatalf("refusal for want of room: %+v", d)
			}
		}
	}
	if refused != 10_000-7 || full.Load() != int64(refused) {
		t.Errorf("%d refused and %d reported, want %d of each", refused, full.Load(), 10_000-7)
	}
	if d := l.Allow("live", limit); d.OK || d.Full {
		t.Errorf("the live limit was forgotten: %+v", d)
	}
	c.forward(time.Minute)
	for i := range 8 {
		if d := l.Allow(fmt.Sprint("later", i), limit); !d.OK {
			t.Errorf("key %d after the flood expired: %+v, want OK", i, d)
		}
	}
}

// A key that is used again and again stays, though it was due long ago.
func TestLimiterSweepKeepsWhatLivedOn(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	o, _ := options(c, 2)
	l := quota.NewLimiter(o)
	limit := quota.Limit{Events: 1, Per: time.Minute, Burst: 10}
	for range 10 {
		l.Allow("busy", limit)
	}
	short := quota.Limit{Events: 1, Per: time.Second}
	for i := range 100 {
		c.forward(time.Second)
		if d := l.Allow(fmt.Sprint("passing", i), short); !d.OK {
			t.Fatalf("passing key %d: %+v, want room", i, d)
		}
	}
	// 100 s have passed: one event came free, and it is counted against ten.
	if d := l.Allow("busy", limit); !d.OK || d.Remaining != 0 {
		t.Errorf("busy key: %+v, want OK with 0 remaining", d)
	}
	if d := l.Allow("busy", limit); d.OK {
		t.Errorf("busy key was forgotten: %+v", d)
	}
}

func TestLimiterWithoutKeysRefuses(t *testing.T) {
	t.Parallel()
	o, _ := options(at("2026-11-21T12:00:00Z"), 0)
	if d := quota.NewLimiter(o).Allow("k", quota.Limit{Events: 1, Per: 1}); d.OK || !d.Full {
		t.Errorf("%+v, want Full", d)
	}
}

func TestLimiterIsExactUnderConcurrency(t *testing.T) {
	t.Parallel()
	o, full := options(at("2026-11-21T12:00:00Z"), 100_000)
	l := quota.NewLimiter(o)
	limit := quota.Limit{Events: 50, Per: time.Hour, Burst: 50}
	var shared, own atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 500 {
				if l.Allow("shared", limit).OK {
					shared.Add(1)
				}
				if l.Allow(fmt.Sprint(i, "-", j), limit).OK {
					own.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if shared.Load() != 50 || own.Load() != 16*500 || full.Load() != 0 {
		t.Errorf("shared %d, own %d, full %d; want 50, 8000, 0", shared.Load(), own.Load(), full.Load())
	}
}

func TestDecisionSeconds(t *testing.T) {
	t.Parallel()
	for wait, want := range map[time.Duration]int{0: 1, 1: 1, time.Second: 1, time.Second + 1: 2, time.Hour: 3600} {
		if got := (quota.Decision{RetryAfter: wait}).Seconds(); got != want {
			t.Errorf("Seconds of %v = %d, want %d", wait, got, want)
		}
	}
}

func BenchmarkAllowOneKey(b *testing.B) {
	l := quota.NewLimiter(quota.Options{MaxKeys: 1 << 16, Now: time.Now})
	limit := quota.Limit{Events: 1_000_000, Per: time.Second, Burst: 1_000_000_000}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Allow("client", limit)
		}
	})
}

func BenchmarkAllowManyKeys(b *testing.B) {
	l := quota.NewLimiter(quota.Options{MaxKeys: 1 << 16, Now: time.Now})
	limit := quota.Limit{Events: 100, Per: time.Second, Burst: 100}
	keys := make([]string, 1<<15)
	for i := range keys {
		keys[i] = fmt.Sprint("client-", i)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			l.Allow(keys[i%len(keys)], limit)
		}
	})
}

// The cost of a flood of fresh keys against a full table.
func BenchmarkAllowFlood(b *testing.B) {
	l := quota.NewLimiter(quota.Options{MaxKeys: 1 << 12, Now: time.Now})
	limit := quota.Limit{Events: 1, Per: time.Hour}
	keys := make([]string, 1<<16)
	for i := range keys {
		keys[i] = fmt.Sprint("client-", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Allow(keys[i%len(keys)], limit)
	}
}

func TestLimiterPeekCountsNothing(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	l := quota.NewLimiter(quota.Options{MaxKeys: 4, Now: func() time.Time { return now }})
	limit := quota.Limit{Events: 1, Per: time.Minute, Burst: 1}
	for range 3 {
		if d := l.Peek("a", limit); !d.OK {
			t.Fatalf("Peek before any event = %+v, want OK", d)
		}
	}
	l.Allow("a", limit)
	if d := l.Peek("a", limit); d.OK || d.RetryAfter <= 0 {
		t.Errorf("Peek after the limit = %+v, want a refusal with RetryAfter", d)
	}
}
