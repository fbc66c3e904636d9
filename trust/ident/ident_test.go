package ident_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/comity-auth/comity/trust/ident"
)

// row is one spelling and whether a grammar takes it.
type row struct {
	name string
	in   string
	ok   bool
}

// grammar is one parser, seen from outside: what it prints and what it reports.
type grammar struct {
	name  string
	parse func(string) (fmt.Stringer, bool, error) // the value, its IsZero, the error
	err   error
	rows  []row
}

func grammars() []grammar {
	return []grammar{
		{"domain", adapt(ident.ParseDomain), ident.ErrDomain, domainRows()},
		{"issuer", adapt(ident.ParseIssuer), ident.ErrIssuer, issuerRows()},
		{"audience", adapt(ident.ParseAudience), ident.ErrAudience, audienceRows()},
		{"resource", adapt(ident.ParseResource), ident.ErrAudience, resourceRows()},
		{"client id", adapt(ident.ParseClientID), ident.ErrClientID, clientRows()},
		{"name", adapt(ident.ParseName), ident.ErrName, nameRows()},
		{"token type", adapt(ident.ParseTokenType), ident.ErrTokenType, tokenTypeRows()},
		{"requested token type", adapt(ident.ParseRequestedTokenType), ident.ErrTokenType, requestedRows()},
	}
}

// identifier is what every parsed type offers.
type identifier interface {
	comparable
	fmt.Stringer
	IsZero() bool
	MarshalText() ([]byte, error)
}

func adapt[T identifier](parse func(string) (T, error)) func(string) (fmt.Stringer, bool, error) {
	return func(s string) (fmt.Stringer, bool, error) {
		v, err := parse(s)
		text, terr := v.MarshalText()
		if again, _ := parse(s); again != v || terr != nil || string(text) != v.String() {
			return v, v.IsZero(), errors.New("the value differs from its own text or from itself")
		}
		return v, v.IsZero(), err
	}
}

// check holds one outcome: what parses prints back unchanged, and what does not
// leaves the zero value and one sentinel, without the input in the text.
func (g grammar) check(t *testing.T, r row) {
	t.Helper()
	v, zero, err := g.parse(r.in)
	if r.ok {
		if err != nil || zero || v.String() != r.in {
			t.Errorf("%s: got %q, zero %t, error %v; want it as given", r.name, v, zero, err)
		}
		return
	}
	if !errors.Is(err, g.err) || !zero || v.String() != "" {
		t.Errorf("%s: got %q, zero %t, error %v; want the zero value and %v", r.name, v, zero, err, g.err)
	}
	if err != nil && len(r.in) > 3 && strings.Contains(err.Error(), r.in) {
		t.Errorf("%s: the error repeats the input: %v", r.name, err)
	}
}

func TestGrammars(t *testing.T) {
	t.Parallel()
	for _, g := range grammars() {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			g.check(t, row{"rejects the empty string", "", false})
			for _, r := range g.rows {
				g.check(t, r)
			}
		})
	}
}

func domainRows() []row {
	return []row{
		{"accepts a name of several labels", "payments.globex.example", true},
		{"accepts one label", "globex", true},
		{"accepts digits, dashes and underscores", "a_1.b-2", true},
		{"accepts 255 bytes", strings.Repeat("a", 255), true},
		{"rejects 256 bytes", strings.Repeat("a", 256), false},
		{"rejects a leading dot", ".globex.example", false},
		{"rejects a trailing dot", "globex.example.", false},
		{"rejects an empty label", "globex..example", false},
		{"rejects a lone dot", ".", false},
		{"rejects upper case", "Globex.example", false},
		{"rejects a port", "globex.example:443", false},
		{"rejects a scheme", "https://globex.example", false},
		{"rejects letters outside ASCII", "glöbex.example", false},
		{"rejects a trailing newline", "globex.example\n", false},
	}
}

