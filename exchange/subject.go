package exchange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/federation/spiffe"
	"github.com/comity-auth/comity/federation/wire"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/ident"
)

// Why a subject token is refused, beyond what package federation reports.
var (
	ErrIssuerUnknown   = errors.New("the issuer is not registered")
	ErrIssuerUnusable  = errors.New("the issuer is suspended or its registration has expired")
	ErrPeerGrant       = errors.New("the issuer's tokens may not be presented by this grant")
	ErrPeerTokenType   = errors.New("the issuer's tokens of this type are not accepted")
	ErrTokenKind       = errors.New("the token is not of the type it was declared as")
	ErrNotKnownThere   = errors.New("the client has no identifier at the issuer")
	ErrBinding         = errors.New("the token is bound to a key that the request does not prove")
	ErrClaimForm       = errors.New("a claim has the wrong form")
	ErrForeignResource = errors.New("the token is addressed to somebody else")
)

// presented is a token that its issuer vouches for, in the role it came in.
// Only verify makes one.
type presented struct {
	role     string // "subject" or "actor": the step in the record
	declared ident.TokenType
	peer     *trust.Peer // nil for this broker's own tokens
	token    *federation.Token
	party    trust.Party
	id       string // the jti, or a digest when there is none
	// certified says that it is bound to the certificate of the request.
	certified bool
}

// proven is a bound caller with a subject that its issuer vouches for, and an
// actor when there is one. Only prove makes one.
type proven struct {
	bound
	peer    *trust.Peer // the subject's; nil for our own tokens, and without a subject
	subject trust.Party
	token   *federation.Token // nil for client_credentials
	// tokenID names the subject token: its jti, or its digest when it has none.
	tokenID string
	// parentID stands for it in what is issued.
	parentID string
	// idjag and namesClient are what a grant is and says.
	idjag, namesClient bool
	actor              *presented
	// certified says that a token came in bound to the certificate, so that
	// what is issued has to be as well.
	certified bool
}

// prove is step 4: the token names its issuer, the snapshot names the peer, and
// the peer's keys prove the token. An issuer that nobody registered causes no
// traffic.
func (s *Service) prove(ctx context.Context, t *trail, b bound) (proven, error) {
	p := proven{bound: b}
	if b.grant == trust.GrantClientCredentials {
		return p, nil
	}
	find := s.issuer
	if b.grant == trust.GrantJWTBearer {
		find = s.grantIssuer
	}
	subject, err := s.verify(ctx, t, b, presented{role: "subject", declared: b.subjectType}, b.subjectToken, find)
	if err != nil {
		return p, err
	}
	p.peer, p.subject, p.token, p.tokenID = subject.peer, subject.party, subject.token, subject.id
	p.certified = subject.certified
	if err := s.readSubject(t, &p); err != nil || b.actorToken.IsZero() {
		return p, err
	}
	p.actor, err = s.verify(ctx, t, b, presented{role: "actor", declared: b.actorType}, b.actorToken, s.issuer)
	if err == nil {
		t.actor(s.digests, p.actor)
		p.certified = p.certified || p.actor.certified
	}
	return p, err
}

// finder says who should vouch for a token, and what is wanted of it.
type finder func(t *trail, b bound, u federation.Unverified, p *presented) (federation.Peer, federation.Want, error)

// verify proves one token and reads what decisions are made on out of it.
func (s *Service) verify(ctx context.Context, t *trail, b bound, p presented, raw ident.RawToken, find finder) (*presented, error) {
	u, err := federation.Peek(raw)
	if err != nil {
		return nil, t.refused(p.role, err)
	}
	from, want, err := find(t, b, u, &p)
	if err != nil {
		return nil, err
	}
	if p.token, err = s.opts.Verifier.Verify(ctx, u, from, want); err != nil {
		return nil, t.refused(p.role, err)
	}
	t.pass(p.role, "signature", "a key of "+from.Name, p.token.KeyThumbprint())
	if p.role == "subject" {
		t.foreign(s.digests, p.token) // before anything can refuse it
	}
	if p.id = p.token.ID(); p.id == "" {
		p.id = digestOf(raw)
	}
	if err := s.checkRevoked(t, b.snapshot, &p); err != nil {
		return nil, err
	}
	if err := s.checkSuspended(t, b.snapshot, &p); err != nil {
		return nil, err
	}
	return &p, p.read(t, b)
}

