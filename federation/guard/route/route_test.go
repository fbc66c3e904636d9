package route_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/comity-auth/comity/federation/guard/route"
)

func TestParsePath(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, decoded, escaped string }{
		{"accepts the root", "/", "/", "/"},
		{"accepts plain segments", "/documents/7", "/documents/7", "/documents/7"},
		{"accepts a slash at the end", "/documents/", "/documents/", "/documents/"},
		{"accepts dots inside a segment", "/a..b/.well-known/v1.2", "/a..b/.well-known/v1.2", "/a..b/.well-known/v1.2"},
		{"accepts three dots", "/...", "/...", "/..."},
		{"decodes what need not be encoded", "/%61dmin", "/admin", "/admin"},
		{"keeps blanks encoded", "/a%20b", "/a b", "/a%20b"},
		{"keeps Unicode", "/caf%C3%A9", "/café", "/caf%C3%A9"},
		{"accepts a percent sign", "/100%25", "/100%", "/100%25"},
		{"refuses the empty path", "", "", ""},
		{"refuses a relative path", "documents", "", ""},
		{"refuses the asterisk", "*", "", ""},
		{"refuses a dot segment", "/a/./b", "", ""},
		{"refuses a double dot segment", "/a/../b", "", ""},
		{"refuses a double dot segment at the end", "/a/..", "", ""},
		{"refuses an encoded dot segment", "/a/%2e%2e/b", "", ""},
		{"refuses a half encoded dot segment", "/a/.%2E/b", "", ""},
		{"refuses an empty segment", "/a//b", "", ""},
		{"refuses an empty segment at the front", "//a", "", ""},
		{"refuses an encoded slash", "/a%2Fb", "", ""},
		{"refuses a backslash", `/a\b`, "", ""},
		{"refuses an encoded backslash", "/a%5cb", "", ""},
		{"refuses a semicolon", "/a;b=c", "", ""},
		{"refuses an encoded semicolon", "/..%3B/a", "", ""},
		{"refuses an encoded question mark", "/a%3Fb", "", ""},
		{"refuses an encoded number sign", "/a%23b", "", ""},
		{"refuses NUL", "/a%00", "", ""},
		{"refuses a line end", "/a%0d%0a", "", ""},
		{"refuses DEL", "/a%7f", "", ""},
		{"refuses what is encoded twice", "/%2561dmin", "", ""},
		{"refuses an encoded separator that is encoded twice", "/a%252fb", "", ""},
		{"refuses bad percent-encoding", "/a%zz", "", ""},
		{"refuses overlong UTF-8", "/%c0%ae%c0%ae/a", "", ""},
		{"refuses more than 8 KiB", "/" + strings.Repeat("a", route.MaxPath), "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := route.ParsePath(tt.in)
			if tt.decoded == "" {
				if !errors.Is(err, route.ErrPath) || !p.IsZero() {
					t.Errorf("ParsePath = %q, %v; want ErrPath", p.String(), err)
				}
				return
			}
			if err != nil || p.String() != tt.decoded || p.Escaped() != tt.escaped {
				t.Errorf("ParsePath = %q, %q, %v; want %q, %q", p.String(), p.Escaped(), err, tt.decoded, tt.escaped)
			}
		})
	}
}

// Every byte, as it is and encoded, is either kept or refused: never dropped and
// never turned into another.
func TestParsePathByteByByte(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for _, in := range []string{"/a" + string([]byte{byte(c)}) + "b", "/a" + hexed(byte(c)) + "b"} {
			p, err := route.ParsePath(in)
			if err != nil {
				continue
			}
			again, err := url.PathUnescape(p.Escaped())
			if err != nil || again != p.String() || len(p.String()) != 4 && p.String() != "/a/b" {
				t.Errorf("%q became %q, %q", in, p.String(), p.Escaped())
			}
		}
	}
}

