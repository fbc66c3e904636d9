package federation_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"math/big"
	"strings"
	"testing"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/trust/ident"
	jose "github.com/go-jose/go-jose/v4"
)

// refuse fails unless the token is refused with exactly that error.
func refuse(t *testing.T, raw string, p federation.Peer, want error) {
	t.Helper()
	tok, err := verifyRaw(t, raw, p, goodWant())
	if !errors.Is(err, want) || tok != nil {
		t.Errorf("got token %t, error %v, want %v", tok != nil, err, want)
	}
	if err != nil && strings.ContainsAny(err.Error(), "\r\n\x00\u202e") {
		t.Errorf("error %q is not one clean line", err)
	}
}

func parts(raw string) (header, payload, signature string) {
	p := strings.Split(raw, ".")
	return p[0], p[1], p[2]
}

func TestJO01_NoneInAnySpelling(t *testing.T) {
	t.Parallel()
	_, payload, signature := parts(goodToken(t, goodClaims()))
	p := goodPeer(t)
	p.Algorithms = append(p.Algorithms, "none", "None", "nOnE", "NONE") // even if someone registered it
	for _, alg := range []string{"none", "None", "nOnE", "NONE", "noNE"} {
		header := encode64([]byte(`{"alg":"` + alg + `","typ":"at+jwt","kid":"k1"}`))
		refuse(t, header+"."+payload+"."+signature, p, federation.ErrAlgorithm)
		refuse(t, header+"."+payload+".", p, federation.ErrMalformed)
	}
	for _, header := range []string{`{"alg":"","typ":"at+jwt"}`, `{"typ":"at+jwt"}`, `{"alg":null,"typ":"at+jwt"}`} {
		refuse(t, encode64([]byte(header))+"."+payload+"."+signature, p, federation.ErrMalformed)
	}
}

func TestJO02_JO04_NoSymmetricAlgorithm(t *testing.T) {
	t.Parallel()
	pub := forged().rsa.Public()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	secrets := [][]byte{text, append([]byte("\n"), text...), append([]byte(" "), text...), der, forged().rsa.N.Bytes(), {}, []byte("1")}
	for _, s := range []string{"secret", "password", "changeme", "your-256-bit-secret", "key", "jwt", "admin", "test"} {
		secrets = append(secrets, []byte(s))
	}
	p := forgePeer(keySetDoc(t, publicJWK(t, forged().rsa, "k1"), object{"kty": "oct", "kid": "k2", "k": encode64([]byte("secret"))}))
	p.Algorithms = append(p.Algorithms, jose.HS256, jose.HS384, jose.HS512) // even if someone registered them
	for alg, h := range map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New} {
		for _, secret := range secrets {
			for _, kid := range []string{"k1", "k2"} {
				input := encode64([]byte(`{"alg":"`+alg+`","typ":"at+jwt","kid":"`+kid+`"}`)) + "." + encode64(encode(t, goodClaims()))
				mac := hmac.New(h, secret)
				_, _ = mac.Write([]byte(input))
				refuse(t, input+"."+encode64(mac.Sum(nil)), p, federation.ErrAlgorithm)
			}
		}
	}
}

func TestJO05_ChangedSignatures(t *testing.T) {
	t.Parallel()
	raw := goodToken(t, goodClaims())
	header, payload, _ := parts(raw)
	_, _, other := parts(goodToken(t, goodClaims().with("sub", "agent-8")))
	refuse(t, header+"."+payload+".", goodPeer(t), federation.ErrMalformed)
	refuse(t, header+"."+payload+".AA", goodPeer(t), federation.ErrSignature)
	refuse(t, header+"."+payload+"."+other, goodPeer(t), federation.ErrSignature)
	for at := range len(raw) { // every position, whichever part it is in
		changed := []byte(raw)
		if changed[at] ^= 1; changed[at] == raw[at] {
			t.Fatal("nothing changed")
		}
		if tok, err := verifyRaw(t, string(changed), goodPeer(t), goodWant()); err == nil || tok != nil {
			t.Errorf("accepted a token with a bit of byte %d flipped", at)
		}
	}
}

