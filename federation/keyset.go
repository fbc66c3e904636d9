package federation

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"slices"

	"github.com/comity-auth/comity/federation/spiffe"
	"github.com/comity-auth/comity/federation/wire"
	jose "github.com/go-jose/go-jose/v4"
)

const (
	// maxKeySetBytes bounds a key set document, decompressed.
	maxKeySetBytes = 100 << 10
	// maxKeys bounds the keys of one set, usable or not.
	maxKeys = 100
)

// Key is a public key that may verify signatures. It must not be changed.
type Key struct {
	// ID is the JWK's kid; empty when it has none.
	ID string
	// Thumbprint is the RFC 7638 SHA-256 thumbprint in base64url.
	Thumbprint string
	// Algorithm is the only algorithm the JWK is for; empty when it does not
	// say.
	Algorithm jose.SignatureAlgorithm
	// Public is an *ecdsa.PublicKey on P-256, P-384 or P-521, an
	// *rsa.PublicKey or an ed25519.PublicKey.
	Public crypto.PublicKey
}

// Fits reports whether the key may verify the algorithm: kind and curve are the
// algorithm's (RFC 7518 section 3.4), and the JWK is for no other one
// (RFC 8725 section 3.1). EdDSA and Ed25519 count as one, since this package
// knows EdDSA with that curve only (RFC 9864 section 2.2).
func (k Key) Fits(alg jose.SignatureAlgorithm) bool {
	if k.Algorithm != "" && fullySpecified(k.Algorithm) != fullySpecified(alg) {
		return false
	}
	s, ok := schemeOf(alg)
	if !ok {
		return false
	}
	switch pub := k.Public.(type) {
	case *ecdsa.PublicKey:
		return s.curve != nil && pub.Curve == s.curve()
	case *rsa.PublicKey:
		return s.rsa
	case ed25519.PublicKey:
		return s.ed25519
	}
	return false
}

// KeySet is the usable keys of one issuer. It is immutable. The zero KeySet,
// and nil, hold no key.
type KeySet struct {
	keys   []Key
	bundle *spiffe.Bundle // of a SPIFFE trust domain, nil for any other issuer
}

// Problem is a key that was left out of a set although its issuer should mend
// it. Keys of kinds and uses that are not ours are left out without a Problem.
type Problem struct {
	// Index is the key's place in the document, from zero.
	Index int
	// Reason is a fixed text.
	Reason string
}

// ReasonSecret is the Problem of a key that should never have been published:
// whoever reads the document can sign with it. It calls for an alert.
const ReasonSecret = "private or symmetric key"

// ParseKeySet reads a JWK set (RFC 7517 section 5) of at most 100 KiB and 100
// keys. A key that cannot be used does not spoil the others; the set may turn
// out empty. A document that is no key set wraps [ErrUnavailable].
func ParseKeySet(doc []byte) (*KeySet, []Problem, error) {
	top, err := wire.ParseObject(doc, wire.Limits{
		MaxBytes: maxKeySetBytes, MaxDepth: 16, MaxMembers: 256, MaxString: 16 << 10, MaxValues: 8192,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: key set: %w", ErrUnavailable, err)
	}
	list, present, err := wire.Array(top, "keys")
	if err != nil {
		return nil, nil, fmt.Errorf("%w: key set: %w", ErrUnavailable, err)
	}
	if !present || len(list) > maxKeys {
		return nil, nil, fmt.Errorf("%w: key set: %d keys, want a list of at most %d", ErrUnavailable, len(list), maxKeys)
	}
	set := &KeySet{}
	var problems []Problem
	for i, v := range list {
		k, verdict := parseKey(v)
		switch verdict {
		case keyUsable:
			set.keys = append(set.keys, k)
		case keyNotOurs:
		default:
			problems = append(problems, Problem{Index: i, Reason: string(verdict)})
		}
	}
	return set, problems, nil
}

// Len is the number of usable keys.
func (s *KeySet) Len() int {
	if s == nil {
		return 0
	}
	return len(s.keys)
}

// Keys returns a copy of the list, in the document's order.
func (s *KeySet) Keys() []Key {
	if s == nil {
		return nil
	}
	return slices.Clone(s.keys)
}

// Find returns the one key that must verify a token. With a kid it is the key
// of that name; without one, the only key that fits the algorithm. It never
// offers a choice: two different keys that fit are as good as none.
// The errors are *[Refusal] around [ErrUnknownKey], or around [ErrAlgorithm]
// when the named key is not for this algorithm.
func (s *KeySet) Find(kid string, alg jose.SignatureAlgorithm) (Key, error) {
	var found Key
	named := false
	for i := range s.Len() {
		k := &s.keys[i]
		if kid != "" && k.ID != kid {
			continue
		}
		named = true
		if !k.Fits(alg) {
			continue
		}
		if found.Public != nil && found.Thumbprint != k.Thumbprint {
			return Key{}, &Refusal{"kid", "one key", "several keys that fit", ErrUnknownKey}
		}
		found = *k
	}
	switch {
	case found.Public != nil:
		return found, nil
	case kid == "":
		return Key{}, &Refusal{"kid", "one key for " + shown(string(alg)), "no kid and no key that fits", ErrUnknownKey}
	case named:
		return Key{}, &Refusal{"alg", "an algorithm that fits the key", shown(string(alg)), ErrAlgorithm}
	}
	return Key{}, &Refusal{"kid", "a key of the issuer", shown(kid), ErrUnknownKey}
}

// curveOf knows the NIST curves of RFC 7518 section 6.2.1.1.
func curveOf(crv string) elliptic.Curve {
	switch crv {
	case "P-256":
		return elliptic.P256()
	case "P-384":
		return elliptic.P384()
	case "P-521":
		return elliptic.P521()
	}
	return nil
}
