package proof

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"math/big"

	"github.com/comity-auth/comity/federation/wire"
)

const (
	es256 = "ES256"
	es384 = "ES384"
	eddsa = "EdDSA"
	rs256 = "RS256"
	ps256 = "PS256"

	minRSA = 2048
	maxRSA = 8192 // verifying grows with the square of it
)

// Algorithms returns the signature algorithms that proofs can be checked with,
// all of them asymmetric (RFC 9449 section 4.3), the preferred one first.
func Algorithms() []string { return []string{es256, eddsa, es384, ps256, rs256} }

// key is a public key, with the members that RFC 7638 hashes. Their text is
// the only one that names the key: strict base64url of full-length coordinates
// or minimal integers. Thus a key has one thumbprint.
type key struct {
	public   crypto.PublicKey
	kty, crv string
	x, y     string
	n, e     string
}

// private are the members that a public key does not have (RFC 7518 section 6,
// RFC 8037 section 2); k makes a key symmetric.
func private() []string { return []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} }

// parseKey reads the jwk header of a proof as a public key for alg. Members
// beyond those that define the key are ignored.
func parseKey(jwk map[string]any, alg string) (*key, error) {
	for _, name := range private() {
		if _, present := jwk[name]; present {
			return nil, refuse("jwk has a private member")
		}
	}
	k := new(key)
	for _, m := range [...]struct {
		name string
		dst  *string
	}{{"kty", &k.kty}, {"crv", &k.crv}, {"x", &k.x}, {"y", &k.y}, {"n", &k.n}, {"e", &k.e}} {
		var err error
		if *m.dst, _, err = wire.String(jwk, m.name); err != nil {
			return nil, refuse("jwk has a member of the wrong form")
		}
	}
	var ok bool
	switch {
	case alg == es256 && k.kty == "EC" && k.crv == "P-256":
		ok = k.parseEC(elliptic.P256(), 32)
	case alg == es384 && k.kty == "EC" && k.crv == "P-384":
		ok = k.parseEC(elliptic.P384(), 48)
	case alg == eddsa && k.kty == "OKP" && k.crv == "Ed25519":
		ok = k.parseEd25519()
	case (alg == rs256 || alg == ps256) && k.kty == "RSA":
		ok = k.parseRSA()
	default:
		return nil, refuse("jwk is not a key for the algorithm")
	}
	if !ok {
		return nil, refuse("jwk is not a valid key")
	}
	return k, nil
}

// parseEC accepts coordinates of full length (RFC 7518 section 6.2.1.2) of a
// point on the curve.
func (k *key) parseEC(curve elliptic.Curve, size int) bool {
	x, errX := wire.DecodeBase64URL(k.x)
	y, errY := wire.DecodeBase64URL(k.y)
	if errX != nil || errY != nil || len(x) != size || len(y) != size {
		return false
	}
	point := make([]byte, 0, 1+2*size)
	point = append(append(append(point, 4), x...), y...)
	public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	k.public = public
	return err == nil
}

func (k *key) parseEd25519() bool {
	x, err := wire.DecodeBase64URL(k.x)
	if err != nil || len(x) != ed25519.PublicKeySize || weak([32]byte(x)) {
		return false
	}
	k.public = ed25519.PublicKey(x)
	return true
}

// weak reports an Ed25519 key that is no proof of anything: a point of small
// order, for which anybody can make signatures, or a second encoding of a point.
func weak(x [32]byte) bool {
	x[31] &= 0x7f // the sign of the other coordinate
	switch x {
	case [32]byte{}, [32]byte{1}: // order 4, order 1
		return true
	case [32]byte{
		0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
	}, [32]byte{
		0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
	}: // order 8
		return true
	}
	// From 2^255 - 20 on: minus one, of order 2, and what is not reduced.
	if x[0] < 0xec || x[31] != 0x7f {
		return false
	}
	for _, b := range x[1:31] {
		if b != 0xff {
			return false
		}
	}
	return true
}

// parseRSA accepts 2048 to 8192 bits and an odd exponent from 65537 to 31 bits,
// both in their shortest form (RFC 7518 section 6.3.1).
func (k *key) parseRSA() bool {
	// The length is known before anything is decoded.
	if len(k.n) > base64.RawURLEncoding.EncodedLen(maxRSA/8) || len(k.e) > base64.RawURLEncoding.EncodedLen(4) {
		return false
	}
	n, errN := wire.DecodeBase64URL(k.n)
	e, errE := wire.DecodeBase64URL(k.e)
	if errN != nil || errE != nil || len(n) == 0 || len(e) == 0 || n[0] == 0 || e[0] == 0 {
		return false
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	if bits := modulus.BitLen(); bits < minRSA || bits > maxRSA || modulus.Bit(0) == 0 {
		return false
	}
	if exponent.BitLen() > 31 || exponent.Int64() < 65537 || exponent.Bit(0) == 0 {
		return false
	}
	k.public = &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}
	return true
}

// verify reports whether sig signs input. The key is one for alg.
func (k *key) verify(alg, input string, sig []byte) bool {
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		size := (public.Curve.Params().BitSize + 7) / 8
		if len(sig) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:])
		return ecdsa.Verify(public, hashFor(alg, input), r, s)
	case ed25519.PublicKey:
		return ed25519.Verify(public, []byte(input), sig)
	case *rsa.PublicKey:
		hash := hashFor(alg, input)
		if alg == ps256 {
			salt := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
			return rsa.VerifyPSS(public, crypto.SHA256, hash, sig, salt) == nil
		}
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, hash, sig) == nil
	}
	return false
}

func hashFor(alg, input string) []byte {
	if alg == es384 {
		sum := sha512.Sum384([]byte(input))
		return sum[:]
	}
	sum := sha256.Sum256([]byte(input))
	return sum[:]
}

// members is the RFC 7638 section 3 text: the required members only, in
// lexical order, without white space. It is a JWK as well.
func (k *key) members() string {
	switch k.kty {
	case "EC":
		return `{"crv":"` + k.crv + `","kty":"EC","x":"` + k.x + `","y":"` + k.y + `"}`
	case "OKP":
		return `{"crv":"` + k.crv + `","kty":"OKP","x":"` + k.x + `"}`
	}
	return `{"e":"` + k.e + `","kty":"RSA","n":"` + k.n + `"}`
}

func (k *key) thumbprint() string { return digest([]byte(k.members())) }
