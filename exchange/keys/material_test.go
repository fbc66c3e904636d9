package keys_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/exchange/keys"
)

// The examples of RFC 7638 section 3.1 and RFC 8037 appendix A.3.
func TestThumbprintGolden(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, jwk, want string }{
		{"RFC 7638 section 3.1", `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`,
			"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		{"RFC 8037 appendix A.3", `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
			"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var jwk jose.JSONWebKey
			if err := json.Unmarshal([]byte(tc.jwk), &jwk); err != nil {
				t.Fatal(err)
			}
			if got, err := keys.Thumbprint(jwk.Key); err != nil || got != tc.want {
				t.Errorf("Thumbprint = %q, %v, want %q", got, err, tc.want)
			}
		})
	}
	if _, err := keys.Thumbprint("a key"); !errors.Is(err, keys.ErrKey) {
		t.Errorf("Thumbprint of no key: error = %v, want ErrKey", err)
	}
}

// The private key of RFC 8037 appendix A.1 is read, and is known by the
// thumbprint of appendix A.3.
func TestParsePrivateJWKGolden(t *testing.T) {
	t.Parallel()
	key, err := keys.ParsePrivate([]byte(`{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := thumbprint(t, key), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"; got != want {
		t.Errorf("thumbprint = %s, want %s", got, want)
	}
}

func TestGenerate(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{keys.ES256, keys.EdDSA, keys.RS256} {
		key, err := keys.Generate(alg)
		if err != nil {
			t.Fatalf("Generate(%s) = %v", alg, err)
		}
		if k, ok := key.(*rsa.PrivateKey); ok && k.N.BitLen() != 3072 {
			t.Errorf("the RSA key has %d bits, want 3072", k.N.BitLen())
		}
		for name, encode := range map[string]func(crypto.Signer) ([]byte, error){"PEM": keys.EncodePEM, "JWK": keys.EncodeJWK} {
			text, err := encode(key)
			if err != nil {
				t.Fatalf("%s as %s: %v", alg, name, err)
			}
			back, err := keys.ParsePrivate(text)
			if err != nil || thumbprint(t, back) != thumbprint(t, key) {
				t.Errorf("%s as %s does not come back: %v", alg, name, err)
			}
		}
	}
	for _, alg := range []string{"", "none", "HS256", "ES384", "es256", "PS256"} {
		if _, err := keys.Generate(alg); !errors.Is(err, keys.ErrAlgorithm) {
			t.Errorf("Generate(%q) error = %v, want ErrAlgorithm", alg, err)
		}
	}
}

func TestEncodeJWKNamesTheKey(t *testing.T) {
	t.Parallel()
	key := generate(t, keys.ES256)
	text, err := keys.EncodeJWK(key)
	if err != nil {
		t.Fatal(err)
	}
	var jwk jose.JSONWebKey
	if err := json.Unmarshal(text, &jwk); err != nil {
		t.Fatal(err)
	}
	if jwk.KeyID != thumbprint(t, key) || jwk.Algorithm != keys.ES256 || jwk.Use != "sig" {
		t.Errorf("kid %q, alg %q, use %q, want the thumbprint, ES256 and sig", jwk.KeyID, jwk.Algorithm, jwk.Use)
	}
	for name, encode := range map[string]func(crypto.Signer) ([]byte, error){"PEM": keys.EncodePEM, "JWK": keys.EncodeJWK} {
		if _, err := encode(&device{Signer: key}); !errors.Is(err, keys.ErrKey) {
			t.Errorf("%s of a device's key: error = %v, want ErrKey", name, err)
		}
		if _, err := encode(nil); !errors.Is(err, keys.ErrKey) {
			t.Errorf("%s of no key: error = %v, want ErrKey", name, err)
		}
	}
}

func TestParsePrivate(t *testing.T) {
	t.Parallel()
	ec := generate(t, keys.ES256).(*ecdsa.PrivateKey)
	ed := generate(t, keys.EdDSA).(ed25519.PrivateKey)
	rs := generate(t, keys.RS256).(*rsa.PrivateKey)
	params := pemText("EC PARAMETERS", []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7})
	sec1 := pemText("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ec)))
	p8 := must(keys.EncodePEM(ec))
	jwk := must(keys.EncodeJWK(ec))
	encrypted := bytes.Replace(sec1, []byte("-----\n"), []byte("-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n"), 1)
	for _, tc := range []struct {
		name string
		text []byte
		want error
	}{
		{"accepts PKCS#8", p8, nil},
		{"accepts PKCS#8 for Ed25519", must(keys.EncodePEM(ed)), nil},
		{"accepts SEC 1", sec1, nil},
		{"accepts SEC 1 behind its parameters", append(bytes.Clone(params), sec1...), nil},
		{"accepts PKCS#1", pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rs)), nil},
		{"accepts an RSA JWK", must(keys.EncodeJWK(rs)), nil},
		{"accepts a JWK with a kid of its own", field(jwk, "kid", "prod-key-2026-04-22"), nil},
		{"accepts blanks around it", []byte("\n " + string(jwk) + "\n\n"), nil},
		{"rejects nothing", nil, keys.ErrKey},
		{"rejects other text", []byte("a key"), keys.ErrKey},
		{"rejects text in front of the PEM", append([]byte("key:\n"), p8...), keys.ErrKey},
		{"rejects text behind the PEM", append(bytes.Clone(p8), "x"...), keys.ErrKey},
		{"rejects two keys", append(bytes.Clone(p8), sec1...), keys.ErrKey},
		{"rejects parameters alone", params, keys.ErrKey},
		{"rejects a public key", pemText("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(&ec.PublicKey))), keys.ErrKey},
		{"rejects broken DER", pemText("PRIVATE KEY", []byte{0x30, 1}), keys.ErrKey},
		{"rejects PKCS#8 under the name of PKCS#1", pemText("RSA PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rs))), keys.ErrKey},
		{"rejects encrypted PKCS#8", pemText("ENCRYPTED PRIVATE KEY", []byte{0x30, 0}), keys.ErrKey},
		{"rejects encrypted PEM", encrypted, keys.ErrKey},
		{"rejects RSA of 1,024 bits", pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(must(rsa.GenerateKey(rand.Reader, 1024)))), keys.ErrKey},
		{"rejects P-384", pemText("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))))), keys.ErrKey},
		{"rejects an agreement key", pemText("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(must(ecdh.X25519().GenerateKey(rand.Reader))))), keys.ErrKey},
		{"rejects a symmetric JWK", []byte(`{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}`), keys.ErrKey},
		{"rejects a public JWK", must(json.Marshal(jose.JSONWebKey{Key: &ec.PublicKey})), keys.ErrKey},
		{"rejects a JWK set", []byte(`{"keys":[` + string(jwk) + `]}`), keys.ErrKey},
		{"rejects a JWK for encryption", field(jwk, "use", "enc"), keys.ErrKey},
		{"rejects a JWK for another algorithm", field(jwk, "alg", "RS256"), keys.ErrAlgorithm},
		{"rejects a JWK for HMAC with a signing key in it", field(jwk, "alg", "HS256"), keys.ErrAlgorithm},
		{"rejects an EC JWK with another key's d", field(jwk, "d", fieldOf(must(keys.EncodeJWK(generate(t, keys.ES256))), "d")), keys.ErrKey},
		{"rejects an EC JWK with d = 0", field(jwk, "d", strings.Repeat("A", 43)), keys.ErrKey},
		{"rejects an RSA JWK with another key's d", field(must(keys.EncodeJWK(rs)), "d", fieldOf(must(keys.EncodeJWK(generate(t, keys.RS256))), "d")), keys.ErrKey},
		{"rejects an Ed25519 JWK with another key's x", field(must(keys.EncodeJWK(ed)), "x", fieldOf(must(keys.EncodeJWK(generate(t, keys.EdDSA))), "x")), keys.ErrKey},
		{"rejects text behind the JWK", append(bytes.Clone(jwk), "{}"...), keys.ErrKey},
		{"rejects 65 KiB", append(bytes.Repeat([]byte(" "), 65<<10), jwk...), keys.ErrKey},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			key, err := keys.ParsePrivate(tc.text)
			if !errors.Is(err, tc.want) || (key == nil) != (err != nil) {
				t.Fatalf("ParsePrivate = %v, error %v, want %v", key != nil, err, tc.want)
			}
		})
	}
}

// A small exponent is refused even where the library still makes such keys.
func TestSmallRSAExponentIsRefused(t *testing.T) {
	t.Parallel()
	n := generate(t, keys.RS256).(*rsa.PrivateKey).N
	for _, e := range []int{3, 65536, 17} {
		opts := options(t, keys.RS256)
		opts.Signer = shown{&rsa.PublicKey{N: n, E: e}}
		if _, err := keys.Open(t.Context(), &memStore{}, opts); !errors.Is(err, keys.ErrKey) {
			t.Errorf("e = %d: Open error = %v, want ErrKey", e, err)
		}
	}
	opts := options(t, keys.RS256)
	opts.Signer = shown{&rsa.PublicKey{N: new(big.Int).Lsh(n, 7000), E: 65537}}
	if _, err := keys.Open(t.Context(), &memStore{}, opts); !errors.Is(err, keys.ErrKey) {
		t.Errorf("9,048 bits: Open error = %v, want ErrKey", err)
	}
}

// shown is a device that shows a public key and signs nothing.
type shown struct{ pub crypto.PublicKey }

func (s shown) Public() crypto.PublicKey { return s.pub }

func (s shown) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, errDown }

func FuzzParsePrivate(f *testing.F) {
	ec := generate(f, keys.ES256)
	f.Add(must(keys.EncodePEM(ec)))
	f.Add(must(keys.EncodeJWK(ec)))
	f.Add(must(keys.EncodeJWK(generate(f, keys.EdDSA))))
	f.Add(pemText("EC PARAMETERS", []byte{6, 1, 1}))
	f.Add([]byte(`{"kty":"RSA","n":"AQ","e":"AQ","d":"AQ","p":"AQ","q":"AQ"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := keys.ParsePrivate(text)
		if (key == nil) != (err != nil) {
			t.Fatalf("ParsePrivate = %v, %v", key != nil, err)
		}
		if err != nil && !errors.Is(err, keys.ErrKey) && !errors.Is(err, keys.ErrAlgorithm) {
			t.Errorf("error %v wraps no sentinel", err)
		}
		if err == nil {
			if _, err := keys.EncodePEM(key); err != nil {
				t.Errorf("what was read cannot be written: %v", err)
			}
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// field sets one member of a JSON object.
func field(object []byte, name, value string) []byte {
	var m map[string]any
	if err := json.Unmarshal(object, &m); err != nil {
		panic(err)
	}
	m[name] = value
	return must(json.Marshal(m))
}

func fieldOf(object []byte, name string) string {
	var m map[string]any
	if err := json.Unmarshal(object, &m); err != nil {
		panic(err)
	}
	return m[name].(string)
}
