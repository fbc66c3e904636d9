package trust

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/comity-auth/comity/trust/ident"
)

// How the keys of a trust domain are found, beside a static bundle.
const discoveryBundle = "bundle"

// svidAlgorithms are those of JWT-SVID section 2.1.
var svidAlgorithms = []string{"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}

// trustDomain reads what a peer of kind spiffe is known by, which is its domain,
// and what it vouches with.
func (c *Compiler) trustDomain(s PeerSpec, p *Peer, n *notes) {
	p.Issuer = ident.IssuerOf(p.Domain)
	for _, f := range []struct {
		name string
		used bool
	}{
		{"issuer", s.Issuer != ""}, {"discovery", s.Discovery != ""}, {"jwks_uri", s.JWKSURI != ""}, {"jwks", s.JWKS != nil},
		{"jwks_hosts", len(s.JWKSHosts) > 0}, {"pins", len(s.Pins) > 0},
	} {
		if f.used {
			n.add(f.name, "is only for kind: oidc; a trust domain vouches by its bundle")
		}
	}
	b := s.Bundle
	if b == nil {
		n.add("bundle", "is missing: the domain's bundle endpoint, or the keys of its bundle")
		return
	}
	x509 := n.bundleKeys(p, b.Keys)
	profile := n.choice("bundle.profile", b.Profile, "https_web", "https_web", "https_spiffe")
	p.Discovery = discoveryBundle
	p.JWKSURI, p.EndpointID = b.Endpoint, b.EndpointID
	switch {
	case b.Endpoint == "":
		p.Discovery = "static"
		if b.Profile != "" || b.EndpointID != "" {
			n.add("bundle.endpoint", "is missing")
		}
		if len(b.Keys) == 0 {
			n.add("bundle", "needs an endpoint or keys")
		}
		return
	case profile == "https_web":
		if b.EndpointID != "" {
			n.add("bundle.endpoint_id", "is only for profile: https_spiffe")
		}
		if b.Keys != nil {
			n.add("bundle.keys", "are only for a bundle without endpoint and for profile: https_spiffe")
		}
	default:
		if !memberOf(b.EndpointID, p.Domain) {
			n.add("bundle.endpoint_id", "want the endpoint's SPIFFE ID, of the domain itself")
		}
		if x509 == 0 {
			n.add("bundle.keys", "need a key of use x509-svid, which proves the endpoint to begin with")
		}
	}
	n.uri("bundle.endpoint", b.Endpoint)
}

// bundleKeys reads the keys of a bundle that is part of the registration, and
// counts the authorities of X.509-SVIDs.
func (n *notes) bundleKeys(p *Peer, keys []map[string]any) (x509 int) {
	if len(keys) == 0 {
		return 0
	}
	known := len(n.list)
	p.JWKS = n.keys("bundle", &JWKSSpec{Keys: keys})
	td, err := spiffeid.TrustDomainFromString(p.Domain.String())
	if err != nil || len(n.list) > known {
		return 0
	}
	for i, k := range keys {
		at := fmt.Sprintf("bundle.keys[%d]", i)
		switch k["use"] {
		case "x509-svid":
			x509++
		case "jwt-svid":
		default:
			n.add(at, "want use jwt-svid or x509-svid")
		}
		one, err := json.Marshal(JWKSSpec{Keys: keys[i : i+1]})
		if err == nil {
			_, err = spiffebundle.Parse(td, one)
		}
		if err != nil {
			n.add(at, "is no key of a SPIFFE bundle: jwt-svid needs a kid, x509-svid one certificate in x5c")
		}
	}
	return x509
}

// memberOf reports whether the text is the SPIFFE ID of a workload of the domain.
func memberOf(id string, d ident.Domain) bool {
	parsed, err := spiffeid.FromString(id)
	return err == nil && parsed.Path() != "" && parsed.TrustDomain().Name() == d.String()
}

// federated reads which workload a client is.
func (n *notes) federated(s *FederatedSpec) Federated {
	if s == nil {
		n.add("federated", "is missing: the peer that vouches, and the workload's subject")
		return Federated{}
	}
	if _, err := ident.ParseName(s.Peer); n.check("federated.peer", err) && s.Peer == Self {
		n.add("federated.peer", "this broker does not vouch for its own clients")
	}
	if s.Subject == "" || len(s.Subject) > maxWorkload || !visible(s.Subject) {
		n.add("federated.subject", "want the workload's exact sub, 1 to %d visible characters", maxWorkload)
	}
	by := n.choice("federated.credential", s.Credential, "token", "token", "certificate")
	return Federated{Peer: s.Peer, Subject: s.Subject, ByCertificate: by == "certificate"}
}

// maxWorkload bounds the subject of a federated client, as that of a token is.
const maxWorkload = 255

// vouched notes why nobody would vouch for a federated client.
func (k *checker) vouched(s ClientSpec, c *Client, n *notes) {
	f := c.Federated
	if c.Auth != AuthFederated || s.Federated == nil || !k.refers(n, "federated.peer", KindPeer, f.Peer) {
		return
	}
	at := workload{f.Peer, f.Subject}
	if first, taken := k.workloads[at]; taken {
		n.add("federated.subject", "is client %s already: neither could authenticate", first)
	}
	k.workloads[at] = s.ID
	p := k.peers[f.Peer]
	switch {
	case p == nil:
	case !slices.Contains(p.Grants, GrantClientAuthentication):
		n.add("federated.peer", "does not vouch for clients: its grants lack %s", GrantClientAuthentication)
	case p.SPIFFE && !memberOf(f.Subject, p.Domain):
		n.add("federated.subject", "want a SPIFFE ID of %s, such as %s/agent", p.Domain, p.Issuer)
	case !p.SPIFFE && f.ByCertificate:
		n.add("federated.credential", "certificate is only for a peer of kind: spiffe")
	}
}
