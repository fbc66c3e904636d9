package federation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/comity-auth/comity/federation/fetch"
)

const (
	// refreshesPerSecond bounds background fetches over all peers (DS-38).
	refreshesPerSecond = 50
	// flightLimit bounds one refresh: two metadata documents and a key set.
	flightLimit = 20 * time.Second
	// contradictionPause is the least time between two fetches that requests
	// cause from a peer that answers, but wrongly. Somebody has to mend that.
	contradictionPause = 5 * time.Second
	// breakerPause is the same for an attempt that the circuit breaker refused,
	// which cost nothing.
	breakerPause = 100 * time.Millisecond
	// backoffMin and backoffMax bound the waits between background fetches from
	// a peer that fails. They double from one to the next.
	backoffMin = time.Second
	backoffMax = 5 * time.Minute
)

// thoroughness says what a fetch may take from the last one.
type thoroughness int

const (
	routine  thoroughness = iota // metadata while it lasts, and the key set's ETag
	curious                      // fresh metadata if it is to be had, and the ETag
	thorough                     // nothing
)

// flight is one fetch that any number of requests wait for.
type flight struct {
	done chan struct{}
	err  error // set before done is closed
}

// wait returns the outcome, or that ctx ended first. The fetch goes on then.
// With no flight there is nothing to wait for.
func (f *flight) wait(ctx context.Context) error {
	if f == nil {
		return nil
	}
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// demand returns the flight to wait for when the caller saw no fresh set: the
// one under way, none if one has landed since, or a new one unless the last
// failed just now.
func (k *Keys) demand(e *entry) (*flight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := k.opts.Now()
	switch {
	case e.flight != nil:
		return e.flight, nil
	case e.current.Load().fresh(now):
		return nil, nil
	case now.Before(e.retry):
		return nil, e.lastErr
	}
	f, _ := k.beginLocked(e, routine)
	return f, nil
}

// demandUnknown is demand for a key id that the set seen does not hold. Without
// a flight and an error the question has been asked recently enough, or another
// set has come since.
func (k *Keys) demandUnknown(e *entry, seen *holding) (*flight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := k.opts.Now()
	switch {
	case e.flight != nil:
		return e.flight, nil
	case e.current.Load() != seen:
		return nil, nil
	case e.lastErr != nil && now.Before(e.retry):
		return nil, e.lastErr
	case e.lastErr == nil && !e.asked.IsZero() && now.Sub(e.asked) < k.opts.Cooldown:
		return nil, nil
	}
	e.asked = now
	f, _ := k.beginLocked(e, curious)
	return f, nil
}

// begin starts a fetch unless one is under way, and says whether it did.
func (k *Keys) begin(e *entry, t thoroughness) (f *flight, mine bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return k.beginLocked(e, t)
}

func (k *Keys) beginLocked(e *entry, t thoroughness) (f *flight, mine bool) {
	if e.flight != nil {
		return e.flight, false
	}
	f = &flight{done: make(chan struct{})}
	if !k.enter() {
		f.err = fmt.Errorf("%w: closed", ErrUnavailable)
		close(f.done)
		return f, true
	}
	e.stop()
	e.flight = f
	e.tried = k.opts.Now()
	go func() {
		defer k.wg.Done()
		k.fly(e, f, t)
	}()
	return f, true
}

// enter counts a goroutine in unless Close has begun to wait.
func (k *Keys) enter() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if !k.closed {
		k.wg.Add(1)
	}
	return !k.closed
}

func (k *Keys) fly(e *entry, f *flight, t thoroughness) {
	ctx, cancel := context.WithTimeout(k.ctx, flightLimit)
	defer cancel()
	r := k.load(ctx, e, t)
	e.mu.Lock()
	k.settle(e, &r)
	e.flight = nil
	f.err = r.err
	close(f.done)
	e.mu.Unlock()
	k.report(e, r)
}

// result is the outcome of one refresh.
type result struct {
	began    time.Time
	took     time.Duration
	meta     *Metadata
	document string
	metaEnds time.Time
	held     *holding
	problems []Problem
	same     bool // the peer said 304
	err      error

	recovered bool // the fetch before failed
	fresh     int  // keys that were not known before
	gone      int  // keys that were, and are not any more
}

// load runs one refresh. It holds no lock.
func (k *Keys) load(ctx context.Context, e *entry, t thoroughness) result {
	r := result{began: k.opts.Now()}
	uri := e.peer.JWKSURI
	if e.peer.Discovery == Auto {
		if r.err = k.locate(ctx, e, t, &r); r.err == nil {
			uri = r.meta.JWKSURI
		}
	}
	if r.err == nil {
		r.err = k.loadSet(ctx, e, fetch.Request{URL: uri, MaxBytes: maxDocument,
			Accept: "application/jwk-set+json, application/json"}, t, &r)
	}
	r.took = k.opts.Now().Sub(r.began)
	return r
}

