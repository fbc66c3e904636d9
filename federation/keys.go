package federation

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/comity-auth/comity/federation/fetch"
	"github.com/comity-auth/comity/federation/spiffe"
	jose "github.com/go-jose/go-jose/v4"
)

// The bounds that a peer's Cache-Control is clamped to.
const (
	minSoft = time.Minute
	maxSoft = time.Hour
)

// KeysOptions configure [Keys]. The zero options are the documented defaults.
type KeysOptions struct {
	// Now is the clock that ages are measured with. Nil means time.Now.
	Now func() time.Time
	// SoftAge is how long a key set is used before it is fetched again when its
	// peer does not say. What the peer says is clamped to 1 min to 1 h.
	// Default 5 min.
	SoftAge time.Duration
	// HardAge is how long a key set is used when it cannot be fetched again.
	// Default 1 h. No key set outlives it.
	HardAge time.Duration
	// Cooldown is the least time between two fetches that unknown key ids
	// cause, per peer. Default 30 s.
	Cooldown time.Duration
	// RetryPause is the least time between two fetches that requests cause from
	// a peer that does not answer. Default 750 ms, so that a peer that is back
	// is noticed within a second (DS-39).
	RetryPause time.Duration
	// Logger is told of failures, recoveries and changed keys. Nil discards.
	Logger *slog.Logger
	// Observe is called after each fetch. It must not block. Nil is allowed.
	Observe func(Fetched)
}

func (o *KeysOptions) setDefaults() {
	for _, d := range []struct {
		v       *time.Duration
		instead time.Duration
	}{
		{&o.SoftAge, 5 * time.Minute}, {&o.HardAge, time.Hour},
		{&o.Cooldown, 30 * time.Second}, {&o.RetryPause, 750 * time.Millisecond},
	} {
		if *d.v <= 0 {
			*d.v = d.instead
		}
	}
	o.SoftAge = min(o.SoftAge, o.HardAge)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(Fetched) {}
	}
}

// Keys finds and keeps the key sets of peers, by their fingerprints. It is
// safe for concurrent use.
//
// A set is fetched when first needed, once for all requests that wait for it,
// and independently of their cancellation. Sets in use are fetched again in the
// background before their soft age is over, spread out and at most 50 a second
// in all; peers that nobody asks for are left alone. The last good set stays in
// use, whatever the peer answers, until its hard age; then there are no keys.
// An unknown key id causes one fetch per cooldown; while the cooldown runs it
// is refused with [ErrUnknownKey], so a key that is published during it may be
// refused for that long. Nothing else in a token causes a fetch.
type Keys struct {
	fetch *fetch.Client
	opts  KeysOptions
	pace  pace

	ctx    context.Context // ends with Close; it belongs to fetches, not requests
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.RWMutex
	entries map[string]*entry // guarded by mu
	closed  bool              // guarded by mu
}

// entry is what is known of one peer.
type entry struct {
	peer    Peer
	broken  error                   // of a static set that cannot be used
	initial *spiffe.Bundle          // that proves a bundle endpoint before the first fetch
	current atomic.Pointer[holding] // the last good set, nil before the first
	used    atomic.Int64            // when it was last asked for, Unix ns

	mu       sync.Mutex  // guards all below
	flight   *flight     // under way, or nil
	timer    *time.Timer // the next background fetch; nil when none is planned
	next     time.Time   // when the timer fires
	dropped  bool
	meta     *Metadata // of the last discovery
	document string    // the URL that meta came from
	metaEnds time.Time
	tried    time.Time // start of the last fetch
	retry    time.Time // requests cause no fetch before, after a failure
	asked    time.Time // the last fetch that an unknown key id caused
	failures int       // in a row
	lastErr  error     // of the last fetch, nil when it was good
	seen     map[string]time.Time
	problems []Problem
}

// holding is one key set with its times. It is immutable.
type holding struct {
	set        *KeySet
	uri        string
	etag       string
	fetched    time.Time
	soft, hard time.Time // zero for a static set
}

func (h *holding) usable(now time.Time) bool {
	return h != nil && (h.hard.IsZero() || now.Before(h.hard))
}

