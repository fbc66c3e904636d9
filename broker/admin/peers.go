package admin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/ident"
	"github.com/comity-auth/comity/trust/strictyaml"
)

// PeerHealth is what this replica knows of a peer's keys. Times that never were
// are left out.
type PeerHealth struct {
	Name   string       `json:"name"`
	Issuer string       `json:"issuer"`
	Status trust.Status `json:"status"`
	// Up is whether tokens of the peer can be verified now.
	Up          bool      `json:"up"`
	Keys        string    `json:"key_state" doc:"none, static, fresh, stale or expired"`
	JWKSURI     string    `json:"jwks_uri,omitempty"`
	LastAttempt time.Time `json:"last_attempt,omitzero"`
	LastFetch   time.Time `json:"last_fetch,omitzero"`
	NextRefresh time.Time `json:"next_refresh,omitzero"`
	ExpiresAt   time.Time `json:"keys_expire,omitzero"`
	Failures    int       `json:"failures"`
	LastResult  string    `json:"last_result,omitempty"`
	LastError   string    `json:"last_error,omitempty"`
	Breaker     string    `json:"breaker,omitempty"`
	KeySet      []PeerKey `json:"keys"`
	Problems    []string  `json:"problems,omitempty"`
}

// PeerKey is a key of a peer. The id is the peer's text: show it as text.
type PeerKey struct {
	ID         string    `json:"kid"`
	Thumbprint string    `json:"thumbprint"`
	Algorithm  string    `json:"alg,omitempty"`
	Use        string    `json:"use,omitempty" doc:"x509-svid for an authority of a SPIFFE trust domain"`
	FirstSeen  time.Time `json:"first_seen,omitzero"`
}

// peersHealth is the health of all peers.
type peersHealth struct {
	Revision trust.Revision `json:"revision"`
	Peers    []PeerHealth   `json:"peers"`
}

func (h *handler) healthOf(p *trust.Peer) PeerHealth {
	seen := h.opts.Keys.HealthOf(h.opts.Peer(p))
	out := PeerHealth{Name: p.Name, Issuer: p.Issuer.String(), Status: p.Status, Up: seen.Up(), Keys: string(seen.State),
		JWKSURI: seen.JWKSURI, LastAttempt: seen.LastAttempt, LastFetch: seen.LastFetch, NextRefresh: seen.NextRefresh,
		ExpiresAt: seen.ExpiresAt, Failures: seen.Failures, LastResult: string(seen.LastResult), LastError: seen.LastError,
		Breaker: seen.Breaker, KeySet: []PeerKey{}}
	for _, k := range seen.Keys {
		out.KeySet = append(out.KeySet, PeerKey{k.ID, k.Thumbprint, string(k.Algorithm), k.Use, k.FirstSeen})
	}
	for _, problem := range seen.Problems {
		out.Problems = append(out.Problems, problem.Reason)
	}
	return out
}

func (h *handler) getPeersHealth(*call) (*reply, error) {
	s, err := h.opts.Live.Snapshot()
	if err != nil {
		return nil, err
	}
	out := peersHealth{Revision: s.Revision(), Peers: []PeerHealth{}}
	for p := range s.Peers {
		out.Peers = append(out.Peers, h.healthOf(p))
	}
	slices.SortFunc(out.Peers, func(a, b PeerHealth) int { return strings.Compare(a.Name, b.Name) })
	return &reply{body: out}, nil
}

// refreshPeer has every replica fetch the peer's keys, by putting the peer into
// the registry as it is, and waits for what comes of it on this one.
func (h *handler) refreshPeer(c *call) (*reply, error) {
	s, err := h.opts.Live.Snapshot()
	if err != nil {
		return nil, err
	}
	p := s.Peer(c.PathValue("name"))
	if p == nil {
		return nil, newProblem("not_found", "no peer of that name is registered")
	}
	if err := h.touch(c.Context(), trust.Key{Kind: trust.KindPeer, Name: p.Name}); err != nil {
		return nil, err
	}
	err = h.opts.Keys.Refresh(c.Context(), h.opts.Peer(p))
	out := h.healthOf(p)
	if err != nil && c.Context().Err() == nil {
		return nil, newProblem("peer_unreachable", "%s: %s", out.LastResult, out.LastError)
	}
	return &reply{body: out}, err
}

