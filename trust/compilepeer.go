package trust

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/trust/ident"
)

func (c *Compiler) peer(s PeerSpec, n *notes) *Peer {
	p := &Peer{Name: s.Name, JWKSURI: s.JWKSURI, JWKSHosts: s.JWKSHosts, Audiences: s.Audiences,
		Shared: s.SharedAudience, Pins: s.Pins, SingleUse: s.SingleUse, Expires: s.Expires.Time,
		MaxAge: time.Duration(s.MaxTokenAge), Leeway: time.Duration(s.Leeway)}
	var err error
	if _, err = ident.ParseName(s.Name); n.check("name", err) && s.Name == Self {
		n.add("name", "self stands for this broker")
	}
	if p.Domain, err = ident.ParseDomain(s.Domain); n.check("domain", err) {
		p.Foreign = p.Domain != c.settings.Domain
	}
	if p.SPIFFE = n.choice("kind", s.Kind, "oidc", "oidc", "spiffe") == "spiffe"; p.SPIFFE {
		p.Fingerprint = fingerprint(s.Name, s.Kind, s.Domain, s.Bundle)
		c.trustDomain(s, p, n)
	} else {
		p.Fingerprint = fingerprint(s.Name, s.Issuer, s.Discovery, s.JWKSURI, s.JWKS, s.JWKSHosts)
		c.issuer(s, p, n)
	}
	c.peerTokens(s, p, n)
	c.peerTimes(s, p, n)
	p.Status = n.status("status", s.Status)
	return p
}

// issuer reads what a peer of kind oidc is known by and its keys are found by.
func (c *Compiler) issuer(s PeerSpec, p *Peer, n *notes) {
	var err error
	if p.Issuer, err = ident.ParseIssuer(s.Issuer); n.check("issuer", err) && p.Issuer == c.settings.Issuer {
		n.add("issuer", "is this broker's own; write mappings with peer: self instead")
	}
	if s.Bundle != nil {
		n.add("bundle", "is only for kind: spiffe")
	}
	c.peerKeys(s, p, n)
}

func (c *Compiler) peerKeys(s PeerSpec, p *Peer, n *notes) {
	p.JWKS = n.keys("jwks", s.JWKS)
	p.Discovery = n.choice("discovery", s.Discovery, "auto", "auto", "jwks_uri", "static")
	switch {
	case p.Discovery == "jwks_uri":
		n.uri("jwks_uri", s.JWKSURI)
	case s.JWKSURI != "":
		n.add("jwks_uri", "is only for discovery: jwks_uri")
	}
	switch {
	case p.Discovery == "static" && p.JWKS == nil:
		n.add("jwks", "static discovery needs at least one key")
	case p.Discovery != "static" && p.JWKS != nil:
		n.add("jwks", "is only for discovery: static")
	}
	for i, pin := range s.Pins {
		at := fmt.Sprintf("pins[%d]", i)
		if sum, err := base64.RawURLEncoding.Strict().DecodeString(pin.Thumbprint); err != nil || len(sum) != sha256.Size {
			n.add(at, "want an RFC 7638 SHA-256 thumbprint in base64url")
		}
		if !pin.NotAfter.IsZero() && !pin.NotAfter.After(pin.NotBefore.Time) {
			n.add(at, "ends before it begins")
		}
	}
}

// uri notes what is not a URI that keys may be fetched from.
func (n *notes) uri(path, text string) {
	base, query, _ := strings.Cut(text, "?")
	if _, err := ident.ParseIssuer(base); err != nil || strings.ContainsAny(query, "# ") {
		n.add(path, "want an https URI")
	}
}

// some notes a list that is written and empty: left out it stands for a
// default, so nobody can tell what an empty one means.
func some[T any](n *notes, path string, list []T) {
	if list != nil && len(list) == 0 {
		n.add(path, "is empty; leave it out for the default")
	}
}

// How a peer's tokens may be presented.
var (
	peerGrants        = []string{GrantTokenExchange, GrantJWTBearer, GrantIDJAG, GrantClientAuthentication}
	trustDomainGrants = []string{GrantTokenExchange, GrantClientAuthentication}
)

func (c *Compiler) peerTokens(s PeerSpec, p *Peer, n *notes) {
	if len(p.Audiences) == 0 {
		p.Audiences = []string{c.settings.Issuer.String()}
	}
	for i, a := range s.Audiences {
		_, err := ident.ParseAudience(a)
		n.check(fmt.Sprintf("audiences[%d]", i), err)
	}
	some(n, "token_types", s.TokenTypes)
	some(n, "grants", s.Grants)
	some(n, "algorithms", s.Algorithms)
	p.TokenTypes = []ident.TokenType{ident.AccessToken, ident.JWT}
	grants, algorithms, usual := peerGrants, signatureAlgorithms, 4
	if p.SPIFFE {
		p.TokenTypes = []ident.TokenType{ident.JWT}
		grants, algorithms, usual = trustDomainGrants, svidAlgorithms, len(svidAlgorithms)
	}
	if s.TokenTypes != nil {
		p.TokenTypes = nil
	}
	for i, name := range s.TokenTypes {
		t, err := ident.ParseTokenTypeName(name)
		if n.check(fmt.Sprintf("token_types[%d]", i), err) {
			p.TokenTypes = append(p.TokenTypes, t)
			if p.SPIFFE && t != ident.JWT {
				n.add(fmt.Sprintf("token_types[%d]", i), "a JWT-SVID is presented as jwt")
			}
		}
	}
	p.Grants = []string{GrantTokenExchange}
	if s.Grants != nil {
		p.Grants = s.Grants
	}
	for i, g := range s.Grants {
		at := fmt.Sprintf("grants[%d]", i)
		n.choice(at, g, g, grants...)
	}
	algs := s.Algorithms
	if algs == nil {
		algs = algorithms[:usual]
	}
	for i, a := range algs {
		n.choice(fmt.Sprintf("algorithms[%d]", i), a, a, algorithms...)
		p.Algorithms = append(p.Algorithms, jose.SignatureAlgorithm(a))
	}
	p.AAPAlias = n.choice("aap_names", s.AAPNames, "short", "short", "alias") == "alias"
}

func (c *Compiler) peerTimes(s PeerSpec, p *Peer, n *notes) {
	if s.Leeway == 0 {
		p.Leeway = defaultLeeway
	}
	if p.Leeway > maxLeeway {
		n.add("leeway", "is at most 300s")
	}
	if s.MaxTokenAge == 0 {
		p.MaxAge = defaultMaxTokenAge
	}
	if p.MaxAge > maxTokenAge {
		n.add("max_token_age", "is at most 24h")
	}
	if s.Expires.IsZero() {
		n.add("expires", "is missing: a relationship ends unless it is renewed")
	}
}
