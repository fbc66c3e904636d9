package spiffe_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"

	"github.com/comity-auth/comity/federation/spiffe"
	"github.com/comity-auth/comity/fixtures/pki"
	fixture "github.com/comity-auth/comity/fixtures/spiffe"
)

func TestDomainOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, id, want string }{
		{"accepts a workload", "spiffe://acme.example/agent", "acme.example"},
		{"accepts dots and underscores", "spiffe://a_b.example/ns/x/sa/y.z_1", "a_b.example"},
		{"refuses an ID without a path", "spiffe://acme.example", ""},
		{"refuses a slash at the end", "spiffe://acme.example/agent/", ""},
		{"refuses an empty segment", "spiffe://acme.example//agent", ""},
		{"refuses dot segments", "spiffe://acme.example/../agent", ""},
		{"refuses capitals in the domain", "spiffe://Acme.example/agent", ""},
		{"refuses capitals in the scheme", "SPIFFE://acme.example/agent", ""},
		{"refuses a port", "spiffe://acme.example:80/agent", ""},
		{"refuses user information", "spiffe://u@acme.example/agent", ""},
		{"refuses a query", "spiffe://acme.example/agent?x", ""},
		{"refuses a fragment", "spiffe://acme.example/agent#x", ""},
		{"refuses an escape", "spiffe://acme.example/%61gent", ""},
		{"refuses another scheme", "https://acme.example/agent", ""},
		{"refuses a NUL", "spiffe://acme.example/agent\x00", ""},
		{"refuses 2049 bytes", "spiffe://acme.example/" + strings.Repeat("a", 2049-len("spiffe://acme.example/")), ""},
		{"refuses nothing", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := spiffe.DomainOf(tt.id); got != tt.want {
				t.Errorf("DomainOf = %q, want %q", got, tt.want)
			}
		})
	}
}

