package admin_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/broker/admin"
	"github.com/comity-auth/comity/trust"
)

const betaPeer = `domain: beta.example
issuer: https://as.beta.example
expires: 2027-11-21T00:00:00Z
`

func TestObjectLife(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	const path = "/admin/v1/peers/beta"
	e.do(t, "GET", path, "").want(t, 404, "not_found")
	a := e.do(t, "PUT", path, betaPeer, with("If-Match", `"1"`)).want(t, 200, "")
	if r := decode[admin.Result](t, a); r.Revision != 2 || len(r.Differences) != 1 || r.Differences[0].Op != "add" || a.header.Get("ETag") != `"2"` {
		t.Errorf("result = %+v", r)
	}
	if s, err := e.live.Snapshot(); err != nil || s.Peer("beta") == nil {
		t.Errorf("the peer is not served when the answer comes: %v", err)
	}
	a = e.do(t, "GET", path, "").want(t, 200, "")
	got := decode[trust.PeerSpec](t, a)
	if got.Name != "beta" || got.Issuer != "https://as.beta.example" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("peer = %+v as %s", got, a.header.Get("Content-Type"))
	}
	e.do(t, "GET", path, "", with("If-None-Match", `"2"`)).want(t, 304, "")

	// What is read is accepted, in both forms, and makes no difference.
	for _, form := range []string{"application/json", "application/yaml"} {
		text := e.do(t, "GET", path, "", with("Accept", form)).want(t, 200, "").body
		r := decode[admin.Result](t, e.do(t, "PUT", path, text, with("Content-Type", form), with("If-Match", `"2"`)).want(t, 200, ""))
		if r.Changed || r.Revision != 2 {
			t.Errorf("%s: result = %+v", form, r)
		}
	}
	a = e.do(t, "PUT", path, betaPeer+"status: suspended\n", with("If-Match", `"2"`)).want(t, 200, "")
	if d := decode[admin.Result](t, a).Differences; len(d) != 1 || len(d[0].Fields) != 1 || d[0].Fields[0].Path != "status" {
		t.Errorf("differences = %+v", d)
	}
	// AD-20: no request that begins after the answer is decided on the old state.
	if s, err := e.live.Snapshot(); err != nil || s.Peer("beta").Usable(time.Now()) {
		t.Errorf("the suspended peer is in use when the answer comes: %v", err)
	}
	r := decode[admin.Result](t, e.do(t, "DELETE", path+"?dry_run=true", "").want(t, 200, ""))
	if !r.DryRun || r.Revision != 3 || len(r.Differences) != 1 {
		t.Errorf("result = %+v", r)
	}
	e.do(t, "DELETE", path, "", with("If-Match", `"3"`)).want(t, 200, "")
	e.do(t, "DELETE", path, "", with("If-Match", `"4"`)).want(t, 404, "not_found")
	if got := revision(t, e); got != 4 {
		t.Errorf("revision = %d, want 4", got)
	}
}

// One object is checked with everything around it.
func TestAD08_ObjectRefusals(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	base := "peer: acme\nclients: [acme-agent]\nresources: [https://archive.globex.example]\n"
	tests := []struct {
		name, path, body, at string
		line                 int
	}{
		{"refuses a pattern as audience", "/admin/v1/mappings/m", "peer: acme\nclients: [acme-agent]\nresources: ['*']\nscopes: [archive.read]\n", "resources[0]", 3},
		{"refuses a mapping of no clients", "/admin/v1/mappings/m", "peer: acme\nresources: [https://archive.globex.example]\nscopes: [archive.read]\n", "clients", 1},
		{"refuses a condition that is none", "/admin/v1/mappings/m", base + "scopes: [archive.read]\nwhen: 'subject.'\n", "when", 5},
		{"refuses an unknown key", "/admin/v1/mappings/m", base + "scopes: [archive.read]\nregex: a|b\n", "regex", 5},
		{"refuses a peer that is not there", "/admin/v1/mappings/m", strings.Replace(base, "acme\n", "nobody\n", 1) + "scopes: [archive.read]\n", "peer", 1},
		{"refuses a scope outside the vocabulary", "/admin/v1/mappings/m", base + "scopes: [archive.write]\n", "scopes[0]", 4},
		{"refuses an issuer that is taken", "/admin/v1/peers/p", "domain: p.example\nissuer: https://as.acme.example\nexpires: 2027-11-21T00:00:00Z\n", "issuer", 2},
		{"refuses another name than the address's", "/admin/v1/peers/p", "name: q\n" + betaPeer, "name", 1},
		{"refuses a name that is none", "/admin/v1/peers/UPPER", betaPeer, "name", 1},
		{"refuses an empty body", "/admin/v1/peers/p", "# nothing\n", "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := e.do(t, "PUT", tt.path, tt.body, with("If-Match", `"1"`)).want(t, 422, "invalid")
			found := false
			problems := decode[admin.Problem](t, a).Problems
			for _, p := range problems {
				found = found || p.Path == tt.at && p.Line == tt.line
			}
			if !found {
				t.Errorf("problems = %+v, want one at %s, line %d", problems, tt.at, tt.line)
			}
		})
	}
	// What others refer to stays.
	a := e.do(t, "DELETE", "/admin/v1/peers/acme", "", with("If-Match", `"1"`)).want(t, 422, "invalid")
	if !strings.Contains(a.body, "mappings[0].peer") {
		t.Errorf("the mapping is not named: %s", a.body)
	}
	e.do(t, "PUT", "/admin/v1/peers/big", strings.Repeat("#", 1<<20)+"\n", with("If-Match", `"1"`)).want(t, 413, "too_large")
	if got := revision(t, e); got != 1 {
		t.Errorf("revision = %d, want 1", got)
	}
}

// A resource's name is a URL and travels escaped.
func TestResourceNamesAreURLs(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	path := "/admin/v1/resources/" + url.PathEscape("https://archive.globex.example")
	got := decode[trust.ResourceSpec](t, e.do(t, "GET", path, "").want(t, 200, ""))
	if got.Name != "Archive" {
		t.Errorf("resource = %+v", got)
	}
	e.do(t, "GET", "/admin/v1/resources/"+url.PathEscape("https://archive.globex.example/"), "").want(t, 404, "not_found")
}

// Pages put together are the list, in its order.
func TestPaging(t *testing.T) {
	t.Parallel()
	e := start(t)
	var body strings.Builder
	body.WriteString("peers:\n")
	for i := range 120 {
		fmt.Fprintf(&body, "  - {name: p%03d, domain: p%d.example, issuer: 'https://as.p%d.example', expires: 2027-11-21T00:00:00Z}\n", (i*37)%120, i, i)
	}
	e.do(t, "PUT", registry, body.String(), with("If-Match", `"0"`)).want(t, 200, "")
	token, pages := "", 0
	var names []string
	for {
		page := decode[admin.Page[trust.PeerSpec]](t, e.do(t, "GET", "/admin/v1/peers?page_token="+token, "").want(t, 200, ""))
		for _, p := range page.Items {
			names = append(names, p.Name)
		}
		pages++
		if token = page.NextPageToken; token == "" {
			break
		}
	}
	if len(names) != 120 || pages != 3 {
		t.Fatalf("%d names on %d pages, want 120 on 3", len(names), pages)
	}
	for i, name := range names {
		if want := fmt.Sprintf("p%03d", (i*37)%120); name != want {
			t.Fatalf("name %d = %s, want %s", i, name, want)
		}
	}
	e.do(t, "GET", "/admin/v1/clients?page_token="+"cGVlcnMAcDAwMA", "").want(t, 400, "bad_request")
}