func hexed(c byte) string {
	const digits = "0123456789abcdef"
	return "%" + string([]byte{digits[c>>4], digits[c&15]})
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"/", "/a/b", "/a/%2e%2e/b", "/%2561", "/a;b", "//", "/caf%C3%A9", "/%c0%ae"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := route.ParsePath(s)
		if err != nil {
			return
		}
		again, err := route.ParsePath(p.Escaped())
		if err != nil || again != p {
			t.Fatalf("%q became %q, which became %q, %v", s, p.Escaped(), again.Escaped(), err)
		}
		// What net/http would clean or redirect is never accepted.
		for _, segment := range strings.Split(p.String()[1:], "/") {
			if segment == "." || segment == ".." {
				t.Fatalf("%q has a dot segment", p.String())
			}
		}
		if strings.Contains(p.String(), "//") {
			t.Fatalf("%q has an empty segment", p.String())
		}
	})
}

func table(t *testing.T, specs ...route.Spec) *route.Table {
	t.Helper()
	out, err := route.NewTable(specs)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFind(t *testing.T) {
	t.Parallel()
	tab := table(t,
		route.Spec{Match: "GET /documents/{id}", Action: "documents.read"},
		route.Spec{Match: "GET /documents/secret", Action: "documents.secret"},
		route.Spec{Match: "DELETE /documents/{id}", Action: "documents.delete"},
		route.Spec{Match: "POST /tree/", Action: "tree.write"},
		route.Spec{Match: "GET /files/{rest...}", Action: "files.read"},
	)
	for _, tt := range []struct{ name, method, path, want string }{
		{"matches a wildcard", "GET", "/documents/7", "GET /documents/{id}"},
		{"prefers what is more specific", "GET", "/documents/secret", "GET /documents/secret"},
		{"finds the more specific one in any spelling", "GET", "/documents/%73ecret", "GET /documents/secret"},
		{"tells methods apart", "DELETE", "/documents/secret", "DELETE /documents/{id}"},
		{"matches HEAD with GET", "HEAD", "/documents/7", "GET /documents/{id}"},
		{"matches a subtree", "POST", "/tree/a/b", "POST /tree/"},
		{"matches the rest", "GET", "/files/a/b", "GET /files/{rest...}"},
		{"finds nothing for another method", "PUT", "/documents/7", ""},
		{"finds nothing for a method in small letters", "get", "/documents/7", ""},
		{"finds nothing for a path that is longer", "GET", "/documents/7/8", ""},
		{"finds nothing for a path that is shorter", "GET", "/documents/", ""},
		{"finds nothing where net/http would redirect", "POST", "/tree", ""},
		{"finds nothing in another case", "GET", "/Documents/7", ""},
		{"finds nothing for CONNECT", "CONNECT", "/documents/7", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := route.ParsePath(tt.path)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if r, ok := tab.Find(tt.method, p); ok {
				got = r.Match
			}
			if got != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
	if _, ok := tab.Find("GET", route.Path{}); ok {
		t.Error("found a route for a path that was never parsed")
	}
}

func TestNewTableRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		spec route.Spec
		says string
	}{
		{"a match without a method", route.Spec{Match: "/a", Action: "a.b"}, "want a method and a path"},
		{"a match with a host", route.Spec{Match: "GET example.org/a", Action: "a.b"}, "want a method and a path"},
		{"a method outside the profile's", route.Spec{Match: "TRACE /a", Action: "a.b"}, "want a method and a path"},
		{"a route that asks for nothing", route.Spec{Match: "GET /a"}, "neither an action nor a scope"},
		{"a bad action", route.Spec{Match: "GET /a", Action: "a.*"}, "action"},
		{"a bad scope", route.Spec{Match: "GET /a", Scope: `a"b`}, "scope"},
		{"a bad extractor", route.Spec{Match: "GET /a", Action: "a.b", Target: "body:url"}, "target"},
		{"an extractor without a name", route.Spec{Match: "GET /a", Action: "a.b", Region: "header:"}, "region"},
		{"a header that is none", route.Spec{Match: "GET /a", Action: "a.b", Region: "header:a b"}, "region"},
		{"a bad label", route.Spec{Match: "GET /a", Action: "a.b", Classification: "secret"}, "classification"},
		{"a bad pattern", route.Spec{Match: "GET /{", Action: "a.b"}, "GET /{"},
		{"a public route that asks for something", route.Spec{Match: "GET /a", Action: "a.b", InsecurePublic: true}, "asks for nothing else"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := route.NewTable([]route.Spec{{Match: "GET /good", Action: "a.b"}, tt.spec})
			if !errors.Is(err, route.ErrRoute) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "routes[1]") {
				t.Errorf("NewTable = %v, want it to say %q of routes[1]", err, tt.says)
			}
		})
	}
	if _, err := route.NewTable(nil); !errors.Is(err, route.ErrRoute) {
		t.Errorf("no routes: %v, want ErrRoute", err)
	}
	conflict := []route.Spec{{Match: "GET /a/{x}", Action: "a.b"}, {Match: "GET /a/{y}", Action: "a.c"}}
	if _, err := route.NewTable(conflict); !errors.Is(err, route.ErrRoute) {
		t.Errorf("two routes for the same: %v, want ErrRoute", err)
	}
}

