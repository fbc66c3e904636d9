package route

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrPath says that a path is not in normal form.
var ErrPath = errors.New("path is not in normal form")

// MaxPath bounds a path as sent, in bytes.
const MaxPath = 8 << 10

// Path is the path of a request in the form that routes are found by and that
// the upstream receives. Only ParsePath makes one.
type Path struct{ decoded, escaped string }

// ParsePath takes a path as it stands in the request line, without the query.
// It accepts what every server reads alike: segments that are not empty (but for
// the last), none of them a dot segment (RFC 3986 section 3.3), and in none of
// them, percent-encoded or not, a slash, a backslash, a semicolon, a question
// mark, a number sign, a control character or a second layer of
// percent-encoding. Errors wrap ErrPath and repeat nothing of the path.
func ParsePath(escaped string) (Path, error) {
	switch {
	case len(escaped) > MaxPath:
		return Path{}, fmt.Errorf("%w: longer than %d bytes", ErrPath, MaxPath)
	case !strings.HasPrefix(escaped, "/"):
		return Path{}, fmt.Errorf("%w: does not begin with a slash", ErrPath)
	}
	segments := strings.Split(escaped[1:], "/")
	for i, s := range segments {
		plain, err := url.PathUnescape(s)
		if err != nil {
			return Path{}, fmt.Errorf("%w: percent-encoding", ErrPath)
		}
		if plain == "" && i < len(segments)-1 {
			return Path{}, fmt.Errorf("%w: an empty segment", ErrPath)
		}
		if reason := checkSegment(plain); reason != "" {
			return Path{}, fmt.Errorf("%w: %s", ErrPath, reason)
		}
		segments[i] = plain
	}
	p := Path{decoded: "/" + strings.Join(segments, "/")}
	p.escaped = (&url.URL{Path: p.decoded}).EscapedPath()
	return p, nil
}

// checkSegment says what is wrong with a decoded segment; nothing when it is
// good.
func checkSegment(s string) string {
	switch {
	case s == "." || s == "..":
		return "a dot segment"
	case strings.ContainsAny(s, `/\;?#`):
		return "a separator inside a segment"
	case !utf8.ValidString(s):
		return "not UTF-8"
	}
	for i, r := range s {
		switch {
		case unicode.IsControl(r):
			return "a control character"
		case r == '%' && len(s) > i+2 && isHex(s[i+1]) && isHex(s[i+2]):
			return "encoded twice"
		}
	}
	return ""
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// String is the path decoded.
func (p Path) String() string { return p.decoded }

// Escaped is the path in its one percent-encoded spelling.
func (p Path) Escaped() string { return p.escaped }

// IsZero reports whether p was never parsed.
func (p Path) IsZero() bool { return p.decoded == "" }
