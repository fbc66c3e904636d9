package guard_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/guard/route"
)

// asking is a guard that a proxy asks. What is sent to it is what the proxy says.
func asking(t testing.TB, o guard.Options) *world {
	t.Helper()
	w := &world{t: t, g: newGuard(t, o), resource: &resource{}, client: plainClient()}
	s := httptest.NewServer(w.g.ForwardAuth())
	t.Cleanup(s.Close)
	w.url = s.URL
	return w
}

func TestForwardAuthReadsEveryProxy(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.TrustedProxies = loopback
	w := asking(t, o)
	token := sign(t, nil, limited(object{"domains_allowed": []any{"example.org"}}))
	const uri = "/search?url=https://example.org/"
	for _, tt := range []struct {
		name, path string
		method     string
		headers    []string
		status     int
	}{
		{"nginx", "/auth", "GET", []string{"X-Original-Method", "GET", "X-Original-URI", uri}, 200},
		{"Traefik and Caddy", "/auth", "GET", []string{"X-Forwarded-Method", "GET", "X-Forwarded-Uri", uri}, 200},
		{"Envoy", "/ext_authz" + uri, "GET", nil, 200},
		{"both families that agree", "/auth", "GET", []string{"X-Original-Method", "GET", "X-Forwarded-Method", "GET", "X-Original-URI", uri, "X-Forwarded-Uri", uri}, 200},
		{"both families that differ", "/auth", "GET", []string{"X-Original-Method", "GET", "X-Original-URI", uri, "X-Forwarded-Uri", "/status"}, 403},
		{"two values that differ", "/auth", "GET", []string{"X-Original-Method", "GET", "X-Original-URI", uri, "X-Original-URI", "/status"}, 403},
		{"no method", "/auth", "GET", []string{"X-Original-URI", uri}, 403},
		{"no URI", "/auth", "GET", []string{"X-Original-Method", "GET"}, 403},
		{"an absolute URI", "/auth", "GET", []string{"X-Original-Method", "GET", "X-Original-URI", "http://x" + uri}, 403},
		{"another path", "/other", "GET", []string{"X-Original-Method", "GET", "X-Original-URI", uri}, 403},
		{"the prefix of another path", "/ext_authzsearch", "GET", nil, 403},
		{"Envoy for another method", "/ext_authz" + uri, "DELETE", nil, 403},
		{"a path that could be read in two ways", "/auth", "GET", []string{"X-Original-Method", "GET", "X-Original-URI", "/a/..%2fsearch"}, 403},
		{"another target", "/auth", "GET", []string{"X-Original-Method", "GET", "X-Original-URI", "/search?url=https://evil.example/"}, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := w.request(tt.method, tt.path, nil)
			r.Header.Set("Authorization", "Bearer "+token)
			for i := 0; i < len(tt.headers); i += 2 {
				r.Header.Add(tt.headers[i], tt.headers[i+1])
			}
			a := w.send(r)
			if a.status != tt.status {
				t.Fatalf("answer %d %s, want %d", a.status, a.body, tt.status)
			}
			if got := a.header.Get(guard.HeaderAgent); (got == "agent-r1") != (tt.status == 200) {
				t.Errorf("%s = %q", guard.HeaderAgent, got)
			}
			if tt.status == 200 && !strings.HasPrefix(a.header.Get("Traceparent"), "00-0af7651916cd43dd8448eb211c80319c-") {
				t.Errorf("traceparent %q, want the token's trace", a.header.Get("Traceparent"))
			}
		})
	}
}

// Nobody but a trusted proxy is told anything.
func TestForwardAuthTrustsListedProxiesAlone(t *testing.T) {
	t.Parallel()
	w := asking(t, options(t))
	r := w.request(http.MethodGet, "/auth", nil)
	r.Header.Set("Authorization", "Bearer "+sign(t, nil, claims()))
	r.Header.Set("X-Original-Method", "GET")
	r.Header.Set("X-Original-URI", "/search")
	w.wantRefused(t, w.send(r), 403, "invalid_request")
}

