package ident_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/comity-auth/comity/trust/ident"
)

const (
	lower     = "abcdefghijklmnopqrstuvwxyz"
	upper     = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits    = "0123456789"
	visible   = "!\"#$%&'()*+,-./" + digits + ":;<=>?@" + upper + "[\\]^_`" + lower + "{|}~"
	unquoted  = "!#$%&'()*+,-./" + digits + ":;<=>?@" + upper + "[]^_`" + lower + "{|}~"
	addressed = "!#$%&'()+,-./" + digits + ":;=?@" + upper + "[]^_`" + lower + "{|}~"
)

// TestEveryByteOfEveryGrammar puts each of the 256 bytes at the start, in the
// middle and at the end of a good value, and asks for exactly the listed ones.
func TestEveryByteOfEveryGrammar(t *testing.T) {
	t.Parallel()
	if len(visible) != '~'-'!'+1 {
		t.Fatalf("the list of visible characters has %d", len(visible))
	}
	for _, tc := range []struct {
		name       string
		accepts    func(string) bool
		head, tail string
		want       string
	}{
		{"domain, first", accepts(ident.ParseDomain), "", "a.b", lower + digits + "-_"},
		{"domain, inside", accepts(ident.ParseDomain), "a", "b", lower + digits + "-_."},
		{"domain, last", accepts(ident.ParseDomain), "a.b", "", lower + digits + "-_"},
		{"name, first", accepts(ident.ParseName), "", "a", lower + digits},
		{"name, inside", accepts(ident.ParseName), "a", "b", lower + digits + "-._"},
		{"name, last", accepts(ident.ParseName), "a", "", lower + digits + "-._"},
		{"client id, first", accepts(ident.ParseClientID), "", "a", lower + upper + digits + "-._~:@"},
		{"client id, inside", accepts(ident.ParseClientID), "a", "b", lower + upper + digits + "-._~:@"},
		{"client id, last", accepts(ident.ParseClientID), "a", "", lower + upper + digits + "-._~:@"},
		{"audience, first", accepts(ident.ParseAudience), "", "a", addressed},
		{"audience, inside", accepts(ident.ParseAudience), "a", "b", addressed},
		{"audience, last", accepts(ident.ParseAudience), "a", "", addressed},
		{"scope, first", acceptsScope, "", "a", unquoted},
		{"scope, inside", acceptsScope, "a", "b", unquoted},
		{"scope, last", acceptsScope, "a", "", unquoted},
		{"scope list, inside", accepts(parseScopes), "a", "b", unquoted + " "},
		{"scope list, last", accepts(parseScopes), "a", "", unquoted},
		{"issuer, first", accepts(ident.ParseIssuer), "", "https://a.example", ""},
		{"issuer, in the host", accepts(ident.ParseIssuer), "https://a", "b.example", lower + digits + "-_./"},
		{"issuer, in the port", accepts(ident.ParseIssuer), "https://a.example:1", "1", digits + "/"},
		{"issuer, in the path", accepts(ident.ParseIssuer), "https://a.example/x", "y", issuerPath},
		{"issuer, last", accepts(ident.ParseIssuer), "https://a.example/x", "", issuerPath},
		{"token type, last", accepts(ident.ParseTokenType), urn + "jwt", "", ""},
		{"requested token type, last", accepts(ident.ParseRequestedTokenType), urn + "jwt", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for b := range 256 {
				c := string([]byte{byte(b)})
				want := strings.Contains(tc.want, c)
				if got := tc.accepts(tc.head + c + tc.tail); got != want {
					t.Errorf("byte %#x: accepted %t, want %t", b, got, want)
				}
			}
		})
	}
}

// issuerPath is what a URI path may hold unescaped (RFC 3986 section 3.3).
const issuerPath = "!$&'()*+,-./" + digits + ":;=@" + upper + "_" + lower + "~"

func accepts[T any](parse func(string) (T, error)) func(string) bool {
	return func(s string) bool {
		_, err := parse(s)
		return err == nil
	}
}

func acceptsScope(s string) bool { return ident.ParseScope(s) == nil }

// parseScopes counts two scopes and one alike: only the grammar is asked about.
func parseScopes(s string) (ident.Scopes, error) { return ident.ParseScopes(s) }

func FuzzParseIssuer(f *testing.F) {
	for _, r := range issuerRows() {
		f.Add(r.in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		i, err := ident.ParseIssuer(in)
		if err != nil {
			if !errors.Is(err, ident.ErrIssuer) || !i.IsZero() {
				t.Fatalf("refused as %v, leaving %q", err, i)
			}
			return
		}
		u, err := url.Parse(in)
		if err != nil || u.Host != i.Host() || i.String() != in || len(in) > 512 {
			t.Fatalf("%q was accepted and reads as %v, %v", in, u, err)
		}
		if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" ||
			u.Scheme != "https" && !ident.IsLoopbackHost(u.Hostname()) {
			t.Fatalf("%q was accepted with more than a scheme, a host and a path", in)
		}
		if again := u.JoinPath().String(); strings.TrimSuffix(again, "/") != strings.TrimSuffix(in, "/") {
			t.Fatalf("%q was accepted and is cleaned to %q", in, again)
		}
	})
}

func FuzzParseScopes(f *testing.F) {
	for _, s := range []string{"", "a", "a b", "a  b", " a", "a ", "a a", "a\tb", `a"`, `\`, "ä", "\x00", strings.Repeat("a ", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := ident.ParseScopes(in)
		if err != nil {
			if !errors.Is(err, ident.ErrScope) || !s.IsZero() {
				t.Fatalf("refused as %v, leaving %q", err, s)
			}
			return
		}
		again, err := ident.ParseScopes(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q prints as %q, which reads as %q, %v", in, s, again, err)
		}
		named := strings.Fields(in)
		for _, scope := range s.List() {
			if !s.Has(scope) || strings.Count(" "+in+" ", " "+scope+" ") == 0 {
				t.Fatalf("%q gives %q, which it does not name", in, scope)
			}
		}
		for _, scope := range named {
			if !s.Has(scope) {
				t.Fatalf("%q loses %q", in, scope)
			}
		}
	})
}