// issuer finds who should vouch for a token that is exchanged.
func (s *Service) issuer(t *trail, b bound, u federation.Unverified, p *presented) (federation.Peer, federation.Want, error) {
	var none federation.Peer
	want := federation.Want{Types: typesOf(p.declared)}
	own := s.opts.Settings.Issuer.String()
	if u.Issuer() == own {
		t.peer(p.role, trust.Self)
		if p.declared == ident.IDToken {
			return none, want, t.fail(p.role, "token_type", "an access token of ours", p.declared.Short(), ErrPeerTokenType)
		}
		want.Types = []string{"at+jwt"}
		want.Audiences, want.SharedAudience = s.ownAudiences(b), false
		want.RequireID = true
		return s.self(), want, nil
	}
	peer := b.snapshot.PeerOf(u.Issuer(), u.TrustDomain())
	if peer == nil {
		return none, want, t.fail(p.role, "iss", "a registered issuer", cmp.Or(u.Issuer(), spiffe.Scheme+u.TrustDomain()), ErrIssuerUnknown)
	}
	p.peer = peer
	t.peer(p.role, peer.Name)
	switch {
	case !peer.Usable(t.now):
		return none, want, t.fail(p.role, "peer", "active and not expired", string(peer.Status), ErrIssuerUnusable)
	case !slices.Contains(peer.Grants, b.grant):
		return none, want, t.fail(p.role, "peer", strings.Join(peer.Grants, ", "), b.grant, ErrPeerGrant)
	case !slices.Contains(peer.TokenTypes, p.declared):
		return none, want, t.fail(p.role, "token_type", "one the peer may present", p.declared.Short(), ErrPeerTokenType)
	}
	want.Audiences, want.SharedAudience = peer.Audiences, peer.Shared
	from := verifiable(peer)
	if peer.SPIFFE {
		asSVID(&want, from)
	}
	if p.declared == ident.IDToken {
		known := b.client.KnownAs[peer.Name]
		if known == "" {
			return none, want, t.fail(p.role, "known_as", "the client's identifier at "+peer.Name, "none", ErrNotKnownThere)
		}
		want.Audiences = []string{known}
	}
	t.pass(p.role, "peer", "a registered issuer in use", peer.Name)
	return from, want, nil
}

// typesOf are the header types that a declared token type goes with. Foreign
// access tokens often bear a bare JWT or nothing; what tells the kinds apart
// then is in readSubject.
func typesOf(declared ident.TokenType) []string {
	switch declared {
	case ident.AccessToken, ident.JWT:
		return []string{"at+jwt", "jwt", ""}
	case ident.IDToken:
		return []string{"jwt", ""}
	}
	return nil
}

// ownAudiences are what our own token may be addressed to when it comes back as
// a subject: our issuer, or a resource whose client the caller is.
func (s *Service) ownAudiences(b bound) []string {
	out := []string{s.opts.Settings.Issuer.String()}
	for r := range b.snapshot.ResourcesOf(b.client.ID.String()) {
		out = append(out, r.Audience.String())
	}
	return out
}

// self is this broker as a peer whose keys are its own.
func (s *Service) self() federation.Peer {
	set := s.opts.Signer.JWKS()
	return federation.Peer{Name: trust.Self, Fingerprint: fmt.Sprintf("self:%x", sum(set)), Issuer: s.opts.Settings.Issuer.String(),
		Discovery: federation.Static, JWKS: set, Algorithms: ownAlgorithms, Leeway: time.Second, MaxTokenAge: s.opts.Settings.MaxTTL}
}

// verifiable is a peer of the snapshot as package federation wants it.
func verifiable(p *trust.Peer) federation.Peer {
	out := federation.Peer{Name: p.Name, Fingerprint: p.Fingerprint, Issuer: p.Issuer.String(), Discovery: federation.Discovery(p.Discovery),
		JWKSURI: p.JWKSURI, JWKS: p.JWKS, JWKSHosts: p.JWKSHosts, Algorithms: p.Algorithms, Leeway: p.Leeway, MaxTokenAge: p.MaxAge}
	if p.SPIFFE {
		out.TrustDomain, out.EndpointID = p.Domain.String(), p.EndpointID
	}
	for _, pin := range p.Pins {
		out.Pins = append(out.Pins, federation.Pin{Thumbprint: pin.Thumbprint, NotBefore: pin.NotBefore.Time, NotAfter: pin.NotAfter.Time})
	}
	return out
}

// Verifiable is a registered peer as package federation wants it, for what
// looks after its keys.
func Verifiable(p *trust.Peer) federation.Peer { return verifiable(p) }

// Fingerprints yields those of every peer and client of the snapshot, under
// which their key sets are kept.
func Fingerprints(s *trust.Snapshot) iter.Seq[string] {
	return func(yield func(string) bool) {
		for p := range s.Peers {
			if !yield(p.Fingerprint) {
				return
			}
		}
		for c := range s.Clients {
			if c.Auth == trust.AuthPrivateKeyJWT && !yield(clientPeer(c).Fingerprint) {
				return
			}
		}
	}
}

// readSubject reads what only the subject is asked for.
func (s *Service) readSubject(t *trail, p *proven) error {
	p.parentID = p.tokenID
	if p.peer != nil && p.peer.Foreign {
		p.parentID = s.digests.Digest("jti", p.token.Issuer()+" "+p.tokenID)
	}
	if p.peer != nil && p.peer.SingleUse {
		t.useOnce(trust.NewOnce(trust.OnceSubject, p.token.Issuer(), p.tokenID, p.token.Expires().Add(p.peer.Leeway)))
	}
	if p.asked.grant == trust.GrantJWTBearer {
		return s.readGrant(t, p)
	}
	return nil
}