func (h *holding) fresh(now time.Time) bool {
	return h.usable(now) && (h.soft.IsZero() || now.Before(h.soft))
}

// NewKeys returns a manager that fetches through f. Close must be called.
func NewKeys(f *fetch.Client, o KeysOptions) *Keys {
	o.setDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	return &Keys{fetch: f, opts: o, ctx: ctx, cancel: cancel, entries: make(map[string]*entry)}
}

// Close stops all fetching and waits for what is under way. Keys that are held
// can still be found.
func (k *Keys) Close() {
	k.mu.Lock()
	k.closed = true
	entries := k.entries
	k.mu.Unlock()
	k.cancel()
	for _, e := range entries {
		e.mu.Lock()
		e.stop()
		e.mu.Unlock()
	}
	k.wg.Wait()
}

// Key returns the key of p that must verify a token with this kid and alg. It
// may wait for one fetch, as long as ctx allows. Errors wrap [ErrUnknownKey]
// or [ErrAlgorithm] as [KeySet.Find] says, [ErrMisconfigured], or
// [ErrUnavailable] when the peer could not be asked; the latter also wraps
// ctx.Err() when that is why.
func (k *Keys) Key(ctx context.Context, p Peer, kid string, alg jose.SignatureAlgorithm) (Key, error) {
	e, err := k.entry(p)
	if err != nil {
		return Key{}, err
	}
	now := k.opts.Now()
	e.used.Store(now.UnixNano())
	held := e.current.Load()
	if !held.usable(now) {
		return k.first(ctx, e, kid, alg)
	}
	key, err := held.set.Find(kid, alg)
	switch {
	case err == nil && !held.fresh(now):
		return k.stale(ctx, e, held, kid, alg)
	case err == nil || kid == "" || p.Discovery == Static || !errors.Is(err, ErrUnknownKey):
		return key, err
	}
	return k.unknown(ctx, e, held, kid, alg)
}

// first finds a key when there is no usable set yet, or none any more.
func (k *Keys) first(ctx context.Context, e *entry, kid string, alg jose.SignatureAlgorithm) (Key, error) {
	f, err := k.demand(e)
	if err == nil {
		err = f.wait(ctx)
	}
	if err != nil {
		return Key{}, err
	}
	return k.again(e, kid, alg)
}

// stale answers past the soft age. A peer whose refresh is planned is served
// what there is. One that was idle has no refresh planned, and its set may have
// been wrong for long: it is asked first, and served the old set only if it
// does not answer.
func (k *Keys) stale(ctx context.Context, e *entry, held *holding, kid string, alg jose.SignatureAlgorithm) (Key, error) {
	if e.planned() {
		return held.set.Find(kid, alg)
	}
	if f, err := k.demand(e); err == nil {
		_ = f.wait(ctx) // whatever came of it, the best set there is decides
	}
	return k.again(e, kid, alg)
}

// planned reports whether a fetch is under way or will be.
func (e *entry) planned() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.timer != nil || e.flight != nil
}

// unknown answers for a key id that is not in the set: it may be new. It is
// asked for once per cooldown, counted from the last fetch that served the
// same purpose; a peer that cannot be asked leaves the question open.
func (k *Keys) unknown(ctx context.Context, e *entry, held *holding, kid string, alg jose.SignatureAlgorithm) (Key, error) {
	f, err := k.demandUnknown(e, held)
	if err == nil {
		err = f.wait(ctx)
	}
	if err != nil {
		return Key{}, err
	}
	return k.again(e, kid, alg)
}

// again looks into the set that is current now. What is unknown to a set that
// a request has just waited for counts as asked for.
func (k *Keys) again(e *entry, kid string, alg jose.SignatureAlgorithm) (Key, error) {
	held := e.current.Load()
	if !held.usable(k.opts.Now()) {
		return Key{}, fmt.Errorf("%w: the key set is too old", ErrUnavailable)
	}
	key, err := held.set.Find(kid, alg)
	if errors.Is(err, ErrUnknownKey) {
		e.mu.Lock()
		if held.fetched.After(e.asked) {
			e.asked = held.fetched
		}
		e.mu.Unlock()
	}
	return key, err
}

