package traceid

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
)

const (
	idLen     = 32
	spanLen   = 16
	flagsAt   = 53
	parentLen = 55 // the whole of a version 00 traceparent

	// flagRandom says that the id is random (Trace Context level 2, section
	// 3.2.2.5.2); with flagSampled these are the only flags with a meaning.
	flagSampled = 0x01
	flagRandom  = 0x02
)

// ID is a trace id: 32 lower-case hexadecimal digits, not all zero.
// The zero ID names no trace.
type ID struct{ digits string }

// New returns a random trace id.
func New() ID { return ID{random(idLen / 2)} }

// ParseID accepts exactly the form that [ID] describes.
func ParseID(s string) (ID, bool) {
	if !isDigits(s, idLen) {
		return ID{}, false
	}
	return ID{strings.Clone(s)}, true
}

// String returns the digits, or nothing for the zero ID.
func (i ID) String() string { return i.digits }

// IsZero reports whether i names no trace.
func (i ID) IsZero() bool { return i.digits == "" }

// MarshalText returns the digits.
func (i ID) MarshalText() ([]byte, error) { return []byte(i.digits), nil }

// Context is the content of a traceparent header. The zero Context is no trace
// and formats as nothing.
type Context struct {
	trace  ID
	parent string
	flags  byte
}

// Start begins a trace: new id, new parent-id, not sampled.
func Start() Context { return Within(New()) }

// Within begins a span of ours in the given trace, not sampled.
// Within the zero ID it is the zero Context.
func Within(trace ID) Context {
	if trace.IsZero() {
		return Context{}
	}
	return Context{trace: trace, parent: random(spanLen / 2), flags: flagRandom}
}

// Parse reads a traceparent (W3C Trace Context section 3.2). Only the exact
// form is accepted; of a version above 00 the part that version 00 defines is
// read. False means: start a new trace.
func Parse(traceparent string) (Context, bool) {
	s := traceparent
	if len(s) < parentLen || len(s) > 512 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return Context{}, false
	}
	version := s[:2]
	if !isHex(version) || version == "ff" || version == "00" && len(s) != parentLen {
		return Context{}, false
	}
	if len(s) > parentLen && s[parentLen] != '-' {
		return Context{}, false
	}
	if !isDigits(s[3:35], idLen) || !isDigits(s[36:52], spanLen) || !isHex(s[flagsAt:parentLen]) {
		return Context{}, false
	}
	flags, err := hex.DecodeString(s[flagsAt:parentLen])
	if err != nil {
		return Context{}, false
	}
	return Context{
		trace:  ID{strings.Clone(s[3:35])},
		parent: strings.Clone(s[36:52]),
		flags:  flags[0] & (flagSampled | flagRandom),
	}, true
}

// FromHeader reads the one traceparent of a request. Without exactly one there
// is no trace to continue.
func FromHeader(h http.Header) (Context, bool) {
	values := h.Values("Traceparent")
	if len(values) != 1 {
		return Context{}, false
	}
	return Parse(values[0])
}

// Trace is the id of the trace.
func (c Context) Trace() ID { return c.trace }

// Sampled reports whether the caller may have recorded its part of the trace.
func (c Context) Sampled() bool { return c.flags&flagSampled != 0 }

// IsZero reports whether c is no trace.
func (c Context) IsZero() bool { return c.trace.IsZero() }

// Next continues the trace on a hop within the domain: the parent-id is fresh,
// trace id and flags stay.
func (c Context) Next() Context {
	if c.IsZero() {
		return Context{}
	}
	c.parent = random(spanLen / 2)
	return c
}

// String formats c as a version 00 traceparent, or as nothing if c is zero.
func (c Context) String() string {
	if c.IsZero() {
		return ""
	}
	return "00-" + c.trace.digits + "-" + c.parent + "-" + hex.EncodeToString([]byte{c.flags})
}

// random returns n random bytes in hexadecimal, never all zero.
func random(n int) string {
	b := make([]byte, n)
	for {
		rand.Read(b) // never fails
		if s := hex.EncodeToString(b); isDigits(s, 2*n) {
			return s
		}
	}
}

// isDigits reports whether s is n lower-case hexadecimal digits, not all zero.
func isDigits(s string, n int) bool {
	return len(s) == n && isHex(s) && strings.Trim(s, "0") != ""
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
