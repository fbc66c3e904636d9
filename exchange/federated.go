package exchange

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/spiffe"
	"github.com/comity-auth/comity/trust"
)

// asSVID asks for a JWT-SVID: the header types of JWT-SVID section 2.3, and no
// iat, where life takes the place of age.
func asSVID(want *federation.Want, p federation.Peer) {
	want.Types, want.IssuedAtOptional, want.MaxLife = []string{"", "jwt", "jose"}, true, p.MaxTokenAge
}

// workload finds whose credential an assertion may be, proved or not: a JWT-SVID
// is of the trust domain of its subject, any other token of its issuer. Either
// may be nil.
func (c credential) workload(s *trust.Snapshot, u federation.Unverified) (*trust.Peer, *trust.Client) {
	var p *trust.Peer
	if c.svid {
		p = s.PeerByTrustDomain(u.TrustDomain())
	} else if p = s.PeerByIssuer(u.Issuer()); p != nil && p.SPIFFE {
		p = nil // its tokens say what they are
	}
	if p == nil {
		return nil, nil
	}
	return p, s.FederatedClient(p.Name, u.Subject())
}

// shown finds the client that is named by a SPIFFE ID: as client_id, or when the
// request has none by the certificate. It is nil when there is none.
func (c credential) shown(s *trust.Snapshot) *trust.Client {
	id := c.id
	if id == "" && c.certificateDefect == nil && len(c.certificates) > 0 {
		id = spiffe.IDOf(c.certificates[0])
	}
	domain := spiffe.DomainOf(id)
	if domain == "" {
		return nil
	}
	if p := s.PeerByTrustDomain(domain); p != nil {
		return s.FederatedClient(p.Name, id)
	}
	return nil
}

// identifyByToken proves a client by the token that a peer issued to it: a
// platform's own token such as that of a Kubernetes service account, or a
// JWT-SVID. It is presented again until it expires, so it is bound in time and
// not used up; this broker is its only audience (RFC 10070).
func (s *Service) identifyByToken(ctx context.Context, t *trail, c credential, u federation.Unverified, snapshot *trust.Snapshot) (identity, error) {
	peer, client := c.workload(snapshot, u)
	want := federation.Want{Types: []string{"client-authentication+jwt", "jwt", ""}, Audiences: []string{s.opts.Settings.Issuer.String()}}
	known := client.Usable(t.now) && !client.ByCertificate() && peer.Usable(t.now) && peer.VouchesForClients()
	from := s.decoy
	if known {
		from = verifiable(peer)
	} else if from.Issuer = u.Issuer(); c.svid {
		// Kept apart: its key set is read as a bundle.
		from.Issuer, from.TrustDomain, from.Fingerprint = "unknown", u.TrustDomain(), "client:unknown-svid"
	}
	if c.svid {
		asSVID(&want, from)
	}
	token, err := s.opts.Verifier.Verify(ctx, u, from, want)
	switch {
	case !client.Usable(t.now):
		return identity{}, ErrClientUnknown
	case client.ByCertificate():
		return identity{}, ErrClientMethod
	case !known:
		return identity{}, fmt.Errorf("%w: %s", ErrClientPeer, peer.Name)
	case errors.Is(err, federation.ErrUnavailable):
		return identity{}, err
	case err != nil:
		return identity{}, fmt.Errorf("%w: %w", ErrClientCredential, err)
	case c.id != "" && c.id != client.ID.String() && !(c.svid && c.id == token.Subject()):
		return identity{}, fmt.Errorf("%w: client_id is another client's", ErrClientCredential)
	case token.Subject() != client.Federated.Subject:
		return identity{}, fmt.Errorf("%w: the token is another workload's", ErrClientCredential)
	case len(token.Audience()) != 1:
		return identity{}, fmt.Errorf("%w: the token has several audiences", ErrClientCredential)
	}
	if err := checkWorkload(token); err != nil {
		return identity{}, err
	}
	p := &presented{role: "client", peer: peer, token: token, id: token.ID()}
	if p.id == "" {
		p.id = digestOf(c.assertion)
	}
	if err := s.checkRevoked(t, snapshot, p); err != nil {
		return identity{}, fmt.Errorf("%w: %w", ErrClientCredential, err)
	}
	t.pass("client", "vouched for", "by a peer in use", peer.Name)
	return identity{client, s.names.bearing(p)}, nil
}

