package federation

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash.New
	_ "crypto/sha512" // for crypto.Hash.New
	"io"
	"math/big"

	jose "github.com/go-jose/go-jose/v4"
)

// ed25519Alg is the fully specified name of RFC 9864 section 2.2.
const ed25519Alg = jose.SignatureAlgorithm("Ed25519")

// scheme is how an algorithm verifies. Exactly one of curve, rsa and ed25519
// is set.
type scheme struct {
	hash    crypto.Hash
	curve   func() elliptic.Curve
	rsa     bool
	pss     bool
	ed25519 bool
}

// schemeOf knows the algorithms this package verifies: RFC 7518 section 3.1
// without HMAC and none, RFC 8037 with Ed25519, RFC 9864.
func schemeOf(alg jose.SignatureAlgorithm) (scheme, bool) {
	switch alg {
	case jose.ES256:
		return scheme{hash: crypto.SHA256, curve: elliptic.P256}, true
	case jose.ES384:
		return scheme{hash: crypto.SHA384, curve: elliptic.P384}, true
	case jose.ES512:
		return scheme{hash: crypto.SHA512, curve: elliptic.P521}, true
	case jose.RS256:
		return scheme{hash: crypto.SHA256, rsa: true}, true
	case jose.RS384:
		return scheme{hash: crypto.SHA384, rsa: true}, true
	case jose.RS512:
		return scheme{hash: crypto.SHA512, rsa: true}, true
	case jose.PS256:
		return scheme{hash: crypto.SHA256, rsa: true, pss: true}, true
	case jose.PS384:
		return scheme{hash: crypto.SHA384, rsa: true, pss: true}, true
	case jose.PS512:
		return scheme{hash: crypto.SHA512, rsa: true, pss: true}, true
	case jose.EdDSA, ed25519Alg:
		return scheme{ed25519: true}, true
	}
	return scheme{}, false
}

// Algorithms lists the names of the signature algorithms that can be verified.
func Algorithms() []string {
	return []string{"ES256", "EdDSA", "Ed25519", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}
}

func fullySpecified(alg jose.SignatureAlgorithm) jose.SignatureAlgorithm {
	if alg == jose.EdDSA {
		return ed25519Alg
	}
	return alg
}

// verifySignature reports whether sig is the key's signature of input. The key
// must fit the algorithm; one that does not verifies nothing.
//
// With ECDSA, n-s passes wherever s does: a signature has two spellings, so
// nothing that guards against replay may be computed from it alone.
func verifySignature(alg jose.SignatureAlgorithm, key Key, input string, sig []byte) bool {
	s, ok := schemeOf(alg)
	if !ok || !key.Fits(alg) {
		return false
	}
	switch pub := key.Public.(type) {
	case *ecdsa.PublicKey:
		return verifyECDSA(pub, digest(s.hash, input), sig)
	case *rsa.PublicKey:
		if s.pss {
			opts := rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
			return rsa.VerifyPSS(pub, s.hash, digest(s.hash, input), sig, &opts) == nil
		}
		return rsa.VerifyPKCS1v15(pub, s.hash, digest(s.hash, input), sig) == nil
	case ed25519.PublicKey:
		return len(pub) == ed25519.PublicKeySize && ed25519.Verify(pub, []byte(input), sig)
	}
	return false
}

// verifyECDSA takes r and s as two numbers of the curve's full length (RFC 7518
// section 3.4), both at least 1 and below the group's order (CVE-2022-21449).
func verifyECDSA(pub *ecdsa.PublicKey, sum, sig []byte) bool {
	order := pub.Curve.Params().N
	size := (order.BitLen() + 7) / 8
	if len(sig) != 2*size {
		return false
	}
	r, s := new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:])
	if r.Sign() <= 0 || s.Sign() <= 0 || r.Cmp(order) >= 0 || s.Cmp(order) >= 0 {
		return false
	}
	return ecdsa.Verify(pub, sum, r, s)
}

func digest(h crypto.Hash, input string) []byte {
	w := h.New()
	_, _ = io.WriteString(w, input) // a hash never fails
	return w.Sum(nil)
}