func TestExtract(t *testing.T) {
	t.Parallel()
	header := func(lines ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(lines); i += 2 {
			h.Add(lines[i], lines[i+1])
		}
		return h
	}
	body := func(s string) func() ([]byte, bool) { return func() ([]byte, bool) { return []byte(s), true } }
	js := header("Content-Type", "application/json")
	for _, tt := range []struct {
		name, extractor string
		in              route.Input
		want            string
		ok              bool
	}{
		{"reads a header in any case", "header:x-region", route.Input{Header: header("X-Region", "DE")}, "DE", true},
		{"refuses a header that is not there", "header:X-Region", route.Input{Header: header()}, "", false},
		{"refuses a header that is there twice", "header:X-Region", route.Input{Header: header("X-Region", "DE", "X-Region", "DE")}, "", false},
		{"refuses a header that is a list", "header:X-Region", route.Input{Header: header("X-Region", "DE, FR")}, "", false},
		{"reads a parameter", "query:url", route.Input{RawQuery: "a=1&url=https%3A%2F%2Fa.example%2F"}, "https://a.example/", true},
		{"refuses a parameter that is there twice", "query:url", route.Input{RawQuery: "url=a&url=b"}, "", false},
		{"refuses a parameter in another spelling beside it", "query:url", route.Input{RawQuery: "url=a&%75rl=b"}, "", false},
		{"refuses a parameter in another case beside it", "query:url", route.Input{RawQuery: "url=a&URL=b"}, "", false},
		{"refuses a parameter as a list beside it", "query:url", route.Input{RawQuery: "url=a&url[]=b"}, "", false},
		{"refuses a parameter with a key beside it", "query:url", route.Input{RawQuery: "url=a&url%5B0%5D=b"}, "", false},
		{"refuses a parameter behind a blank beside it", "query:url", route.Input{RawQuery: "url=a&+url=b"}, "", false},
		{"refuses a parameter cut short by NUL beside it", "query:url", route.Input{RawQuery: "url=a&url%00x=b"}, "", false},
		{"refuses a parameter with a dot beside one with an underscore", "query:to_url", route.Input{RawQuery: "to_url=a&to.url=b"}, "", false},
		{"reads a parameter beside one that it begins", "query:url", route.Input{RawQuery: "url=a&urls=b&x[url]=c"}, "a", true},
		{"refuses a header with underscores beside it", "header:X-Region", route.Input{Header: http.Header{"X-Region": {"DE"}, "X_region": {"FR"}}}, "", false},
		{"refuses a query with a number sign", "query:url", route.Input{RawQuery: "a=b#&url=c"}, "", false},
		{"refuses a query with a semicolon", "query:url", route.Input{RawQuery: "url=a;b=c"}, "", false},
		{"refuses a query that is badly encoded", "query:url", route.Input{RawQuery: "url=%zz"}, "", false},
		{"reads a member", "json:url", route.Input{Header: js, Body: body(`{"url":"a"}`)}, "a", true},
		{"reads a member of a member", "json:/order/amount", route.Input{Header: js, Body: body(`{"order":{"amount":12.50}}`)}, "12.50", true},
		{"reads names with slashes and tildes", "json:/a~1b/c~0d", route.Input{Header: js, Body: body(`{"a/b":{"c~d":"x"}}`)}, "x", true},
		{"refuses a member that is there twice", "json:url", route.Input{Header: js, Body: body(`{"url":"a","url":"b"}`)}, "", false},
		{"refuses a member in another case beside it", "json:url", route.Input{Header: js, Body: body(`{"url":"a","Url":"b"}`)}, "", false},
		{"tells members apart by case", "json:url", route.Input{Header: js, Body: body(`{"URL":"a"}`)}, "", false},
		{"refuses an object", "json:url", route.Input{Header: js, Body: body(`{"url":{}}`)}, "", false},
		{"refuses null", "json:url", route.Input{Header: js, Body: body(`{"url":null}`)}, "", false},
		{"refuses a list in between", "json:/a/b", route.Input{Header: js, Body: body(`{"a":[{"b":"x"}]}`)}, "", false},
		{"refuses what follows the document", "json:url", route.Input{Header: js, Body: body(`{"url":"a"}{"url":"b"}`)}, "", false},
		{"refuses a body of another type", "json:url", route.Input{Header: header("Content-Type", "text/plain"), Body: body(`{"url":"a"}`)}, "", false},
		{"refuses another charset", "json:url", route.Input{Header: header("Content-Type", "application/json; charset=utf-7"), Body: body(`{"url":"a"}`)}, "", false},
		{"refuses two types", "json:url", route.Input{Header: header("Content-Type", "application/json", "Content-Type", "text/xml"), Body: body(`{"url":"a"}`)}, "", false},
		{"refuses a compressed body", "json:url", route.Input{Header: header("Content-Type", "application/json", "Content-Encoding", "gzip"), Body: body(`{"url":"a"}`)}, "", false},
		{"refuses without a body", "json:url", route.Input{Header: js}, "", false},
		{"refuses a body that cannot be had", "json:url", route.Input{Header: js, Body: func() ([]byte, bool) { return nil, false }}, "", false},
		{"finds nothing by the zero extractor", "", route.Input{Header: js, RawQuery: "=a", Body: body(`{"":"a"}`)}, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, err := route.ParseExtractor(tt.extractor)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := e.Read(tt.in); got != tt.want || ok != tt.ok {
				t.Errorf("Read = %q, %v; want %q, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

// A route can be looked at by itself, before there is a table.
func TestCheckAgreesWithTheTable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		spec route.Spec
	}{
		{"accepts an action", route.Spec{Match: "GET /a/{id}", Action: "a.b"}},
		{"accepts a public route", route.Spec{Match: "GET /a", InsecurePublic: true}},
		{"refuses a route without a method", route.Spec{Match: "/a", Action: "a.b"}},
		{"refuses a pattern that net/http does not know", route.Spec{Match: "GET /a/{id", Action: "a.b"}},
		{"refuses neither action nor scope", route.Spec{Match: "GET /a"}},
		{"refuses a bad extractor", route.Spec{Match: "GET /a", Action: "a.b", Target: "cookie:x"}},
		{"refuses a public route with a scope", route.Spec{Match: "GET /a", Scope: "x", InsecurePublic: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, want := route.NewTable([]route.Spec{tt.spec})
			if err := tt.spec.Check(); (err == nil) != (want == nil) {
				t.Errorf("Check = %v, the table says %v", err, want)
			}
			if refused := strings.HasPrefix(tt.name, "refuses"); refused != (want != nil) {
				t.Errorf("NewTable = %v, want refused %t", want, refused)
			}
		})
	}
}
