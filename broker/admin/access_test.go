package admin_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/comity-auth/comity/broker/admin"
)

// operation is one of those that the description lists.
type operation struct{ method, path string }

func operations(t *testing.T, e *env) []operation {
	t.Helper()
	doc := decode[struct {
		OpenAPI string
		Paths   map[string]map[string]json.RawMessage
	}](t, e.do(t, "GET", "/admin/v1/openapi.json", "").want(t, 200, ""))
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("openapi = %q", doc.OpenAPI)
	}
	var out []operation
	for path, methods := range doc.Paths {
		for method := range methods {
			out = append(out, operation{strings.ToUpper(method), strings.NewReplacer("{name}", "acme", "{id}", "0", "{code}", "stale").Replace(path)})
		}
	}
	if len(out) < 29 {
		t.Fatalf("%d operations are described", len(out))
	}
	return out
}

// Every operation that is described refuses every defect of the credential, and
// nothing changes.
func TestAD01_EveryOperationNeedsTheCredential(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	all := append(operations(t, e), operation{"GET", "/admin/v1/nothing"}, operation{"POST", "/"}, operation{"GET", "/admin/v1/../../etc"})
	tests := []struct {
		name string
		opt  option
	}{
		{"no credential", without("Authorization")},
		{"an empty one", with("Authorization", "Bearer ")},
		{"a wrong one", with("Authorization", "Bearer "+token[:len(token)-1]+"x")},
		{"a longer one", with("Authorization", "Bearer "+token+"x")},
		{"a shorter one", with("Authorization", "Bearer "+token[:len(token)-1])},
		{"another scheme", with("Authorization", "Basic "+token)},
		{"no scheme", with("Authorization", token)},
		{"two credentials", func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+token) }},
	}
	for _, op := range all {
		for _, tt := range tests {
			a := e.do(t, op.method, op.path, "{}", tt.opt, with("If-Match", `"1"`))
			a.want(t, 401, "unauthorized")
			if a.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%v with %s: no challenge", op, tt.name)
			}
		}
	}
	if got := revision(t, e); got != 1 {
		t.Errorf("revision = %d, want 1", got)
	}
	if len(e.keys.probed)+len(e.keys.refreshed) != 0 {
		t.Error("a peer was asked without a credential")
	}
	if strings.Contains(e.log.String(), token[:10]) {
		t.Error("the log holds the token")
	}
}

// Without a configured credential nobody gets in, with an empty one least of all.
func TestAD01_NoTokenConfigured(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]func() string{"none": nil, "empty": func() string { return "" }} {
		e := start(t, func(o *admin.Options) { o.Token = source })
		for _, credential := range []string{"Bearer ", "Bearer", "Bearer x", ""} {
			if a := e.do(t, "GET", registry, "", with("Authorization", credential)); a.status != 401 {
				t.Errorf("%s: %q got in: %d", name, credential, a.status)
			}
		}
	}
}

// Every described operation exists: none answers that the path or method is not there.
func TestDescribedOperationsExist(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	for _, op := range operations(t, e) {
		a := e.do(t, op.method, op.path, "")
		if a.status == 405 || a.status == 404 && strings.Contains(a.body, "at this path") {
			t.Errorf("%v: %d %s", op, a.status, a.body)
		}
		for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%v: %s = %q, want %q", op, name, got, want)
			}
		}
		if strings.Contains(a.body, "$schema") {
			t.Errorf("%v: the answer links a schema", op)
		}
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	t.Parallel()
	e := start(t)
	for _, path := range []string{"/", "/admin", "/admin/v1", "/admin/v1/", "/admin/v1/nothing", "/admin/v1/peers/a/b", "/admin/v2/registry", "/docs", "/schemas/x", "/token",
		"/admin//v1/registry", "/admin/v1/./registry", "/admin/v1/peers/../registry", "/admin/v1/registry/"} {
		e.do(t, "GET", path, "").want(t, 404, "not_found")
	}
	for path, allow := range map[string]string{registry: "GET, PUT", "/admin/v1/peers": "GET", "/admin/v1/clients/a": "DELETE, GET, PUT", "/admin/v1/keys": "GET"} {
		a := e.do(t, "POST", path, "{}").want(t, 405, "method_not_allowed")
		if got := a.header.Get("Allow"); got != allow {
			t.Errorf("%s: Allow = %q, want %q", path, got, allow)
		}
	}
	e.do(t, "POST", "/admin/v1/peers/acme", "{}").want(t, 404, "not_found")
	e.do(t, "POST", "/admin/v1/peers/acme:nothing", "{}").want(t, 404, "not_found")
	e.do(t, "TRACE", registry, "").want(t, 405, "method_not_allowed")
}