// locate finds the peer's metadata, remembered or fetched.
func (k *Keys) locate(ctx context.Context, e *entry, t thoroughness, r *result) error {
	e.mu.Lock()
	r.meta, r.document, r.metaEnds = e.meta, e.document, e.metaEnds
	e.mu.Unlock()
	remembered := r.meta != nil && k.opts.Now().Before(r.metaEnds)
	if remembered && t == routine {
		return nil
	}
	tried, err := discover(ctx, k.fetch, e.peer)
	if err != nil {
		if remembered && t == curious && errors.Is(err, ErrUnavailable) {
			return nil
		}
		return err
	}
	last := tried[len(tried)-1]
	r.meta, r.document = last.metadata, last.url
	r.metaEnds = k.opts.Now().Add(k.soft(last.response, k.opts.HardAge))
	return nil
}

// loadSet fetches the key set. Only a set with at least one usable key counts,
// but for a bundle, which revokes all that it does not hold.
func (k *Keys) loadSet(ctx context.Context, e *entry, q fetch.Request, t thoroughness, r *result) error {
	before := e.current.Load()
	if before != nil && before.uri == q.URL && t != thorough {
		q.ETag = before.etag
	}
	client, done := k.clientFor(e, before)
	defer done()
	resp, err := getJSON(ctx, client, q)
	if err != nil {
		return err
	}
	now := k.opts.Now()
	r.held = &holding{uri: q.URL, etag: resp.ETag, fetched: r.began,
		soft: now.Add(k.soft(resp, k.opts.SoftAge)), hard: r.began.Add(k.opts.HardAge)}
	if resp.NotModified {
		r.same = true
		r.held.set, r.held.etag = before.set, before.etag
		k.hinted(r.held, now)
		return nil
	}
	r.held.set, r.problems, err = e.peer.parse(resp.Body)
	switch {
	case err != nil:
		return err
	case e.peer.TrustDomain != "":
		k.hinted(r.held, now)
		return checkSequence(r.held.set, before)
	case r.held.set.Len() == 0:
		return fmt.Errorf("%w: key set: no usable key", ErrUnavailable)
	}
	return nil
}

// soft is how long an answer is good for (DS-31).
func (k *Keys) soft(resp *fetch.Response, unsaid time.Duration) time.Duration {
	if !resp.Explicit {
		return unsaid
	}
	return min(max(resp.Fresh, minSoft), maxSoft, k.opts.HardAge)
}

// settle takes a result in and plans the next fetch. e.mu is held.
func (k *Keys) settle(e *entry, r *result) {
	now := k.opts.Now()
	if r.err == nil {
		r.recovered = e.lastErr != nil
		e.meta, e.document, e.metaEnds = r.meta, r.document, r.metaEnds
		e.failures, e.lastErr, e.retry = 0, nil, time.Time{}
		if !r.same {
			e.problems = r.problems
		}
		r.fresh, r.gone = e.hold(r.held, now)
		// Ahead of the soft age and at a random moment, so that peers which
		// were fetched together do not stay together.
		life := r.held.soft.Sub(now)
		k.plan(e, now.Add(life*3/4+jitter(life/5)))
		return
	}
	e.lastErr, e.metaEnds = r.err, time.Time{} // a moved key set is found by new metadata
	switch {
	case errors.Is(r.err, fetch.ErrBreakerOpen), errors.Is(r.err, fetch.ErrBusy):
		e.retry = now.Add(breakerPause)
	case errors.Is(r.err, fetch.ErrUnreachable), errors.Is(r.err, fetch.ErrStatus):
		e.retry = now.Add(k.opts.RetryPause)
		e.failures++
	default:
		e.retry = now.Add(max(contradictionPause, k.opts.RetryPause))
		e.failures++
	}
	wait := min(backoffMin<<min(max(e.failures-1, 0), 10), backoffMax)
	k.plan(e, now.Add(wait/2+jitter(wait/2)))
}

func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}

// plan arms the timer for a background fetch. e.mu is held.
func (k *Keys) plan(e *entry, at time.Time) {
	e.stop()
	if e.dropped || k.ctx.Err() != nil {
		return
	}
	e.next = at
	e.timer = time.AfterFunc(at.Sub(k.opts.Now()), func() { k.due(e) })
}

// due takes the next place in the queue of all background fetches, or lets a
// peer rest that nobody asked for within the hard age.
func (k *Keys) due(e *entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dropped || e.timer == nil || e.flight != nil {
		return
	}
	now := k.opts.Now()
	if now.Sub(time.Unix(0, e.used.Load())) > k.opts.HardAge {
		e.timer = nil
		return
	}
	documents := 1
	if e.peer.Discovery == Auto && !now.Before(e.metaEnds) {
		documents = 3
	}
	wait := k.pace.reserve(now, documents)
	e.stop()
	e.next = now.Add(wait)
	e.timer = time.AfterFunc(wait, func() { k.turn(e) })
}

// turn runs a background fetch whose place in the queue has come.
func (k *Keys) turn(e *entry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.dropped && e.timer != nil {
		k.beginLocked(e, routine)
	}
}

// pace hands out moments that are apart by what the rate allows.
type pace struct {
	mu   sync.Mutex
	next time.Time // guarded by mu
}

// reserve returns how long to wait before n requests may be sent.
func (p *pace) reserve(now time.Time, n int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.next
	if at.Before(now) {
		at = now
	}
	p.next = at.Add(time.Duration(n) * time.Second / refreshesPerSecond)
	return at.Sub(now)
}