func TestJO06_ECDSANumbers(t *testing.T) {
	t.Parallel()
	key := forged().p256
	header, payload, _ := parts(goodToken(t, goodClaims()))
	input := header + "." + payload
	r, s := signatureOf(t, key, input)
	n, zero := key.Curve.Params().N, new(big.Int)
	fixed := func(r, s *big.Int) []byte {
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		t.Fatal(err)
	}
	for name, sig := range map[string][]byte{
		"r = s = 0":     fixed(zero, zero),
		"r = 0":         fixed(zero, s),
		"s = 0":         fixed(r, zero),
		"r = n":         fixed(n, s),
		"s = n":         fixed(r, n),
		"r = s = n":     fixed(n, n),
		"r = s = 1":     fixed(big.NewInt(1), big.NewInt(1)),
		"all ones":      bytes.Repeat([]byte{255}, 64),
		"swapped":       fixed(s, r),
		"ASN.1":         der,
		"63 bytes":      fixed(r, s)[:63],
		"65 bytes":      append(fixed(r, s), 0),
		"leading zero":  append([]byte{0}, fixed(r, s)...),
		"96 bytes":      append(r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48))...),
		"twice as long": append(fixed(r, s), fixed(r, s)...),
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			refuse(t, input+"."+encode64(sig), goodPeer(t), federation.ErrSignature)
		})
	}
	// The choice that verifySignature documents: n-s is a second spelling, and
	// it has another digest.
	first, err := verifyRaw(t, input+"."+encode64(fixed(r, s)), goodPeer(t), goodWant())
	if err != nil {
		t.Fatal(err)
	}
	second, err := verifyRaw(t, input+"."+encode64(fixed(r, new(big.Int).Sub(n, s))), goodPeer(t), goodWant())
	if err != nil || first.Digest() == second.Digest() || first.ID() != second.ID() {
		t.Errorf("n-s: got error %v, digests equal %t", err, first.Digest() == second.Digest())
	}
}

func TestJO07_JO08_KeyForAnotherAlgorithm(t *testing.T) {
	t.Parallel()
	k := forged()
	tests := []struct {
		name   string
		alg    jose.SignatureAlgorithm
		signer crypto.Signer
		jwk    object
		want   error
	}{
		{"refuses ES256 with a P-384 key", jose.ES256, k.p256, publicJWK(t, k.p384, "k1"), federation.ErrAlgorithm},
		{"refuses ES384 with a P-256 key", jose.ES384, k.p384, publicJWK(t, k.p256, "k1"), federation.ErrAlgorithm},
		{"refuses EdDSA with an EC key", jose.EdDSA, k.ed25519, publicJWK(t, k.p256, "k1"), federation.ErrAlgorithm},
		{"refuses RS256 with a key for PS256", jose.RS256, k.rsa, publicJWK(t, k.rsa, "k1").with("alg", "PS256"), federation.ErrAlgorithm},
		{"refuses RS256 with a key for RS512", jose.RS256, k.rsa, publicJWK(t, k.rsa, "k1").with("alg", "RS512"), federation.ErrAlgorithm},
		{"refuses a key with use enc", jose.ES256, k.p256, publicJWK(t, k.p256, "k1").with("use", "enc"), federation.ErrUnknownKey},
		{"refuses a key with key_ops encrypt", jose.ES256, k.p256, publicJWK(t, k.p256, "k1").with("key_ops", []string{"encrypt"}), federation.ErrUnknownKey},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			refuse(t, signWith(t, tt.alg, tt.signer, goodHeader(), goodClaims()), forgePeer(keySetDoc(t, tt.jwk)), tt.want)
		})
	}
	// A source that hands over a key that does not fit gets no signature past.
	rsaKey, _ := parseKeys(t, keySetDoc(t, publicJWK(t, k.rsa, "k1").with("alg", "PS256")))
	u, err := federation.Peek(ident.NewRawToken(signWith(t, jose.RS256, k.rsa, goodHeader(), goodClaims())))
	if err != nil {
		t.Fatal(err)
	}
	v := federation.NewVerifier(failingKeys{key: rsaKey.Keys()[0]}, clockAt(forgeNow))
	if _, err := v.Verify(t.Context(), u, goodPeer(t), goodWant()); !errors.Is(err, federation.ErrSignature) {
		t.Errorf("got error %v from a careless source, want %v", err, federation.ErrSignature)
	}
}