// edited is the bundle of a domain with members replaced; a nil value removes
// one.
func edited(t *testing.T, d *fixture.Domain, change func(map[string]any)) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(d.Bundle(t), &doc); err != nil {
		t.Fatal(err)
	}
	change(doc)
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestParse(t *testing.T) {
	t.Parallel()
	d := fixture.New(t, "acme.example")
	leaf := d.X509(t, "/agent")
	add := func(keys ...any) func(map[string]any) {
		return func(doc map[string]any) { doc["keys"] = append(doc["keys"].([]any), keys...) }
	}
	key := func(i int, name string, v any) func(map[string]any) {
		return func(doc map[string]any) {
			for _, k := range doc["keys"].([]any) {
				if k := k.(map[string]any); (k["use"] == "jwt-svid") == (i == 1) {
					k[name] = v
				}
			}
		}
	}
	for _, tt := range []struct {
		name          string
		change        func(map[string]any)
		jwt, x509     int
		problem       string
		want          error
		refreshSecond int
	}{
		{"reads what go-spiffe writes", func(map[string]any) {}, 1, 1, "", nil, 300},
		{"ignores keys of another use", add(map[string]any{"use": "sig", "kty": "EC"}, map[string]any{"kty": "RSA"}, "x", map[string]any{"use": 7}), 1, 1, "", nil, 300},
		{"ignores WIT authorities", add(map[string]any{"use": "wit-svid", "kty": "EC"}), 1, 1, "", nil, 300},
		{"ignores members it does not know", func(doc map[string]any) { doc["spiffe_other"] = []any{1} }, 1, 1, "", nil, 300},
		{"accepts no keys at all", func(doc map[string]any) { doc["keys"] = []any{} }, 0, 0, "", nil, 300},
		{"leaves out a malformed authority", add(map[string]any{"use": "x509-svid", "kty": "EC", "x5c": []any{"AAAA"}}), 1, 1, spiffe.ReasonMalformed, nil, 300},
		{"leaves out an authority without a certificate", key(0, "x5c", []any{}), 1, 0, spiffe.ReasonMalformed, nil, 300},
		{"leaves out an authority with a secret", key(0, "d", "AAAA"), 1, 0, spiffe.ReasonSecret, nil, 300},
		{"leaves out a leaf", add(x5c(t, leaf.Leaf)), 1, 1, spiffe.ReasonNoCA, nil, 300},
		{"refuses a document without keys", func(doc map[string]any) { delete(doc, "keys") }, 0, 0, "", spiffe.ErrBundle, 0},
		{"refuses keys that are no list", func(doc map[string]any) { doc["keys"] = map[string]any{} }, 0, 0, "", spiffe.ErrBundle, 0},
		{"refuses keys that are null", func(doc map[string]any) { doc["keys"] = nil }, 0, 0, "", spiffe.ErrBundle, 0},
		{"refuses a sequence below zero", func(doc map[string]any) { doc["spiffe_sequence"] = -1 }, 0, 0, "", spiffe.ErrBundle, 0},
		{"refuses a sequence that is text", func(doc map[string]any) { doc["spiffe_sequence"] = "1" }, 0, 0, "", spiffe.ErrBundle, 0},
		{"refuses a hint with a fraction", func(doc map[string]any) { doc["spiffe_refresh_hint"] = 1.5 }, 0, 0, "", spiffe.ErrBundle, 0},
		{"refuses 101 keys", func(doc map[string]any) { doc["keys"] = slices.Repeat([]any{map[string]any{}}, 101) }, 0, 0, "", spiffe.ErrBundle, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := spiffe.Parse("acme.example", edited(t, d, tt.change))
			if !errors.Is(err, tt.want) {
				t.Fatalf("Parse = %v, want %v", err, tt.want)
			}
			if len(b.JWT()) != tt.jwt || len(b.Authorities()) != tt.x509 {
				t.Errorf("got %d and %d authorities, want %d and %d", len(b.JWT()), len(b.Authorities()), tt.jwt, tt.x509)
			}
			if problems := b.Problems(); len(problems) > 1 || (tt.problem != "") != (len(problems) == 1) || tt.problem != "" && problems[0].Reason != tt.problem {
				t.Errorf("got problems %v, want %q", problems, tt.problem)
			}
			if hint, _ := b.RefreshHint(); hint != time.Duration(tt.refreshSecond)*time.Second {
				t.Errorf("got hint %v", hint)
			}
		})
	}
	for _, domain := range []string{"", "Acme.example", "spiffe://acme.example", "acme.example/x"} {
		if _, err := spiffe.Parse(domain, d.Bundle(t)); !errors.Is(err, spiffe.ErrBundle) {
			t.Errorf("Parse for %q = %v, want ErrBundle", domain, err)
		}
	}
	doubled := bytes.Replace(d.Bundle(t), []byte(`"keys"`), []byte(`"keys":[],"keys"`), 1)
	if _, err := spiffe.Parse("acme.example", doubled); !errors.Is(err, spiffe.ErrBundle) {
		t.Errorf("Parse with keys twice = %v, want ErrBundle", err)
	}
}

