package federation_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/spiffe"
	"github.com/comity-auth/comity/trust/ident"
	jose "github.com/go-jose/go-jose/v4"
)

const (
	forgeIssuer = "https://as.acme.example"
	forgeUs     = "https://broker.globex.example"
	forgeNow    = int64(1_800_000_000)
)

// object is a JSON object under construction.
type object map[string]any

// with returns a copy with other members; a nil value removes one.
func (o object) with(name string, v any) object {
	c := maps.Clone(o)
	if c[name] = v; v == nil {
		delete(c, name)
	}
	return c
}

// forgeKeys are the private keys that tests sign with, made once.
type forgeKeys struct {
	p256, other, p384, p521 *ecdsa.PrivateKey
	rsa                     *rsa.PrivateKey
	ed25519                 ed25519.PrivateKey
}

// forged is a memo, not state: it is computed once and never assigned to.
var forged = sync.OnceValue(func() forgeKeys {
	ec := func(c elliptic.Curve) *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			panic(err)
		}
		return k
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return forgeKeys{ec(elliptic.P256()), ec(elliptic.P256()), ec(elliptic.P384()), ec(elliptic.P521()), r, ed}
})

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// publicJWK is the JWK that go-jose makes of a public key.
func publicJWK(t testing.TB, signer crypto.Signer, kid string) object {
	t.Helper()
	var o object
	if err := json.Unmarshal(encode(t, jose.JSONWebKey{Key: signer.Public(), KeyID: kid}), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func keySetDoc(t testing.TB, keys ...object) []byte {
	t.Helper()
	return encode(t, object{"keys": keys})
}

// signWith signs as go-jose does, so the code under test is held against
// another implementation.
func signWith(t testing.TB, alg jose.SignatureAlgorithm, key crypto.Signer, header, payload object) string {
	t.Helper()
	opts := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{}}
	for k, v := range header {
		opts.ExtraHeaders[jose.HeaderKey(k)] = v
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.Sign(encode(t, payload))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := sig.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// signES256 signs any bytes as header and payload, as no library would.
func signES256(t testing.TB, key *ecdsa.PrivateKey, header, payload string) string {
	t.Helper()
	input := encode64([]byte(header)) + "." + encode64([]byte(payload))
	r, s := signatureOf(t, key, input)
	return input + "." + encode64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func signatureOf(t testing.TB, key *ecdsa.PrivateKey, input string) (r, s *big.Int) {
	t.Helper()
	h := crypto.SHA256.New()
	_, _ = h.Write([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, h.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	return r, s
}

func goodHeader() object { return object{"typ": "at+jwt", "kid": "k1"} }

func goodClaims() object {
	return object{
		"iss": forgeIssuer, "sub": "agent-7", "aud": forgeUs, "jti": "7f6c2a5e",
		"iat": forgeNow - 60, "exp": forgeNow + 240,
	}
}

// goodToken is a token that passes, but for the claims given.
func goodToken(t testing.TB, claims object) string {
	t.Helper()
	return signWith(t, jose.ES256, forged().p256, goodHeader(), claims)
}

func forgePeer(doc []byte) federation.Peer {
	return federation.Peer{
		Name: "acme", Fingerprint: "f1", Issuer: forgeIssuer, Discovery: federation.Static, JWKS: doc,
		Algorithms: []jose.SignatureAlgorithm{
			jose.ES256, jose.ES384, jose.ES512, jose.RS256, jose.RS384, jose.RS512,
			jose.PS256, jose.PS384, jose.PS512, jose.EdDSA, "Ed25519",
		},
		Leeway: 30 * time.Second, MaxTokenAge: time.Hour,
	}
}

func goodPeer(t testing.TB) federation.Peer {
	t.Helper()
	return forgePeer(keySetDoc(t, publicJWK(t, forged().p256, "k1")))
}

func goodWant() federation.Want {
	return federation.Want{Types: []string{"at+jwt", "jwt"}, Audiences: []string{forgeUs}}
}

// staticKeys reads the key set that the peer carries, and counts its calls.
type staticKeys struct{ asked atomic.Int32 }

func (s *staticKeys) Bundle(_ context.Context, p federation.Peer) (*spiffe.Bundle, error) {
	return spiffe.Parse(p.TrustDomain, p.JWKS)
}

func (s *staticKeys) Key(_ context.Context, p federation.Peer, kid string, alg jose.SignatureAlgorithm) (federation.Key, error) {
	s.asked.Add(1)
	set, _, err := federation.ParseKeySet(p.JWKS)
	if err != nil {
		return federation.Key{}, err
	}
	return set.Find(kid, alg)
}

func clockAt(unix int64) func() time.Time {
	return func() time.Time { return time.Unix(unix, 0) }
}

// verifyRaw peeks at a token and verifies it.
func verifyRaw(t testing.TB, raw string, p federation.Peer, w federation.Want) (*federation.Token, error) {
	t.Helper()
	u, err := federation.Peek(ident.NewRawToken(raw))
	if err != nil {
		return nil, err
	}
	return federation.NewVerifier(&staticKeys{}, clockAt(forgeNow)).Verify(t.Context(), u, p, w)
}