func TestJO10_JO11_KeysInTheHeader(t *testing.T) {
	t.Parallel()
	attacker := forged().other
	jwk := publicJWK(t, attacker, "k1")
	for name, header := range map[string]object{
		"jwk":      goodHeader().with("jwk", jwk),
		"jwk null": {"typ": "at+jwt", "kid": "k1", "jwk": json.RawMessage("null")},
		"jku":      goodHeader().with("jku", "https://canary.example/keys"),
		"x5u":      goodHeader().with("x5u", "https://canary.example/chain"),
	} {
		for signer, key := range map[string]*ecdsa.PrivateKey{"attacker": attacker, "issuer": forged().p256} {
			t.Run("refuses "+name+" signed by the "+signer, func(t *testing.T) {
				refuse(t, rawES256(t, key, header), goodPeer(t), federation.ErrMalformed)
			})
		}
	}
	t.Run("ignores the chain of a stranger", func(t *testing.T) {
		refuse(t, rawES256(t, attacker, goodHeader().with("x5c", []string{"MIIB"})), goodPeer(t), federation.ErrSignature)
	})
	t.Run("accepts x5c and x5t beside the issuer's signature", func(t *testing.T) {
		raw := rawES256(t, forged().p256, goodHeader().with("x5c", []string{"MIIB"}).with("x5t", "AAAA"))
		if _, err := verifyRaw(t, raw, goodPeer(t), goodWant()); err != nil {
			t.Errorf("got error %v, want none", err)
		}
	})
}

// rawES256 signs good claims under any header.
func rawES256(t *testing.T, key *ecdsa.PrivateKey, header object) string {
	t.Helper()
	return signES256(t, key, string(encode(t, header.with("alg", "ES256"))), string(encode(t, goodClaims())))
}

func TestJO12_JO14_KeyIdentifiers(t *testing.T) {
	t.Parallel()
	for _, kid := range []string{"k2", "K1", "' OR 1=1 --", "../../../../dev/null", "$(id)", "`id`", "<script>", `"`, "k1 "} {
		refuse(t, rawES256(t, forged().p256, goodHeader().with("kid", kid)), goodPeer(t), federation.ErrUnknownKey)
	}
	for _, kid := range []any{"k1\x00", "k1\r\nX: y", "k1\u202e", "kéy", strings.Repeat("k", 300), 1, []string{"k1"}, true} {
		refuse(t, rawES256(t, forged().p256, goodHeader().with("kid", kid)), goodPeer(t), federation.ErrMalformed)
	}
	long := strings.Repeat("k", 256)
	_, err := verifyRaw(t, rawES256(t, forged().p256, goodHeader().with("kid", long)), goodPeer(t), goodWant())
	if !errors.Is(err, federation.ErrUnknownKey) || strings.Contains(err.Error(), long) {
		t.Errorf("got error %v, want %v with the kid cut", err, federation.ErrUnknownKey)
	}
	refuse(t, `{"kid":"`+strings.Repeat("k", 64<<10)+`"}`, goodPeer(t), federation.ErrMalformed)
}

func TestJO15_MissingKeyIdentifier(t *testing.T) {
	t.Parallel()
	raw := signWith(t, jose.ES256, forged().p256, goodHeader().with("kid", nil), goodClaims())
	good := publicJWK(t, forged().p256, "k1")
	if _, err := verifyRaw(t, raw, goodPeer(t), goodWant()); err != nil {
		t.Errorf("one key: got error %v, want none", err)
	}
	if _, err := verifyRaw(t, raw, forgePeer(keySetDoc(t, publicJWK(t, forged().rsa, "r"), good.with("kid", nil))), goodWant()); err != nil {
		t.Errorf("one key that fits: got error %v, want none", err)
	}
	refuse(t, raw, forgePeer(keySetDoc(t, good, publicJWK(t, forged().other, "k2"))), federation.ErrUnknownKey)
}

