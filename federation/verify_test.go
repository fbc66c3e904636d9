package federation_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/spiffe"
	"github.com/comity-auth/comity/trust/ident"
	jose "github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

func TestVerifyAccepts(t *testing.T) {
	t.Parallel()
	raw := goodToken(t, goodClaims().with("nbf", forgeNow-60))
	tok, err := verifyRaw(t, raw, goodPeer(t), goodWant())
	if err != nil {
		t.Fatal(err)
	}
	set, _ := parseKeys(t, goodPeer(t).JWKS)
	iat, hasIAT := tok.IssuedAt()
	nbf, hasNBF := tok.NotBefore()
	got := []any{
		tok.Issuer(), tok.Subject(), tok.Audience(), tok.ID(), tok.Expires().Unix(), iat.Unix(), hasIAT, nbf.Unix(), hasNBF,
		tok.Type(), tok.Algorithm(), tok.KeyID(), tok.KeyThumbprint(), tok.Claims()["sub"],
	}
	want := []any{
		forgeIssuer, "agent-7", []string{forgeUs}, "7f6c2a5e", forgeNow + 240, forgeNow - 60, true, forgeNow - 60, true,
		"at+jwt", jose.ES256, "k1", set.Keys()[0].Thumbprint, "agent-7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	h := crypto.SHA256.New()
	_, _ = h.Write([]byte(raw))
	if d := tok.Digest(); !slices.Equal(d[:], h.Sum(nil)) {
		t.Errorf("got digest %x, want the SHA-256 of the token", d)
	}
}

// Every algorithm verifies what go-jose signed, and nothing else.
func TestVerifyAlgorithms(t *testing.T) {
	t.Parallel()
	k := forged()
	for alg, signer := range map[jose.SignatureAlgorithm]crypto.Signer{
		jose.ES256: k.p256, jose.ES384: k.p384, jose.ES512: k.p521, jose.EdDSA: k.ed25519,
		jose.RS256: k.rsa, jose.RS384: k.rsa, jose.RS512: k.rsa, jose.PS256: k.rsa, jose.PS384: k.rsa, jose.PS512: k.rsa,
	} {
		raw := signWith(t, alg, signer, goodHeader(), goodClaims())
		p := forgePeer(keySetDoc(t, publicJWK(t, signer, "k1")))
		tok, err := verifyRaw(t, raw, p, goodWant())
		if err != nil || tok.Algorithm() != alg {
			t.Errorf("%s: got error %v", alg, err)
		}
		flipped := []byte(raw)
		flipped[len(flipped)-10] ^= 1
		if _, err := verifyRaw(t, string(flipped), p, goodWant()); err == nil {
			t.Errorf("%s: accepted a changed signature", alg)
		}
		p.Algorithms = slices.DeleteFunc(p.Algorithms, func(a jose.SignatureAlgorithm) bool { return a == alg })
		if _, err := verifyRaw(t, raw, p, goodWant()); !errors.Is(err, federation.ErrAlgorithm) {
			t.Errorf("%s: got error %v from a peer without it, want %v", alg, err, federation.ErrAlgorithm)
		}
	}
}

// The name Ed25519 of RFC 9864 verifies with the keys of EdDSA.
func TestVerifyFullySpecifiedName(t *testing.T) {
	t.Parallel()
	key := forged().ed25519
	input := encode64([]byte(`{"alg":"Ed25519","kid":"k1","typ":"at+jwt"}`)) + "." + encode64(encode(t, goodClaims()))
	sig, err := key.Sign(nil, []byte(input), crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	p := forgePeer(keySetDoc(t, publicJWK(t, key, "k1").with("alg", "EdDSA")))
	if _, err := verifyRaw(t, input+"."+encode64(sig), p, goodWant()); err != nil {
		t.Errorf("got error %v, want none", err)
	}
	p.Algorithms = []jose.SignatureAlgorithm{jose.EdDSA}
	if _, err := verifyRaw(t, input+"."+encode64(sig), p, goodWant()); !errors.Is(err, federation.ErrAlgorithm) {
		t.Errorf("got error %v where only EdDSA is accepted, want %v", err, federation.ErrAlgorithm)
	}
}

func TestZeroValuesAcceptNothing(t *testing.T) {
	t.Parallel()
	raw := goodToken(t, goodClaims())
	u, err := federation.Peek(ident.NewRawToken(raw))
	if err != nil {
		t.Fatal(err)
	}
	v := federation.NewVerifier(&staticKeys{}, clockAt(forgeNow))
	without := func(drop func(*federation.Peer)) federation.Peer { p := goodPeer(t); drop(&p); return p }
	tests := []struct {
		name string
		u    federation.Unverified
		p    federation.Peer
		w    federation.Want
		want error
	}{
		{"zero token", federation.Unverified{}, goodPeer(t), goodWant(), federation.ErrMalformed},
		{"zero want", u, goodPeer(t), federation.Want{}, federation.ErrType},
		{"zero peer", u, federation.Peer{}, goodWant(), federation.ErrAlgorithm},
		{"want without audiences", u, goodPeer(t), federation.Want{Types: []string{"at+jwt"}}, federation.ErrAudience},
		{"peer without algorithms", u, without(func(p *federation.Peer) { p.Algorithms = nil }), goodWant(), federation.ErrAlgorithm},
		{"peer without issuer", u, without(func(p *federation.Peer) { p.Issuer = "" }), goodWant(), federation.ErrIssuer},
		{"peer without token age", u, without(func(p *federation.Peer) { p.MaxTokenAge = 0 }), goodWant(), federation.ErrTooOld},
		{"peer without keys", u, without(func(p *federation.Peer) { p.JWKS = nil }), goodWant(), federation.ErrUnavailable},
	}
	for _, tt := range tests {
		if tok, err := v.Verify(t.Context(), tt.u, tt.p, tt.w); !errors.Is(err, tt.want) || tok != nil {
			t.Errorf("%s: got error %v, want %v", tt.name, err, tt.want)
		}
	}
	if z := (federation.Unverified{}); z.Issuer() != "" || z.Type() != "" || z.Algorithm() != "" || z.KeyID() != "" {
		t.Errorf("the zero token says %q %q %q %q, want nothing", z.Issuer(), z.Type(), z.Algorithm(), z.KeyID())
	}
	if _, err := federation.Peek(ident.RawToken{}); !errors.Is(err, federation.ErrMalformed) {
		t.Errorf("got error %v for no token, want %v", err, federation.ErrMalformed)
	}
}

func TestPins(t *testing.T) {
	t.Parallel()
	set, _ := parseKeys(t, goodPeer(t).JWKS)
	thumb := set.Keys()[0].Thumbprint
	at := func(sec int64) time.Time { return time.Unix(forgeNow+sec, 0) }
	tests := []struct {
		name string
		pins []federation.Pin
		want error
	}{
		{"accepts a pinned key", []federation.Pin{{Thumbprint: thumb}}, nil},
		{"accepts a pinned key within its window", []federation.Pin{{thumb, at(-1), at(1)}}, nil},
		{"accepts the second pin", []federation.Pin{{Thumbprint: "x"}, {Thumbprint: thumb}}, nil},
		{"accepts a second window of one key", []federation.Pin{{thumb, at(-9), at(-8)}, {thumb, at(-1), at(1)}}, nil},
		{"refuses a key that is not pinned", []federation.Pin{{Thumbprint: "x"}}, federation.ErrUnknownKey},
		{"refuses an empty pin", []federation.Pin{{}}, federation.ErrUnknownKey},
		{"refuses a pin in other case", []federation.Pin{{Thumbprint: strings.ToUpper(thumb)}}, federation.ErrUnknownKey},
		{"refuses a pin whose window has not begun", []federation.Pin{{Thumbprint: thumb, NotBefore: at(1)}}, federation.ErrUnknownKey},
		{"refuses a pin whose window has ended", []federation.Pin{{Thumbprint: thumb, NotAfter: at(-1)}}, federation.ErrUnknownKey},
	}
	for _, tt := range tests {
		p := goodPeer(t)
		p.Pins = tt.pins
		if _, err := verifyRaw(t, goodToken(t, goodClaims()), p, goodWant()); !errors.Is(err, tt.want) {
			t.Errorf("%s: got error %v, want %v", tt.name, err, tt.want)
		}
	}
}

// A hopeless token is refused before the source is asked for a key.
func TestHopelessTokensAskForNoKey(t *testing.T) {
	t.Parallel()
	p := goodPeer(t)
	for name, raw := range map[string]string{
		"type":      signWith(t, jose.ES256, forged().p256, goodHeader().with("typ", "dpop+jwt"), goodClaims()),
		"algorithm": encode64([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + encode64(encode(t, goodClaims())) + ".AAAA",
		"issuer":    goodToken(t, goodClaims().with("iss", "https://evil.example")),
		"expired":   goodToken(t, goodClaims().with("exp", forgeNow-3600)),
		"early":     goodToken(t, goodClaims().with("nbf", forgeNow+3600)),
		"old":       goodToken(t, goodClaims().with("iat", forgeNow-36000)),
		"audience":  goodToken(t, goodClaims().with("aud", "https://other.example")),
		"subject":   goodToken(t, goodClaims().with("sub", nil)),
	} {
		keys := &staticKeys{}
		u, err := federation.Peek(ident.NewRawToken(raw))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := federation.NewVerifier(keys, clockAt(forgeNow)).Verify(t.Context(), u, p, goodWant()); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if n := keys.asked.Load(); n != 0 {
			t.Errorf("%s: source was asked %d times, want never", name, n)
		}
	}
}

// failingKeys is a source that answers with an error, or with a key whatever
// was asked for.
type failingKeys struct {
	key federation.Key
	err error
}

func (f failingKeys) Bundle(context.Context, federation.Peer) (*spiffe.Bundle, error) {
	return nil, f.err
}

func (f failingKeys) Key(context.Context, federation.Peer, string, jose.SignatureAlgorithm) (federation.Key, error) {
	return f.key, f.err
}

func TestSourceErrors(t *testing.T) {
	t.Parallel()
	u, err := federation.Peek(ident.NewRawToken(goodToken(t, goodClaims())))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		err     error
		want    error
		refusal bool
	}{
		{"unavailable", fmt.Errorf("%w: breaker open", federation.ErrUnavailable), federation.ErrUnavailable, false},
		{"misconfigured", federation.ErrMisconfigured, federation.ErrMisconfigured, false},
		{"unknown key", federation.ErrUnknownKey, federation.ErrUnknownKey, true},
		{"algorithm", federation.ErrAlgorithm, federation.ErrAlgorithm, true},
		{"cancelled", context.Canceled, federation.ErrUnavailable, false},
		{"no meaning of ours", errors.New("boom"), federation.ErrUnavailable, false},
		{"no error and no key", nil, federation.ErrSignature, true},
	} {
		_, err := federation.NewVerifier(failingKeys{err: tt.err}, clockAt(forgeNow)).Verify(t.Context(), u, goodPeer(t), goodWant())
		if _, ok := errors.AsType[*federation.Refusal](err); !errors.Is(err, tt.want) || ok != tt.refusal {
			t.Errorf("%s: got error %v, refusal %t, want %v, refusal %t", tt.name, err, ok, tt.want, tt.refusal)
		}
	}
}

func TestRefusalsTellNoSecrets(t *testing.T) {
	t.Parallel()
	const canary = "c4nary"
	for name, raw := range map[string]string{
		"iss": goodToken(t, goodClaims().with("iss", "https://"+canary+".example")),
		"aud": goodToken(t, goodClaims().with("aud", "https://"+canary+".example")),
		"sub": goodToken(t, goodClaims().with("sub", canary+"\n")),
		"jti": goodToken(t, goodClaims().with("jti", canary+"\u202e")),
		"exp": goodToken(t, goodClaims().with("exp", canary)),
	} {
		_, err := verifyRaw(t, raw, goodPeer(t), goodWant())
		r, ok := errors.AsType[*federation.Refusal](err)
		if !ok || r.Check != name || r.Expected == "" || r.Seen == "" {
			t.Errorf("%s: got refusal %+v of error %v", name, r, err)
		}
		if strings.Contains(fmt.Sprint(err), canary) || strings.Contains(fmt.Sprint(err), "\n") {
			t.Errorf("%s: got error %v, want one line without the value", name, err)
		}
	}
}

// CL-12: the record says how near a wrong issuer came.
func TestNearMissesAreNamed(t *testing.T) {
	t.Parallel()
	for iss, want := range map[string]string{
		forgeIssuer + "/":                     "the same but for a trailing slash",
		"https://AS.acme.example":             "the same but for letter case",
		forgeIssuer + ":443":                  "the same and 4 bytes more",
		strings.TrimSuffix(forgeIssuer, "le"): "the same but for the last 2 bytes",
		"https://evil.example":                "another value of 20 bytes",
	} {
		_, err := verifyRaw(t, goodToken(t, goodClaims().with("iss", iss)), goodPeer(t), goodWant())
		r, ok := errors.AsType[*federation.Refusal](err)
		if !ok || !errors.Is(err, federation.ErrIssuer) || r.Seen != want {
			t.Errorf("%s: got %v, want %q", iss, err, want)
		}
	}
}

func TestTokensNeverPrint(t *testing.T) {
	t.Parallel()
	raw := goodToken(t, goodClaims())
	u, err := federation.Peek(ident.NewRawToken(raw))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := verifyRaw(t, raw, goodPeer(t), goodWant())
	if err != nil {
		t.Fatal(err)
	}
	if got := u.LogValue().String() + tok.LogValue().String(); strings.Contains(got, raw[:20]) {
		t.Errorf("logs %q, which holds the token", got)
	}
	for _, v := range []any{u, tok, *tok, struct{ u federation.Unverified }{u}, struct{ t *federation.Token }{tok}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, raw[:20]) || strings.Contains(got, raw[len(raw)-20:]) {
				t.Errorf("%s of %T prints the token", verb, v)
			}
		}
	}
}

func FuzzPeek(f *testing.F) {
	f.Add(goodToken(f, goodClaims()))
	f.Add(goodToken(f, goodClaims().with("iss", []string{"a"})))
	f.Add("..")
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := federation.Peek(ident.NewRawToken(raw))
		if err == nil {
			if u.Issuer() == "" && u.TrustDomain() == "" || len(u.Issuer()) > 512 || u.Algorithm() == "" {
				t.Errorf("%q: got issuer %q, algorithm %q", raw, u.Issuer(), u.Algorithm())
			}
			return
		}
		if _, ok := errors.AsType[*federation.Refusal](err); !ok || u != (federation.Unverified{}) {
			t.Errorf("%q: got %v beside error %v", raw, u, err)
		}
		if !errors.Is(err, federation.ErrMalformed) && !errors.Is(err, federation.ErrClaims) {
			t.Errorf("%q: got error %v of no kind", raw, err)
		}
	})
}

func BenchmarkVerifyES256(b *testing.B) {
	p, w := goodPeer(b), goodWant()
	set, _ := parseKeys(b, p.JWKS)
	raw := ident.NewRawToken(goodToken(b, goodClaims()))
	v := federation.NewVerifier(failingKeys{key: set.Keys()[0]}, clockAt(forgeNow))
	b.ReportAllocs()
	for b.Loop() {
		u, err := federation.Peek(raw)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := v.Verify(b.Context(), u, p, w); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareECDSA is the floor under BenchmarkVerifyES256.
func BenchmarkBareECDSA(b *testing.B) {
	raw := goodToken(b, goodClaims())
	input := raw[:strings.LastIndexByte(raw, '.')]
	r, s := signatureOf(b, forged().p256, input)
	h := crypto.SHA256.New()
	_, _ = h.Write([]byte(input))
	sum := h.Sum(nil)
	b.ReportAllocs()
	for b.Loop() {
		if !ecdsa.Verify(&forged().p256.PublicKey, sum, new(big.Int).Set(r), new(big.Int).Set(s)) {
			b.Fatal("refused")
		}
	}
}