// x5c is the certificate as an authority of a bundle.
func x5c(t *testing.T, cert *x509.Certificate) map[string]any {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: cert.PublicKey, Use: "x509-svid", Certificates: []*x509.Certificate{cert}})
	var out map[string]any
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFollows(t *testing.T) {
	t.Parallel()
	d := fixture.New(t, "acme.example")
	at := func(sequence any) *spiffe.Bundle {
		b, err := spiffe.Parse("acme.example", edited(t, d, func(doc map[string]any) {
			if doc["spiffe_sequence"] = sequence; sequence == nil {
				delete(doc, "spiffe_sequence")
			}
		}))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tt := range []struct {
		name        string
		before, now *spiffe.Bundle
		want        error
	}{
		{"accepts the first", nil, at(nil), nil},
		{"accepts the same", at(7), at(7), nil},
		{"accepts the next", at(7), at(9), nil},
		{"accepts one that begins to count", at(nil), at(1), nil},
		{"refuses one before", at(7), at(6), spiffe.ErrSequence},
		{"refuses one that stops to count", at(7), at(nil), spiffe.ErrSequence},
	} {
		if err := tt.now.Follows(tt.before); !errors.Is(err, tt.want) {
			t.Errorf("%s: Follows = %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	d, other := fixture.New(t, "acme.example"), fixture.New(t, "acme.example")
	foreign := fixture.New(t, "initech.example")
	b, err := spiffe.Parse("acme.example", d.Bundle(t))
	if err != nil {
		t.Fatal(err)
	}
	below, err := d.CA.Intermediate("below")
	if err != nil {
		t.Fatal(err)
	}
	leaf := func(ca *pki.CA, l pki.Leaf) tls.Certificate {
		cert, err := ca.Issue(l)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	id := d.ID("/agent")
	for _, tt := range []struct {
		name string
		cert tls.Certificate
		good bool
	}{
		{"accepts an SVID", d.X509(t, "/agent"), true},
		{"accepts one of an intermediate", leaf(below, pki.Leaf{URIs: []string{id}}), true},
		{"refuses one whose intermediate is missing", tls.Certificate{Certificate: leaf(below, pki.Leaf{URIs: []string{id}}).Certificate[:1]}, false},
		{"refuses one of a foreign authority", other.X509(t, "/agent"), false},
		{"refuses one of another domain", foreign.X509(t, "/agent"), false},
		{"refuses another domain by our authority", leaf(d.CA, pki.Leaf{URIs: []string{foreign.ID("/agent")}}), false},
		{"refuses two URIs", leaf(d.CA, pki.Leaf{URIs: []string{id, d.ID("/other")}}), false},
		{"refuses the same URI twice", leaf(d.CA, pki.Leaf{URIs: []string{id, id}}), false},
		{"refuses no URI", leaf(d.CA, pki.Leaf{}), false},
		{"refuses a URI that is no SPIFFE ID", leaf(d.CA, pki.Leaf{URIs: []string{"https://acme.example/agent"}}), false},
		{"refuses an ID without a path", leaf(d.CA, pki.Leaf{URIs: []string{"spiffe://acme.example"}}), false},
		{"refuses an expired one", leaf(d.CA, pki.Leaf{URIs: []string{id}, NotAfter: time.Now().Add(-time.Second)}), false},
		{"refuses one that is not valid yet", leaf(d.CA, pki.Leaf{URIs: []string{id}, NotBefore: time.Now().Add(time.Hour)}), false},
		{"refuses an authority", tls.Certificate{Certificate: [][]byte{d.CA.Certificate().Raw}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			svid, err := b.Verify(chain(t, tt.cert), time.Now())
			if (err == nil) != tt.good || err != nil && !errors.Is(err, spiffe.ErrSVID) {
				t.Fatalf("Verify = %v, want good %v", err, tt.good)
			}
			if tt.good && (svid.ID != id || !slices.Equal(svid.Authorities, b.Authorities())) {
				t.Errorf("got %q of %v, want %q of %v", svid.ID, svid.Authorities, id, b.Authorities())
			}
		})
	}
	var none *spiffe.Bundle
	if _, err := none.Verify(chain(t, d.X509(t, "/agent")), time.Now()); !errors.Is(err, spiffe.ErrSVID) {
		t.Errorf("Verify by no bundle = %v", err)
	}
	if _, err := b.Verify(nil, time.Now()); !errors.Is(err, spiffe.ErrSVID) {
		t.Errorf("Verify of nothing = %v", err)
	}
	agent := d.X509(t, "/agent")
	d.Change(func(b *spiffebundle.Bundle) { b.SetX509Authorities(nil) })
	empty, err := spiffe.Parse("acme.example", d.Bundle(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := empty.Verify(chain(t, agent), time.Now()); !errors.Is(err, spiffe.ErrSVID) {
		t.Errorf("Verify by a bundle without authorities = %v", err)
	}
}

func chain(t *testing.T, cert tls.Certificate) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	for _, der := range cert.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// Whatever the document, Parse gives a bundle of the domain or ErrBundle.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"keys":[]}`, `{"keys":null}`, `{"keys":[{"use":"jwt-svid","kty":"EC","kid":"a"}],"spiffe_sequence":1,"spiffe_refresh_hint":-1}`,
		`{"keys":[{"use":"x509-svid","kty":"RSA","x5c":["AAAA"]}]}`, `{"keys":[],"spiffe_sequence":18446744073709551615}`, `[]`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		b, err := spiffe.Parse("acme.example", doc)
		if err != nil && !errors.Is(err, spiffe.ErrBundle) || err == nil && b.Domain() != "acme.example" {
			t.Errorf("Parse = %v, %v", b, err)
		}
	})
}