// nginx turns everything but 2xx, 401 and 403 into a 500.
func TestForwardAuthAnswersWhatNginxKnows(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.TrustedProxies = loopback
	o.Routes = append(o.Routes, route.Spec{Match: "PUT /search", Action: "search.web", InsecureIgnoreResponseSize: true})
	w := asking(t, o)
	ask := func(method, token string, headers ...string) answer {
		r := w.request(http.MethodGet, "/auth", nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		r.Header.Set("X-Original-Method", method)
		r.Header.Set("X-Original-URI", "/search")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		return w.send(r)
	}
	rate := sign(t, nil, limited(object{"max_requests_per_hour": 1}).with("jti", "nginx-1"))
	if a := ask("GET", rate); a.status != 200 {
		t.Fatalf("the first request: %d %s", a.status, a.body)
	}
	size := sign(t, nil, limited(object{"max_request_size": 10}))
	response := sign(t, nil, limited(object{"max_response_size": 10}))
	for _, tt := range []struct {
		name       string
		a          answer
		status     int
		code, word string
	}{
		{"a rate limit", ask("GET", rate), 403, "aap_constraint_violation", "429"},
		{"a body that is too large", ask("POST", size, "X-Original-Content-Length", "11"), 403, "request_too_large", "413"},
		{"a body of unknown length", ask("POST", size), 403, "request_too_large", "413"},
		{"a length that is none", ask("POST", size, "X-Original-Content-Length", "-5"), 403, "request_too_large", "413"},
		{"no token", ask("GET", ""), 401, "", "401"},
		{"max_response_size, which it cannot enforce", ask("GET", response), 403, "aap_constraint_violation", "403"},
		{"a malformed path", ask("GET", rate, "X-Original-URI", "/a//b"), 403, "invalid_request", "400"},
	} {
		if tt.a.status != tt.status || tt.a.field("error") != tt.code || tt.a.header.Get(guard.HeaderStatus) != tt.word {
			t.Errorf("%s: %d %s, %s %q; want %d %s, %q", tt.name, tt.a.status, tt.a.body, guard.HeaderStatus, tt.a.header.Get(guard.HeaderStatus), tt.status, tt.code, tt.word)
		}
	}
	if a := ask("GET", rate); a.header.Get("Retry-After") != "3600" {
		t.Errorf("Retry-After %q, want 3600", a.header.Get("Retry-After"))
	}
	if a := ask("POST", size, "X-Original-Content-Length", "10"); a.status != 200 {
		t.Errorf("a body of just the size: %d %s", a.status, a.body)
	}
	if a := ask("PUT", response); a.status != 200 {
		t.Errorf("max_response_size on a route that opts out: %d %s", a.status, a.body)
	}
}

// What a proxy would not say itself of the body, it passes on from the client.
func TestForwardAuthBelievesNoLengthOfTheClients(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.TrustedProxies = loopback
	w := asking(t, o)
	token := sign(t, nil, limited(object{"max_request_size": 10}))
	for _, tt := range []struct {
		name, method, path string
		headers            http.Header
		status             int
	}{
		{"nginx, as the guide sets it up", "GET", "/auth", http.Header{"X-Original-Method": {"POST"}, "X-Original-Uri": {"/search"}}, 200},
		{"Traefik and Caddy", "GET", "/auth", http.Header{"X-Forwarded-Method": {"POST"}, "X-Forwarded-Uri": {"/search"}}, 403},
		{"Traefik and Caddy, whose client repeats the request", "GET", "/auth", http.Header{"X-Forwarded-Method": {"POST"}, "X-Forwarded-Uri": {"/search"},
			"X-Original-Method": {"POST"}, "X-Original-Uri": {"/search"}}, 403},
		{"Envoy", "POST", "/ext_authz/search", http.Header{}, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := w.request(tt.method, tt.path, nil)
			r.Header = tt.headers
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("X-Original-Content-Length", "1")
			if a := w.send(r); a.status != tt.status {
				t.Errorf("answer %d %s, want %d", a.status, a.body, tt.status)
			}
		})
	}
}

// RV-13: Envoy and Caddy replace the headers that are in the answer, and pass a
// client's on that are not. A token that was admitted by its scope names no agent.
func TestRV13ForwardAuthLeavesNoIdentityHeaderOut(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.TrustedProxies = loopback
	o.Routes = append(o.Routes, route.Spec{Match: "GET /status", InsecurePublic: true})
	w := asking(t, o)
	scoped := claims().with("agent", nil).with("task", nil).with("capabilities", nil).with("delegation", nil).with("audit", nil)
	token := sign(t, nil, scoped.with("scope", "reports.read"))
	for path, subject := range map[string]string{"/reports": "agent-r1", "/status": ""} {
		r := w.request(http.MethodGet, "/ext_authz"+path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set(guard.HeaderAgent, "admin")
		a := w.send(r)
		if a.status != 200 {
			t.Fatalf("%s: answer %d %s, want 200", path, a.status, a.body)
		}
		for _, name := range []string{guard.HeaderSubject, guard.HeaderAgent, guard.HeaderOperator, guard.HeaderTask, guard.HeaderTrace, guard.HeaderTokenID} {
			if v := a.header.Values(name); len(v) != 1 || name == guard.HeaderAgent && v[0] != "" || name == guard.HeaderSubject && v[0] != subject {
				t.Errorf("%s: %s = %q, want it there once, and empty where the token says nothing", path, name, v)
			}
		}
	}
}
