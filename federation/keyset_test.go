package federation_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/comity-auth/comity/federation"
	jose "github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

const (
	// The keys of RFC 7638 section 3.1 and RFC 8037 appendix A.2.
	rfc7638n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	rfc8037x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
)

func parseKeys(t testing.TB, doc []byte) (*federation.KeySet, []federation.Problem) {
	t.Helper()
	set, problems, err := federation.ParseKeySet(doc)
	if err != nil {
		t.Fatal(err)
	}
	return set, problems
}

func TestThumbprints(t *testing.T) {
	t.Parallel()
	set, problems := parseKeys(t, keySetDoc(t,
		object{"kty": "RSA", "n": rfc7638n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"},
		object{"kty": "OKP", "crv": "Ed25519", "x": rfc8037x},
	))
	if len(problems) != 0 || set.Len() != 2 {
		t.Fatalf("got %d keys, problems %v", set.Len(), problems)
	}
	for i, want := range []string{"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"} {
		if got := set.Keys()[i].Thumbprint; got != want {
			t.Errorf("key %d: got thumbprint %s, want %s", i, got, want)
		}
	}
}

func TestKeysAreReadAsGoJoseReadsThem(t *testing.T) {
	t.Parallel()
	k := forged()
	for name, signer := range map[string]crypto.Signer{"P-256": k.p256, "P-384": k.p384, "P-521": k.p521, "RSA": k.rsa, "Ed25519": k.ed25519} {
		set, problems := parseKeys(t, keySetDoc(t, publicJWK(t, signer, "k")))
		if set.Len() != 1 || len(problems) != 0 {
			t.Errorf("%s: got %d keys, problems %v", name, set.Len(), problems)
			continue
		}
		want := jose.JSONWebKey{Key: signer.Public()}
		sum, err := want.Thumbprint(crypto.SHA256)
		got := set.Keys()[0]
		if err != nil || got.Thumbprint != encode64(sum) || got.ID != "k" {
			t.Errorf("%s: got %q %q, error %v, want thumbprint %q", name, got.ID, got.Thumbprint, err, encode64(sum))
		}
		if pub := signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !pub.Equal(got.Public) {
			t.Errorf("%s: got another public key", name)
		}
	}
}

// A key that cannot be used is left out beside a good one, which stays.
func TestKeysLeftOut(t *testing.T) {
	t.Parallel()
	ec := publicJWK(t, forged().p256, "bad")
	rsaKey := object{"kty": "RSA", "kid": "bad", "n": rfc7638n, "e": "AQAB"}
	ed := object{"kty": "OKP", "kid": "bad", "crv": "Ed25519", "x": rfc8037x}
	number := func(n *big.Int) string { return encode64(n.Bytes()) }
	ones := func(bits uint) string {
		return number(new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), bits), big.NewInt(1)))
	}
	const (
		ignored   = ""
		malformed = "malformed key"
		size      = "RSA key of a size or exponent that is not accepted"
		offCurve  = "point is not on the curve"
		wrongAlg  = "alg does not fit the key"
		secret    = federation.ReasonSecret
	)
	tests := []struct {
		name   string
		key    any
		reason string
	}{
		{"DS-30: ignores an unknown kty", object{"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}, ignored},
		{"DS-30: ignores an unknown crv of OKP", ed.with("crv", "Ed448"), ignored},
		{"DS-30: ignores keys for agreement", ed.with("crv", "X25519"), ignored},
		{"DS-30: ignores an unknown alg", ec.with("alg", "ES999"), ignored},
		{"DS-30: ignores an encryption alg", rsaKey.with("alg", "RSA-OAEP"), ignored},
		{"DS-30: ignores HS256 on a public key", rsaKey.with("alg", "HS256"), ignored},
		{"DS-30: ignores an unknown use", ec.with("use", "x509-svid"), ignored},
		{"JO-08: ignores use enc", ec.with("use", "enc"), ignored},
		{"JO-08: ignores key_ops without verify", ec.with("key_ops", []string{"encrypt"}), ignored},
		{"JO-08: ignores empty key_ops", ec.with("key_ops", []string{}), ignored},
		{"JO-32: ignores secp256k1", ec.with("crv", "secp256k1"), ignored},
		{"JO-32: ignores P-192", ec.with("crv", "P-192"), ignored},
		{"JO-32: ignores P-224", ec.with("crv", "P-224"), ignored},
		{"JO-32: refuses a point off the curve", ec.with("y", ec["x"]), offCurve},
		{"JO-32: refuses the point zero", ec.with("x", encode64(make([]byte, 32))).with("y", encode64(make([]byte, 32))), offCurve},
		{"JO-32: refuses a P-256 point named P-384", ec.with("crv", "P-384"), malformed},
		{"JO-32: refuses a short coordinate", ec.with("x", encode64(make([]byte, 31))), malformed},
		{"JO-32: refuses a long coordinate", ec.with("x", encode64(make([]byte, 33))), malformed},
		{"JO-32: refuses a missing coordinate", ec.with("y", nil), malformed},
		{"JO-32: refuses a padded coordinate", ec.with("x", ec["x"].(string)+"="), malformed},
		{"JO-33: refuses d of EC", ec.with("d", "AA"), secret},
		{"JO-33: refuses d of RSA", rsaKey.with("d", "AA"), secret},
		{"JO-33: refuses p of RSA", rsaKey.with("p", "AA"), secret},
		{"JO-33: refuses oth of RSA", rsaKey.with("oth", []object{}), secret},
		{"JO-33: refuses d of OKP", ed.with("d", "AA"), secret},
		{"JO-33: refuses d even if it is null", json.RawMessage(`{"kty":"OKP","crv":"Ed25519","x":"` + rfc8037x + `","d":null}`), secret},
		{"JO-33: refuses d of a key for encryption", ec.with("use", "enc").with("d", "AA"), secret},
		{"JO-33: refuses k beside a public key", ec.with("k", "AA"), secret},
		{"JO-33: refuses oct", object{"kty": "oct", "k": "c2VjcmV0"}, secret},
		{"JO-33: refuses oct without k", object{"kty": "oct"}, secret},
		{"JO-31: refuses RSA of 1024 bits", rsaKey.with("n", ones(1024)), size},
		{"JO-31: refuses RSA of 2047 bits", rsaKey.with("n", ones(2047)), size},
		{"JO-31: refuses RSA of 8193 bits", rsaKey.with("n", ones(8193)), size},
		{"JO-31: refuses RSA of 16384 bits", rsaKey.with("n", ones(16384)), size},
		{"JO-31: refuses an even modulus", rsaKey.with("n", number(new(big.Int).Lsh(big.NewInt(3), 2046))), size},
		{"JO-31: refuses a modulus with a leading zero", rsaKey.with("n", encode64(append([]byte{0}, forged().rsa.N.Bytes()...))), size},
		{"JO-31: refuses an exponent with a leading zero", rsaKey.with("e", "AAEAAQ"), size},
		{"JO-31: refuses e = 0", rsaKey.with("e", "AA"), size},
		{"JO-31: refuses e = 1", rsaKey.with("e", "AQ"), size},
		{"JO-31: refuses e = 3", rsaKey.with("e", "Aw"), size},
		{"JO-31: refuses an even e", rsaKey.with("e", number(big.NewInt(65538))), size},
		{"JO-31: refuses e = 2^31+1", rsaKey.with("e", number(big.NewInt(1<<31+1))), size},
		{"JO-31: refuses e = 2^64+1", rsaKey.with("e", "AQAAAAAAAAAB"), size},
		{"JO-31: refuses a missing e", rsaKey.with("e", nil), size},
		{"JO-40: refuses a modulus with the ROCA weakness", rsaKey.with("n", number(rocaModulus(t))), "RSA key with the ROCA weakness"},
		{"refuses a use that is no string", ec.with("use", []string{"sig"}), malformed},
		{"refuses a crv that is no string", ec.with("crv", 256), malformed},
		{"refuses an Ed25519 crv that is no string", ed.with("crv", 25519), malformed},
		{"refuses an Ed25519 key of 31 bytes", ed.with("x", encode64(make([]byte, 31))), malformed},
		{"refuses alg ES384 on P-256", ec.with("alg", "ES384"), wrongAlg},
		{"refuses alg RS256 on EC", ec.with("alg", "RS256"), wrongAlg},
		{"refuses a kid that is no string", ec.with("kid", 7), malformed},
		{"refuses a kid of 257 bytes", ec.with("kid", strings.Repeat("k", 257)), malformed},
		{"refuses a key without kty", ec.with("kty", nil), malformed},
		{"refuses KTY for kty", ec.with("kty", nil).with("KTY", "EC"), malformed},
		{"refuses key_ops that are no list", ec.with("key_ops", "verify"), malformed},
		{"refuses a key that is no object", "key", malformed},
	}
	good := publicJWK(t, forged().p384, "good")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			set, problems := parseKeys(t, encode(t, object{"keys": []any{tt.key, good}}))
			if set.Len() != 1 || set.Keys()[0].ID != "good" {
				t.Errorf("got keys %v, want the good one alone", set.Keys())
			}
			var want []federation.Problem
			if tt.reason != ignored {
				want = []federation.Problem{{Index: 0, Reason: tt.reason}}
			}
			if diff := cmp.Diff(want, problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKeysAccepted(t *testing.T) {
	t.Parallel()
	ec := publicJWK(t, forged().p256, "k")
	ones := func(bits uint) string {
		return encode64(new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), bits), big.NewInt(1)).Bytes())
	}
	for name, key := range map[string]object{
		"use sig":                    ec.with("use", "sig"),
		"use jwt-svid of SPIFFE":     ec.with("use", "jwt-svid"),
		"key_ops verify":             ec.with("key_ops", []string{"verify"}),
		"x5c and x5t, which go read": ec.with("x5c", []string{"AA=="}).with("x5t", "AA"),
		"no kid":                     ec.with("kid", nil),
		"RSA of 8192 bits":           {"kty": "RSA", "n": ones(8192), "e": "AQAB"},
	} {
		if set, problems := parseKeys(t, keySetDoc(t, key)); set.Len() != 1 || len(problems) != 0 {
			t.Errorf("%s: got %d keys, problems %v", name, set.Len(), problems)
		}
	}
}