func issuerRows() []row {
	return []row{
		{"accepts an https origin", "https://idp.acme.example", true},
		{"accepts a path", "https://idp.acme.example/realms/one", true},
		{"accepts a trailing slash as a spelling of its own", "https://idp.acme.example/", true},
		{"accepts a trailing slash behind a path", "https://idp.acme.example/realms/", true},
		{"accepts a port", "https://idp.acme.example:8443", true},
		{"accepts the highest port", "https://idp.acme.example:65535", true},
		{"accepts an address", "https://192.0.2.1", true},
		{"accepts an IPv6 address", "https://[2001:db8::1]:8443/x", true},
		{"accepts http for 127.0.0.0/8", "http://127.9.9.9:8080", true},
		{"accepts http for ::1", "http://[::1]:8080", true},
		{"accepts dots inside a segment", "https://idp.acme.example/v1.0/..x", true},
		{"rejects 513 bytes", "https://idp.acme.example/" + strings.Repeat("a", 513-25), false},
		{"accepts 512 bytes", "https://idp.acme.example/" + strings.Repeat("a", 512-25), true},
		{"rejects http for a name", "http://idp.acme.example", false},
		{"rejects http for localhost, which resolves to anything", "http://localhost", false},
		{"rejects http for an address that is not loopback", "http://192.0.2.1", false},
		{"rejects http for a name that begins like loopback", "http://127.0.0.1.evil.example", false},
		{"rejects no scheme", "idp.acme.example", false},
		{"rejects a scheme in upper case", "HTTPS://idp.acme.example", false},
		{"rejects another scheme", "ftp://idp.acme.example", false},
		{"rejects a relative reference", "//idp.acme.example", false},
		{"rejects an opaque URI", "https:idp.acme.example", false},
		{"rejects no host", "https:///realms", false},
		{"rejects a port without a host", "https://:8443", false},
		{"rejects a host in upper case", "https://IDP.acme.example", false},
		{"rejects user information", "https://user@idp.acme.example", false},
		{"rejects empty user information", "https://@idp.acme.example", false},
		{"rejects two at signs", "https://a@b@idp.acme.example", false},
		{"rejects a query", "https://idp.acme.example?x=1", false},
		{"rejects an empty query", "https://idp.acme.example?", false},
		{"rejects a fragment", "https://idp.acme.example#x", false},
		{"rejects an empty fragment", "https://idp.acme.example#", false},
		{"rejects the default port of https", "https://idp.acme.example:443", false},
		{"rejects the default port of http", "http://127.0.0.1:80", false},
		{"rejects an empty port", "https://idp.acme.example:", false},
		{"rejects port 0", "https://idp.acme.example:0", false},
		{"rejects a port beyond 65535", "https://idp.acme.example:65536", false},
		{"rejects the default port behind a zero", "https://idp.acme.example:0443", false},
		{"rejects a port that is no number", "https://idp.acme.example:x", false},
		{"rejects a trailing dot of the host", "https://idp.acme.example.", false},
		{"rejects an empty label of the host", "https://idp..acme.example", false},
		{"rejects a host of dots", "https://..", false},
		{"rejects a comma in the host", "https://idp,acme.example", false},
		{"rejects a semicolon in the host", "https://idp;acme.example", false},
		{"rejects a short spelling of an address", "https://127.1", false},
		{"rejects an address in hexadecimal", "https://0x7f000001", false},
		{"rejects an address as one number", "https://2130706433", false},
		{"rejects an address with leading zeros", "https://127.0.0.01", false},
		{"rejects a long spelling of an IPv6 address", "https://[2001:db8:0:0:0:0:0:1]", false},
		{"rejects an IPv6 zone", "https://[fe80::1%25eth0]", false},
		{"rejects an IPv6 address without brackets", "https://2001:db8::1", false},
		{"rejects a dot segment", "https://idp.acme.example/./x", false},
		{"rejects a double dot segment", "https://idp.acme.example/x/..", false},
		{"rejects an empty segment at the start", "https://idp.acme.example//x", false},
		{"rejects an empty segment in the middle", "https://idp.acme.example/x//y", false},
		{"rejects an empty segment at the end", "https://idp.acme.example/x//", false},
		{"rejects a path of slashes", "https://idp.acme.example//", false},
		{"rejects percent-encoding", "https://idp.acme.example/%61", false},
		{"rejects percent-encoding in the host", "https://%61cme.example", false},
		{"rejects a backslash", "https://idp.acme.example\\x", false},
		{"rejects a leading blank", " https://idp.acme.example", false},
		{"rejects a trailing blank", "https://idp.acme.example ", false},
		{"rejects a line break", "https://idp.acme.example/\n", false},
		{"rejects letters outside ASCII", "https://idp.äcme.example", false},
		{"rejects invalid UTF-8", "https://idp.acme.example/\xff", false},
	}
}

func audienceRows() []row {
	return []row{
		{"accepts a URI", "https://archive.globex.example", true},
		{"accepts a plain name", "archive", true},
		{"accepts 2048 bytes", strings.Repeat("a", 2048), true},
		{"rejects 2049 bytes", strings.Repeat("a", 2049), false},
		{"rejects the wildcard", "*", false},
		{"rejects a wildcard inside", "https://*.globex.example", false},
		{"rejects a quote", `a"b`, false},
		{"rejects a backslash", `a\b`, false},
		{"rejects markup", "<a>", false},
		{"rejects a blank inside", "a b", false},
		{"rejects a line break", "a\r\nb", false},
		{"rejects letters outside ASCII", "ärchive", false},
	}
}

func resourceRows() []row {
	return []row{
		{"accepts an absolute URI", "https://archive.globex.example/v1?x=1", true},
		{"accepts a URN", "urn:globex:archive", true},
		{"rejects a name (TE-17)", "archive", false},
		{"rejects a relative reference (TE-17)", "/archive", false},
		{"rejects a reference without a scheme (TE-17)", "//archive.globex.example", false},
		{"rejects a fragment (TE-17)", "https://archive.globex.example#x", false},
		{"rejects an empty fragment (TE-17)", "https://archive.globex.example#", false},
		{"rejects more than 2 KiB (TE-17)", "https://archive.globex.example/" + strings.Repeat("a", 2048), false},
		{"rejects a scheme alone", "https:", false},
		{"rejects an authority that is empty", "https://", false},
		{"rejects bad percent-encoding in the host", "https://%zz", false},
	}
}