// probeRequest names the issuer to ask, or a trust domain and where its bundle is.
type probeRequest struct {
	Issuer         string `json:"issuer,omitempty"`
	TrustDomain    string `json:"trust_domain,omitempty" doc:"A SPIFFE trust domain, instead of an issuer"`
	BundleEndpoint string `json:"bundle_endpoint,omitempty" doc:"With trust_domain, the URL of its bundle endpoint, profile https_web"`
}

// peer is what to ask, and what is wrong with the request.
func (r probeRequest) peer(problem func(path, message string)) federation.Peer {
	p := federation.Peer{Name: "probe", Issuer: r.Issuer, Discovery: federation.Auto}
	if r.TrustDomain == "" && r.BundleEndpoint == "" {
		if _, err := ident.ParseIssuer(r.Issuer); err != nil {
			problem("issuer", err.Error())
		}
		return p
	}
	domain, err := ident.ParseDomain(r.TrustDomain)
	if err != nil {
		problem("trust_domain", err.Error())
	}
	if _, err := ident.ParseIssuer(r.BundleEndpoint); err != nil {
		problem("bundle_endpoint", "want an https URI")
	}
	if r.Issuer != "" {
		problem("issuer", "is not for a trust domain")
	}
	p.Issuer, p.TrustDomain, p.Discovery, p.JWKSURI = ident.IssuerOf(domain).String(), domain.String(), federation.AtBundle, r.BundleEndpoint
	return p
}

// Probe is what an issuer looks like from here. What the issuer wrote is text
// and nothing else.
type Probe struct {
	Issuer     string          `json:"issuer"`
	Documents  []ProbeDocument `json:"documents"`
	JWKSURI    string          `json:"jwks_uri,omitempty"`
	Algorithms []string        `json:"algorithms,omitempty" doc:"As the issuer advertises them"`
	Keys       []PeerKey       `json:"keys"`
	// ClockAheadSeconds is how far the issuer's clock is ahead of ours.
	ClockAheadSeconds *float64 `json:"clock_ahead_seconds,omitempty"`
	TLS               string   `json:"tls,omitempty"`
	// Problems are why it could not be registered as it is; empty: it could.
	Problems []string `json:"problems"`
}

// ProbeDocument is a metadata document that was asked for.
type ProbeDocument struct {
	URL    string `json:"url"`
	Result string `json:"result"`
	Error  string `json:"error,omitempty"`
}

func (h *handler) probe(c *call) (*reply, error) {
	var in probeRequest
	lines, problems := strictyaml.Decode(c.body, &in)
	p := in.peer(func(path, message string) {
		problems = append(problems, strictyaml.Problem{Line: lines.At(path), Path: path, Message: message})
	})
	if len(problems) > 0 {
		return nil, invalid(problems)
	}
	r, err := h.opts.Keys.Probe(c.Context(), p)
	if err != nil {
		return nil, err
	}
	return &reply{body: probed(r)}, nil
}

func probed(r *federation.ProbeReport) Probe {
	out := Probe{Issuer: r.Issuer, Documents: []ProbeDocument{}, JWKSURI: r.JWKSURI, Algorithms: r.Algorithms,
		Keys: []PeerKey{}, TLS: r.TLS, Problems: append([]string{}, r.Problems...)}
	for _, d := range r.Documents {
		out.Documents = append(out.Documents, ProbeDocument{d.URL, string(d.Result), d.Error})
	}
	for _, k := range r.Keys {
		out.Keys = append(out.Keys, PeerKey{ID: k.ID, Thumbprint: k.Thumbprint, Algorithm: string(k.Algorithm), Use: k.Use})
	}
	if r.ClockKnown {
		seconds := r.ClockAhead.Seconds()
		out.ClockAheadSeconds = &seconds
	}
	return out
}

// touch makes a revision in which an object is put as it is.
func (h *handler) touch(ctx context.Context, key trust.Key) error {
	for tries := 1; ; tries++ {
		st, err := h.opts.Store.Load(ctx, 0)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(st.Objects, func(o trust.Object) bool { return o.Key == key })
		if i < 0 {
			return newProblem("not_found", "no %s of that name is registered", key.Kind)
		}
		revision, err := h.opts.Store.Apply(ctx, trust.Change{Base: st.Revision, Put: st.Objects[i : i+1], By: "bootstrap", Origin: "api",
			Comment: "fetch the keys again", At: h.opts.Now()})
		if errors.Is(err, trust.ErrConflict) && tries < 3 {
			continue
		}
		if err != nil {
			return err
		}
		return h.opts.Live.Await(ctx, trust.Fence{Revision: revision})
	}
}