func TestKeySetDocuments(t *testing.T) {
	t.Parallel()
	many := func(n int) []byte {
		keys := make([]object, n)
		for i := range keys {
			keys[i] = object{"kty": "unknown"}
		}
		keys[0] = publicJWK(t, forged().p256, "good")
		return keySetDoc(t, keys...)
	}
	tests := []struct {
		name string
		doc  []byte
		keys int
		ok   bool
	}{
		{"accepts an empty set", []byte(`{"keys":[]}`), 0, true},
		{"DS-29: accepts one good key and 99 unusable", many(100), 1, true},
		{"DS-29: refuses 101 keys", many(101), 0, false},
		{"DS-29: refuses 10 000 keys", many(10_000), 0, false},
		{"DS-15: refuses 100 KiB and a byte", append([]byte(`{"keys":[]}`), strings.Repeat(" ", 100<<10-10)...), 0, false},
		{"accepts 100 KiB", append([]byte(`{"keys":[]}`), strings.Repeat(" ", 100<<10-11)...), 0, true},
		{"accepts SPIFFE bundle members", []byte(`{"keys":[],"spiffe_sequence":1,"spiffe_refresh_hint":300}`), 0, true},
		{"DS-27: refuses an empty document", nil, 0, false},
		{"DS-27: refuses HTML", []byte(`<html></html>`), 0, false},
		{"DS-27: refuses truncated JSON", []byte(`{"keys":[`), 0, false},
		{"refuses a document without keys", []byte(`{}`), 0, false},
		{"refuses Keys for keys", []byte(`{"Keys":[]}`), 0, false},
		{"refuses keys that are null", []byte(`{"keys":null}`), 0, false},
		{"refuses keys twice", []byte(`{"keys":[],"keys":[]}`), 0, false},
		{"refuses a repeated member in a key", []byte(`{"keys":[{"kty":"EC","kty":"oct"}]}`), 0, false},
		{"refuses a list of keys without object", []byte(`[]`), 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			set, _, err := federation.ParseKeySet(tt.doc)
			if (err == nil) != tt.ok || err != nil && !errors.Is(err, federation.ErrUnavailable) {
				t.Fatalf("got error %v, want ok %t", err, tt.ok)
			}
			if set.Len() != tt.keys {
				t.Errorf("got %d keys, want %d", set.Len(), tt.keys)
			}
		})
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	k := forged()
	p256, other := publicJWK(t, k.p256, "a"), publicJWK(t, k.other, "b")
	p384, rsaKey := publicJWK(t, k.p384, "c"), publicJWK(t, k.rsa, "r")
	var fifty []object
	for i := range 50 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		fifty = append(fifty, publicJWK(t, key, fmt.Sprint(i)))
	}
	tests := []struct {
		name string
		keys []object
		kid  string
		alg  jose.SignatureAlgorithm
		want error
	}{
		{"finds the key of that name", []object{other, p256}, "a", jose.ES256, nil},
		{"JO-14: refuses an unknown kid though one key fits", []object{p256}, "z", jose.ES256, federation.ErrUnknownKey},
		{"JO-14: refuses a kid in other case", []object{p256}, "A", jose.ES256, federation.ErrUnknownKey},
		{"JO-15: without kid takes the only key", []object{p256}, "", jose.ES256, nil},
		{"JO-15: without kid takes the only key that fits", []object{p384, p256, rsaKey}, "", jose.ES256, nil},
		{"JO-15: without kid refuses two keys that fit", []object{p256, other}, "", jose.ES256, federation.ErrUnknownKey},
		{"JO-15: without kid refuses 50 keys that fit", fifty, "", jose.ES256, federation.ErrUnknownKey},
		{"JO-15: without kid refuses no key that fits", []object{p384}, "", jose.ES256, federation.ErrUnknownKey},
		{"refuses an empty set", []object{}, "", jose.ES256, federation.ErrUnknownKey},
		{"refuses two keys of one name", []object{p256, other.with("kid", "a")}, "a", jose.ES256, federation.ErrUnknownKey},
		{"accepts two keys of one name of which one fits", []object{p256, p384.with("kid", "a")}, "a", jose.ES256, nil},
		{"accepts the same key twice", []object{p256, p256}, "a", jose.ES256, nil},
		{"JO-07: refuses ES256 with a P-384 key", []object{p384}, "c", jose.ES256, federation.ErrAlgorithm},
		{"JO-07: refuses ES384 with a P-256 key", []object{p256}, "a", jose.ES384, federation.ErrAlgorithm},
		{"JO-08: refuses RS256 with a key for PS256", []object{rsaKey.with("alg", "PS256")}, "r", jose.RS256, federation.ErrAlgorithm},
		{"JO-08: accepts PS256 with a key for PS256", []object{rsaKey.with("alg", "PS256")}, "r", jose.PS256, nil},
		{"JO-02: refuses HS256 with an RSA key", []object{rsaKey}, "r", jose.HS256, federation.ErrAlgorithm},
		{"JO-01: refuses none", []object{p256}, "a", "none", federation.ErrAlgorithm},
		{"JO-01: refuses an empty algorithm", []object{p256}, "a", "", federation.ErrAlgorithm},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			set, _ := parseKeys(t, keySetDoc(t, tt.keys...))
			got, err := set.Find(tt.kid, tt.alg)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got error %v, want %v", err, tt.want)
			}
			if (err == nil) != (got.Public != nil) {
				t.Errorf("got key %v beside error %v", got, err)
			}
			if err == nil && tt.kid != "" && got.ID != tt.kid {
				t.Errorf("got key %q, want %q", got.ID, tt.kid)
			}
		})
	}
	if keys := (*federation.KeySet)(nil).Keys(); keys != nil {
		t.Errorf("nil set: got keys %v, want none", keys)
	}
	if _, err := (*federation.KeySet)(nil).Find("a", jose.ES256); !errors.Is(err, federation.ErrUnknownKey) {
		t.Errorf("nil set: got error %v, want %v", err, federation.ErrUnknownKey)
	}
}

