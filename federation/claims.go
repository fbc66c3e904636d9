package federation

import (
	"fmt"
	"slices"
	"time"
	"unicode"

	"github.com/comity-auth/comity/federation/wire"
)

const (
	maxSubject  = 255 // OpenID Connect Core 1.0 section 2
	maxTokenID  = 256
	maxAudience = 16
	// maxFuture is the most that a clock ahead of ours is granted (FAPI 2.0
	// section 5.3.2.1).
	maxFuture = 10 * time.Second
)

// readClaims requires the form of the claims that every token has.
func (t *Token) readClaims(w Want) error {
	var err error
	if t.subject, err = text(t.c.get().Payload, "sub", maxSubject); err != nil {
		return err
	}
	if t.subject == "" {
		return missing("sub")
	}
	if t.id, err = text(t.c.get().Payload, "jti", maxTokenID); err != nil {
		return err
	}
	if t.id == "" && w.RequireID {
		return missing("jti")
	}
	aud, present, err := wire.StringOrStrings(t.c.get().Payload, "aud")
	if err != nil {
		return misshapen("aud", err)
	}
	if !present {
		return missing("aud")
	}
	if len(aud) > maxAudience || slices.Contains(aud, "") {
		return &Refusal{"aud", fmt.Sprintf("1 to %d filled values", maxAudience), fmt.Sprintf("%d values", len(aud)), ErrClaims}
	}
	t.audience = aud
	return t.readTimes(w)
}

func (t *Token) readTimes(w Want) error {
	var hasExpires bool
	for _, c := range []struct {
		name     string
		at       *time.Time
		present  *bool
		required bool
	}{
		{"exp", &t.expires, &hasExpires, true},
		{"iat", &t.issuedAt, &t.hasIssuedAt, !w.IssuedAtOptional},
		{"nbf", &t.notBefore, &t.hasNotBefore, false},
	} {
		var err error
		if *c.at, *c.present, err = wire.NumericDate(t.c.get().Payload, c.name); err != nil {
			return misshapen(c.name, err)
		}
		if c.required && !*c.present {
			return missing(c.name)
		}
	}
	return nil
}

// checkTimes holds the dates against the clock. Leeway helps a token that has
// just expired; of a date in the future at most maxFuture is excused, unless
// the caller grants a skew of its own.
func (t *Token) checkTimes(now time.Time, p Peer, w Want) error {
	leeway, ahead := max(p.Leeway, 0), min(max(p.Leeway, 0), maxFuture)
	if w.Skew > 0 {
		leeway, ahead = w.Skew, w.Skew
	}
	future := now.Add(ahead)
	if late := now.Sub(t.expires); late > leeway || late == leeway && w.Skew <= 0 {
		return &Refusal{"exp", "less than " + leeway.String() + " ago", gap(now, t.expires), ErrExpired}
	}
	if t.hasNotBefore && t.notBefore.After(future) {
		return &Refusal{"nbf", "at most " + ahead.String() + " ahead", gap(now, t.notBefore), ErrNotYetValid}
	}
	if p.MaxTokenAge <= 0 {
		return &Refusal{"iat", "a peer with a greatest token age", "none", ErrTooOld}
	}
	since := now
	if t.hasIssuedAt {
		since = t.issuedAt
		if t.issuedAt.After(future) && (w.Skew <= 0 || !t.hasNotBefore) {
			return &Refusal{"iat", "at most " + ahead.String() + " ahead", gap(now, t.issuedAt), ErrNotYetValid}
		}
		if now.Sub(t.issuedAt)-leeway > p.MaxTokenAge {
			return &Refusal{"iat", "at most " + p.MaxTokenAge.String() + " ago", gap(now, t.issuedAt), ErrTooOld}
		}
	}
	if life := t.expires.Sub(since); w.MaxLife != 0 && life > w.MaxLife {
		return &Refusal{"exp", "a life of at most " + w.MaxLife.String(), life.Round(time.Second).String(), ErrLifetime}
	}
	return nil
}

// checkAudience requires that the token is for us (RFC 7519 section 4.1.3),
// and for nobody else unless the caller shares.
func (t *Token) checkAudience(w Want) error {
	ours := 0
	for _, a := range t.audience {
		if slices.Contains(w.Audiences, a) {
			ours++
		}
	}
	switch {
	case ours == 0:
		return &Refusal{"aud", "one of our audiences", t.audienceLikeness(w), ErrAudience}
	case ours < len(t.audience) && !w.SharedAudience:
		return &Refusal{"aud", "our audiences alone", fmt.Sprintf("%d others besides", len(t.audience)-ours), ErrAudience}
	}
	return nil
}

// audienceLikeness describes what a single audience that is not ours resembles.
func (t *Token) audienceLikeness(w Want) string {
	if len(t.audience) != 1 || len(w.Audiences) != 1 {
		return fmt.Sprintf("%d values, none of our %d", len(t.audience), len(w.Audiences))
	}
	return likeness(t.audience[0], w.Audiences[0])
}

// text reads a claim that, if present, must be printable text of 1 to limit
// bytes: no control characters, no line ends, and nothing that changes the
// direction or vanishes on a screen.
func text(claims map[string]any, name string, limit int) (string, error) {
	s, present, err := wire.String(claims, name)
	if err != nil {
		return "", misshapen(name, err)
	}
	if !present {
		return "", nil
	}
	if s == "" || len(s) > limit {
		return "", &Refusal{name, fmt.Sprintf("1 to %d bytes", limit), fmt.Sprintf("%d bytes", len(s)), ErrClaims}
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return "", &Refusal{name, "printable text", fmt.Sprintf("%U", r), ErrClaims}
		}
	}
	return s, nil
}

func missing(name string) error {
	return &Refusal{name, "the claim", "nothing", ErrClaims}
}

// misshapen repeats what package wire says, which repeats no value.
func misshapen(name string, err error) error {
	return &Refusal{name, "the claim in its form", err.Error(), ErrClaims}
}

// gap says how far from now a time is, to the second.
func gap(now, at time.Time) string {
	if d := at.Sub(now).Round(time.Second); d > 0 {
		return d.String() + " ahead"
	}
	return now.Sub(at).Round(time.Second).String() + " ago"
}
