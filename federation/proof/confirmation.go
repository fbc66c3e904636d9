package proof

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/comity-auth/comity/federation/wire"
)

// ErrConfirmation says that a cnf claim binds a token to something that cannot
// be checked here. Such a token is no bearer token: it must be refused.
var ErrConfirmation = errors.New("cnf is not one that can be confirmed")

// Confirmation names what a token is bound to, or what a request has proved
// (RFC 7800 section 3). If both members are set both count. The zero
// Confirmation names nothing.
type Confirmation struct {
	// JKT is the thumbprint of a DPoP key (RFC 9449 section 6.1).
	JKT string
	// X5TS256 is the thumbprint of a certificate (RFC 8705 section 3.1).
	X5TS256 string
}

// ParseConfirmation reads the cnf claim. Without one the result is zero: the
// token is a bearer token. A cnf with a member other than jkt and x5t#S256,
// or without any, is an [ErrConfirmation].
func ParseConfirmation(claims map[string]any) (Confirmation, error) {
	cnf, present, err := wire.Object(claims, "cnf")
	if err != nil {
		return Confirmation{}, fmt.Errorf("%w: not an object", ErrConfirmation)
	}
	if !present {
		return Confirmation{}, nil
	}
	var c Confirmation
	for name, value := range cnf {
		var dst *string
		switch name {
		case "jkt":
			dst = &c.JKT
		case "x5t#S256":
			dst = &c.X5TS256
		default:
			return Confirmation{}, fmt.Errorf("%w: a member is not supported", ErrConfirmation)
		}
		s, ok := value.(string)
		if !ok || !isThumbprint(s) {
			return Confirmation{}, fmt.Errorf("%w: a thumbprint is malformed", ErrConfirmation)
		}
		*dst = s
	}
	if c.IsZero() {
		return Confirmation{}, fmt.Errorf("%w: it is empty", ErrConfirmation)
	}
	return c, nil
}

// OfCertificate is what a request over mutual TLS with cert has proved. It is
// zero without a certificate.
func OfCertificate(cert *x509.Certificate) Confirmation {
	if cert == nil || len(cert.Raw) == 0 {
		return Confirmation{}
	}
	return Confirmation{X5TS256: digest(cert.Raw)}
}

// IsZero reports whether c names nothing.
func (c Confirmation) IsZero() bool { return c == Confirmation{} }

// Satisfied reports whether by, what the request has proved, covers everything
// that c names. Nothing satisfies the zero Confirmation: that a token may be
// presented by its bearer is for the caller to say, with IsZero.
func (c Confirmation) Satisfied(by Confirmation) bool {
	if c.IsZero() {
		return false
	}
	return (c.JKT == "" || c.JKT == by.JKT) && (c.X5TS256 == "" || c.X5TS256 == by.X5TS256)
}

// MarshalJSON writes a cnf claim. The zero Confirmation has none, so it is an
// error: a field that may be zero needs the option omitzero.
func (c Confirmation) MarshalJSON() ([]byte, error) {
	if c.IsZero() || c.JKT != "" && !isThumbprint(c.JKT) || c.X5TS256 != "" && !isThumbprint(c.X5TS256) {
		return nil, fmt.Errorf("%w: it is empty or malformed", ErrConfirmation)
	}
	switch {
	case c.X5TS256 == "":
		return []byte(`{"jkt":"` + c.JKT + `"}`), nil
	case c.JKT == "":
		return []byte(`{"x5t#S256":"` + c.X5TS256 + `"}`), nil
	}
	return []byte(`{"jkt":"` + c.JKT + `","x5t#S256":"` + c.X5TS256 + `"}`), nil
}

// isThumbprint reports whether s is a SHA-256 digest in its one base64url form.
func isThumbprint(s string) bool {
	b, err := wire.DecodeBase64URL(s)
	return err == nil && len(b) == sha256.Size
}