// read takes what decisions are made on out of a verified token.
func (p *presented) read(t *trail, b bound) error {
	claims := p.token.Claims()
	if err := p.checkKind(t, b, claims); err != nil {
		return err
	}
	if err := p.checkBinding(t, b, claims); err != nil {
		return err
	}
	issued, _ := p.token.IssuedAt()
	p.party = trust.Party{Peer: p.peer, Issuer: p.token.Issuer(), Subject: p.token.Subject(), Claims: claims,
		IssuedAt: issued, Expires: p.token.Expires()}
	var err error
	if p.party.Scopes, err = carriedScopes(claims); err != nil {
		return t.fail(p.role, "scope", "text of RFC 6749 section 3.3", err.Error(), err)
	}
	names := aap.Options{}
	if p.peer != nil && p.peer.AAPAlias {
		names.Names = aap.NamesAlias
	}
	if p.party.Agent, err = aap.Parse(claims, names); err != nil {
		return t.fail(p.role, "agent claims", "the agent profile", err.Error(), err)
	}
	if p.party.Act, err = readAct(claims, p.token.Issuer()); err != nil {
		return t.fail(p.role, "act", fmt.Sprintf("at most %d actors, each with a sub", maxActors), err.Error(), err)
	}
	if p.party.Holder, err = holder(claims, p.token.Subject()); err != nil {
		return t.fail(p.role, "holder", "azp and client_id are texts", err.Error(), err)
	}
	if p.declared == ident.IDToken {
		// It is addressed to the client, and was issued to it by that.
		p.party.Holder = b.client.KnownAs[p.peer.Name]
	}
	t.pass(p.role, "claims", "read", "sub and holder")
	return nil
}

// checkKind tells access tokens and ID tokens apart (RFC 8725 section 3.11).
func (p *presented) checkKind(t *trail, b bound, claims map[string]any) error {
	_, atHash := claims["at_hash"]
	_, cHash := claims["c_hash"]
	_, nonce := claims["nonce"]
	_, events := claims["events"]
	looksLikeID := atHash || cHash || nonce
	if events || looksLikeID && p.declared != ident.IDToken {
		return t.fail(p.role, "kind", p.declared.Short(), "claims of another kind of token", ErrTokenKind)
	}
	if p.declared == ident.IDToken {
		azp, has, err := wire.String(claims, "azp")
		if err != nil || has && azp != b.client.KnownAs[p.peer.Name] {
			return t.fail(p.role, "azp", "the client's identifier at "+p.peer.Name, "another party", ErrForeignResource)
		}
	}
	return nil
}

// checkBinding holds a bound token to its key: it never becomes a bearer token
// by being exchanged.
func (p *presented) checkBinding(t *trail, b bound, claims map[string]any) error {
	cnf, err := proof.ParseConfirmation(claims)
	if err != nil {
		return t.fail(p.role, "cnf", "jkt or x5t#S256", err.Error(), err)
	}
	if !cnf.IsZero() && !cnf.Satisfied(b.proven) {
		return t.fail(p.role, "cnf", "a proof with the token's "+named(cnf), named(b.proven), ErrBinding)
	}
	p.certified = cnf.X5TS256 != ""
	return nil
}

// named says what a confirmation is of, for the record.
func named(c proof.Confirmation) string {
	out := "key " + c.JKT
	if c.X5TS256 != "" {
		out += ", certificate " + c.X5TS256
	}
	return out
}

// carriedScopes reads scope, or where there is none scp as some issuers write
// it, as a text or a list of texts. Anything else is an error, never all scopes.
func carriedScopes(claims map[string]any) (ident.Scopes, error) {
	name := "scope"
	v, ok := claims[name]
	if !ok {
		name = "scp"
		v, ok = claims[name]
	}
	var out ident.Scopes
	var err error
	switch v := v.(type) {
	case nil:
		if ok {
			err = errors.New("null")
		}
	case string:
		out, err = ident.ParseScopes(strings.Join(strings.Fields(v), " "))
	case []any:
		list := make([]string, len(v))
		for i, x := range v {
			text, isText := x.(string)
			if !isText || name == "scope" {
				return ident.Scopes{}, fmt.Errorf("%w: %s", ErrClaimForm, name)
			}
			list[i] = text
		}
		out, err = ident.NewScopes(list)
	default:
		err = errors.New("neither text nor list")
	}
	if err != nil {
		return ident.Scopes{}, fmt.Errorf("%w: %s: %w", ErrClaimForm, name, err)
	}
	return out, nil
}

// digestOf names a token that has no jti by what is signed of it: of one ECDSA
// signature there are two spellings.
func digestOf(token ident.RawToken) string {
	text := token.Reveal()
	return fmt.Sprintf("sha256:%x", sum([]byte(text[:strings.LastIndexByte(text, '.')+1])))
}

// holder is who a token was issued to: azp, else client_id, else sub.
func holder(claims map[string]any, sub string) (string, error) {
	for _, name := range []string{"azp", "client_id"} {
		v, has, err := wire.String(claims, name)
		if err != nil {
			return "", fmt.Errorf("%w: %s", ErrClaimForm, name)
		}
		if has {
			return v, nil
		}
	}
	return sub, nil
}