// JO-16 to JO-28 and JO-37: what is no strict compact JWS is malformed before
// anything else is looked at.
func TestMalformedTokens(t *testing.T) {
	t.Parallel()
	key := forged().p256
	good := goodToken(t, goodClaims())
	header, payload, signature := parts(good)
	claims := string(encode(t, goodClaims()))
	under := func(h string) string { return signES256(t, key, h, claims) }
	over := func(p string) string { return signES256(t, key, `{"alg":"ES256","typ":"at+jwt","kid":"k1"}`, p) }
	jwe := encode64([]byte(`{"alg":"RSA-OAEP-256","enc":"A256GCM","zip":"DEF","typ":"at+jwt"}`)) + ".AA.AA." + strings.Repeat("A", 10<<10) + ".AA"
	tests := []struct{ name, raw string }{
		{"JO-16: refuses crit with an unknown name", under(`{"alg":"ES256","typ":"at+jwt","kid":"k1","crit":["x"],"x":1}`)},
		{"JO-16: refuses an empty crit", under(`{"alg":"ES256","typ":"at+jwt","kid":"k1","crit":[]}`)},
		{"JO-16: refuses a crit that is no array", under(`{"alg":"ES256","typ":"at+jwt","kid":"k1","crit":"x"}`)},
		{"JO-16: refuses b64 false", under(`{"alg":"ES256","typ":"at+jwt","kid":"k1","crit":["b64"],"b64":false}`)},
		{"JO-16: refuses crit with an absent name", under(`{"alg":"ES256","typ":"at+jwt","kid":"k1","crit":["http"]}`)},
		{"JO-17: refuses alg twice, none last", under(`{"alg":"ES256","typ":"at+jwt","kid":"k1","alg":"none"}`)},
		{"JO-17: refuses alg twice, none first", under(`{"alg":"none","typ":"at+jwt","kid":"k1","alg":"ES256"}`)},
		{"JO-19: refuses flattened JSON", `{"payload":"` + payload + `","protected":"` + header + `","signature":"` + signature + `"}`},
		{"JO-19: refuses general JSON", `{"payload":"` + payload + `","signatures":[{"protected":"` + header + `","signature":"` + signature + `"},{"signature":"AA"}]}`},
		{"JO-19: refuses alg in an unprotected header", `{"payload":"` + payload + `","header":{"alg":"ES256"},"signature":"` + signature + `"}`},
		{"JO-21: refuses a JWE", jwe},
		{"JO-22: refuses a JWE around an unsigned JWT", encode64([]byte(`{"alg":"RSA-OAEP","enc":"A128GCM","cty":"JWT"}`)) + ".AA.AA.AA.AA"},
		{"JO-23: refuses zip", under(`{"alg":"ES256","typ":"at+jwt","kid":"k1","zip":"DEF"}`)},
		{"JO-25: refuses padding", good + "=="},
		{"JO-25: refuses the standard alphabet", header + "." + payload + ".+/+/"},
		{"JO-25: refuses white space inside", header + " ." + payload + "." + signature},
		{"JO-25: refuses a line end inside", header + "." + payload[:9] + "\n" + payload[9:] + "." + signature},
		{"JO-25: refuses a question mark", header + "." + payload + "?." + signature},
		{"JO-25: refuses trailing bits", header + "." + payload + "." + signature[:len(signature)-1] + nextLetter(signature)},
		{"JO-26: refuses two parts", header + "." + payload},
		{"JO-26: refuses four parts", good + ".AA"},
		{"JO-26: refuses dots alone", "...."},
		{"JO-26: refuses a detached payload", header + ".." + signature},
		{"JO-26: refuses nothing", ""},
		{"JO-26: refuses a million dots", strings.Repeat(".", 1_000_000)},
		{"JO-28: refuses a Bearer prefix", "Bearer " + good},
		{"JO-28: refuses a blank in front", " " + good},
		{"JO-28: refuses a blank behind", good + " "},
		{"JO-28: refuses a trailing line end", good + "\n"},
		{"JO-37: refuses an array", over(`[` + claims + `]`)},
		{"JO-37: refuses a string", over(`"iss"`)},
		{"JO-37: refuses a number", over(`1`)},
		{"JO-37: refuses null", over(`null`)},
		{"JO-37: refuses an empty payload", over(``)},
		{"JO-37: refuses trailing data", over(claims + `{}`)},
		{"CL-15: refuses iss twice", over(`{"iss":"` + forgeIssuer + `",` + claims[1:])},
		{"CL-15: refuses sub twice", over(`{"sub":"agent-7",` + claims[1:])},
		{"CL-15: refuses aud twice", over(`{"aud":"` + forgeUs + `",` + claims[1:])},
		{"CL-15: refuses exp twice", over(fmt.Sprintf(`{"exp":%d,`, forgeNow+99) + claims[1:])},
		{"CL-18: refuses invalid UTF-8 in sub", over(strings.Replace(claims, "agent-7", "agent-\xff", 1))},
		{"CL-18: refuses other invalid UTF-8 in sub", over(strings.Replace(claims, "agent-7", "agent-\xfe", 1))},
		{"CL-18: refuses a lone surrogate in sub", over(strings.Replace(claims, "agent-7", `agent-\ud800`, 1))},
		{"CL-18: refuses a lone surrogate in iss", over(strings.Replace(claims, forgeIssuer, forgeIssuer+`\udc00`, 1))},
		{"CL-25: refuses 10 000 nested arrays", over(`{"a":` + strings.Repeat("[", 10_000))},
		{"CL-25: refuses 17 nested objects", over(strings.Repeat(`{"a":`, 17) + "1" + strings.Repeat("}", 17))},
		{"CL-26: refuses 257 members", over(manyMembers(257))},
		{"CL-26: refuses a string of 9 KiB", over(`{"a":"` + strings.Repeat("x", 9<<10) + `",` + claims[1:])},
		{"CL-26: refuses 5 000 empty arrays", over(`{"a":[` + strings.Repeat("[],", 3000) + `[]],` + claims[1:])},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			refuse(t, tt.raw, goodPeer(t), federation.ErrMalformed)
		})
	}
}

