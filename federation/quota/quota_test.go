package quota_test

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/comity-auth/comity/federation/quota"
)

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func at(s string) *clock {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err) // static input only
	}
	return &clock{at: t}
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// options are for a table of max keys; the counter counts refusals as full.
func options(c *clock, keys int) (quota.Options, *atomic.Int64) {
	full := new(atomic.Int64)
	return quota.Options{MaxKeys: keys, Now: c.now, OnFull: func() { full.Add(1) }}, full
}
