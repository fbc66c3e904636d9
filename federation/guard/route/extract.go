package route

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/comity-auth/comity/federation/wire"
)

// ErrExtractor says that a text is not an extractor.
var ErrExtractor = errors.New("not an extractor")

// MaxBody bounds a body that something is extracted from, in bytes.
const MaxBody = 1 << 20

// Extractor takes one text out of a request: of a header, of a query parameter,
// or of a member of a JSON body. The zero Extractor finds nothing.
type Extractor struct {
	kind string // header, query or json
	path []string
}

// ParseExtractor accepts "header:NAME", "query:NAME", and "json:NAME" or
// "json:/NAME/NAME" (RFC 6901), whose members are objects but for the last. The
// empty text is the zero Extractor.
func ParseExtractor(s string) (Extractor, error) {
	if s == "" {
		return Extractor{}, nil
	}
	kind, name, ok := strings.Cut(s, ":")
	switch {
	case !ok || name == "":
		return Extractor{}, fmt.Errorf("%w: want header:NAME, query:NAME or json:NAME", ErrExtractor)
	case kind == "header":
		if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) }) {
			return Extractor{}, fmt.Errorf("%w: not a header name", ErrExtractor)
		}
		return Extractor{kind, []string{textproto.CanonicalMIMEHeaderKey(name)}}, nil
	case kind == "query":
		return Extractor{kind, []string{name}}, nil
	case kind != "json":
		return Extractor{}, fmt.Errorf("%w: want header:NAME, query:NAME or json:NAME", ErrExtractor)
	case !strings.HasPrefix(name, "/"):
		return Extractor{kind, []string{name}}, nil
	}
	path := strings.Split(name[1:], "/")
	for i, member := range path {
		if member == "" {
			return Extractor{}, fmt.Errorf("%w: an empty member", ErrExtractor)
		}
		path[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(member)
	}
	return Extractor{kind, path}, nil
}

// IsZero reports whether e finds nothing.
func (e Extractor) IsZero() bool { return e.kind == "" }

// ReadsBody reports whether e needs the body.
func (e Extractor) ReadsBody() bool { return e.kind == "json" }

// Input is what extractors read.
type Input struct {
	Header   http.Header
	RawQuery string
	// Body gives the whole body, at most MaxBody bytes; false when there is none
	// to be had. Nil is as good as false.
	Body func() ([]byte, bool)
}

// Read gives the text. False says that the request does not say it, or says it
// in a way that others may read differently: twice, encoded, or not at its place.
func (e Extractor) Read(in Input) (string, bool) {
	switch e.kind {
	case "header":
		values := in.Header[e.path[0]]
		if len(values) != 1 || strings.Contains(values[0], ",") || alike(in.Header, e.path[0], dashes) > 1 {
			return "", false
		}
		return strings.TrimSpace(values[0]), true
	case "query":
		values, err := url.ParseQuery(in.RawQuery)
		if err != nil || strings.Contains(in.RawQuery, "#") || // where some servers end it
			len(values[e.path[0]]) != 1 || alike(values, e.path[0], bare) > 1 {
			return "", false
		}
		return values[e.path[0]][0], true
	case "json":
		return e.readJSON(in)
	}
	return "", false
}

func (e Extractor) readJSON(in Input) (string, bool) {
	media, params, err := mime.ParseMediaType(in.Header.Get("Content-Type"))
	charset := strings.ToLower(params["charset"])
	if err != nil || media != "application/json" || charset != "" && charset != "utf-8" ||
		len(in.Header["Content-Encoding"]) > 0 || len(in.Header["Content-Type"]) != 1 || in.Body == nil {
		return "", false
	}
	body, ok := in.Body()
	if !ok {
		return "", false
	}
	at, err := wire.ParseObject(body, wire.Limits{MaxBytes: MaxBody, MaxDepth: 32, MaxMembers: 4096, MaxString: MaxBody, MaxValues: 1 << 17})
	if err != nil {
		return "", false
	}
	for i, member := range e.path {
		if alike(at, member, same) > 1 {
			return "", false
		}
		if i == len(e.path)-1 {
			return scalar(at[member])
		}
		if at, ok, err = wire.Object(at, member); err != nil || !ok {
			return "", false
		}
	}
	return "", false
}

// alike counts the names that a reader who ignores case, and reads names as the
// function does, would take for this one, itself included: some servers'
// frameworks do, and take the last.
func alike[V any](m map[string]V, name string, as func(string) string) int {
	n := 0
	for other := range m {
		if strings.EqualFold(as(other), as(name)) {
			n++
		}
	}
	return n
}

func same(name string) string { return name }

// dashes reads the name of a header as servers do for whom an underscore is a
// dash (CGI, WSGI, Rack, PHP).
func dashes(name string) string { return strings.ReplaceAll(name, "_", "-") }

// bare reads the name of a parameter as servers do that end it at a bracket or a
// NUL, drop blanks before it, and cannot have dots and blanks in it (PHP, Rack, qs).
func bare(name string) string {
	name = strings.TrimLeft(name, " ")
	if i := strings.IndexAny(name, "[\x00"); i > 0 {
		name = name[:i]
	}
	return strings.NewReplacer(".", "_", " ", "_").Replace(name)
}

func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	}
	return "", false
}
