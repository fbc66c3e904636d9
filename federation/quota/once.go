package quota

import (
	"context"
	"time"
)

// Once remembers, in this process, what has been used. It is safe for
// concurrent use.
type Once struct {
	table *table[struct{}]
	now   func() time.Time
	// latest[i] is the latest time seen in shard i, under that shard's lock.
	latest []int64
}

// NewOnce returns a Once that has seen nothing.
func NewOnce(o Options) *Once {
	t := newTable[struct{}](o)
	return &Once{table: t, now: o.Now, latest: make([]int64, len(t.shards))}
}

// Use is true for the first call with key, and false for every later one before
// until: the key is remembered for exactly that long. From until on there is no
// first time. until is when nobody accepts the key any more, any leeway
// included, such as the end of a DPoP proof's window (RFC 9449 section 11.1).
//
// A clock that is set back brings back no key: what was due by the latest time
// seen is not fresh.
//
// The error is ErrFull: no live key is forgotten to make room. Use does not
// block, so the context is not looked at.
func (o *Once) Use(_ context.Context, key string, until time.Time) (fresh bool, err error) {
	fresh, full := o.use(key, o.now().UnixNano(), nanos(until))
	if full {
		o.table.report(Decision{Full: true})
		return false, ErrFull
	}
	return fresh, nil
}

func (o *Once) use(key string, now, until int64) (fresh, full bool) {
	i, key := o.table.place(key)
	s := &o.table.shards[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	now = max(now, o.latest[i])
	o.latest[i] = now
	s.sweep(now, sweepEach)
	if until <= now {
		return false, false
	}
	if e := s.entries[key]; e != nil {
		if e.expires > now {
			return false, false
		}
		e.expires = until // It was due, and the sweep has not come to it yet.
		return true, false
	}
	_, fresh = s.insert(key, now, until)
	return fresh, !fresh
}