// A name that is not ours may have led a browser here (DNS rebinding).
func TestHostNames(t *testing.T) {
	t.Parallel()
	e := start(t)
	for _, host := range []string{"localhost", "localhost:8090", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:8090", "[::1]:8090", "admin.globex.example", "Admin.Globex.Example:443"} {
		if a := e.do(t, "GET", registry, "", with("Host", host)); a.status != 200 {
			t.Errorf("%s: %d, want 200", host, a.status)
		}
	}
	for _, host := range []string{"evil.example", "globex.example", "admin.globex.example.evil.example", "10.0.0.1:8090", "[fe80::1]", "127.0.0.1.evil.example", "localhost.evil.example", "0.0.0.0", "2130706433"} {
		e.do(t, "GET", registry, "", with("Host", host)).want(t, 421, "misdirected")
	}
}

// Off loopback only the configured names count: localhost is then a lie.
func TestHostNamesOffLoopback(t *testing.T) {
	t.Parallel()
	e := start(t)
	for host, want := range map[string]int{"localhost": 421, "127.0.0.1:8090": 421, "10.0.0.1:8090": 421, "admin.globex.example": 200} {
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 8090})
		r := httptest.NewRequestWithContext(ctx, "GET", registry, nil)
		r.Host = host
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		e.handler.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d, want %d", host, w.Code, want)
		}
	}
}

