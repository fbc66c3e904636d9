package proof

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/comity-auth/comity/federation/wire"
	"github.com/comity-auth/comity/trust/ident"
)

// Every defect of a proof wraps ErrProof, with a reason that holds nothing of
// the proof's content and so is safe to record.
var (
	ErrProof = errors.New("proof of possession is not acceptable")
	// ErrMissing says that there is no proof at all.
	ErrMissing = fmt.Errorf("%w: there is none", ErrProof)
	// ErrNonce says that the proof must be made again with a nonce of ours.
	ErrNonce = fmt.Errorf("%w: nonce is missing or not current", ErrProof)
)

const (
	// Window is how old a proof may be in this deployment profile.
	Window = 60 * time.Second
	// Ahead is how far in the future a proof may be made, for clocks differ.
	Ahead = 10 * time.Second

	maxProof = 8 << 10
	maxID    = 256
	maxNonce = 256
)

// Want is what a proof must have been made for.
// The zero Want accepts nothing.
type Want struct {
	// Method is the method of the request, compared byte for byte.
	Method string
	// URLs are the spellings of the request's own URL. Scheme and host are
	// compared without case and without a default port; query and fragment are
	// left out; the path is compared byte for byte.
	URLs []string
	// Now is the time of the request.
	Now time.Time
	// Window is how old the proof may be, at most [Window]. Zero accepts nothing.
	Window time.Duration
	// Algorithms are the accepted values of alg; of them only those that
	// [Algorithms] returns can be met.
	Algorithms []string
	// AccessToken is the token of the request, whose digest must be in ath.
	AccessToken ident.RawToken
	// NoAccessToken says that the request carries no access token, as at the
	// token endpoint. Without it AccessToken must be set.
	NoAccessToken bool
	// Nonce, when set, says whether a nonce is one of ours and current. A proof
	// without such a nonce is refused with [ErrNonce].
	Nonce func(nonce string) bool
}

// Proof is a DPoP proof that was verified. Only [Parse] makes one.
type Proof struct {
	jkt, id, alg string
	issued       time.Time
	expires      time.Time
}

// Parse verifies the proof that the DPoP header values of a request hold (RFC
// 9449 section 4.3), save that it was not seen before. The signature is
// checked last, once everything that costs little has held.
func Parse(headers []string, w Want) (Proof, error) {
	c, err := single(headers)
	if err != nil {
		return Proof{}, err
	}
	if c.Type() != "dpop+jwt" {
		return Proof{}, refuse("typ is not dpop+jwt")
	}
	alg := c.Algorithm()
	if !slices.Contains(w.Algorithms, alg) || !slices.Contains(Algorithms(), alg) {
		return Proof{}, refuse("alg is not accepted")
	}
	p, err := w.claims(c.Payload)
	if err != nil {
		return Proof{}, err
	}
	jwk, present, err := wire.Object(c.Header, "jwk")
	if err != nil || !present {
		return Proof{}, refuse("jwk is missing or not an object")
	}
	k, err := parseKey(jwk, alg)
	if err != nil {
		return Proof{}, err
	}
	if !k.verify(alg, c.SigningInput, c.Signature) {
		return Proof{}, refuse("signature is wrong")
	}
	p.jkt, p.alg = k.thumbprint(), alg
	return p, nil
}

// JKT is the RFC 7638 SHA-256 thumbprint of the proven key, in base64url.
func (p Proof) JKT() string { return p.jkt }

// ID is the jti: 1 to 256 bytes of printable ASCII that the client chose.
func (p Proof) ID() string { return p.id }

// Algorithm is the signature algorithm of the proof.
func (p Proof) Algorithm() string { return p.alg }

// IssuedAt is when the client says that it made the proof.
func (p Proof) IssuedAt() time.Time { return p.issued }

// Expires is when the proof is too old on every replica, so that the record of
// its use may be dropped.
func (p Proof) Expires() time.Time { return p.expires }

