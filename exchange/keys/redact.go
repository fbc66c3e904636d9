package keys

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// The types that hold key material print as a fixed text whatever the verb or
// encoder. Where another struct holds one in an unexported field these methods
// are not called; there the material is two pointers away, because fmt follows
// the first one when the verb does not fit.

// Format writes a fixed text.
func (s Seal) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue is a fixed text.
func (s Seal) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is a fixed text.
func (s Seal) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format writes a fixed text.
func (r *Ring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue is a fixed text.
func (r *Ring) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is a fixed text.
func (r *Ring) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format writes a fixed text.
func (o Options) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue is a fixed text.
func (o Options) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is a fixed text.
func (o Options) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format writes a fixed text.
func (d IDs) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue is a fixed text.
func (d IDs) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText is a fixed text.
func (d IDs) MarshalText() ([]byte, error) { return []byte(redacted), nil }