// References of the description lead somewhere, and every operation has a name
// of its own.
func TestDescriptionIsSound(t *testing.T) {
	t.Parallel()
	text := start(t).do(t, "GET", "/admin/v1/openapi.json", "").want(t, 200, "").body
	var doc struct {
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(text, `"$ref":"#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(part, `"`)
		if doc.Components.Schemas[name] == nil {
			t.Errorf("there is no schema %s", name)
		}
	}
	ids := map[string]bool{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if op.OperationID == "" || ids[op.OperationID] {
				t.Errorf("%s %s: operation id %q is taken or missing", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
		}
	}
	for _, secret := range []string{"http://", "https://unpkg", "127.0.0.1"} {
		if strings.Contains(text, secret) {
			t.Errorf("the description holds %s", secret)
		}
	}
}

// A page of another site cannot change anything, whatever it can send.
func TestAD13_CrossSiteRequests(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	tests := []struct {
		name string
		opts []option
	}{
		{"refuses a cross-site fetch", []option{with("Sec-Fetch-Site", "cross-site")}},
		{"refuses a same-site fetch", []option{with("Sec-Fetch-Site", "same-site")}},
		{"refuses another origin", []option{with("Origin", "https://evil.example")}},
		{"refuses a null origin", []option{with("Origin", "null")}},
		{"refuses a form with JSON in it", []option{with("Sec-Fetch-Site", "cross-site"), with("Content-Type", "text/plain")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e.do(t, "PUT", registry, "{}", append(tt.opts, with("If-Match", `"1"`))...).want(t, 403, "cross_origin")
			e.do(t, "DELETE", "/admin/v1/mappings/acme-research", "", append(tt.opts, with("If-Match", `"1"`))...).want(t, 403, "cross_origin")
			e.do(t, "POST", "/admin/v1/peers:probe", "{}", tt.opts...).want(t, 403, "cross_origin")
		})
	}
	if got := revision(t, e); got != 1 {
		t.Errorf("revision = %d, want 1", got)
	}
	// The console's own requests pass.
	e.do(t, "PUT", registry+"?dry_run=true", sample, with("Sec-Fetch-Site", "same-origin"), with("Origin", e.url)).want(t, 200, "")
}

func TestAD09_ParametersAreHeldAgainstTheTable(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	for _, query := range []string{
		"/admin/v1/registry?dry_run=yes", "/admin/v1/registry?dry_run=true&dry_run=false", "/admin/v1/registry?nothing=1", "/admin/v1/registry?%zz",
		"/admin/v1/registry?dry_run=true&comment=a%0Ab", "/admin/v1/registry?dry_run=true&comment=" + strings.Repeat("x", 501), "/admin/v1/registry?dry_run=true&comment=%ff",
	} {
		e.do(t, "PUT", query, sample, with("If-Match", `"1"`)).want(t, 400, "bad_request")
	}
	mappings := decode[admin.Page[any]](t, e.do(t, "GET", "/admin/v1/mappings?page_size=1", "").want(t, 200, ""))
	if len(mappings.Items) != 1 || mappings.NextPageToken != "" {
		t.Errorf("page = %+v", mappings)
	}
	for _, query := range []string{
		"page_size=0", "page_size=201", "page_size=-1", "page_size=x", "page_size=1;drop", "sort=name", "filter=name%27--",
		"page_token=x", "page_token=%27%20OR%201=1--", "page_token=bWFwcGluZ3MAYWNtZQ", "page_token=cGVlcnM", "page_token=cGVlcnMAbm9ib2R5",
	} {
		e.do(t, "GET", "/admin/v1/peers?"+query, "").want(t, 400, "bad_request")
	}
	if got := revision(t, e); got != 1 {
		t.Errorf("revision = %d, want 1", got)
	}
}

// What is refused is never told back: it may be a secret in the wrong place.
func TestAD22_RefusedValuesAreNotToldBack(t *testing.T) {
	t.Parallel()
	e := start(t)
	const secret = "hunter2-hunter2"
	for _, body := range []string{
		"peers:\n- name: a\n  expires: " + secret + "\n", "clients:\n- id: a\n  secret_hash: " + secret + "\n",
		"clients:\n- id: a\n  jwks: {keys: [{kty: EC, d: " + secret + "}]}\n", "peers: " + secret + "\n", secret,
		"clients:\n- id: a\n  auth: " + secret + "\n", "peers:\n- max_token_age: " + secret + "\n",
	} {
		a := e.do(t, "PUT", registry, body, with("If-Match", `"0"`)).want(t, 422, "invalid")
		if strings.Contains(a.body, secret) {
			t.Errorf("the answer holds the value: %s", a.body)
		}
	}
	if strings.Contains(e.log.String(), secret) {
		t.Error("the log holds the value")
	}
}

func TestProblemKindsAreExplained(t *testing.T) {
	t.Parallel()
	e := start(t)
	for _, code := range []string{"unauthorized", "stale", "precondition_required", "invalid", "not_served", "peer_unreachable"} {
		got := decode[map[string]any](t, e.do(t, "GET", "/admin/v1/problems/"+code, "").want(t, 200, ""))
		if got["code"] != code || got["meaning"] == "" || got["title"] == "" {
			t.Errorf("%s: %v", code, got)
		}
	}
	e.do(t, "GET", "/admin/v1/problems/nothing", "").want(t, 404, "not_found")
}

func TestNewRefusesIncompleteOptions(t *testing.T) {
	t.Parallel()
	if _, err := admin.New(admin.Options{}); err == nil {
		t.Error("New accepted empty options")
	}
}
