package proof_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/proof"
)

const tokenURL = "https://broker.globex.example/token"

// noon is when all proofs of these tests are made.
func noon() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

func want() proof.Want {
	return proof.Want{
		Method:        "POST",
		URLs:          []string{tokenURL},
		Now:           noon(),
		Window:        proof.Window,
		Algorithms:    proof.Algorithms(),
		NoAccessToken: true,
	}
}

type object = map[string]any

func claims(changes object) object {
	return with(object{"jti": "id-1", "htm": "POST", "htu": tokenURL, "iat": noon().Unix()}, changes)
}

// with applies changes; a nil removes a member.
func with(m, changes object) object {
	out := maps.Clone(m)
	for name, value := range changes {
		if value == nil {
			delete(out, name)
			continue
		}
		out[name] = value
	}
	return out
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func encode(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b64(b)
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ecJWK(t testing.TB, k *ecdsa.PrivateKey) object {
	t.Helper()
	point, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	n := len(point) / 2
	return object{"kty": "EC", "crv": k.Curve.Params().Name, "x": b64(point[1 : 1+n]), "y": b64(point[1+n:])}
}

func rsaJWK(k *rsa.PrivateKey) object {
	return object{"kty": "RSA", "n": b64(k.N.Bytes()), "e": "AQAB"}
}

// signature makes a JWS signature of input, independent of the package.
func signature(t testing.TB, k crypto.Signer, alg, input string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(input))
	hash := sum[:]
	var sig []byte
	var err error
	switch k := k.(type) {
	case *ecdsa.PrivateKey:
		if alg == "ES384" {
			long := sha512.Sum384([]byte(input))
			hash = long[:]
		}
		r, s, fail := ecdsa.Sign(rand.Reader, k, hash)
		if fail != nil {
			t.Fatal(fail)
		}
		size := (k.Curve.Params().BitSize + 7) / 8
		sig = make([]byte, 2*size)
		r.FillBytes(sig[:size])
		s.FillBytes(sig[size:])
	case ed25519.PrivateKey:
		sig = ed25519.Sign(k, []byte(input))
	case *rsa.PrivateKey:
		if alg == "PS256" {
			sig, err = rsa.SignPSS(rand.Reader, k, crypto.SHA256, hash, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			sig, err = rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, hash)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// forge signs whatever header and claims say.
func forge(t testing.TB, k crypto.Signer, header, payload any) string {
	t.Helper()
	input := encode(t, header) + "." + encode(t, payload)
	alg := ""
	if h, ok := header.(object); ok {
		alg, _ = h["alg"].(string)
	}
	return input + "." + b64(signature(t, k, alg, input))
}

func header(alg string, jwk any) object {
	return object{"typ": "dpop+jwt", "alg": alg, "jwk": jwk}
}

func sum256(s string) [32]byte { return sha256.Sum256([]byte(s)) }
