package exchange

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/clientcert"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/ident"
)

// Why a client is refused. The first three are one and the same outside.
var (
	ErrClientUnknown    = errors.New("the client is not registered or not in use")
	ErrClientMethod     = errors.New("the client authenticates with another method")
	ErrClientCredential = errors.New("the client credential is wrong")
	// ErrClientPeer says that who vouches for a federated client does not count
	// now; it is the same as those above outside.
	ErrClientPeer  = errors.New("the peer that vouches for the client is not in use or not entitled to")
	ErrClientGrant = errors.New("the client may not use the grant type")
	// ErrClientClaims says that the request claims another operator or type of
	// agent than the client is registered with.
	ErrClientClaims = fmt.Errorf("%w: operator or agent_type is not the client's", ErrMalformed)
)

// Bounds of a client assertion (RFC 10070).
const (
	maxAssertionLife = 300 * time.Second
	assertionLeeway  = 30 * time.Second
)

// credential is how the caller wants to prove which client it is.
type credential struct {
	method trust.ClientAuth
	// header says that it came in the Authorization header.
	header    bool
	id        string // as claimed; empty when only the assertion says it
	secret    ident.RawToken
	assertion ident.RawToken
	svid      bool   // the assertion came as a JWT-SVID
	malformed string // why the credential can prove nothing
	// certificates came with the request, whatever the method; they are the
	// credential when the client is registered so.
	certificates      []*x509.Certificate
	certificateDefect error
}

// readCredential finds the one method that a request uses (RFC 6749 section
// 2.3). What is malformed inside a method is the client's failure to
// authenticate; two methods are a malformed request. A certificate is no method
// by itself: it may be there for binding alone (RFC 8705 section 3).
func readCredential(p parameters, req Request) (credential, error) {
	c, err := readMethod(p, req.Authorization)
	c.certificates, c.certificateDefect = req.Certificates, req.CertificateDefect
	if c.certificateDefect == nil && len(c.certificates) > 0 {
		c.certificateDefect = clientcert.Check(c.certificates)
	}
	return c, err
}

func readMethod(p parameters, authorization []string) (credential, error) {
	var found []credential
	if len(authorization) > 1 {
		return credential{}, fmt.Errorf("%w: two Authorization headers", ErrSeveralMethods)
	}
	if len(authorization) == 1 {
		found = append(found, readBasic(authorization[0]))
	}
	if secret := p.get("client_secret"); secret != "" {
		found = append(found, credential{method: trust.AuthSecretPost, id: p.get("client_id"), secret: ident.NewRawToken(secret)})
	}
	if p.get("client_assertion") != "" || p.get("client_assertion_type") != "" {
		c := credential{method: trust.AuthPrivateKeyJWT, id: p.get("client_id"), assertion: ident.NewRawToken(p.get("client_assertion"))}
		switch p.get("client_assertion_type") {
		case assertionType:
		case svidType:
			c.svid = true
		default:
			c.malformed = "client_assertion_type is missing or not supported"
		}
		found = append(found, c)
	}
	switch len(found) {
	case 0:
		return credential{method: trust.AuthNone, id: p.get("client_id")}, nil
	case 1:
	default:
		return credential{}, ErrSeveralMethods
	}
	c := found[0]
	if c.header && c.malformed == "" && p.get("client_id") != "" && p.get("client_id") != c.id {
		return credential{}, ErrClientMismatch
	}
	return c, nil
}

// readBasic reads RFC 7617 credentials. Generated secrets hold only characters
// that form-encoding leaves alone, so clients that encode and clients that do
// not send the same.
func readBasic(header string) credential {
	c := credential{method: trust.AuthSecretBasic, header: true}
	scheme, rest, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		c.malformed = "the Authorization scheme is not Basic"
		return c
	}
	plain, err := base64.StdEncoding.DecodeString(strings.TrimLeft(rest, " "))
	id, secret, ok := strings.Cut(string(plain), ":")
	if err != nil || !ok {
		c.malformed = "the Basic credentials are malformed"
		return c
	}
	id, err = url.QueryUnescape(id)
	unescaped, err2 := url.QueryUnescape(secret)
	if err != nil || err2 != nil {
		c.malformed = "the Basic credentials are malformed"
		return c
	}
	c.id, c.secret = id, ident.NewRawToken(unescaped)
	return c
}

