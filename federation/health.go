package federation

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/comity-auth/comity/federation/fetch"
	jose "github.com/go-jose/go-jose/v4"
)

// FetchResult is the kind of outcome of a fetch, for metrics. The set is
// closed.
type FetchResult string

// The outcomes of a fetch.
const (
	FetchOK            FetchResult = "ok"            // a key set
	FetchNotModified   FetchResult = "not_modified"  // the key set that is held
	FetchUnreachable   FetchResult = "unreachable"   // no answer, or no trusted connection
	FetchAddress       FetchResult = "address"       // an address that is not allowed
	FetchBreakerOpen   FetchResult = "breaker_open"  // not tried
	FetchStatus        FetchResult = "status"        // an error status or a redirect
	FetchMalformed     FetchResult = "malformed"     // an answer that is no usable document
	FetchMisconfigured FetchResult = "misconfigured" // a contradiction to the registration
)

// Fetched tells an observer of one refresh of a peer's keys.
type Fetched struct {
	// Peer is the peer's registered name.
	Peer   string
	Result FetchResult
	Took   time.Duration
}

// classOf sorts an error into its class. An error without one is malformed.
func classOf(err error) FetchResult {
	for _, c := range []struct {
		is    error
		class FetchResult
	}{
		{ErrMisconfigured, FetchMisconfigured}, {fetch.ErrAddress, FetchAddress}, {fetch.ErrURL, FetchMisconfigured},
		{fetch.ErrBreakerOpen, FetchBreakerOpen}, {fetch.ErrBusy, FetchBreakerOpen}, {fetch.ErrUnreachable, FetchUnreachable},
		{context.Canceled, FetchUnreachable}, {context.DeadlineExceeded, FetchUnreachable},
		{fetch.ErrStatus, FetchStatus}, {fetch.ErrRedirect, FetchStatus},
	} {
		if errors.Is(err, c.is) {
			return c.class
		}
	}
	return FetchMalformed
}

// report tells the observer, and the log when something is worth a line.
func (k *Keys) report(e *entry, r result) {
	result := FetchOK
	switch {
	case r.err != nil:
		result = classOf(r.err)
	case r.same:
		result = FetchNotModified
	}
	k.opts.Observe(Fetched{Peer: e.peer.Name, Result: result, Took: r.took})
	attrs := []slog.Attr{slog.String("event", "peer_fetch"), slog.String("peer", e.peer.Name), slog.String("result", string(result))}
	if r.err != nil {
		if k.ctx.Err() == nil {
			k.opts.Logger.LogAttrs(k.ctx, slog.LevelWarn, "peer keys not fetched", append(attrs, slog.String("error", r.err.Error()))...)
		}
		return
	}
	for _, p := range r.problems {
		level := slog.LevelWarn
		if p.Reason == ReasonSecret {
			level = slog.LevelError
		}
		k.opts.Logger.LogAttrs(k.ctx, level, "peer key refused",
			append(slices.Clone(attrs), slog.Int("index", p.Index), slog.String("reason", p.Reason))...)
	}
	level := slog.LevelDebug
	if r.recovered || r.fresh > 0 || r.gone > 0 {
		level = slog.LevelInfo
	}
	k.opts.Logger.LogAttrs(k.ctx, level, "peer keys fetched", append(attrs, slog.Int("keys", r.held.set.Len()),
		slog.Int("new", r.fresh), slog.Int("gone", r.gone), slog.Bool("recovered", r.recovered))...)
}

// KeyState says what a peer's key set is worth at a moment.
type KeyState string

// The states of a key set.
const (
	StateNone    KeyState = "none"    // never fetched, or not readable
	StateStatic  KeyState = "static"  // part of the registration
	StateFresh   KeyState = "fresh"   // within its soft age
	StateStale   KeyState = "stale"   // used until its hard age
	StateExpired KeyState = "expired" // past its hard age and not used
)

