package ident

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// RawToken is a credential exactly as received or issued. It never prints: the
// methods cover direct use, and the pointer covers structs that hold it in an
// unexported field, whose methods fmt and slog do not call.
type RawToken struct{ text *string }

// NewRawToken wraps a credential. The empty string gives the zero RawToken.
func NewRawToken(s string) RawToken {
	if s == "" {
		return RawToken{}
	}
	return RawToken{text: &s}
}

// Reveal is the only way to read the credential, so its uses are found by name.
func (t RawToken) Reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// IsZero reports whether there is no credential.
func (t RawToken) IsZero() bool { return t.text == nil }

// Format writes a fixed text whatever the verb.
func (t RawToken) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue is a fixed text.
func (t RawToken) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is a fixed text.
func (t RawToken) MarshalText() ([]byte, error) { return []byte(redacted), nil }
