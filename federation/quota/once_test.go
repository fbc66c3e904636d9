package quota_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/quota"
)

// use fails the test on an error.
func use(t *testing.T, o *quota.Once, key string, until time.Time) bool {
	t.Helper()
	fresh, err := o.Use(t.Context(), key, until)
	if err != nil {
		t.Fatalf("Use error = %v", err)
	}
	return fresh
}

func once(c *clock, keys int) *quota.Once {
	o, _ := options(c, keys)
	return quota.NewOnce(o)
}

func TestOnceIsTrueForTheFirstCallOnly(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	o, until := once(c, 10), c.now().Add(time.Minute)
	if !use(t, o, "k", until) {
		t.Fatal("first use is not fresh")
	}
	if use(t, o, "k", until) {
		t.Error("second use is fresh")
	}
	if !use(t, o, "other", until) {
		t.Error("another key is not fresh")
	}
	c.forward(time.Minute - 1)
	if use(t, o, "k", until) {
		t.Error("use one nanosecond before the end is fresh")
	}
	c.forward(1)
	if use(t, o, "k", until) {
		t.Error("use at the end is fresh: nobody accepts the key then")
	}
	if !use(t, o, "k", until.Add(time.Second)) {
		t.Error("a key that was forgotten is not fresh under a later end")
	}
}

func TestOnceKeepsTheFirstEnd(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	o := once(c, 10)
	use(t, o, "k", c.now().Add(time.Minute))
	if use(t, o, "k", c.now().Add(time.Hour)) {
		t.Fatal("second use under a later end is fresh")
	}
	c.forward(time.Minute)
	if !use(t, o, "k", c.now().Add(time.Minute)) {
		t.Error("the refused use has kept the key")
	}
}

// What a later clock forgot must not come back with an earlier one.
func TestOnceClockSetBackBringsNothingBack(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	o, until := once(c, 10), c.now().Add(time.Minute)
	use(t, o, "k", until)
	c.forward(time.Hour)
	use(t, o, "sweeps", c.now().Add(time.Minute))
	c.forward(-time.Hour)
	if use(t, o, "k", until) {
		t.Error("the clock went back, and the key was fresh again")
	}
}

func TestOnceFloodCannotEvict(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	opt, full := options(c, 4)
	o, until := quota.NewOnce(opt), c.now().Add(time.Minute)
	use(t, o, "live", until)
	for i := range 1000 {
		fresh, err := o.Use(t.Context(), fmt.Sprint(i), until)
		if fresh == (err != nil) || err != nil && (!errors.Is(err, quota.ErrFull) || !errors.Is(err, quota.ErrUnavailable)) {
			t.Fatalf("key %d: Use = %v, %v", i, fresh, err)
		}
	}
	if full.Load() != 997 {
		t.Errorf("%d refused for want of room, want 997", full.Load())
	}
	if use(t, o, "live", until) {
		t.Error("the live key was forgotten")
	}
	c.forward(time.Minute)
	if !use(t, o, "new", c.now().Add(time.Minute)) {
		t.Error("no room after the flood was due")
	}
}

// Of many keys that are due at once, one that comes back is fresh even before
// the sweep has reached it.
func TestOnceForgetsBeforeTheSweep(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	o := once(c, 100)
	for i := range 100 {
		use(t, o, fmt.Sprint(i), c.now().Add(time.Minute))
	}
	c.forward(time.Minute)
	for i := 99; i >= 0; i-- {
		if !use(t, o, fmt.Sprint(i), c.now().Add(time.Minute)) || use(t, o, fmt.Sprint(i), c.now().Add(time.Minute)) {
			t.Fatalf("key %d: want fresh once", i)
		}
	}
}

func TestOnceWithoutKeysRefuses(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	if fresh, err := once(c, 0).Use(t.Context(), "k", c.now().Add(1)); fresh || !errors.Is(err, quota.ErrFull) {
		t.Errorf("Use = %v, %v, want ErrFull", fresh, err)
	}
}

func TestOnceIsExactUnderConcurrency(t *testing.T) {
	t.Parallel()
	c := at("2026-11-21T12:00:00Z")
	o, until := once(c, 10_000), c.now().Add(time.Minute)
	var fresh atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range 500 {
				if ok, err := o.Use(t.Context(), fmt.Sprint(i), until); err != nil {
					t.Errorf("Use error = %v", err)
				} else if ok {
					fresh.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if fresh.Load() != 500 {
		t.Errorf("%d fresh, want 500", fresh.Load())
	}
}

// A part must not be able to reach into the next.
func TestKeyIsOneForEachListOfParts(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 100)
	seen := map[string]bool{}
	lists := [][]string{
		nil, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"a", "b"}, {"ab"}, {"ab", ""},
		{"1:a"}, {"a1:b"}, {"a", "1:b"}, {"a1:", "b"}, {long}, {long, long}, {long + "100:" + long},
	}
	for _, parts := range lists {
		seen[quota.Key(parts...)] = true
	}
	if len(seen) != len(lists) {
		t.Errorf("%d keys for %d lists", len(seen), len(lists))
	}
}

func BenchmarkUse(b *testing.B) {
	o := quota.NewOnce(quota.Options{MaxKeys: 1 << 20, Now: time.Now})
	var n atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			// At most some hundred thousand live at a time, as with proofs.
			if _, err := o.Use(b.Context(), fmt.Sprint(n.Add(1)), time.Now().Add(100*time.Millisecond)); err != nil {
				b.Error(err)
			}
		}
	})
}
