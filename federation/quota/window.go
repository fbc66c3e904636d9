package quota

import (
	"slices"
	"time"
)

// FixedWindow counts events in windows that are aligned with the clock in UTC:
// hours from minute 0, days from 00:00:00Z. The zero FixedWindow has counted
// nothing. It is not safe for concurrent use.
type FixedWindow struct {
	index int64 // windows since the Unix epoch
	used  int
}

// Room reports how many events of at most limit the window that holds now still
// takes, and how long until the next window. A clock that is set back stays in
// the window it had reached, so it cannot make room.
func (w *FixedWindow) Room(now time.Time, length time.Duration, limit int) (left int, next time.Duration) {
	w.turn(now, length)
	return max(0, limit-w.used), time.Duration((w.index+1)*int64(length) - now.UnixNano())
}

// Add counts one event at now.
func (w *FixedWindow) Add(now time.Time, length time.Duration) {
	w.turn(now, length)
	w.used++
}

func (w *FixedWindow) turn(now time.Time, length time.Duration) {
	index := floorDiv(now.UnixNano(), int64(length))
	if w.used == 0 || index > w.index {
		*w = FixedWindow{index: index}
	}
}

// floorDiv rounds down also before 1970.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

const (
	slide = time.Minute
	// maxRuns bounds what a Sliding remembers. Up to this many events a minute
	// each has its own stamp; of more, those within one step of the clock share
	// the latest stamp among them and so count up to one step too long. A step is
	// a whole number of microseconds, the unit of package valkey's clock.
	maxRuns   = 1000
	slideStep = int64(slide) / maxRuns
)

// Sliding counts the events of the 60 s before now; one exactly 60 s old no
// longer counts. The zero Sliding has counted nothing. It is not safe for
// concurrent use.
type Sliding struct {
	runs []run // oldest first
	used int
}

// run is n events that leave together.
type run struct {
	stamp int64 // Unix time in nanoseconds
	n     int
}

// Room reports how many events of at most limit may happen at now and, if that
// is none, how long until one may.
func (s *Sliding) Room(now time.Time, limit int) (left int, next time.Duration) {
	at := now.UnixNano()
	s.expire(at)
	if s.used < limit {
		return limit - s.used, 0
	}
	excess := s.used - max(1, limit) + 1
	for _, r := range s.runs {
		if excess -= r.n; excess <= 0 {
			return 0, time.Duration(r.stamp + int64(slide) - at)
		}
	}
	return 0, slide
}

// Add counts one event at now. A clock that is set back stamps it with the
// latest time seen.
func (s *Sliding) Add(now time.Time) {
	at := now.UnixNano()
	s.expire(at)
	s.used++
	if len(s.runs) == 0 {
		s.runs = append(s.runs, run{at, 1})
		return
	}
	last := &s.runs[len(s.runs)-1]
	at = max(at, last.stamp)
	if at == last.stamp || len(s.runs) >= maxRuns && at/slideStep == last.stamp/slideStep {
		last.stamp, last.n = at, last.n+1
		return
	}
	s.runs = append(s.runs, run{at, 1})
}

// expire forgets what is 60 s old or older.
func (s *Sliding) expire(at int64) {
	gone := 0
	for gone < len(s.runs) && s.runs[gone].stamp <= at-int64(slide) {
		s.used -= s.runs[gone].n
		gone++
	}
	if gone > 0 {
		s.runs = slices.Delete(s.runs, 0, gone)
	}
}
