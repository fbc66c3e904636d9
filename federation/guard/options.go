package guard

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/clientcert"
	"github.com/comity-auth/comity/federation/fetch"
	"github.com/comity-auth/comity/federation/guard/route"
	"github.com/comity-auth/comity/federation/quota"
	"github.com/comity-auth/comity/trust/ident"
)

// MaxLeeway bounds Options.Leeway (AAP draft-01).
const MaxLeeway = 300 * time.Second

// Options say what a guard admits. Audience, Issuers and Routes are required;
// what is left out otherwise takes the strictest reading, or the default stated.
type Options struct {
	// Audience is this resource's own identifier: aud must hold it.
	Audience string
	// Issuers are whose tokens are accepted.
	Issuers []Issuer
	// Routes say what a request needs; one that none of them matches is refused.
	Routes []route.Spec

	// Agents lists the agents (agent.id) that are recognised. Empty: any agent
	// of an accepted token.
	Agents []string
	// DeniedModels lists models that may not be behind an agent: whole names, or
	// without provider or version.
	DeniedModels []string
	// RequireAttested refuses agents whose runtime is not attested.
	RequireAttested bool
	// NetworkZone is the zone that requests arrive in, for tokens that are
	// limited to one (context.network_zone). Without it those are refused.
	NetworkZone string
	// MaxDepth bounds the delegation depth beyond what the token does. Nil: the
	// token's own limits alone.
	MaxDepth *int

	// Leeway is granted on exp, nbf and iat, at most MaxLeeway. Zero: none.
	Leeway time.Duration
	// MaxTokenAge bounds how long ago a token may have been issued. Default 1 h.
	MaxTokenAge time.Duration
	// RequireProof refuses tokens that are bound to no key. Without it a token
	// needs the proof that it is bound to, if any.
	RequireProof bool
	// PublicURL is scheme, host and, where a proxy takes one off, path prefix of
	// this resource as its clients see it: what htu is compared with (RFC 9449
	// section 4.3), and a capability's resources. Empty: the scheme and the Host of
	// the request, and for resources, which no Host may choose, those of Audience.
	PublicURL string
	// TrustedProxies are whose word about the original request counts: scheme and
	// host (X-Forwarded-Proto, X-Forwarded-Host), and the client's certificate.
	TrustedProxies []netip.Prefix
	// CertificateHeader is the header that they tell of the certificate in:
	// clientcert.HeaderRFC9440 or clientcert.HeaderNginx. They must set it on every
	// request, or remove it: what they let pass of it a client made up. Empty: they
	// tell of none, and tokens bound to a certificate are refused behind them.
	CertificateHeader string

	// FeedMaxAge is how old what is known of revocations may be. Default 30 s.
	FeedMaxAge time.Duration
	// InsecureAdmitStale admits requests although the revocation feed is older
	// than FeedMaxAge, and says so in the event, the Comity-Stale header and the
	// metrics.
	InsecureAdmitStale bool
	// InsecureAdmitUncounted admits requests although the counters of their rate
	// limits cannot be reached, and says so in the event. Counters that are full
	// refuse all the same.
	InsecureAdmitUncounted bool

	// Counters count requests against rate limits. Nil: in this process.
	Counters Counters
	// Once remembers the proofs that were used. Nil: in this process.
	Once Once

	// Egress names ranges that issuers may live in besides public addresses, and
	// Roots is a PEM file of the authorities that vouch for them. Empty: those of
	// the system.
	Egress []netip.Prefix
	Roots  string

	// MaxTokens bounds the verified tokens that are remembered, of 2 KiB each; a
	// larger one counts for several. Default 5,000, which is some 50 MB.
	MaxTokens int
	// Logger receives one event per decision. Nil: none.
	Logger *slog.Logger
	// Observe, when set, receives each event. It must not block.
	Observe func(ctx context.Context, e *Event)
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Issuer is an authorization server whose tokens are accepted.
type Issuer struct {
	// Issuer is compared with iss byte for byte.
	Issuer string
	// JWKS is its key set, as JSON, for an issuer that is not asked; JWKSURI is
	// where its keys are. Without either they are found by its metadata.
	JWKS    []byte
	JWKSURI string
	// Algorithms default to ES256, EdDSA, PS256 and RS256.
	Algorithms []string
	// UntypedTokens accepts the header type JWT besides at+jwt, for issuers that
	// do not say at+jwt.
	UntypedTokens bool
	// AliasNames accepts aap_agent and the like besides the short claim names.
	AliasNames bool
	// Feed is where its revocations are. Default: the issuer and "/revocations".
	Feed string
	// InsecureNoRevocations accepts tokens of an issuer that has no feed. What it
	// revokes lives on here until it expires.
	InsecureNoRevocations bool
}

// Counters count requests in the windows of rate limits. Implementations are
// safe for concurrent use and answer soon.
type Counters interface {
	// Take counts one event of key in the windows of all rules, or in none of
	// them if any has no room. An error says that it cannot be known.
	Take(ctx context.Context, key string, rules []quota.Rule, until time.Time) (quota.Decision, error)
}

// Once remembers what may be used a single time. Implementations are safe for
// concurrent use and never forget a key before its time to make room.
type Once interface {
	// Use reports whether the key was not used before. An error says that it
	// cannot be known.
	Use(ctx context.Context, key string, until time.Time) (fresh bool, err error)
}

// settings are Options that were checked.
type settings struct {
	Options
	routes   *route.Table
	issuers  map[string]*issuer
	public   *url.URL // nil when the request says it
	agents   map[string]bool
	resource *url.URL // the audience, when it is a URL
}

// issuer is an Issuer that was checked.
type issuer struct {
	Issuer
	peer federation.Peer
	want federation.Want
}

// check reads the options and reports everything that is wrong with them.
func check(o Options) (*settings, error) {
	s := &settings{Options: o, issuers: map[string]*issuer{}, agents: map[string]bool{}}
	s.MaxTokenAge = cmp.Or(o.MaxTokenAge, time.Hour)
	s.FeedMaxAge = cmp.Or(o.FeedMaxAge, 30*time.Second)
	s.MaxTokens = cmp.Or(o.MaxTokens, 5_000)
	if s.Now == nil {
		s.Now = time.Now
	}
	var errs []error
	note := func(field string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
		}
	}
	_, err := ident.ParseAudience(o.Audience)
	note("audience", err)
	s.routes, err = route.NewTable(o.Routes)
	note("routes", err)
	s.resource, s.public = webURL(o.Audience), webURL(o.PublicURL)
	if o.PublicURL != "" && (s.public == nil || s.public.RawQuery != "") {
		note("public_url", errors.New("want an absolute http or https URL without query and fragment"))
	}
	if !slices.Contains([]string{"", clientcert.NoHeader, clientcert.HeaderRFC9440, clientcert.HeaderNginx}, o.CertificateHeader) {
		note("client_cert_header", fmt.Errorf("want %s or %s", clientcert.HeaderRFC9440, clientcert.HeaderNginx))
	}
	if o.Leeway < 0 || o.Leeway > MaxLeeway {
		note("leeway", fmt.Errorf("want 0 to %s", MaxLeeway))
	}
	if s.MaxTokenAge < 0 || s.FeedMaxAge < time.Second || s.MaxTokens < 1 {
		note("max_token_age, feed max_age, max_tokens", errors.New("want positive values"))
	}
	if len(o.Issuers) == 0 {
		note("issuers", errors.New("there is none"))
	}
	for i, from := range o.Issuers {
		at := fmt.Sprintf("issuers[%d]", i)
		one, err := s.issuer(from)
		note(at, err)
		if s.issuers[from.Issuer] != nil {
			note(at, errors.New("is there twice"))
		}
		s.issuers[from.Issuer] = one
	}
	for _, a := range o.Agents {
		s.agents[a] = true
	}
	return s, errors.Join(errs...)
}