// nextLetter changes a bit of the last letter that carries no data.
func nextLetter(signature string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, signature[len(signature)-1])+1])
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"m%d":0`, i)
	}
	return "{" + b.String()[1:] + "}"
}

func TestJO29_OtherKindsOfToken(t *testing.T) {
	t.Parallel()
	for _, typ := range []any{
		"dpop+jwt", "client-authentication+jwt", "logout+jwt", "secevent+jwt", "token-introspection+jwt", "jose", "at+jwt+x", nil,
	} {
		refuse(t, rawES256(t, forged().p256, goodHeader().with("typ", typ)), goodPeer(t), federation.ErrType)
	}
	for _, typ := range []string{"AT+JWT", "application/at+jwt", "JWT"} {
		if _, err := verifyRaw(t, rawES256(t, forged().p256, goodHeader().with("typ", typ)), goodPeer(t), goodWant()); err != nil {
			t.Errorf("%s: got error %v, want none", typ, err)
		}
	}
	bare := goodWant()
	bare.Types = []string{""}
	if _, err := verifyRaw(t, rawES256(t, forged().p256, goodHeader().with("typ", nil)), goodPeer(t), bare); err != nil {
		t.Errorf("no typ where it is accepted: got error %v, want none", err)
	}
	if _, err := verifyRaw(t, goodToken(t, goodClaims()), goodPeer(t), bare); !errors.Is(err, federation.ErrType) {
		t.Errorf("a typ where none is expected: got error %v, want %v", err, federation.ErrType)
	}
}

// JO-35: an issuer's token is proved with that issuer's keys, whatever kid
// another issuer publishes.
func TestJO35_KeyOfAnotherIssuer(t *testing.T) {
	t.Parallel()
	other := forgePeer(keySetDoc(t, publicJWK(t, forged().other, "k1")))
	other.Name, other.Fingerprint, other.Issuer = "evil", "f2", "https://as.evil.example"
	raw := signWith(t, jose.ES256, forged().other, goodHeader(), goodClaims())
	refuse(t, raw, goodPeer(t), federation.ErrSignature)
	refuse(t, raw, other, federation.ErrIssuer)
}

func TestJO39_SizeLimit(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]error{16384: nil, 16385: federation.ErrMalformed} {
		raw := tokenOfSize(t, size)
		if _, err := verifyRaw(t, raw, goodPeer(t), goodWant()); !errors.Is(err, want) {
			t.Errorf("%d bytes: got error %v, want %v", size, err, want)
		}
	}
}

// tokenOfSize makes a good token of that many bytes. Base64url has no text of
// one letter more than a multiple of four, so header and payload share the rest.
func tokenOfSize(t *testing.T, size int) string {
	t.Helper()
	claims := string(encode(t, goodClaims().with("pad", strings.Repeat("x", 8000))))
	for extra := range 3 {
		header := `{"alg":"ES256","typ":"at+jwt","kid":"k1"}` + strings.Repeat(" ", extra)
		rest := size - len(encode64([]byte(header))) - 2 - len(encode64(make([]byte, 64)))
		payload := claims + strings.Repeat(" ", rest*3/4-len(claims))
		if raw := signES256(t, forged().p256, header, payload); len(raw) == size {
			return raw
		}
	}
	t.Fatalf("no token has %d bytes", size)
	return ""
}