// claimed is which registered client the caller says it is, proved or not. What
// names nobody is not repeated: it may be a secret in the wrong place.
func (c credential) claimed(s *trust.Snapshot) string {
	client := s.Client(c.id)
	if u, err := federation.Peek(c.assertion); client == nil && err == nil {
		if client = s.Client(u.Issuer()); client == nil {
			_, client = c.workload(s, u)
		}
	}
	if client == nil {
		client = c.shown(s)
	}
	if client == nil {
		return "nobody who is registered"
	}
	return client.ID.String()
}

// caller is a client that proved who it is. Only authenticate makes one.
type caller struct {
	asked
	snapshot *trust.Snapshot
	client   *trust.Client
	// vouched are the handles of what vouched for a federated client.
	vouched []string
}

// identity is a client that proved who it is, with the handles of what vouched for
// it when it is a federated one.
type identity struct {
	client  *trust.Client
	vouched []string
}

// authenticate is step 2. It waits at most for one fetch of a registered
// client's keys.
func (s *Service) authenticate(ctx context.Context, t *trail, a asked, snapshot *trust.Snapshot) (caller, error) {
	is, err := s.recognise(ctx, t, a.credential, snapshot)
	if err != nil {
		return caller{}, err
	}
	client := is.client
	if !client.MayUse(a.grant) {
		return caller{}, t.fail("client", "grant", strings.Join(client.Grants, ", "), a.grant, ErrClientGrant)
	}
	if a.operator != "" && a.operator != client.Operator || a.agentType != "" && (client.Agent == nil || a.agentType != client.Agent.Type) {
		return caller{}, t.fail("client", "operator and agent_type", "as registered", "something else", ErrClientClaims)
	}
	return caller{asked: a, snapshot: snapshot, client: client, vouched: is.vouched}, nil
}

// recognise proves a client and counts its request, for every endpoint alike.
func (s *Service) recognise(ctx context.Context, t *trail, c credential, snapshot *trust.Snapshot) (identity, error) {
	t.fence(snapshot)
	address := t.addressKey()
	if d := s.failures.Peek(address, quotaPerMinute(s.opts.Limits.FailuresPerMinute)); !d.OK {
		return identity{}, t.limited("address", d.RetryAfter)
	}
	is, err := s.identify(ctx, t, c, snapshot)
	if err != nil {
		if !errors.Is(err, federation.ErrUnavailable) { // a client without its keys has not failed
			s.failures.Allow(address, quotaPerMinute(s.opts.Limits.FailuresPerMinute))
		}
		t.note("client", "claimed", c.claimed(snapshot))
		return identity{}, t.fail("client", "authentication", "a registered client and its credential", reasonOf(err), err)
	}
	client := is.client
	t.client(client)
	if err := s.admit(t, s.clients, "client", client.ID.String(), quotaPerMinute(s.opts.Limits.ClientPerMinute)); err != nil {
		return identity{}, err
	}
	t.pass("client", "authentication", string(client.Auth), client.ID.String())
	return is, nil
}

// identify finds the client and proves it. An unknown client costs the same
// work as a known one with a wrong credential.
func (s *Service) identify(ctx context.Context, t *trail, c credential, snapshot *trust.Snapshot) (identity, error) {
	if c.malformed != "" {
		return identity{}, fmt.Errorf("%w: %s", ErrClientCredential, c.malformed)
	}
	if c.method == trust.AuthPrivateKeyJWT {
		return s.identifyByAssertion(ctx, t, c, snapshot)
	}
	client := snapshot.Client(c.id)
	if c.method == trust.AuthNone {
		if client == nil {
			client = c.shown(snapshot)
		}
		switch {
		case !client.Usable(t.now) || !client.ByCertificate():
		case client.Auth == trust.AuthFederated:
			return s.identifyBySVID(ctx, t, c, client, snapshot)
		default:
			return identity{client: client}, t.identifyByCertificate(client, c.certificates, c.certificateDefect)
		}
	}
	return identity{client: client}, t.identifyBySecret(c, client)
}

// identifyBySecret proves a client by its secret, or by none when it is
// registered so.
func (t *trail) identifyBySecret(c credential, client *trust.Client) error {
	hashes := [][32]byte{{}}
	if client != nil && client.Auth == c.method {
		hashes = client.SecretHashes
	}
	secret := c.secret.Reveal()
	match := 0
	if len(secret) <= maxSecret {
		sum := sha256.Sum256([]byte(secret))
		for i := range hashes {
			match |= subtle.ConstantTimeCompare(sum[:], hashes[i][:])
		}
	}
	switch {
	case !client.Usable(t.now):
		return ErrClientUnknown
	case client.Auth != c.method:
		return ErrClientMethod
	case c.method != trust.AuthNone && (match == 0 || secret == ""):
		return ErrClientCredential
	}
	return nil
}