// entry returns the entry for a peer and makes it on first use.
func (k *Keys) entry(p Peer) (*entry, error) {
	k.mu.RLock()
	e := k.entries[p.Fingerprint]
	k.mu.RUnlock()
	if e == nil {
		if p.Fingerprint == "" || p.Issuer == "" {
			return nil, fmt.Errorf("%w: the peer has no issuer or no fingerprint", ErrMisconfigured)
		}
		e = k.add(newEntry(p, k.opts.Now()))
	}
	return e, e.broken
}

func (k *Keys) add(e *entry) *entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	if other := k.entries[e.peer.Fingerprint]; other != nil {
		return other
	}
	if !k.closed {
		k.entries[e.peer.Fingerprint] = e
	}
	return e
}

func newEntry(p Peer, now time.Time) *entry {
	e := &entry{peer: p, seen: make(map[string]time.Time)}
	switch p.Discovery {
	case Auto, AtURI:
	case AtBundle:
		e.initial, e.broken = initialBundle(p)
	case Static:
		set, problems, err := p.parse(p.JWKS)
		switch {
		case err != nil:
			e.broken = fmt.Errorf("%w: the registered key set cannot be read", ErrMisconfigured)
		case set.Len() == 0 && len(set.bundle.Authorities()) == 0:
			e.broken = fmt.Errorf("%w: the registered key set holds no usable key", ErrMisconfigured)
		default:
			e.hold(&holding{set: set, fetched: now}, now)
		}
		e.problems = problems
	default:
		e.broken = fmt.Errorf("%w: no such way of discovery", ErrMisconfigured)
	}
	e.lastErr = e.broken
	return e
}

// hold makes h current and remembers since when each key is known. It returns
// how many keys are new and how many are gone. e.mu is held, or e is not shared
// yet.
func (e *entry) hold(h *holding, now time.Time) (fresh, gone int) {
	seen := make(map[string]time.Time, h.set.Len())
	for _, key := range h.set.keys {
		since, known := e.seen[key.Thumbprint]
		if !known {
			since = now
			fresh++
		}
		seen[key.Thumbprint] = since
	}
	for thumbprint := range e.seen {
		if _, kept := seen[thumbprint]; !kept {
			gone++
		}
	}
	e.seen = seen
	e.current.Store(h)
	return fresh, gone
}

// Refresh fetches the key set of p now, metadata included, and waits for it. It
// does not join a fetch that began before the call, whose answer may be older
// than what the caller knows to be published.
func (k *Keys) Refresh(ctx context.Context, p Peer) error {
	e, err := k.entry(p)
	if err != nil || p.Discovery == Static {
		return err
	}
	e.used.Store(k.opts.Now().UnixNano())
	for {
		f, mine := k.begin(e, thorough)
		if err := f.wait(ctx); mine || ctx.Err() != nil {
			return err
		}
	}
}

// Prefetch fetches the key sets of peers that have none yet in the background,
// spread out like all refreshes. It does not wait.
func (k *Keys) Prefetch(peers []Peer) {
	for _, p := range peers {
		e, err := k.entry(p)
		if err != nil || p.Discovery == Static || e.current.Load() != nil {
			continue
		}
		e.used.Store(k.opts.Now().UnixNano())
		e.mu.Lock()
		if e.timer == nil && e.flight == nil {
			k.plan(e, k.opts.Now())
		}
		e.mu.Unlock()
	}
}

// Retain drops every peer whose fingerprint is not among these.
func (k *Keys) Retain(fingerprints iter.Seq[string]) {
	keep := make(map[string]bool)
	for f := range fingerprints {
		keep[f] = true
	}
	k.mu.Lock()
	var gone []*entry
	for f, e := range k.entries {
		if !keep[f] {
			gone = append(gone, e)
			delete(k.entries, f)
		}
	}
	k.mu.Unlock()
	for _, e := range gone {
		e.mu.Lock()
		e.dropped = true
		e.stop()
		e.mu.Unlock()
	}
}

// stop cancels the planned fetch. e.mu is held.
func (e *entry) stop() {
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
}
