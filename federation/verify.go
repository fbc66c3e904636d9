package federation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/comity-auth/comity/federation/spiffe"
	jose "github.com/go-jose/go-jose/v4"
)

// KeySource finds the key of a peer that must verify a token, as
// [KeySet.Find] does. It may wait for the network until ctx ends, and is safe
// for concurrent use. Its errors wrap one error of this package:
// [ErrUnknownKey] says that the peer has no such key, [ErrUnavailable] that
// this cannot be known now.
type KeySource interface {
	Key(ctx context.Context, p Peer, kid string, alg jose.SignatureAlgorithm) (Key, error)
	// Bundle is that of a SPIFFE trust domain, as [Keys.Bundle] says.
	Bundle(ctx context.Context, p Peer) (*spiffe.Bundle, error)
}

// Verifier proves tokens (RFC 7515 section 5.2, RFC 7519 section 7.2, RFC
// 8725). It is safe for concurrent use.
type Verifier struct {
	keys KeySource
	now  func() time.Time
}

// NewVerifier makes a Verifier that takes keys from a source and reads a clock.
func NewVerifier(keys KeySource, now func() time.Time) *Verifier {
	return &Verifier{keys: keys, now: now}
}

// Verify proves that the peer issued the token, for us, and that it is good
// now. Everything that can be told without a key is checked before the source
// is asked for one, so a hopeless token causes no traffic and no cryptography.
// An error that is about the token is a *[Refusal].
func (v *Verifier) Verify(ctx context.Context, u Unverified, p Peer, w Want) (*Token, error) {
	if u.c.get() == nil {
		return nil, &Refusal{"form", "a compact JWS", "nothing", ErrMalformed}
	}
	if err := checkOrigin(u, p, w); err != nil {
		return nil, err
	}
	t, now := &Token{c: u.c, issuer: p.Issuer}, v.now()
	if err := t.readClaims(w); err != nil {
		return nil, err
	}
	if err := t.checkTimes(now, p, w); err != nil {
		return nil, err
	}
	if err := t.checkAudience(w); err != nil {
		return nil, err
	}
	var err error
	if t.key, err = v.prove(ctx, u, p, now); err != nil {
		return nil, err
	}
	return t, nil
}

// prove finds the key, which must be one that is expected, and verifies the
// signature with it.
func (v *Verifier) prove(ctx context.Context, u Unverified, p Peer, now time.Time) (Key, error) {
	key, err := v.key(ctx, u, p)
	if err != nil {
		return Key{}, err
	}
	if err := checkPins(key, p.Pins, now); err != nil {
		return Key{}, err
	}
	if !verifySignature(u.Algorithm(), key, u.c.get().SigningInput, u.c.get().Signature) {
		return Key{}, &Refusal{"signature", "one by the issuer's key", "another", ErrSignature}
	}
	return key, nil
}

// Recheck holds a token that was verified before against everything that may
// have changed since: the clock, the peer's record and the peer's keys. Only the
// signature is not computed again, for which the key that made it must still be
// the one that Verify would take. The errors are those of Verify.
func (v *Verifier) Recheck(ctx context.Context, t *Token, p Peer, w Want) error {
	if t == nil || t.c.get() == nil {
		return &Refusal{"form", "a verified token", "nothing", ErrMalformed}
	}
	u, now := Unverified{c: t.c, issuer: t.issuer, subject: t.subject}, v.now()
	if err := checkOrigin(u, p, w); err != nil {
		return err
	}
	if w.RequireID && t.id == "" {
		return missing("jti")
	}
	if err := t.checkTimes(now, p, w); err != nil {
		return err
	}
	if err := t.checkAudience(w); err != nil {
		return err
	}
	key, err := v.key(ctx, u, p)
	if err != nil {
		return err
	}
	if key.Thumbprint != t.key.Thumbprint {
		return &Refusal{"kid", "the key that signed", "another key of that name", ErrUnknownKey}
	}
	return checkPins(key, p.Pins, now)
}

// checkOrigin holds header and issuer against what may be expected of the peer.
func checkOrigin(u Unverified, p Peer, w Want) error {
	if err := checkHeader(u, p, w); err != nil {
		return err
	}
	return checkIssuer(u, p)
}

// checkIssuer requires that the token says it is the peer's: by iss, or as a
// JWT-SVID by a sub of the peer's trust domain (JWT-SVID section 3.1), whose iss
// says nothing then.
func checkIssuer(u Unverified, p Peer) error {
	switch {
	case p.Issuer == "":
	case p.TrustDomain == "" && u.issuer == p.Issuer, p.TrustDomain != "" && u.TrustDomain() == p.TrustDomain:
		return nil
	case p.TrustDomain != "":
		return &Refusal{"sub", "a SPIFFE ID of the domain of " + p.Name, likeness(u.TrustDomain(), p.TrustDomain), ErrIssuer}
	}
	return &Refusal{"iss", "the issuer of " + p.Name, likeness(u.issuer, p.Issuer), ErrIssuer}
}

// checkHeader holds the header against what the caller and the registry
// accept; a JWT-SVID may not be signed with EdDSA (JWT-SVID section 2.1). A
// header that brings its own key is refused (RFC 8725 section 3.10);
// x5c and x5t, which some issuers send, are never read.
func checkHeader(u Unverified, p Peer, w Want) error {
	if !slices.Contains(w.Types, u.Type()) {
		return &Refusal{"typ", fmt.Sprintf("one of %q", w.Types), shown(u.Type()), ErrType}
	}
	alg := u.Algorithm()
	s, ours := schemeOf(alg)
	if !ours || s.ed25519 && p.TrustDomain != "" || !slices.Contains(p.Algorithms, alg) {
		return &Refusal{"alg", fmt.Sprintf("one of %q", p.Algorithms), shown(string(alg)), ErrAlgorithm}
	}
	for _, name := range []string{"jwk", "jku", "x5u"} {
		if _, present := u.c.get().Header[name]; present {
			return &Refusal{name, "no key in the header", "one", ErrMalformed}
		}
	}
	return nil
}

// key asks the source, and holds it to its contract: what it reports without a
// meaning of ours is a question that could not be answered.
func (v *Verifier) key(ctx context.Context, u Unverified, p Peer) (Key, error) {
	key, err := v.keys.Key(ctx, p, u.KeyID(), u.Algorithm())
	if err == nil {
		return key, nil
	}
	if _, ok := errors.AsType[*Refusal](err); ok {
		return Key{}, err
	}
	switch {
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrMisconfigured):
		return Key{}, err
	case errors.Is(err, ErrUnknownKey):
		return Key{}, &Refusal{"kid", "a key of " + p.Name, shown(u.KeyID()), ErrUnknownKey}
	case errors.Is(err, ErrAlgorithm):
		return Key{}, &Refusal{"alg", "an algorithm that fits the key", shown(string(u.Algorithm())), ErrAlgorithm}
	}
	return Key{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func checkPins(key Key, pins []Pin, now time.Time) error {
	if len(pins) == 0 {
		return nil
	}
	seen := "a key that is not pinned"
	for _, pin := range pins {
		if pin.Thumbprint != key.Thumbprint {
			continue
		}
		early := !pin.NotBefore.IsZero() && now.Before(pin.NotBefore)
		late := !pin.NotAfter.IsZero() && now.After(pin.NotAfter)
		if !early && !late {
			return nil
		}
		seen = "a pinned key outside its window"
	}
	return &Refusal{"pin", fmt.Sprintf("one of %d pinned keys", len(pins)), seen, ErrUnknownKey}
}
