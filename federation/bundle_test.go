package federation_test

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/fetch"
	"github.com/comity-auth/comity/fixtures/peer"
	"github.com/comity-auth/comity/fixtures/pki"
	fixture "github.com/comity-auth/comity/fixtures/spiffe"
	"github.com/comity-auth/comity/trust/ident"
)

// jwtSVIDAlgorithms are those of JWT-SVID section 2.1, and one more.
var jwtSVIDAlgorithms = []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.RS256, jose.PS256, jose.EdDSA}

// spiffePeer is a trust domain whose bundle is in the registration.
func spiffePeer(t testing.TB, d *fixture.Domain) federation.Peer {
	t.Helper()
	return federation.Peer{Name: "acme", Fingerprint: "acme", Issuer: "spiffe://" + d.Name, TrustDomain: d.Name, Discovery: federation.Static,
		JWKS: d.Bundle(t), Algorithms: jwtSVIDAlgorithms, Leeway: 30 * time.Second, MaxTokenAge: time.Hour}
}

func wantSVID() federation.Want {
	return federation.Want{Types: []string{"", "jwt", "jose"}, Audiences: []string{forgeUs}, MaxLife: time.Hour, IssuedAtOptional: true}
}

func verifySVID(t testing.TB, token string, p federation.Peer) (*federation.Token, error) {
	t.Helper()
	u, err := federation.Peek(ident.NewRawToken(token))
	if err != nil {
		return nil, err
	}
	k := federation.NewKeys(nil, federation.KeysOptions{})
	defer k.Close()
	return federation.NewVerifier(k, time.Now).Verify(t.Context(), u, p, wantSVID())
}

// JWT-SVIDs of section 3, as go-spiffe has them.
func TestVerifyJWTSVID(t *testing.T) {
	t.Parallel()
	d, other := fixture.New(t, "acme.example"), fixture.New(t, "initech.example")
	over := func(pairs ...any) peer.Overrides {
		o := peer.Overrides{Claims: map[string]any{}}
		for i := 0; i < len(pairs); i += 2 {
			o.Claims[pairs[i].(string)] = pairs[i+1]
		}
		return o
	}
	typ := func(v any) peer.Overrides { return peer.Overrides{Header: map[string]any{"typ": v}} }
	now := time.Now().Unix()
	signed := func(key *peer.Key, over peer.Overrides) string {
		foreign := fixture.New(t, "acme.example")
		foreign.AddKey(t, key)
		return foreign.JWT("/agent", forgeUs, over)
	}
	ed := peer.NewKey(t, "EdDSA")
	d.AddKey(t, ed)
	es384 := peer.NewKey(t, "ES384")
	d.AddKey(t, es384)
	es256 := peer.NewKey(t, "ES256")
	d.AddKey(t, es256)
	for _, tt := range []struct {
		name  string
		token string
		want  error
	}{
		{"accepts what go-spiffe accepts", d.GoodJWT(t, "/agent", forgeUs), nil},
		{"accepts no typ", d.JWT("/agent", forgeUs, typ(nil)), nil},
		{"accepts typ JOSE", d.JWT("/agent", forgeUs, typ("JOSE")), nil},
		{"accepts no iat", d.JWT("/agent", forgeUs, over("iat", nil)), nil},
		{"accepts ES384", signed(es384, peer.Overrides{}), nil},
		{"accepts an iss, which says nothing", d.JWT("/agent", forgeUs, over("iss", "https://oidc.acme.example")), nil},
		{"refuses another typ", d.JWT("/agent", forgeUs, typ("at+jwt")), federation.ErrType},
		{"refuses EdDSA", signed(ed, peer.Overrides{}), federation.ErrAlgorithm},
		{"refuses a key of the domain's name elsewhere", signed(peer.NewKey(t, "ES256").WithID(es256.ID()), peer.Overrides{}), federation.ErrSignature},
		{"refuses an unknown key", signed(peer.NewKey(t, "ES256"), peer.Overrides{}), federation.ErrUnknownKey},
		{"refuses another domain", other.JWT("/agent", forgeUs, peer.Overrides{}), federation.ErrIssuer},
		{"refuses another domain by our key", d.JWT("/agent", forgeUs, over("sub", other.ID("/agent"))), federation.ErrIssuer},
		{"refuses a sub that is no SPIFFE ID", d.JWT("/agent", forgeUs, over("iss", "spiffe://acme.example", "sub", "agent")), federation.ErrIssuer},
		{"refuses a sub without a path", d.JWT("/agent", forgeUs, over("sub", "spiffe://acme.example")), federation.ErrClaims},
		{"refuses no exp", d.JWT("/agent", forgeUs, over("exp", nil)), federation.ErrClaims},
		{"refuses an expired one", d.JWT("/agent", forgeUs, over("exp", now-31)), federation.ErrExpired},
		{"refuses no aud", d.JWT("/agent", forgeUs, over("aud", nil)), federation.ErrClaims},
		{"refuses another aud", d.JWT("/agent", "https://other.example", peer.Overrides{}), federation.ErrAudience},
		{"refuses two audiences", d.JWT("/agent", forgeUs, over("aud", []any{forgeUs, "https://other.example"})), federation.ErrAudience},
		{"refuses one without iat that ends too late", d.JWT("/agent", forgeUs, over("iat", nil, "exp", now+3700)), federation.ErrLifetime},
		{"refuses one that lives too long", d.JWT("/agent", forgeUs, over("exp", now+3700)), federation.ErrLifetime},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token, err := verifySVID(t, tt.token, spiffePeer(t, d))
			if !errors.Is(err, tt.want) {
				t.Fatalf("Verify = %v, want %v", err, tt.want)
			}
			if err == nil && (token.Issuer() != "spiffe://acme.example" || token.Subject() != d.ID("/agent")) {
				t.Errorf("got %q of %q", token.Subject(), token.Issuer())
			}
		})
	}
}

