package guard_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/guard/route"
)

// witness is a resource that holds what reaches it against what the token says.
func witness(t *testing.T, want func(r *http.Request, body string)) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if grant, ok := guard.FromContext(r.Context()); !ok || grant.Route == "" {
			t.Error("a request came without a grant")
		}
		want(r, string(body))
	})
}

// Whatever a request looks like, it is answered as the table of refusals says or
// reaches the resource in one form, within the token's limits.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/search", "url=https://example.org/", "X-Region", "DE", "")
	f.Add("POST", "/search", "", "Content-Type", "application/json", `{"url":"https://example.org/","order":{"amount":1}}`)
	f.Add("GET", "/a/%2e%2e/search", "url=a&url[]=b", "Comity_Agent", "admin", "")
	f.Add("HEAD", "/search", "url=https://example.org@evil.example/", "Authorization", "Bearer x", "")
	f.Add("OPTIONS", "*", "access_token=x", "Dpop", "a.b.c", "{}")
	f.Add("GET", "/search", "url=http://0x7f.0x1/&%75rl=", "Transfer-Encoding", "chunked", "\x00")
	token := sign(f, nil, limited(object{"domains_allowed": []any{"example.org"}, "max_response_size": 64, "allowed_methods": []any{"GET", "POST"}}))
	g := newGuard(f, options(f))
	f.Fuzz(func(t *testing.T, method, path, query, name, value, body string) {
		h := g.Middleware(witness(t, func(r *http.Request, got string) {
			switch p, err := route.ParsePath(r.URL.EscapedPath()); {
			case err != nil || p.String() != "/search":
				t.Errorf("the path %q reached the resource", r.URL.EscapedPath())
			case r.Method != "GET" && r.Method != "POST":
				t.Errorf("%q reached the resource", r.Method)
			case got != body:
				t.Errorf("the body %q became %q", body, got)
			case r.Header.Get(guard.HeaderAgent) != "agent-r1" || len(r.Header[guard.HeaderAgent]) != 1:
				t.Errorf("%s = %q", guard.HeaderAgent, r.Header[guard.HeaderAgent])
			case r.Method == "GET":
				target, err := url.Parse(r.URL.Query().Get("url"))
				if host := strings.TrimSuffix(strings.ToLower(target.Hostname()), "."); err != nil || host != "example.org" && !strings.HasSuffix(host, ".example.org") {
					t.Errorf("the target %q reached the resource", r.URL.RawQuery)
				}
			}
		}))
		r := &http.Request{Method: method, URL: &url.URL{Path: path, RawQuery: query}, Host: "x", RemoteAddr: "192.0.2.1:1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Authorization": {"Bearer " + token}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
		if plain, err := url.PathUnescape(path); err == nil {
			r.URL.Path, r.URL.RawPath = plain, path
		}
		r.Header.Add(name, value)
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r.WithContext(t.Context()))
		switch answer.Code {
		case 200, 400, 401, 403:
		default:
			t.Errorf("%q %q: answer %d %s", method, path, answer.Code, answer.Body)
		}
		for name, values := range answer.Header() {
			if strings.ContainsAny(strings.Join(values, ""), "\r\n\x00") {
				t.Errorf("the answer's %s holds a line end", name)
			}
		}
	})
}

// Whatever an issuer signs, it is refused as the table says or admitted with a
// capability for the route; nothing is an error of ours.
func FuzzClaims(f *testing.F) {
	f.Add(`{"capabilities":[]}`)
	f.Add(`{"agent":null,"task":null,"capabilities":null,"delegation":null,"audit":null,"scope":"reports.read"}`)
	f.Add(`{"lineage":[1],"cnf":{"jkt":7},"act":{"sub":[]},"scope":["a"]}`)
	f.Add(`{"aap_capabilities":[{"action":"x.y"}],"delegation":{"depth":11,"max_depth":-1,"chain":"x"}}`)
	f.Add(`{"capabilities":[{"action":"search.web","constraints":{"max_requests_per_minute":1e2,"time_window":{"start":"x"}}}]}`)
	f.Add(`{"oversight":{"level":"approval","requires_human_approval_for":["search.web"],"approval_reference":"x\r\nSet-Cookie: a"}}`)
	f.Add(`{"context":{"network_zone":"z","time_window":null,"session":{"expires_at":"0000"}},"exp":1e400,"iat":-1}`)
	g := newGuard(f, options(f))
	f.Fuzz(func(t *testing.T, text string) {
		var over map[string]any
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if d.Decode(&over) != nil || len(text) > 8<<10 {
			return
		}
		payload := claims()
		maps.Copy(payload, over)
		for _, path := range []string{"/search", "/reports", "/documents/7"} {
			h := g.Middleware(witness(t, func(r *http.Request, _ string) {
				grant, _ := guard.FromContext(r.Context())
				if grant.Agent == nil && path == "/search" || grant.Agent != nil && path != "/reports" && grant.Action.IsZero() {
					t.Errorf("%s was admitted without a capability", path)
				}
			}))
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("Authorization", "Bearer "+sign(t, nil, payload))
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			if answer.Code >= 500 {
				t.Errorf("answer %d %s", answer.Code, answer.Body)
			}
			for name, values := range answer.Header() {
				if strings.ContainsAny(strings.Join(values, ""), "\r\n\x00") {
					t.Errorf("the answer's %s holds a line end", name)
				}
			}
		}
	})
}
