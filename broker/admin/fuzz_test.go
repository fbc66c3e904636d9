package admin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func (e *env) serve(method, path, body string, header map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "localhost"
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/yaml")
	for name, value := range header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	e.handler.ServeHTTP(w, r)
	return w
}

// Whatever is sent as a trust file is accepted or told to be wrong; nothing
// that is sent is a failure of ours.
func FuzzPutRegistry(f *testing.F) {
	for _, seed := range []string{sample, "{}", "", "[]", "peers: [{}]", "peers: [[]]", "a: &b [*b]", "? {}\n: []", `{"peers":null}`,
		"mappings:\n- when: '('\n  capabilities: [{action: a, constraints: {x: 1}}]\n", "clients: [{id: \"\\x00\", jwks: {keys: [{kty: RSA, n: AA, e: AQAB}]}}]"} {
		f.Add(seed)
	}
	e := start(f)
	f.Fuzz(func(t *testing.T, body string) {
		if w := e.serve("PUT", registry+"?dry_run=true", body, nil); w.Code != http.StatusOK && w.Code != http.StatusUnprocessableEntity {
			t.Fatalf("status = %d: %s", w.Code, w.Body)
		}
	})
}

// Nothing but the current revision, exactly written, lets a change through.
func FuzzIfMatch(f *testing.F) {
	for _, seed := range []string{`"0"`, `"1"`, `W/"0"`, `*`, `"0", "1"`, `""`, `"`, "0", `"00"`, ` "0"`, `"0",`} {
		f.Add(seed)
	}
	e := start(f)
	f.Fuzz(func(t *testing.T, value string) {
		w := e.serve("PUT", registry, "{}", map[string]string{"If-Match": value})
		named := false
		for tag := range strings.SplitSeq(value, ",") {
			named = named || strings.Trim(tag, " \t") == `"0"`
		}
		if w.Code == http.StatusOK && !named {
			t.Fatalf("If-Match %q was taken for the current revision", value)
		}
		if w.Code >= 500 {
			t.Fatalf("status = %d: %s", w.Code, w.Body)
		}
	})
}

// BenchmarkPutObject changes one of 1,000 peers, back and forth.
func BenchmarkPutObject(b *testing.B) {
	e := start(b)
	var body strings.Builder
	body.WriteString("peers:\n")
	for i := range 1000 {
		fmt.Fprintf(&body, "  - {name: p%03d, domain: p%d.example, issuer: 'https://as.p%d.example', expires: 2027-11-21T00:00:00Z}\n", i, i, i)
	}
	if w := e.serve("PUT", registry, body.String(), map[string]string{"If-Match": `"0"`}); w.Code != http.StatusOK {
		b.Fatal(w.Body)
	}
	peer := "domain: p500.example\nissuer: https://as.p500.example\nexpires: 2027-11-21T00:00:00Z\nstatus: %s\n"
	b.ReportAllocs()
	for i := range b.N {
		status := []string{"suspended", "active"}[i%2]
		w := e.serve("PUT", "/admin/v1/peers/p500", fmt.Sprintf(peer, status), map[string]string{"If-Match": fmt.Sprintf(`"%d"`, i+1)})
		if w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
}
