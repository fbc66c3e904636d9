package wire

import (
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const (
	// MaxToken bounds a compact token in bytes.
	MaxToken = 16 << 10
	// maxHeader bounds a JOSE header in bytes, decoded.
	maxHeader = 4 << 10

	maxAlgorithm = 32
	maxType      = 128
	maxKeyID     = 256
)

// base64url is the one alphabet of RFC 7515 section 2: no padding, and no bits
// behind the last byte. It is never assigned to.
var base64url = base64.RawURLEncoding.Strict()

// Compact is a token in compact serialization (RFC 7515 section 7.1), taken
// apart. Nothing in it is proved. It must not be changed.
type Compact struct {
	Raw string
	// SigningInput is what the signature covers, a part of Raw.
	SigningInput string
	// Header holds all members, of which jwk, jku, x5u and x5c must not be
	// trusted: whoever wrote the token chose them.
	Header    map[string]any
	Payload   map[string]any
	Signature []byte

	algorithm, keyID, typ string
}

// Algorithm is the alg header, as it was written.
func (c *Compact) Algorithm() string { return c.algorithm }

// KeyID is the kid header; empty when there is none.
func (c *Compact) KeyID() string { return c.keyID }

// Type is the typ header in lower case, without one leading "application/"
// (RFC 7515 section 4.1.9); empty when there is none.
func (c *Compact) Type() string { return c.typ }

const redacted = "[token]"

// Format writes a fixed text whatever the verb.
func (c Compact) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue is a fixed text.
func (c Compact) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is a fixed text.
func (c Compact) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// ParseCompact takes a token apart: at most 16 KiB, exactly three parts that
// are not empty, header and payload both objects. A header with crit, b64, zip
// or enc is refused, since nothing here could honour it.
func ParseCompact(token string) (*Compact, error) { return ParseCompactWithin(token, DefaultLimits()) }

// ParseCompactWithin is [ParseCompact] within other limits than a token's, for
// documents that come in the form of one: lim.MaxBytes bounds the whole of it,
// and all of lim its payload.
func ParseCompactWithin(token string, lim Limits) (*Compact, error) {
	if len(token) > lim.MaxBytes {
		return nil, tooLarge("token bytes", lim.MaxBytes)
	}
	header, payload, signature, err := split(token)
	if err != nil {
		return nil, err
	}
	// One buffer takes the three parts, one string the two that are text.
	buf := make([]byte, 0, len(token))
	for _, part := range []string{header, payload, signature} {
		if buf, err = appendBase64URL(buf, part); err != nil {
			return nil, err
		}
	}
	h := base64url.DecodedLen(len(header))
	p := h + base64url.DecodedLen(len(payload))
	text := string(buf[:p])

	c := &Compact{Raw: token, SigningInput: token[:len(header)+1+len(payload)], Signature: buf[p:len(buf):len(buf)]}
	ofHeader := DefaultLimits()
	ofHeader.MaxBytes = maxHeader
	if c.Header, err = parseObject(text[:h], ofHeader); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if err := c.readHeader(); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if c.Payload, err = parseObject(text[h:], lim); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	return c, nil
}

// split counts the parts before it cuts them, so dots cost no memory.
func split(token string) (header, payload, signature string, err error) {
	switch n := strings.Count(token, "."); n {
	case 2:
	case 4:
		return "", "", "", fmt.Errorf("%w: five parts", ErrEncrypted)
	default:
		return "", "", "", fmt.Errorf("%w: %d dots, want 2", ErrSyntax, n)
	}
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, _ = strings.Cut(rest, ".")
	if header == "" || payload == "" || signature == "" {
		return "", "", "", fmt.Errorf("%w: a part is empty", ErrSyntax)
	}
	return header, payload, signature, nil
}

func (c *Compact) readHeader() error {
	for _, name := range []string{"crit", "b64", "zip", "enc"} {
		if _, present := c.Header[name]; present {
			return fmt.Errorf("%w: %s is not supported", ErrForm, name)
		}
	}
	alg, present, err := headerText(c.Header, "alg", maxAlgorithm)
	if err != nil {
		return err
	}
	if !present {
		return fmt.Errorf("%w: alg is missing", ErrForm)
	}
	c.algorithm = alg
	if c.keyID, _, err = headerText(c.Header, "kid", maxKeyID); err != nil {
		return err
	}
	typ, present, err := headerText(c.Header, "typ", maxType)
	if err != nil {
		return err
	}
	c.typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	if present && c.typ == "" { // it would pass for a header without typ
		return fmt.Errorf("%w: typ names no type", ErrForm)
	}
	return nil
}

// headerText reads a header parameter that, if present, must be a string of
// printable ASCII, filled and at most limit bytes long.
func headerText(header map[string]any, name string, limit int) (s string, present bool, err error) {
	s, present, err = String(header, name)
	if err != nil || !present {
		return "", present, err
	}
	if s == "" || len(s) > limit {
		return "", true, fmt.Errorf("%w: %s has %d bytes, want 1 to %d", ErrForm, name, len(s), limit)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return "", true, fmt.Errorf("%w: %s must be printable ASCII", ErrForm, name)
		}
	}
	return s, true, nil
}

// DecodeBase64URL decodes base64url in the one spelling that RFC 7515 section 2
// knows: no padding, no white space, no bits behind the last byte.
func DecodeBase64URL(s string) ([]byte, error) {
	return appendBase64URL(make([]byte, 0, base64url.DecodedLen(len(s))), s)
}

func appendBase64URL(dst []byte, s string) ([]byte, error) {
	// The library skips line ends, which would give a token many spellings.
	if strings.ContainsAny(s, "\r\n") {
		return nil, fmt.Errorf("%w: base64url with a line end", ErrSyntax)
	}
	dst, err := base64url.AppendDecode(dst, []byte(s))
	if err != nil {
		return nil, fmt.Errorf("%w: not strict base64url", ErrSyntax)
	}
	return dst, nil
}
