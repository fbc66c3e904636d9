package exchange

import (
	"errors"
	"fmt"
	"slices"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/wire"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/ident"
)

// Header types of what crosses between authorization servers: a JWT
// authorization grant (RFC 7523, identity and authorization chaining across
// domains) and an identity assertion authorization grant.
const (
	typeGrant = "authorization-grant+jwt"
	typeIDJAG = "oauth-id-jag+jwt"
)

// What can be wrong with a grant beyond what can be wrong with any token.
var (
	ErrGrantClient    = errors.New("the grant is for another client")
	ErrGrantTarget    = errors.New("the grant is for another resource")
	ErrNotKnownAbroad = errors.New("the client has no identifier at the target's domain")
)

// grantIssuer finds who should vouch for a grant, and what is wanted of it. A
// grant of our own is for another domain, never for us.
func (s *Service) grantIssuer(t *trail, b bound, u federation.Unverified, p *presented) (federation.Peer, federation.Want, error) {
	var none federation.Peer
	peer := b.snapshot.PeerByIssuer(u.Issuer())
	if peer == nil {
		return none, federation.Want{}, t.fail("subject", "iss", "a registered issuer", u.Issuer(), ErrIssuerUnknown)
	}
	p.peer = peer
	t.peer(p.role, peer.Name)
	kind, want := trust.GrantJWTBearer, federation.Want{
		Types:     []string{typeGrant, "jwt", ""},
		Audiences: []string{s.opts.Settings.Issuer.String(), s.opts.Endpoint}, MaxLife: peer.MaxAge, IssuedAtOptional: true,
	}
	if slices.Contains(peer.Grants, trust.GrantTokenExchange) {
		// A peer whose access tokens count too has to say which is which.
		want.Types = []string{typeGrant}
	}
	if u.Type() == typeIDJAG {
		kind, want = trust.GrantIDJAG, federation.Want{
			Types: []string{typeIDJAG}, Audiences: []string{s.opts.Settings.Issuer.String()}, MaxLife: peer.MaxAge, RequireID: true,
		}
	}
	switch {
	case !peer.Usable(t.now):
		return none, want, t.fail("subject", "peer", "active and not expired", string(peer.Status), ErrIssuerUnusable)
	case !slices.Contains(peer.Grants, kind):
		return none, want, t.fail("subject", "grant", fmt.Sprint(peer.Grants), kind, ErrPeerGrant)
	}
	t.pass("subject", "peer", "a registered issuer in use", peer.Name)
	return verifiable(peer), want, nil
}

// readGrant reads what a grant says beside its subject: which client it is for,
// and which resources. It counts once.
func (s *Service) readGrant(t *trail, p *proven) error {
	claims := p.token.Claims()
	p.idjag = p.token.Type() == typeIDJAG
	client, has, err := wire.String(claims, "client_id")
	switch {
	case err != nil, !has && p.idjag, has && client != p.client.ID.String():
		return t.fail("subject", "client_id", "the authenticated client", "another or none", ErrGrantClient)
	case has:
		p.namesClient = true
	}
	named, _, err := wire.StringOrStrings(claims, "resource")
	if err != nil || len(named) > maxTargets {
		return t.fail("subject", "resource", "text or a list of texts", "something else", ErrClaimForm)
	}
	if len(named) > 0 {
		allowed, err := distinct(named, ident.ParseResource)
		if err != nil {
			return t.fail("subject", "resource", "absolute URIs", "something else", ErrClaimForm)
		}
		asked := p.targets()
		if len(asked) == 0 {
			p.resources = allowed
		}
		for _, target := range asked {
			if !slices.Contains(allowed, target) {
				return t.fail("subject", "resource", "one the grant names", target.String(), ErrGrantTarget)
			}
		}
	}
	t.useOnce(trust.NewOnce(trust.OnceGrant, p.token.Issuer(), p.tokenID, p.token.Expires().Add(p.peer.Leeway)))
	t.pass("subject", "grant", "for this client, used for the first time", p.token.Type())
	return nil
}

// destination says what an exchange is for: the targets to decide on, the
// resources of another domain that a grant names beside its authorization
// server, and whether a grant is wanted at all.
func (p *proven) destination() (targets, beyond []ident.Audience, forGrant bool) {
	if p.asked.grant != trust.GrantTokenExchange || !p.hasRequestedType || p.requestedType == ident.AccessToken {
		return p.targets(), nil, false
	}
	server, rest := p.audiences, p.resources
	if len(server) == 0 && p.requestedType == ident.JWT {
		server, rest = p.resources, nil
	}
	if p.requestedType == ident.IDJAG {
		return server, rest, true
	}
	if len(server) == 1 && p.snapshot.Abroad(p.snapshot.Resource(server[0].String())) {
		return server, rest, true
	}
	return p.targets(), nil, false
}

// addressed completes the claims of a grant for another domain.
func (c *crossed) addressed(t *trail, body *claims) error {
	known := c.client.KnownAs[c.grant.Resource.Peer]
	if known == "" && c.requestedType == ident.IDJAG {
		return t.fail("mint", "known_as", "the client's identifier at "+c.grant.Resource.Peer, "none", ErrNotKnownAbroad)
	}
	body.ClientID = known
	for _, r := range c.beyond {
		body.Resource = append(body.Resource, r.String())
	}
	return nil
}

// headerType is the typ of what is minted.
func (c *crossed) headerType() string {
	switch {
	case !c.forGrant:
		return "at+jwt"
	case c.requestedType == ident.IDJAG:
		return typeIDJAG
	}
	return typeGrant
}