// PeerHealth is what is known of one peer. Zero times mean never.
type PeerHealth struct {
	Name        string
	Issuer      string
	Fingerprint string
	Discovery   Discovery

	State KeyState
	// Document is the URL of the metadata that answered last.
	Document string
	// JWKSURI is where the set that is held came from.
	JWKSURI string
	// LastAttempt and LastFetch are the starts of the last fetch and of the
	// last good one.
	LastAttempt, LastFetch time.Time
	// NextRefresh is when a background fetch is planned.
	NextRefresh time.Time
	// StaleAt and ExpiresAt are the ends of the soft and the hard age.
	StaleAt, ExpiresAt time.Time
	// Failures counts fetches that failed since the last good one.
	Failures int
	// LastResult is the class of the last error, empty when the last fetch was
	// good, and LastError its text, which holds nothing the peer sent.
	LastResult FetchResult
	LastError  string
	// Breaker is the state of the circuit breaker of the key set's host, or of
	// the issuer's as long as there is no set.
	Breaker string

	Keys     []KeyHealth
	Problems []Problem
}

// Up reports whether tokens of the peer can be verified.
func (h PeerHealth) Up() bool {
	return h.State == StateStatic || h.State == StateFresh || h.State == StateStale
}

// KeyHealth is one key that is held.
type KeyHealth struct {
	ID         string // the peer's text, bounded but not escaped
	Thumbprint string
	Algorithm  jose.SignatureAlgorithm
	// Use is [UseX509SVID] for the key of an authority in a SPIFFE bundle, which
	// has neither ID nor FirstSeen, and empty for a key that tokens are signed
	// with.
	Use       string
	FirstSeen time.Time
}

// UseX509SVID is what a SPIFFE bundle calls an authority of X.509-SVIDs.
const UseX509SVID = "x509-svid"

// Health returns what is known of every peer that was asked for, by name.
func (k *Keys) Health() []PeerHealth {
	k.mu.RLock()
	entries := make([]*entry, 0, len(k.entries))
	for _, e := range k.entries {
		entries = append(entries, e)
	}
	k.mu.RUnlock()
	out := make([]PeerHealth, len(entries))
	for i, e := range entries {
		out[i] = k.health(e)
	}
	slices.SortFunc(out, func(a, b PeerHealth) int {
		return strings.Compare(a.Name+"\x00"+a.Fingerprint, b.Name+"\x00"+b.Fingerprint)
	})
	return out
}

// HealthOf returns what is known of p. A peer that was never asked for has
// [StateNone].
func (k *Keys) HealthOf(p Peer) PeerHealth {
	k.mu.RLock()
	e := k.entries[p.Fingerprint]
	k.mu.RUnlock()
	if e == nil {
		e = newEntry(p, k.opts.Now())
	}
	return k.health(e)
}

func (k *Keys) health(e *entry) PeerHealth {
	now := k.opts.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	h := PeerHealth{
		Name: e.peer.Name, Issuer: e.peer.Issuer, Fingerprint: e.peer.Fingerprint, Discovery: e.peer.Discovery,
		State: StateNone, Document: e.document, LastAttempt: e.tried, Failures: e.failures,
		Problems: slices.Clone(e.problems),
	}
	if e.timer != nil {
		h.NextRefresh = e.next
	}
	if e.lastErr != nil {
		h.LastResult, h.LastError = classOf(e.lastErr), e.lastErr.Error()
	}
	at := e.peer.Issuer
	if held := e.current.Load(); held != nil {
		h.State = held.state(now)
		h.JWKSURI, h.LastFetch, h.StaleAt, h.ExpiresAt = held.uri, held.fetched, held.soft, held.hard
		for _, key := range held.set.keys {
			h.Keys = append(h.Keys, KeyHealth{ID: key.ID, Thumbprint: key.Thumbprint, Algorithm: key.Algorithm, FirstSeen: e.seen[key.Thumbprint]})
		}
		for _, thumbprint := range held.set.bundle.Authorities() {
			h.Keys = append(h.Keys, KeyHealth{Use: UseX509SVID, Thumbprint: thumbprint})
		}
		at = held.uri
	} else if e.peer.Discovery == AtURI || e.peer.Discovery == AtBundle {
		at = e.peer.JWKSURI
	}
	if u, err := url.Parse(at); err == nil && e.peer.Discovery != Static {
		h.Breaker = k.fetch.State(u.Host)
	}
	return h
}

func (h *holding) state(now time.Time) KeyState {
	switch {
	case h.hard.IsZero():
		return StateStatic
	case h.fresh(now):
		return StateFresh
	case h.usable(now):
		return StateStale
	}
	return StateExpired
}