// notWorkload are claims of tokens that say more than who a workload is: of ID
// tokens, of access tokens, of delegation, and of a key that would have to be
// proved. None of them is a credential (RFC 8725 section 3.12).
var notWorkload = []string{"at_hash", "c_hash", "nonce", "events", "scope", "scp", "act", "cnf", "agent", "capabilities"}

// checkWorkload refuses a token that was issued for something else than to say
// which workload its bearer is, or to somebody else than its subject.
func checkWorkload(token *federation.Token) error {
	claims := token.Claims()
	for _, name := range notWorkload {
		if _, has := claims[name]; has {
			return fmt.Errorf("%w: the token is of another kind, with %s", ErrClientCredential, name)
		}
	}
	if by, err := holder(claims, token.Subject()); err != nil || by != token.Subject() {
		return fmt.Errorf("%w: the token was issued to another party", ErrClientCredential)
	}
	return nil
}

// identifyBySVID proves a client by the X.509-SVID of the request: the bundle of
// its trust domain vouches, and no other authority.
func (s *Service) identifyBySVID(ctx context.Context, t *trail, c credential, client *trust.Client, snapshot *trust.Snapshot) (identity, error) {
	peer := snapshot.Peer(client.Federated.Peer)
	switch {
	case c.certificateDefect != nil:
		return identity{}, fmt.Errorf("%w: %w", ErrClientCredential, c.certificateDefect)
	case len(c.certificates) == 0:
		return identity{}, fmt.Errorf("%w: no certificate", ErrClientCredential)
	case !peer.Usable(t.now) || !peer.VouchesForClients() || !peer.SPIFFE:
		return identity{}, fmt.Errorf("%w: %s", ErrClientPeer, client.Federated.Peer)
	case snapshot.FederatedClient(peer.Name, client.Federated.Subject) != client:
		return identity{}, ErrClientUnknown
	case spiffe.IDOf(c.certificates[0]) != client.Federated.Subject || !forClients(c.certificates[0]):
		return identity{}, fmt.Errorf("%w: the certificate is another workload's", ErrClientCredential)
	}
	svid, err := s.opts.Verifier.VerifySVID(ctx, c.certificates, verifiable(peer))
	switch {
	case errors.Is(err, federation.ErrUnavailable):
		return identity{}, err
	case err != nil:
		return identity{}, fmt.Errorf("%w: %w", ErrClientCredential, err)
	case svid.ID != client.Federated.Subject:
		return identity{}, fmt.Errorf("%w: the certificate is another workload's", ErrClientCredential)
	case t.now.Sub(svid.NotBefore)-peer.Leeway > peer.MaxAge:
		// No older than a token could be: revocations are forgotten in time.
		return identity{}, fmt.Errorf("%w: the certificate is older than the peer's max_token_age", ErrClientCredential)
	}
	handles := s.names.vouching(peer, svid.Authorities)
	if before, dead := snapshot.Revoked(handles, svid.NotBefore.Add(-peer.Leeway)); dead {
		err := t.fail("client", "revocations", "issued since "+before.Format(time.RFC3339), svid.NotBefore.Format(time.RFC3339), ErrRevoked)
		return identity{}, fmt.Errorf("%w: %w", ErrClientCredential, err)
	}
	t.pass("client", "vouched for", "by a peer in use", peer.Name)
	return identity{client, handles}, nil
}

// vouching lists what an X.509-SVID can be revoked by: its peer, and the keys of
// the authorities that it leads to.
func (n *namer) vouching(p *trust.Peer, keys []string) []string {
	out := []string{n.standing(string(trust.RevokePeer), p.Name), n.all()}
	for _, key := range keys {
		out = append(out, n.standing(string(trust.RevokePeerKey), key))
	}
	return out
}
