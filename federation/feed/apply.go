package feed

import (
	"errors"
	"time"
)

// What can be wrong with a page that is signed as it should be and can be read.
var (
	// errGap: it begins after what is known. What it tells holds, and what is
	// between is asked for again.
	errGap = errors.New("the page leaves something out")
	// errOld: it is older than what is known, as one that is replayed.
	errOld = errors.New("the page is older than one that was seen")
	// errBehind: its newest revocation is older than what is known.
	errBehind = errors.New("the page ends before what is known")
)

// apply takes what a page tells, and says how many of its revocations were
// news. They hold whatever page they stand on: they are the issuer's signed
// word, and to believe one early or twice is safe. How far the feed is known,
// and as of when, moves by pages alone that join what is known and are not old.
func (f *Follower) apply(p *page, sent time.Time) (made progress, fresh int, err error) {
	if fresh, err = f.revoke(p, sent); err != nil {
		return nothing, fresh, err
	}
	from := f.at
	switch {
	case p.since > f.at:
		return nothing, fresh, errGap
	case p.issued.Before(f.newest.Add(-tolerance)):
		return nothing, fresh, errOld
	case p.head < f.at:
		if !p.issued.After(f.newest.Add(tolerance)) {
			return nothing, fresh, errBehind
		}
		// A registry that was restored begins again, and so does the follower. What
		// the registry has forgotten is not.
		if f.at = 0; p.since != 0 {
			return nothing, fresh, errBehind
		}
	case p.more && p.last() <= f.at:
		return nothing, fresh, errGap
	}
	f.at = p.last()
	if p.issued.After(f.newest) {
		f.newest = p.issued
	}
	if p.more {
		return readOn, fresh, nil
	}
	if first := f.learn(p.issued, sent); first || f.at != from {
		made = news
	}
	f.revoked.sweep(second(f.known.Load().Add(-f.opts.Keep)))
	return made, fresh, nil
}

// revoke remembers the revocations of a page, but for those that cannot matter
// any more.
func (f *Follower) revoke(p *page, sent time.Time) (fresh int, err error) {
	oldest := second(earlier(p.issued, sent).Add(-f.opts.Keep))
	for _, e := range p.entries {
		if e.before < oldest {
			continue
		}
		added, full := f.revoked.add(e.handle, e.before)
		if added {
			fresh++
		}
		if full != nil {
			err = full // handles that are known can still be revoked anew
		}
	}
	if fresh > 0 {
		f.generation.Add(1)
	}
	return fresh, err
}

// learn notes that everything was known that there was at the instant, and
// reports whether that was so for the first time. The same word again, which
// may be a replay, makes nothing younger. The age counts from the earlier of
// the two clocks, with our monotonic reading.
func (f *Follower) learn(issued, sent time.Time) (first bool) {
	if !issued.After(f.issued) {
		return false
	}
	f.issued = issued
	known := sent.Add(-max(sent.Round(0).Sub(issued), 0))
	if first = f.known.Swap(&known) == nil; first {
		close(f.loaded)
	}
	return first
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
