package federation

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/comity-auth/comity/federation/spiffe"
	"github.com/comity-auth/comity/federation/wire"
	"github.com/comity-auth/comity/trust/ident"
	jose "github.com/go-jose/go-jose/v4"
)

const maxIssuer = 512

// Unverified is a token that was taken apart and proved in nothing. It tells
// just enough to choose the peer whose keys may prove it. The zero Unverified
// verifies as malformed. Values are immutable and never print the token.
type Unverified struct {
	c       hidden
	issuer  string
	subject string
}

// Peek takes a compact JWS of at most 16 KiB apart and reads who it says issued
// it. It does no I/O. The errors are *[Refusal] around [ErrMalformed], or
// around [ErrClaims] when iss is no string of visible ASCII of 1 to 512 bytes,
// or is missing although sub is no SPIFFE ID: a JWT-SVID need not have one.
func Peek(raw ident.RawToken) (Unverified, error) { return peek(raw, wire.DefaultLimits()) }

func peek(raw ident.RawToken, lim wire.Limits) (Unverified, error) {
	c, err := wire.ParseCompactWithin(raw.Reveal(), lim)
	if err != nil {
		return Unverified{}, &Refusal{"form", "a compact JWS", err.Error(), ErrMalformed}
	}
	iss, present, err := wire.String(c.Payload, "iss")
	if err != nil {
		return Unverified{}, &Refusal{"iss", "a string", "another kind of value", ErrClaims}
	}
	sub, _, err := wire.String(c.Payload, "sub")
	if err != nil {
		sub = "" // which readClaims refuses
	}
	if present && iss == "" || !present && spiffe.DomainOf(sub) == "" {
		return Unverified{}, &Refusal{"iss", "an issuer", "nothing", ErrClaims}
	}
	if len(iss) > maxIssuer {
		return Unverified{}, &Refusal{"iss", fmt.Sprintf("at most %d bytes", maxIssuer), fmt.Sprintf("%d bytes", len(iss)), ErrClaims}
	}
	for i := range len(iss) {
		if iss[i] <= ' ' || iss[i] > '~' {
			return Unverified{}, &Refusal{"iss", "visible ASCII", "another character", ErrClaims}
		}
	}
	return Unverified{c: hidden{&c}, issuer: iss, subject: sub}, nil
}

// Issuer is what iss says: 1 to 512 bytes of visible ASCII; empty when there is
// none.
func (u Unverified) Issuer() string { return u.issuer }

// Subject is what sub says, whatever its form; empty when there is none.
func (u Unverified) Subject() string { return u.subject }

// TrustDomain is the SPIFFE trust domain that sub says it is of; empty when sub
// is no SPIFFE ID of a workload.
func (u Unverified) TrustDomain() string { return spiffe.DomainOf(u.subject) }

// Type is the header's typ, in lower case and without "application/"; empty
// when there is none.
func (u Unverified) Type() string {
	if u.c.get() == nil {
		return ""
	}
	return u.c.get().Type()
}

// Algorithm is the header's alg.
func (u Unverified) Algorithm() jose.SignatureAlgorithm {
	if u.c.get() == nil {
		return ""
	}
	return jose.SignatureAlgorithm(u.c.get().Algorithm())
}

// KeyID is the header's kid; empty when there is none.
func (u Unverified) KeyID() string {
	if u.c.get() == nil {
		return ""
	}
	return u.c.get().KeyID()
}

// Format writes a fixed text whatever the verb.
func (u Unverified) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[unverified token]") }

// LogValue is a fixed text.
func (u Unverified) LogValue() slog.Value { return slog.StringValue("[unverified token]") }

// Token is a token that a [Verifier] proved; nothing else makes one. It is
// immutable and safe for concurrent use. It never prints, copies included.
type Token struct {
	c                         hidden
	issuer, subject, id       string
	audience                  []string
	expires                   time.Time
	issuedAt, notBefore       time.Time
	hasIssuedAt, hasNotBefore bool
	key                       Key
}

// Issuer is the peer's: iss, or of a JWT-SVID its trust domain.
func (t *Token) Issuer() string { return t.issuer }

// Subject is sub: 1 to 255 bytes of printable text.
func (t *Token) Subject() string { return t.subject }

// Audience returns a copy of aud: 1 to 16 values.
func (t *Token) Audience() []string { return slices.Clone(t.audience) }

// Expires is exp, rounded down to a second.
func (t *Token) Expires() time.Time { return t.expires }

// IssuedAt is iat, rounded down to a second, and whether the token has one.
func (t *Token) IssuedAt() (time.Time, bool) { return t.issuedAt, t.hasIssuedAt }

// NotBefore is nbf, rounded down to a second, and whether the token has one.
func (t *Token) NotBefore() (time.Time, bool) { return t.notBefore, t.hasNotBefore }

// ID is jti: at most 256 bytes of printable text; empty when there is none.
func (t *Token) ID() string { return t.id }

// Type is the header's typ, in lower case and without "application/"; empty
// when there is none.
func (t *Token) Type() string { return t.c.get().Type() }

// Algorithm is the algorithm the signature was verified with.
func (t *Token) Algorithm() jose.SignatureAlgorithm {
	return jose.SignatureAlgorithm(t.c.get().Algorithm())
}

// KeyID is the header's kid; empty when there is none.
func (t *Token) KeyID() string { return t.c.get().KeyID() }

// KeyThumbprint is the RFC 7638 thumbprint of the key that signed.
func (t *Token) KeyThumbprint() string { return t.key.Thumbprint }

// Claims is the payload as [wire.ParseObject] reads it. It is shared: it must
// not be changed.
func (t *Token) Claims() map[string]any { return t.c.get().Payload }

// Digest is the SHA-256 of the compact token. Two spellings of an ECDSA
// signature give two digests: single use by digest holds against a replay of
// the token as it was seen, and is for issuers that set no jti.
func (t *Token) Digest() [32]byte { return sha256.Sum256([]byte(t.c.get().Raw)) }

// Format writes a fixed text whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[verified token]") }

// LogValue is a fixed text.
func (t Token) LogValue() slog.Value { return slog.StringValue("[verified token]") }

// hidden keeps a token where fmt does not find it: fmt calls no methods of
// unexported fields, and follows one pointer but not two.
type hidden struct{ at **wire.Compact }

func (h hidden) get() *wire.Compact {
	if h.at == nil {
		return nil
	}
	return *h.at
}
