package quota

import (
	"context"
	"math"
	"time"
)

// Span is the time over which a [Rule] counts. The zero Span is none.
type Span int

const (
	// Minute is the 60 s before the request.
	Minute Span = 1 + iota
	// Hour is the clock hour, in UTC.
	Hour
	// Day is the calendar day, in UTC.
	Day
)

// Rule allows at most Max events within Span. A Rule whose Max is not positive,
// or whose Span is none of the three, allows nothing.
type Rule struct {
	Span Span
	Max  int
}

// refused is how long to wait for something that waiting does not mend.
const refused = time.Hour

// Counters counts events of this process against the rate constraints of the
// agent profile. It is safe for concurrent use.
type Counters struct {
	table *table[windows]
	now   func() time.Time
}

// windows are the counts of one key.
type windows struct {
	minute Sliding
	hour   FixedWindow
	day    FixedWindow
}

// NewCounters returns counters that have counted nothing.
func NewCounters(o Options) *Counters {
	return &Counters{table: newTable[windows](o), now: o.Now}
}

// Take counts one event of key in the windows of all rules, or in none of them
// if any has no room: a request refused here uses up nothing. One that is
// refused later, for another reason, stays counted; and a caller that has
// refused a request already but must count it calls Take all the same.
//
// until is when the token that the key stands for expires, any leeway
// included; its counts are forgotten then. Without rules, or past until, there
// is nothing to count by and the answer is no.
//
// The error is ErrFull, with a Decision that is Full. Take does not block, so
// the context is not looked at; it is there for counters that are shared.
func (c *Counters) Take(_ context.Context, key string, rules []Rule, until time.Time) (Decision, error) {
	now := c.now()
	if len(rules) == 0 || !until.After(now) {
		return Decision{RetryAfter: refused}, nil
	}
	d := c.take(key, rules, now, nanos(until))
	c.table.report(d)
	if d.Full {
		return d, ErrFull
	}
	return d, nil
}

func (c *Counters) take(key string, rules []Rule, now time.Time, until int64) Decision {
	at := now.UnixNano()
	s, key := c.table.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(at, sweepEach)
	e := s.entries[key]
	var fresh windows
	w := &fresh
	if e != nil {
		if e.expires <= at {
			e.value = windows{}
		}
		w = &e.value
	}
	d := w.room(now, rules)
	if !d.OK {
		return d
	}
	ends := min(until, w.add(now, rules))
	if e != nil {
		e.expires = max(e.expires, ends)
		return d
	}
	e, ok := s.insert(key, at, ends)
	if !ok {
		return s.full(at)
	}
	e.value = fresh
	return d
}

// room decides without counting.
func (w *windows) room(now time.Time, rules []Rule) Decision {
	d := Decision{OK: true, Remaining: math.MaxInt}
	for _, r := range rules {
		left, next := 0, refused
		switch {
		case r.Max < 1:
		case r.Span == Minute:
			left, next = w.minute.Room(now, r.Max)
		case r.Span == Hour:
			left, next = w.hour.Room(now, time.Hour, r.Max)
		case r.Span == Day:
			left, next = w.day.Room(now, 24*time.Hour, r.Max)
		}
		if left < 1 {
			d.OK = false
			d.RetryAfter = max(d.RetryAfter, next)
		}
		d.Remaining = min(d.Remaining, left-1)
	}
	d.Remaining = max(0, d.Remaining)
	return d
}

// add counts one event in each window that a rule names, once, and returns the
// Unix time in nanoseconds when none of them counts it any longer.
func (w *windows) add(now time.Time, rules []Rule) (ends int64) {
	var done [Day + 1]bool
	for _, r := range rules {
		if done[r.Span] {
			continue
		}
		done[r.Span] = true
		end := now.UnixNano()
		switch r.Span {
		case Minute:
			w.minute.Add(now)
			end = w.minute.runs[len(w.minute.runs)-1].stamp + int64(slide)
		case Hour:
			w.hour.Add(now, time.Hour)
			end = (w.hour.index + 1) * int64(time.Hour)
		case Day:
			w.day.Add(now, 24*time.Hour)
			end = (w.day.index + 1) * int64(24*time.Hour)
		}
		ends = max(ends, end)
	}
	return ends
}

// nanos is t in Unix nanoseconds, with the far future kept in range.
func nanos(t time.Time) int64 {
	if t.Year() > 2200 {
		return math.MaxInt64
	}
	return t.UnixNano()
}