// identifyByAssertion proves a client by what it asserts: a token of a peer that
// vouches for it, or its own. The issuers of peers are URLs and the ids of clients
// hold no slash, so nothing can be both.
func (s *Service) identifyByAssertion(ctx context.Context, t *trail, c credential, snapshot *trust.Snapshot) (identity, error) {
	u, err := federation.Peek(c.assertion)
	if err != nil {
		return identity{}, fmt.Errorf("%w: %w", ErrClientCredential, err)
	}
	if c.svid || snapshot.PeerByIssuer(u.Issuer()) != nil {
		return s.identifyByToken(ctx, t, c, u, snapshot)
	}
	client, err := s.identifyByOwnKey(ctx, t, c, u, snapshot)
	return identity{client: client}, err
}

// identifyByOwnKey proves a client by private_key_jwt (RFC 7523 section 2.2, RFC
// 10070): the issuer is the only audience, the life is at most 300 s, and the
// assertion counts once.
func (s *Service) identifyByOwnKey(ctx context.Context, t *trail, c credential, u federation.Unverified, snapshot *trust.Snapshot) (*trust.Client, error) {
	if c.id != "" && c.id != u.Issuer() {
		return nil, fmt.Errorf("%w: client_id is not the assertion's issuer", ErrClientCredential)
	}
	client := snapshot.Client(u.Issuer())
	known := client.Usable(t.now) && client.Auth == trust.AuthPrivateKeyJWT
	peer := s.decoy
	if known {
		peer = clientPeer(client)
	}
	peer.Issuer = u.Issuer()
	token, err := s.opts.Verifier.Verify(ctx, u, peer, federation.Want{
		Types:     []string{"client-authentication+jwt", "jwt", ""},
		Audiences: []string{s.opts.Settings.Issuer.String()}, MaxLife: maxAssertionLife, RequireID: true, IssuedAtOptional: true,
	})
	switch {
	case !known && client != nil && client.Auth != trust.AuthPrivateKeyJWT:
		return nil, ErrClientMethod
	case !known:
		return nil, ErrClientUnknown
	case errors.Is(err, federation.ErrUnavailable):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrClientCredential, err)
	case token.Subject() != u.Issuer():
		return nil, fmt.Errorf("%w: the assertion's subject is not its issuer", ErrClientCredential)
	}
	t.useOnce(trust.NewOnce(trust.OnceAssertion, token.Issuer(), token.ID(), token.Expires().Add(assertionLeeway)))
	return client, nil
}

// clientPeer is a client as the issuer of its own assertions.
func clientPeer(c *trust.Client) federation.Peer {
	p := federation.Peer{Name: "client:" + c.ID.String(), Fingerprint: "client:" + c.Fingerprint, Issuer: c.ID.String(),
		Discovery: federation.Static, JWKS: c.JWKS, Algorithms: assertionAlgorithms, Leeway: assertionLeeway,
		MaxTokenAge: maxAssertionLife}
	if c.JWKSURI != "" {
		p.Discovery, p.JWKSURI = federation.AtURI, c.JWKSURI
	}
	return p
}

// assertionAlgorithms are those a client may sign its assertions with.
var assertionAlgorithms = []jose.SignatureAlgorithm{jose.ES256, jose.PS256, jose.RS256, jose.EdDSA}

// newDecoy is a client nobody is, so that refusing an unknown client takes the
// steps that refusing a known one takes.
func newDecoy() (federation.Peer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return federation.Peer{}, err
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "unknown", Algorithm: "ES256", Use: "jwt-svid"}}})
	return federation.Peer{Name: "client:unknown", Fingerprint: "client:unknown", Issuer: "unknown", Discovery: federation.Static,
		JWKS: set, Algorithms: assertionAlgorithms, Leeway: assertionLeeway, MaxTokenAge: maxAssertionLife}, err
}

// AssertionAlgorithms lists what clients may sign their assertions with.
func AssertionAlgorithms() []string {
	out := make([]string, len(assertionAlgorithms))
	for i, a := range assertionAlgorithms {
		out[i] = string(a)
	}
	return out
}
