package spiffe

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/comity-auth/comity/federation/wire"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// ErrBundle says that a document is no bundle. Errors hold nothing of it.
var ErrBundle = errors.New("not a SPIFFE bundle")

// ErrSequence says that a bundle is older than the one before it.
var ErrSequence = errors.New("the bundle's spiffe_sequence went back")

// Bounds of a bundle.
const (
	maxBytes = 100 << 10
	maxKeys  = 100
)

// The uses of a bundle's keys that are known here.
const (
	useJWT  = "jwt-svid"
	useX509 = "x509-svid"
)

// secretMembers carry private or symmetric key material (RFC 7518 section 6).
var secretMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}

// Bundle is what a trust domain vouches with. It is immutable and safe for
// concurrent use. The zero Bundle, and nil, vouch for nothing.
type Bundle struct {
	domain      spiffeid.TrustDomain
	read        *spiffebundle.Bundle
	jwt         []Entry
	authorities []string
	problems    []Problem
	sequence    uint64
	hasSequence bool
}

// Entry is a key of use jwt-svid, not looked at any further.
type Entry struct {
	// Index is the key's place in the document, from zero.
	Index int
	JWK   map[string]any
}

// Problem is an authority that was left out although its domain should mend it.
type Problem struct {
	Index int
	// Reason is a fixed text; ReasonSecret calls for an alert.
	Reason string
}

// The reasons of a [Problem].
const (
	ReasonSecret    = "private or symmetric key"
	ReasonMalformed = "malformed X.509 authority"
	ReasonNoCA      = "X.509 authority that may not issue"
)

// Parse reads the bundle of a trust domain: at most 100 KiB and 100 keys. Keys
// of unknown use are ignored, and one that cannot be used does not spoil the
// others. A list without keys is a bundle: it revokes everything. A document
// that is none wraps [ErrBundle].
func Parse(domain string, doc []byte) (*Bundle, error) {
	td, err := spiffeid.TrustDomainFromString(domain)
	if err != nil || td.Name() != domain {
		return nil, fmt.Errorf("%w: the trust domain has the wrong form", ErrBundle)
	}
	top, err := wire.ParseObject(doc, wire.Limits{
		MaxBytes: maxBytes, MaxDepth: 16, MaxMembers: 256, MaxString: 16 << 10, MaxValues: 8192,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	keys, present, err := wire.Array(top, "keys")
	if err != nil || !present || len(keys) > maxKeys {
		return nil, fmt.Errorf("%w: %d keys, want a list of at most %d", ErrBundle, len(keys), maxKeys)
	}
	b := &Bundle{domain: td}
	kept := []any{}
	for i, k := range keys {
		if jwk := b.sort(i, k); jwk != nil {
			kept = append(kept, jwk)
		}
	}
	top["keys"] = kept
	if b.read, err = readBundle(td, top); err != nil {
		return nil, err
	}
	for _, ca := range b.read.X509Authorities() {
		b.authorities = append(b.authorities, thumbprint(ca))
	}
	b.sequence, b.hasSequence = b.read.SequenceNumber()
	return b, nil
}

// sort tells what one key is for, and gives it back when it is an authority that
// certificates can be verified with.
func (b *Bundle) sort(index int, v any) map[string]any {
	jwk, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	use, _, err := wire.String(jwk, "use")
	switch {
	case err != nil || use != useJWT && use != useX509:
		return nil
	case use == useJWT:
		b.jwt = append(b.jwt, Entry{index, jwk})
		return nil
	}
	for _, name := range secretMembers {
		if _, present := jwk[name]; present {
			b.problems = append(b.problems, Problem{index, ReasonSecret})
			return nil
		}
	}
	one, err := readBundle(b.domain, map[string]any{"keys": []any{jwk}})
	if err != nil || len(one.X509Authorities()) != 1 {
		b.problems = append(b.problems, Problem{index, ReasonMalformed})
		return nil
	}
	if ca := one.X509Authorities()[0]; !ca.BasicConstraintsValid || !ca.IsCA || thumbprint(ca) == "" {
		b.problems = append(b.problems, Problem{index, ReasonNoCA})
		return nil
	}
	return jwk
}

// readBundle has go-spiffe read what has passed our own strict reader, of which
// it takes the members that it knows.
func readBundle(td spiffeid.TrustDomain, top map[string]any) (*spiffebundle.Bundle, error) {
	doc := map[string]any{}
	for _, name := range []string{"keys", "spiffe_sequence", "spiffe_refresh_hint"} {
		if v, present := top[name]; present {
			doc[name] = v
		}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be written", ErrBundle)
	}
	read, err := spiffebundle.Parse(td, text)
	if err != nil {
		return nil, fmt.Errorf("%w: a member has the wrong form", ErrBundle)
	}
	return read, nil
}

// Domain is the trust domain that the bundle was read for.
func (b *Bundle) Domain() string {
	if b == nil {
		return ""
	}
	return b.domain.Name()
}

// JWT are the keys that JWT-SVIDs may be signed with, in the document's order.
// They must not be changed.
func (b *Bundle) JWT() []Entry {
	if b == nil {
		return nil
	}
	return b.jwt
}

// Authorities are the RFC 7638 SHA-256 thumbprints, in base64url, of the keys of
// the authorities that X.509-SVIDs may lead to.
func (b *Bundle) Authorities() []string {
	if b == nil {
		return nil
	}
	return b.authorities
}

// Problems are the X.509 authorities that were left out.
func (b *Bundle) Problems() []Problem {
	if b == nil {
		return nil
	}
	return b.problems
}

// RefreshHint is how often the domain asks to be asked; not ok when it does not
// say. Whoever follows it has to bound it.
func (b *Bundle) RefreshHint() (hint time.Duration, ok bool) {
	if b == nil || b.read == nil {
		return 0, false
	}
	return b.read.RefreshHint()
}

// Follows reports whether the bundle may take the place of an earlier one: its
// spiffe_sequence did not go back, and did not vanish. The error wraps
// [ErrSequence].
func (b *Bundle) Follows(earlier *Bundle) error {
	if earlier == nil || !earlier.hasSequence {
		return nil
	}
	if !b.hasSequence || b.sequence < earlier.sequence {
		return ErrSequence
	}
	return nil
}