func (s *settings) issuer(from Issuer) (*issuer, error) {
	id, err := ident.ParseIssuer(from.Issuer)
	if err != nil {
		return nil, err
	}
	one := &issuer{Issuer: from}
	one.Feed = cmp.Or(from.Feed, strings.TrimSuffix(from.Issuer, "/")+"/revocations")
	one.peer = federation.Peer{Name: id.Host(), Issuer: from.Issuer, Discovery: federation.Auto, JWKSURI: from.JWKSURI, JWKS: from.JWKS,
		Fingerprint: fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%q %q %q", from.Issuer, from.JWKSURI, from.JWKS))),
		Leeway:      s.Leeway, MaxTokenAge: s.MaxTokenAge}
	switch {
	case len(from.JWKS) > 0 && from.JWKSURI != "":
		return nil, errors.New("has both jwks and jwks_uri")
	case len(from.JWKS) > 0:
		one.peer.Discovery = federation.Static
	case from.JWKSURI != "":
		one.peer.Discovery = federation.AtURI
	}
	names := from.Algorithms
	if len(names) == 0 {
		names = []string{"ES256", "EdDSA", "PS256", "RS256"}
	}
	for _, name := range names {
		if !slices.Contains(federation.Algorithms(), name) {
			return nil, fmt.Errorf("algorithm %q is not one of %s", name, strings.Join(federation.Algorithms(), ", "))
		}
		one.peer.Algorithms = append(one.peer.Algorithms, jose.SignatureAlgorithm(name))
	}
	one.want = federation.Want{Types: []string{"at+jwt"}, Audiences: []string{s.Audience}, SharedAudience: true, RequireID: true, Skew: s.Leeway}
	if from.UntypedTokens {
		one.want.Types = append(one.want.Types, "jwt")
	}
	return one, nil
}

// webURL is s as an absolute http or https URL without fragment and user
// information; nil when it is none.
func webURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return nil
	}
	return u
}

// fetcher reaches the issuers.
func (s *settings) fetcher() (*fetch.Client, error) {
	o := fetch.Options{Allow: s.Egress}
	if s.Roots != "" {
		roots, err := fetch.LoadCAs(s.Roots)
		if err != nil {
			return nil, err
		}
		o.RootCAs = roots
	}
	return fetch.New(o)
}