// rocaModulus makes a modulus as the flawed generator of CVE-2017-15361 did:
// both primes are k*M + 65537^a mod M.
func rocaModulus(t *testing.T) *big.Int {
	t.Helper()
	m := big.NewInt(1)
	for p, n := int64(2), 0; n < 126; p++ { // 126 primes for 2048 bits
		if big.NewInt(p).ProbablyPrime(0) {
			m.Mul(m, big.NewInt(p))
			n++
		}
	}
	prime := func(a int64) *big.Int {
		power := new(big.Int).Exp(big.NewInt(65537), big.NewInt(a), m)
		k := new(big.Int).Div(new(big.Int).Lsh(big.NewInt(7), 1021), m)
		for {
			k.Add(k, big.NewInt(1))
			if p := new(big.Int).Add(new(big.Int).Mul(k, m), power); p.ProbablyPrime(0) {
				return p
			}
		}
	}
	return new(big.Int).Mul(prime(1234), prime(987654321))
}

func FuzzParseKeySet(f *testing.F) {
	f.Add(keySetDoc(f, publicJWK(f, forged().p256, "k"), object{"kty": "RSA", "n": rfc7638n, "e": "AQAB"}))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + rfc8037x + `"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":""}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		set, _, err := federation.ParseKeySet(doc)
		if err != nil {
			return
		}
		for _, k := range set.Keys() {
			sum, err := base64.RawURLEncoding.DecodeString(k.Thumbprint)
			if k.Public == nil || err != nil || len(sum) != 32 {
				t.Errorf("%q: got key %+v", doc, k)
			}
			ref := jose.JSONWebKey{Key: k.Public}
			if want, err := ref.Thumbprint(crypto.SHA256); err != nil || string(want) != string(sum) {
				t.Errorf("%q: got thumbprint %x, want %x, error %v", doc, sum, want, err)
			}
		}
	})
}