// OnceKey is what must not be seen twice until [Proof.Expires]: the id within
// the name space of the key. No other client can use up a pair, as it lacks
// the key.
func (p Proof) OnceKey() (jkt, id string) { return p.jkt, p.id }

// Confirmation is what the proof satisfies.
func (p Proof) Confirmation() Confirmation { return Confirmation{JKT: p.jkt} }

// IsZero reports whether p was never verified.
func (p Proof) IsZero() bool { return p.jkt == "" }

func refuse(reason string) error { return fmt.Errorf("%w: %s", ErrProof, reason) }

// single takes the one proof of a request apart.
func single(headers []string) (*wire.Compact, error) {
	switch {
	case len(headers) == 0:
		return nil, ErrMissing
	case len(headers) > 1:
		return nil, refuse("more than one header")
	case len(headers[0]) > maxProof:
		return nil, refuse("too large")
	case strings.Contains(headers[0], ","):
		return nil, refuse("more than one proof in the header")
	}
	c, err := wire.ParseCompact(headers[0])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	return c, nil
}

// claims checks the payload and returns what of a Proof comes from it.
func (w Want) claims(m map[string]any) (Proof, error) {
	if w.Method == "" || len(w.URLs) == 0 || w.Now.IsZero() || w.Window <= 0 || w.AccessToken.IsZero() != w.NoAccessToken {
		return Proof{}, refuse("nothing is accepted here")
	}
	if htm, _, err := wire.String(m, "htm"); err != nil || htm != w.Method {
		return Proof{}, refuse("htm is not the method of the request")
	}
	if htu, _, err := wire.String(m, "htu"); err != nil || !sameURL(htu, w.URLs) {
		return Proof{}, refuse("htu is not the URL of the request")
	}
	id, _, err := wire.String(m, "jti")
	if err != nil || !printable(id, maxID) {
		return Proof{}, refuse("jti is not 1 to 256 bytes of printable ASCII")
	}
	issued, err := w.fresh(m)
	if err != nil {
		return Proof{}, err
	}
	if err := w.bound(m); err != nil {
		return Proof{}, err
	}
	return Proof{id: id, issued: issued, expires: issued.Add(w.window() + Ahead)}, nil
}

func (w Want) window() time.Duration { return min(w.Window, Window) }

// fresh checks iat. A proof needs neither exp nor nbf, but one that bears them
// meant them.
func (w Want) fresh(m map[string]any) (time.Time, error) {
	issued, present, err := wire.NumericDate(m, "iat")
	switch {
	case err != nil || !present:
		return time.Time{}, refuse("iat is missing or not a date")
	case w.Now.Sub(issued) > w.window():
		return time.Time{}, refuse("iat is too old")
	case issued.Sub(w.Now) > Ahead:
		return time.Time{}, refuse("iat is in the future")
	}
	exp, present, err := wire.NumericDate(m, "exp")
	if err != nil || present && !w.Now.Before(exp.Add(Ahead)) {
		return time.Time{}, refuse("exp is over or not a date")
	}
	nbf, present, err := wire.NumericDate(m, "nbf")
	if err != nil || present && nbf.Sub(w.Now) > Ahead {
		return time.Time{}, refuse("nbf is in the future or not a date")
	}
	return issued, nil
}

// bound checks the claims that tie a proof to an access token and to us.
func (w Want) bound(m map[string]any) error {
	if !w.NoAccessToken {
		ath, _, err := wire.String(m, "ath")
		if err != nil || ath != digest([]byte(w.AccessToken.Reveal())) {
			return refuse("ath is not the digest of the access token")
		}
	}
	if w.Nonce == nil {
		return nil
	}
	nonce, _, err := wire.String(m, "nonce")
	if err != nil || !printable(nonce, maxNonce) || !w.Nonce(nonce) {
		return ErrNonce
	}
	return nil
}

// digest is SHA-256 in base64url, the form of ath, jkt and x5t#S256.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// printable reports whether s is 1 to limit bytes of printable ASCII.
func printable(s string, limit int) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= limit
}