func clientRows() []row {
	return []row{
		{"accepts a name", "acme-agent-1", true},
		{"accepts a host and a port", "agent.acme.example:8443", true},
		{"accepts an address with an at sign", "agent@acme.example", true},
		{"accepts 256 bytes", strings.Repeat("A", 256), true},
		{"rejects 257 bytes", strings.Repeat("A", 257), false},
		{"rejects a slash, which subjects have", "acme/agent", false},
		{"rejects a URI", "https://agent.acme.example", false},
		{"rejects a percent sign", "a%2fb", false},
		{"rejects letters outside ASCII", "ägent", false},
	}
}

func nameRows() []row {
	return []row{
		{"accepts letters, digits, dashes, dots and underscores", "a-1.b_2", true},
		{"accepts a leading digit", "1a", true},
		{"accepts 64 bytes", strings.Repeat("a", 64), true},
		{"rejects 65 bytes", strings.Repeat("a", 65), false},
		{"rejects a leading dash, which reads as an option", "-a", false},
		{"rejects a leading dot", ".a", false},
		{"rejects a leading underscore", "_a", false},
		{"rejects upper case", "Acme", false},
		{"rejects a slash", "a/b", false},
		{"rejects letters outside ASCII", "äcme", false},
	}
}

const urn = "urn:ietf:params:oauth:token-type:"

func tokenTypeRows() []row {
	return []row{
		{"accepts an access token", urn + "access_token", true},
		{"accepts an ID token", urn + "id_token", true},
		{"accepts a JWT", urn + "jwt", true},
		{"rejects a refresh token (TE-13)", urn + "refresh_token", false},
		{"rejects SAML 1.1 (TE-13)", urn + "saml1", false},
		{"rejects SAML 2.0 (TE-13)", urn + "saml2", false},
		{"rejects an ID-JAG, which is a grant", urn + "id-jag", false},
		{"rejects the short form", "access_token", false},
		{"rejects another case", urn + "Access_Token", false},
		{"rejects the prefix alone", urn, false},
		{"rejects a trailing blank", urn + "jwt ", false},
	}
}

func requestedRows() []row {
	return []row{
		{"accepts an access token", urn + "access_token", true},
		{"accepts a JWT", urn + "jwt", true},
		{"accepts an ID-JAG", urn + "id-jag", true},
		{"rejects an ID token, which only a provider issues (TE-14)", urn + "id_token", false},
		{"rejects a refresh token (TE-14)", urn + "refresh_token", false},
		{"rejects SAML 2.0 (TE-14)", urn + "saml2", false},
		{"rejects the short form", "access_token", false},
		{"rejects another case", strings.ToUpper(urn + "jwt"), false},
	}
}

func TestTokenTypeNamesOfTrustFiles(t *testing.T) {
	t.Parallel()
	for _, want := range []ident.TokenType{ident.AccessToken, ident.IDToken, ident.JWT} {
		got, err := ident.ParseTokenTypeName(want.Short())
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v", want.Short(), got, err)
		}
	}
	for _, s := range []string{"", "refresh_token", "id-jag", "ID_TOKEN", " jwt", urn + "jwt"} {
		if got, err := ident.ParseTokenTypeName(s); !errors.Is(err, ident.ErrTokenType) || !got.IsZero() {
			t.Errorf("%q: got %v, %v; want a refusal", s, got, err)
		}
	}
	if got := ident.IDJAG.Short(); got != "id-jag" {
		t.Errorf("got %q, want id-jag", got)
	}
}

func TestIssuerHost(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://idp.acme.example":           "idp.acme.example",
		"https://idp.acme.example/realms/a":  "idp.acme.example",
		"https://idp.acme.example:8443/":     "idp.acme.example:8443",
		"https://[2001:db8::1]:8443/realms/": "[2001:db8::1]:8443",
	} {
		if got := ident.MustIssuer(in).Host(); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
	if got := (ident.Issuer{}).Host(); got != "" {
		t.Errorf("the zero issuer has the host %q", got)
	}
}

func TestLoopbackIsALiteralAddress(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.255.255.254": true, "::1": true, "[::1]": true, "::ffff:127.0.0.1": true,
		"localhost": false, "": false, "0.0.0.0": false, "::": false, "128.0.0.1": false, "127.1": false,
		"127.0.0.1.evil.example": false, "::ffff:10.0.0.1": false, "2130706433": false, "0x7f.0.0.1": false,
	} {
		if got := ident.IsLoopbackHost(host); got != want {
			t.Errorf("%q: got %t, want %t", host, got, want)
		}
	}
}

func TestMustPanicsOnWhatParseRefuses(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(){
		"domain":    func() { ident.MustDomain("") },
		"issuer":    func() { ident.MustIssuer("http://acme.example") },
		"audience":  func() { ident.MustAudience("*") },
		"client id": func() { ident.MustClientID("a/b") },
		"name":      func() { ident.MustName("-") },
		"scopes":    func() { ident.MustScopes("a  b") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
