package federation

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/comity-auth/comity/federation/wire"
	"github.com/comity-auth/comity/trust/ident"
)

// Statement is what an issuer says under its signature to whoever reads it: a
// JWT with neither subject nor audience, such as a page of a feed. Only a
// [Verifier] makes one. It is immutable and safe for concurrent use, and never
// prints what it says.
type Statement struct{ t Token }

// IssuedAt is iat, rounded down to a second.
func (s *Statement) IssuedAt() time.Time { return s.t.issuedAt }

// Expires is exp, rounded down to a second.
func (s *Statement) Expires() time.Time { return s.t.expires }

// Claims is the payload as [wire.ParseObject] reads it. It is shared: it must
// not be changed.
func (s *Statement) Claims() map[string]any { return s.t.Claims() }

// Format writes a fixed text whatever the verb.
func (s Statement) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[verified statement]") }

// LogValue is a fixed text.
func (s Statement) LogValue() slog.Value { return slog.StringValue("[verified statement]") }

// WantStatement is what the caller requires of a statement beyond the peer's
// record. The zero WantStatement accepts nothing.
type WantStatement struct {
	// Type is the header typ, in lower case and without the "application/"
	// prefix. It is required: it alone tells what an issuer signed from the other
	// things it signs (RFC 8725 section 3.11).
	Type string
	// Limits bound the statement, which may be larger than a token.
	Limits wire.Limits
	// MaxLife bounds exp - iat. Zero sets no bound.
	MaxLife time.Duration
}

// VerifyStatement proves that the peer said this, and that it is good now, as
// [Verifier.Verify] does but for what a statement lacks. An iat is required.
// Errors are those of Verify.
func (v *Verifier) VerifyStatement(ctx context.Context, raw ident.RawToken, p Peer, w WantStatement) (*Statement, error) {
	u, err := peek(raw, w.Limits)
	if err != nil {
		return nil, err
	}
	if w.Type == "" {
		return nil, &Refusal{"typ", "a type to be asked for", "none", ErrType}
	}
	if err := checkOrigin(u, p, Want{Types: []string{w.Type}}); err != nil {
		return nil, err
	}
	s, now := &Statement{Token{c: u.c, issuer: u.issuer}}, v.now()
	want := Want{MaxLife: w.MaxLife}
	if err := s.t.readTimes(want); err != nil {
		return nil, err
	}
	if err := s.t.checkTimes(now, p, want); err != nil {
		return nil, err
	}
	if s.t.key, err = v.prove(ctx, u, p, now); err != nil {
		return nil, err
	}
	return s, nil
}
