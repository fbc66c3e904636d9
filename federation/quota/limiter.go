package quota

import (
	"math"
	"time"
)

// Limit allows Events in every Per, of which Burst may come at once.
// A Limit whose Events or Per is not positive allows nothing; a Burst below
// one counts as one.
type Limit struct {
	Events int
	Per    time.Duration
	Burst  int
}

// Decision is the answer to one request to be counted.
type Decision struct {
	// OK says that the event was counted and may go ahead.
	OK bool
	// RetryAfter is when the same request could succeed, if nobody else takes
	// the room. It is positive unless OK.
	RetryAfter time.Duration
	// Remaining is how many more events would be accepted now.
	Remaining int
	// Full says that the event was refused because no more keys can be kept,
	// not because of this key's limit.
	Full bool
}

// Seconds is RetryAfter for a Retry-After header (RFC 9110 section 10.2.3):
// whole seconds, rounded up, at least one.
func (d Decision) Seconds() int {
	s := d.RetryAfter / time.Second
	if d.RetryAfter%time.Second > 0 {
		s++
	}
	return max(1, int(s))
}

// Options bound a [Limiter], [Counters] or [Once].
type Options struct {
	// MaxKeys is how many keys may be kept at once; it must be positive, or every
	// new key is refused. A full table holds at least nine tenths of it.
	MaxKeys int
	// Now is the clock. It is required.
	Now func() time.Time
	// OnFull, when set, is called for every event refused as Full. It must be
	// safe for concurrent use.
	OnFull func()
}

// Limiter holds one GCRA (generic cell rate algorithm) state for each key:
// the theoretical arrival time, that is the moment at which all used room is
// free again. It is safe for concurrent use.
type Limiter struct {
	table *table[struct{}]
	now   func() time.Time
	epoch time.Time
}

// NewLimiter returns an empty limiter.
func NewLimiter(o Options) *Limiter {
	return &Limiter{table: newTable[struct{}](o), now: o.Now, epoch: o.Now()}
}

// Allow counts one event of key, if limit has room for it. A refused event
// counts for nothing. Calls with different limits for one key share its state.
func (l *Limiter) Allow(key string, limit Limit) Decision {
	// Time since the epoch, since a duration keeps to the monotonic clock: a
	// wall clock that is set back must not lock anybody out.
	now := int64(l.now().Sub(l.epoch))
	d := l.allow(key, limit, now)
	l.table.report(d)
	return d
}

// Peek says whether Allow would count an event of key now, and counts nothing.
func (l *Limiter) Peek(key string, limit Limit) Decision {
	now := int64(l.now().Sub(l.epoch))
	s, key := l.table.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	tat := now
	if e := s.entries[key]; e != nil {
		tat = max(tat, e.expires)
	}
	_, d := gcra(tat, now, limit)
	return d
}

func (l *Limiter) allow(key string, limit Limit, now int64) Decision {
	s, key := l.table.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now, sweepEach)
	e := s.entries[key]
	// The arrival time of a key that was never seen, or is at rest, is now.
	tat := now
	if e != nil {
		tat = max(tat, e.expires)
	}
	tat, d := gcra(tat, now, limit)
	if !d.OK {
		return d
	}
	if e != nil {
		e.expires = tat
		return d
	}
	if _, ok := s.insert(key, now, tat); !ok {
		return s.full(now)
	}
	return d
}

// gcra decides on one event at now against the arrival time tat >= now, both
// in nanoseconds on one clock, and returns the arrival time to store. The
// interval between events is rounded up, never in favour of the caller.
func gcra(tat, now int64, limit Limit) (int64, Decision) {
	if limit.Events < 1 || limit.Per <= 0 {
		return tat, Decision{RetryAfter: time.Hour}
	}
	const most = math.MaxInt64 / 4 // some 73 years; keeps the sums from overflowing
	interval := min(most, (int64(limit.Per)-1)/int64(limit.Events)+1)
	burst := min(most/interval, int64(max(1, limit.Burst)))
	next := tat + interval
	free := now + burst*interval - next
	if free < 0 {
		return tat, Decision{RetryAfter: time.Duration(-free)}
	}
	return next, Decision{OK: true, Remaining: int(free / interval)}
}