// A key vouches for what its use says, and for nothing else.
func TestBundleKeysAreKeptApart(t *testing.T) {
	t.Parallel()
	d := fixture.New(t, "acme.example")
	forOther := peer.NewKey(t, "ES256")
	for _, use := range []string{"x509-svid", "sig", "wit-svid", ""} {
		var doc map[string]any
		if err := json.Unmarshal(d.Bundle(t), &doc); err != nil {
			t.Fatal(err)
		}
		var jwk map[string]any
		if err := json.Unmarshal(encode(t, forOther.JWK()), &jwk); err != nil {
			t.Fatal(err)
		}
		if jwk["use"] = use; use == "" {
			delete(jwk, "use")
		}
		doc["keys"] = append(doc["keys"].([]any), jwk)
		p := spiffePeer(t, d)
		p.JWKS = encode(t, doc)
		token := forOther.Sign(map[string]any{"typ": "JWT"}, map[string]any{"sub": d.ID("/agent"), "aud": forgeUs,
			"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()})
		if _, err := verifySVID(t, token, p); !errors.Is(err, federation.ErrUnknownKey) {
			t.Errorf("use %q: Verify = %v, want ErrUnknownKey", use, err)
		}
	}
	// The key of an authority signs certificates alone.
	ca := fixture.New(t, "acme.example")
	p := spiffePeer(t, ca)
	k := federation.NewKeys(nil, federation.KeysOptions{})
	defer k.Close()
	v := federation.NewVerifier(k, time.Now)
	agent := ca.X509(t, "/agent")
	svid, err := v.VerifySVID(t.Context(), []*x509.Certificate{agent.Leaf}, p)
	if err != nil || svid.ID != ca.ID("/agent") {
		t.Errorf("VerifySVID = %v, %v", svid, err)
	}
	if _, err := v.VerifySVID(t.Context(), []*x509.Certificate{d.X509(t, "/agent").Leaf}, p); !errors.Is(err, federation.ErrCertificate) {
		t.Errorf("VerifySVID of a foreign authority = %v, want ErrCertificate", err)
	}
	p.TrustDomain = ""
	if _, err := v.VerifySVID(t.Context(), []*x509.Certificate{agent.Leaf}, p); err == nil {
		t.Error("VerifySVID without a trust domain accepts")
	}
}

// endpoint is a running bundle endpoint and what reads it.
type endpoint struct {
	*fixture.Domain
	keys *federation.Keys
	peer federation.Peer
	now  atomic.Int64 // how far the clock is ahead
}

func newEndpoint(t *testing.T, d *fixture.Domain, cert tls.Certificate, web *pki.CA) *endpoint {
	t.Helper()
	e := &endpoint{Domain: d}
	client, err := fetch.New(fetch.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, RootCAs: web.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	e.keys = federation.NewKeys(client, federation.KeysOptions{Now: func() time.Time { return time.Now().Add(time.Duration(e.now.Load())) }})
	t.Cleanup(func() { e.keys.Close(); client.Close() })
	e.peer = federation.Peer{Name: "acme", Fingerprint: "acme", Issuer: "spiffe://" + d.Name, TrustDomain: d.Name,
		Discovery: federation.AtBundle, JWKSURI: d.Serve(t, cert), Algorithms: jwtSVIDAlgorithms, MaxTokenAge: time.Hour}
	return e
}

func (e *endpoint) want(t *testing.T, key *peer.Key, want error) {
	t.Helper()
	if _, err := e.keys.Key(t.Context(), e.peer, key.ID(), jose.ES256); !errors.Is(err, want) {
		t.Errorf("Key = %v, want %v", err, want)
	}
}

// SPIFFE Federation section 5.2.1, https_web: a bundle is what its domain last
// published, never an older one, and without keys it revokes everything.
func TestBundleEndpoint(t *testing.T) {
	t.Parallel()
	web, d := pki.Start(t, "web"), fixture.New(t, "acme.example")
	e := newEndpoint(t, d, web.Server(t), web)
	first := d.Key()
	e.want(t, first, nil)
	e.want(t, first, nil)
	if b, err := e.keys.Bundle(t.Context(), e.peer); err != nil || len(b.Authorities()) != 1 || d.Hits() != 1 {
		t.Errorf("Bundle = %v, %v after %d fetches, want one authority and one fetch", b, err, d.Hits())
	}
	h := e.keys.HealthOf(e.peer)
	if !h.Up() || len(h.Keys) != 2 || h.Keys[1].Use != federation.UseX509SVID || h.StaleAt.Sub(h.LastFetch).Round(time.Minute) != 5*time.Minute {
		t.Errorf("got health %+v", h)
	}

	second := peer.NewKey(t, "ES256")
	d.Change(func(b *spiffebundle.Bundle) {
		b.SetSequenceNumber(2)
		b.SetJWTAuthorities(map[string]crypto.PublicKey{second.ID(): second.Signer().Public()})
		b.SetRefreshHint(time.Second)
	})
	e.want(t, second, nil) // an unknown key is asked for
	e.want(t, first, federation.ErrUnknownKey)
	if h := e.keys.HealthOf(e.peer); h.StaleAt.Sub(h.LastFetch).Round(time.Second) != time.Minute {
		t.Errorf("a hint of 1 s is taken as %v, want a minute", h.StaleAt.Sub(h.LastFetch))
	}

	d.Change(func(b *spiffebundle.Bundle) {
		b.SetSequenceNumber(1)
		b.SetJWTAuthorities(map[string]crypto.PublicKey{first.ID(): first.Signer().Public()})
		b.SetRefreshHint(24 * time.Hour)
	})
	if err := e.keys.Refresh(t.Context(), e.peer); !errors.Is(err, federation.ErrUnavailable) || !strings.Contains(err.Error(), "went back") {
		t.Errorf("Refresh of an older bundle = %v", err)
	}
	e.want(t, second, nil)

	d.Change(func(b *spiffebundle.Bundle) { b.SetSequenceNumber(3) })
	if err := e.keys.Refresh(t.Context(), e.peer); err != nil {
		t.Fatal(err)
	}
	if h := e.keys.HealthOf(e.peer); h.StaleAt.Sub(h.LastFetch).Round(time.Minute) != time.Hour {
		t.Errorf("a hint of a day is taken as %v, want an hour", h.StaleAt.Sub(h.LastFetch))
	}

	d.Publish(`{"keys":null,"spiffe_sequence":4}`) // what go-spiffe makes of none, and does not read
	if err := e.keys.Refresh(t.Context(), e.peer); !errors.Is(err, federation.ErrUnavailable) {
		t.Errorf("Refresh of a bundle without a list = %v", err)
	}
	e.want(t, first, nil)
	d.Publish(`{"keys":[],"spiffe_sequence":4}`)
	if err := e.keys.Refresh(t.Context(), e.peer); err != nil {
		t.Fatal(err)
	}
	e.want(t, first, federation.ErrUnknownKey)
	if b, err := e.keys.Bundle(t.Context(), e.peer); err != nil || len(b.Authorities()) != 0 {
		t.Errorf("Bundle = %v, %v, want an empty one", b, err)
	}
}

// A bundle that cannot be fetched again is used until its hard age.
func TestBundleIsKeptForAnHour(t *testing.T) {
	t.Parallel()
	web, d := pki.Start(t, "web"), fixture.New(t, "acme.example")
	e := newEndpoint(t, d, web.Server(t), web)
	e.want(t, d.Key(), nil)
	e.peer.JWKSURI = "https://127.0.0.1:1" // which changes nothing: the fingerprint is the same
	e.now.Store(int64(59 * time.Minute))
	e.want(t, d.Key(), nil)
	d.Change(func(b *spiffebundle.Bundle) { b.SetSequenceNumber(0) }) // from here on it gives nothing that is taken
	e.now.Store(int64(2*time.Hour + time.Minute))
	e.want(t, d.Key(), federation.ErrUnavailable)
	if _, err := e.keys.Bundle(t.Context(), e.peer); !errors.Is(err, federation.ErrUnavailable) {
		t.Errorf("Bundle = %v, want ErrUnavailable", err)
	}
}

// SPIFFE Federation section 5.2.2, https_spiffe: the endpoint proves its SPIFFE
// ID, by the bundle that is registered and then by what it published itself.
func TestBundleEndpointBySVID(t *testing.T) {
	t.Parallel()
	web, d := pki.Start(t, "web"), fixture.New(t, "acme.example")
	stranger := fixture.New(t, "acme.example")
	otherDomain := fixture.New(t, "initech.example")
	for _, tt := range []struct {
		name string
		cert tls.Certificate
		good bool
	}{
		{"accepts the endpoint", d.X509(t, "/spire/server"), true},
		{"refuses another workload of the domain", d.X509(t, "/agent"), false},
		{"refuses another domain's", otherDomain.X509(t, "/spire/server"), false},
		{"refuses a foreign authority's", stranger.X509(t, "/spire/server"), false},
		{"refuses a certificate for the host", web.Server(t), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEndpoint(t, d, tt.cert, web)
			e.peer.EndpointID, e.peer.JWKS = d.ID("/spire/server"), d.Bundle(t)
			want := federation.ErrUnavailable
			if tt.good {
				want = nil
			}
			e.want(t, d.Key(), want)
		})
	}
	t.Run("follows the endpoint's authorities", func(t *testing.T) {
		d := fixture.New(t, "acme.example")
		next := pki.Start(t, "next")
		e := newEndpoint(t, d, d.X509(t, "/spire/server"), web)
		e.peer.EndpointID, e.peer.JWKS = d.ID("/spire/server"), d.Bundle(t)
		e.want(t, d.Key(), nil)
		d.Change(func(b *spiffebundle.Bundle) {
			b.SetSequenceNumber(2)
			b.SetX509Authorities([]*x509.Certificate{next.Certificate()})
		})
		if err := e.keys.Refresh(t.Context(), e.peer); err != nil {
			t.Fatal(err)
		}
		// Its certificate is of an authority that it does not publish any more.
		if err := e.keys.Refresh(t.Context(), e.peer); !errors.Is(err, federation.ErrUnavailable) {
			t.Errorf("Refresh = %v, want ErrUnavailable", err)
		}
	})
	t.Run("needs a bundle to begin with", func(t *testing.T) {
		e := newEndpoint(t, d, d.X509(t, "/spire/server"), web)
		e.peer.EndpointID = d.ID("/spire/server")
		for _, doc := range []string{"", `{"keys":[]}`} {
			e.peer.Fingerprint, e.peer.JWKS = "acme"+doc, []byte(doc)
			e.want(t, d.Key(), federation.ErrMisconfigured)
		}
	})
}

// A probe shows what an endpoint publishes, and keeps nothing.
func TestProbeBundle(t *testing.T) {
	t.Parallel()
	web, d := pki.Start(t, "web"), fixture.New(t, "acme.example")
	e := newEndpoint(t, d, web.Server(t), web)
	r, err := e.keys.Probe(t.Context(), e.peer)
	if err != nil || len(r.Problems) != 0 || len(r.Keys) != 2 || r.Keys[0].ID != d.Key().ID() || r.Keys[1].Use != federation.UseX509SVID {
		t.Fatalf("Probe = %+v, %v", r, err)
	}
	d.Publish(`{"keys":[]}`)
	if r, err = e.keys.Probe(t.Context(), e.peer); err != nil || len(r.Problems) != 1 {
		t.Errorf("Probe of an empty bundle = %+v, %v, want a problem", r, err)
	}
	if len(e.keys.Health()) != 0 {
		t.Error("a probe is remembered")
	}
}
