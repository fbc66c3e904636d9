package federation

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"slices"

	"github.com/comity-auth/comity/federation/wire"
	jose "github.com/go-jose/go-jose/v4"
)

const (
	minRSABits = 2048
	maxRSABits = 8192
	// minExponent rules out the small exponents; crypto/rsa sets the maximum.
	minExponent = 65537
	maxExponent = 1<<31 - 1

	maxKeyID = 256
)

// verdict says what became of a JWK: usable, not ours, or the reason why its
// issuer should mend it.
type verdict string

const (
	keyUsable  verdict = ""
	keyNotOurs verdict = "not for us"

	keySecret    verdict = ReasonSecret
	keyMalformed verdict = "malformed key"
	keyBadRSA    verdict = "RSA key of a size or exponent that is not accepted"
	keyWeakRSA   verdict = "RSA key with the ROCA weakness"
	keyOffCurve  verdict = "point is not on the curve"
	keyWrongAlg  verdict = "alg does not fit the key"
)

// secretMembers carry private or symmetric key material (RFC 7518 section 6,
// RFC 8037 section 2, RFC 9964).
func secretMembers() []string {
	return []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}
}

// parseKey reads one JWK (RFC 7517 section 4). Secrets are looked for first,
// whatever kind of key it claims to be.
func parseKey(v any) (Key, verdict) {
	jwk, ok := v.(map[string]any)
	if !ok {
		return Key{}, keyMalformed
	}
	for _, name := range secretMembers() {
		if _, present := jwk[name]; present {
			return Key{}, keySecret
		}
	}
	kty, _, err := wire.String(jwk, "kty")
	if err != nil || kty == "" {
		return Key{}, keyMalformed
	}
	if kty == "oct" {
		return Key{}, keySecret
	}
	if v := checkUse(jwk); v != keyUsable {
		return Key{}, v
	}
	kid, _, kidErr := wire.String(jwk, "kid")
	alg, _, algErr := wire.String(jwk, "alg")
	if kidErr != nil || algErr != nil || len(kid) > maxKeyID {
		return Key{}, keyMalformed
	}
	k := Key{ID: kid, Algorithm: jose.SignatureAlgorithm(alg)}
	if _, known := schemeOf(k.Algorithm); alg != "" && !known {
		return Key{}, keyNotOurs
	}
	if v := k.readPublic(kty, jwk); v != keyUsable {
		return Key{}, v
	}
	if alg != "" && !k.Fits(k.Algorithm) {
		return Key{}, keyWrongAlg
	}
	return k, keyUsable
}

// checkUse accepts keys for signatures: use "sig", or the "jwt-svid" of SPIFFE
// bundles, and key_ops with "verify"; either may be absent.
func checkUse(jwk map[string]any) verdict {
	use, present, err := wire.String(jwk, "use")
	if err != nil {
		return keyMalformed
	}
	if present && use != "sig" && use != "jwt-svid" {
		return keyNotOurs
	}
	ops, present, err := wire.Strings(jwk, "key_ops")
	if err != nil {
		return keyMalformed
	}
	if present && !slices.Contains(ops, "verify") {
		return keyNotOurs
	}
	return keyUsable
}

// readPublic fills in the key and its thumbprint.
func (k *Key) readPublic(kty string, jwk map[string]any) verdict {
	switch kty {
	case "EC":
		return k.readEC(jwk)
	case "RSA":
		return k.readRSA(jwk)
	case "OKP":
		return k.readOKP(jwk)
	}
	return keyNotOurs
}

// readEC reads RFC 7518 section 6.2.1: both coordinates in full length, and a
// point that lies on the curve.
func (k *Key) readEC(jwk map[string]any) verdict {
	crv, _, err := wire.String(jwk, "crv")
	if err != nil {
		return keyMalformed
	}
	curve := curveOf(crv)
	if curve == nil {
		return keyNotOurs
	}
	size := (curve.Params().BitSize + 7) / 8
	x, xText, okX := octets(jwk, "x", size)
	y, yText, okY := octets(jwk, "y", size)
	if !okX || !okY || len(x) != size || len(y) != size {
		return keyMalformed
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return keyOffCurve
	}
	k.Public = pub
	k.Thumbprint = thumbprint(`{"crv":"` + crv + `","kty":"EC","x":"` + xText + `","y":"` + yText + `"}`)
	return keyUsable
}

// readRSA reads RFC 7518 section 6.3.1. Sizes are judged on the octets, so an
// oversize number is never computed with.
func (k *Key) readRSA(jwk map[string]any) verdict {
	n, nText, okN := octets(jwk, "n", maxRSABits/8)
	e, eText, okE := octets(jwk, "e", 4)
	if !okN || !okE {
		return keyBadRSA
	}
	if len(n) < minRSABits/8 || n[0] == 0 || e[0] == 0 {
		return keyBadRSA
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e).Int64()
	if modulus.BitLen() < minRSABits || modulus.Bit(0) == 0 ||
		exponent < minExponent || exponent > maxExponent || exponent%2 == 0 {
		return keyBadRSA
	}
	if hasROCA(modulus) {
		return keyWeakRSA
	}
	k.Public = &rsa.PublicKey{N: modulus, E: int(exponent)}
	k.Thumbprint = thumbprint(`{"e":"` + eText + `","kty":"RSA","n":"` + nText + `"}`)
	return keyUsable
}

// readOKP reads RFC 8037 section 2 for Ed25519.
func (k *Key) readOKP(jwk map[string]any) verdict {
	crv, _, err := wire.String(jwk, "crv")
	if err != nil {
		return keyMalformed
	}
	if crv != "Ed25519" {
		return keyNotOurs
	}
	x, xText, ok := octets(jwk, "x", ed25519.PublicKeySize)
	if !ok || len(x) != ed25519.PublicKeySize {
		return keyMalformed
	}
	k.Public = ed25519.PublicKey(x)
	k.Thumbprint = thumbprint(`{"crv":"Ed25519","kty":"OKP","x":"` + xText + `"}`)
	return keyUsable
}

// octets decodes a member that must be base64url of 1 to limit bytes, and
// returns its text as well, which the strict alphabet makes canonical.
func octets(jwk map[string]any, name string, limit int) (b []byte, text string, ok bool) {
	text, _, err := wire.String(jwk, name)
	if err != nil || text == "" || len(text) > base64.RawURLEncoding.EncodedLen(limit) {
		return nil, "", false
	}
	b, err = wire.DecodeBase64URL(text)
	return b, text, err == nil
}

// thumbprint hashes the canonical form of RFC 7638 section 3.
func thumbprint(canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// hasROCA recognises moduli of the key generator behind CVE-2017-15361. Its
// primes are k*M + 65537^a mod M, where M is a product of the first primes, so
// modulo each of those the modulus is a power of 65537. A sound modulus is such
// a power for all of them with a probability of about 2^-27.
func hasROCA(modulus *big.Int) bool {
	r := new(big.Int)
	for prime := int64(3); prime <= 167; prime += 2 { // M ends at 167 at least
		if !big.NewInt(prime).ProbablyPrime(0) {
			continue
		}
		residue := r.Mod(modulus, big.NewInt(prime)).Int64()
		power := int64(1)
		for power != residue {
			if power = power * 65537 % prime; power == 1 {
				return false
			}
		}
	}
	return true
}
