package federation

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/comity-auth/comity/federation/fetch"
	"github.com/comity-auth/comity/federation/spiffe"
)

// ErrCertificate says that a certificate is not of the peer.
var ErrCertificate = errors.New("certificate is not one of the peer's")

// ParseBundle reads the bundle of a SPIFFE trust domain: of its keys those of
// use jwt-svid are in the set, whose bundle verifies X.509-SVIDs. The set may
// turn out empty. A document that is no bundle wraps [ErrUnavailable].
func ParseBundle(doc []byte, domain string) (*KeySet, []Problem, error) {
	b, err := spiffe.Parse(domain, doc)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	set := &KeySet{bundle: b}
	var problems []Problem
	for _, e := range b.JWT() {
		switch k, verdict := parseKey(e.JWK); verdict {
		case keyUsable:
			set.keys = append(set.keys, k)
		case keyNotOurs:
		default:
			problems = append(problems, Problem{Index: e.Index, Reason: string(verdict)})
		}
	}
	for _, p := range b.Problems() {
		problems = append(problems, Problem(p))
	}
	return set, problems, nil
}

// parse reads a document of the peer's: a key set, or its bundle.
func (p Peer) parse(doc []byte) (*KeySet, []Problem, error) {
	if p.TrustDomain != "" {
		return ParseBundle(doc, p.TrustDomain)
	}
	return ParseKeySet(doc)
}

// initialBundle is what proves a bundle endpoint until one was fetched; nil when
// the Web's authorities do.
func initialBundle(p Peer) (*spiffe.Bundle, error) {
	if p.TrustDomain == "" {
		return nil, fmt.Errorf("%w: a bundle without a trust domain", ErrMisconfigured)
	}
	if p.EndpointID == "" {
		return nil, nil
	}
	set, _, err := p.parse(p.JWKS)
	if err != nil || len(set.bundle.Authorities()) == 0 {
		return nil, fmt.Errorf("%w: the registered bundle cannot prove the endpoint", ErrMisconfigured)
	}
	return set.bundle, nil
}

// clientFor is what a peer's key set is fetched with. An endpoint that proves
// itself by an X.509-SVID is held against the last bundle that was fetched from
// it, however old, else against the registered one.
func (k *Keys) clientFor(e *entry, last *holding) (c *fetch.Client, done func()) {
	if e.peer.EndpointID == "" {
		return k.fetch, func() {}
	}
	by := e.initial
	if last != nil {
		by = last.set.bundle
	}
	c = k.fetch.Trusting(func(chain []*x509.Certificate) error {
		svid, err := by.Verify(chain, k.opts.Now())
		if err == nil && svid.ID != e.peer.EndpointID {
			err = fmt.Errorf("%w: another SPIFFE ID than the endpoint's", spiffe.ErrSVID)
		}
		return err
	})
	return c, c.Close
}

// hinted takes the refresh hint of a bundle, within the bounds of Cache-Control.
func (k *Keys) hinted(h *holding, now time.Time) {
	if hint, ok := h.set.bundle.RefreshHint(); ok {
		h.soft = now.Add(min(max(hint, minSoft), maxSoft, k.opts.HardAge))
	}
}

// checkSequence requires that a bundle is not older than the one held before,
// even if that one is too old to be used: a replay must not bring a key back.
func checkSequence(set *KeySet, before *holding) error {
	if before == nil {
		return nil
	}
	if err := set.bundle.Follows(before.set.bundle); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// Bundle returns the bundle of p, a SPIFFE trust domain. It may wait for one
// fetch, as long as ctx allows. Errors wrap [ErrMisconfigured], or
// [ErrUnavailable] as those of Key do.
func (k *Keys) Bundle(ctx context.Context, p Peer) (*spiffe.Bundle, error) {
	e, err := k.entry(p)
	if err != nil {
		return nil, err
	}
	if p.TrustDomain == "" {
		return nil, fmt.Errorf("%w: the peer is no SPIFFE trust domain", ErrMisconfigured)
	}
	now := k.opts.Now()
	e.used.Store(now.UnixNano())
	held := e.current.Load()
	if held.fresh(now) || held.usable(now) && e.planned() {
		return held.set.bundle, nil
	}
	f, err := k.demand(e)
	if err == nil {
		err = f.wait(ctx)
	}
	if held = e.current.Load(); held.usable(k.opts.Now()) {
		return held.set.bundle, nil
	}
	if err == nil {
		err = fmt.Errorf("%w: the bundle is too old", ErrUnavailable)
	}
	return nil, err
}

// VerifySVID proves that a certificate chain, the workload's own first, is an
// X.509-SVID of the peer's trust domain that is valid now. The caller bounds the
// chain. Errors wrap [ErrCertificate], or are those of [Keys.Bundle].
func (v *Verifier) VerifySVID(ctx context.Context, chain []*x509.Certificate, p Peer) (*spiffe.SVID, error) {
	b, err := v.keys.Bundle(ctx, p)
	if err != nil {
		return nil, err
	}
	svid, err := b.Verify(chain, v.now())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return svid, nil
}
