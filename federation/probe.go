package federation

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/comity-auth/comity/federation/fetch"
	jose "github.com/go-jose/go-jose/v4"
)

// ProbeReport is what an issuer looks like from here.
type ProbeReport struct {
	// Issuer is the one that was asked about.
	Issuer string
	// Documents are the metadata documents that were tried, in order.
	Documents []ProbeDocument
	// Metadata is the last one that could be read, and nil without any. It is
	// the peer's text throughout.
	Metadata *Metadata
	// Algorithms are the signature algorithms that the issuer advertises.
	Algorithms []string
	// JWKSURI is where the keys were looked for.
	JWKSURI string
	Keys    []ProbeKey
	// ClockAhead is how far the issuer's clock is ahead of ours, as its Date
	// header tells to the second; negative when it is behind. It counts only
	// when ClockKnown.
	ClockAhead time.Duration
	ClockKnown bool
	// TLS names the version of the connection; empty for http.
	TLS string
	// Problems say why the issuer could not be registered as it is, or what to
	// look at. An empty list means that it could.
	Problems []string
}

// ProbeDocument is one metadata document that was asked for.
type ProbeDocument struct {
	URL string
	// Result is the class of the outcome, and Error its text when it was not
	// good. It holds nothing the peer sent.
	Result FetchResult
	Error  string
}

// ProbeKey is one usable key of the issuer.
type ProbeKey struct {
	ID         string // the peer's text
	Thumbprint string
	Algorithm  jose.SignatureAlgorithm // empty when the key does not say
	Use        string                  // as in [KeyHealth]
}

// clockTolerance is the clock difference from which tokens get refused.
const clockTolerance = 10 * time.Second

// Probe asks an issuer that an administrator named for its metadata and its
// keys, and reports what it found. Nothing is kept and nothing is registered;
// p.Name and p.Fingerprint are not used, and p.Discovery defaults to [Auto]. A
// bundle endpoint is asked as [AtBundle] without a p.EndpointID.
// The error is not nil only when the report could not be made: the ctx ended,
// or the Peer says nothing that could be asked.
func (k *Keys) Probe(ctx context.Context, p Peer) (*ProbeReport, error) {
	if p.Discovery == "" {
		p.Discovery = Auto
	}
	r := &ProbeReport{Issuer: p.Issuer, JWKSURI: p.JWKSURI}
	switch p.Discovery {
	case Auto:
		r.metadata(ctx, k, p)
	case AtURI, AtBundle:
	default:
		return nil, fmt.Errorf("%w: nothing to ask", ErrMisconfigured)
	}
	if r.JWKSURI != "" {
		r.keys(ctx, k, p)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	if r.ClockKnown && r.ClockAhead.Abs() > clockTolerance {
		r.problem("the clocks differ by " + r.ClockAhead.String())
	}
	return r, nil
}

func (r *ProbeReport) metadata(ctx context.Context, k *Keys, p Peer) {
	tried, err := discover(ctx, k.fetch, p)
	for _, f := range tried {
		d := ProbeDocument{URL: f.url, Result: FetchOK}
		if f.err != nil {
			d.Result, d.Error = classOf(f.err), safeText(f.err)
		}
		r.Documents = append(r.Documents, d)
		r.connection(k, f.response)
		if f.metadata != nil {
			r.Metadata = f.metadata
		}
	}
	if r.Metadata != nil {
		r.Algorithms = r.Metadata.Advertised.IDTokenSigningAlgValuesSupported
	}
	if err != nil {
		r.problem(safeText(err))
		return
	}
	r.JWKSURI = r.Metadata.JWKSURI
}

func (r *ProbeReport) keys(ctx context.Context, k *Keys, p Peer) {
	resp, err := getJSON(ctx, k.fetch, fetch.Request{URL: r.JWKSURI, MaxBytes: maxDocument})
	if err != nil {
		r.problem("key set: " + safeText(err))
		return
	}
	r.connection(k, resp)
	set, problems, err := p.parse(resp.Body)
	if err != nil {
		r.problem(safeText(err))
		return
	}
	for _, key := range set.keys {
		r.Keys = append(r.Keys, ProbeKey{ID: key.ID, Thumbprint: key.Thumbprint, Algorithm: key.Algorithm})
	}
	for _, thumbprint := range set.bundle.Authorities() {
		r.Keys = append(r.Keys, ProbeKey{Thumbprint: thumbprint, Use: UseX509SVID})
	}
	for _, p := range problems {
		r.problem(fmt.Sprintf("key %d of the set: %s", p.Index, p.Reason))
	}
	if len(r.Keys) == 0 {
		r.problem("the key set holds no usable key")
	}
}

func (r *ProbeReport) connection(k *Keys, resp *fetch.Response) {
	if resp == nil {
		return
	}
	if resp.TLSVersion != 0 {
		r.TLS = tls.VersionName(resp.TLSVersion)
	}
	if !resp.Date.IsZero() {
		r.ClockAhead, r.ClockKnown = resp.Date.Sub(k.opts.Now()).Truncate(time.Second), true
	}
}

func (r *ProbeReport) problem(text string) { r.Problems = append(r.Problems, text) }

// safeText says of an address that is not allowed just that, so that a probe
// does not map a network.
func safeText(err error) string {
	if errors.Is(err, fetch.ErrAddress) {
		return fetch.ErrAddress.Error()
	}
	return err.Error()
}
