package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/comity-auth/comity/fixtures/e2e"
	"github.com/comity-auth/comity/fixtures/peer"
)

// guarded is `comity guard` for an audience of a running broker's.
type guarded struct {
	*process
	world       *e2e.World
	file        string
	rest        string // of the configuration, less the routes
	public, ops string
}

const searchRoute = `  - {match: "GET /search", action: archive.search}
  - {match: "POST /search", action: archive.fetch}
`

// startGuard runs a broker, and the guard with these lines and routes.
func startGuard(t *testing.T, lines string) *guarded {
	t.Helper()
	g := &guarded{world: e2e.NewWorld(t, e2e.WorldOptions{}), file: filepath.Join(t.TempDir(), "guard.yaml")}
	g.rest = fmt.Sprintf(`audience: %s
issuers: [%q]
egress: {allow: [127.0.0.0/8]}
listen: 127.0.0.1:0
ops: {listen: "127.0.0.1:0"}
%s
`, e2e.Search, g.world.Issuer, lines)
	g.write(t, searchRoute)
	g.process = start(t, "guard", "--config", g.file)
	g.public = "http://" + g.sees(t, 1, `"listener":"public","address":"([^"]+)"`)[1]
	g.ops = "http://" + g.sees(t, 1, `"listener":"operations","address":"([^"]+)"`)[1]
	g.ready(t)
	return g
}

// ready waits until the guard knows what was revoked.
func (g *guarded) ready(t *testing.T) {
	t.Helper()
	g.until(t, "/readyz is 200", func() bool {
		code, _ := get(t, g.ops+"/readyz", "")
		return code == http.StatusOK
	})
}

func (g *guarded) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !holds(); <-tick.C {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("not within 30 s: %s\n%s", what, g.text())
		}
	}
}

func (g *guarded) write(t *testing.T, routes string) {
	t.Helper()
	writeFile(t, filepath.Dir(g.file), filepath.Base(g.file), g.rest+"routes:\n"+routes)
}

// token is one that the broker issued for a token of its neighbour's.
func (g *guarded) token(t *testing.T, constraints map[string]any) string {
	t.Helper()
	claims := e2e.AgentClaims()
	if constraints != nil {
		claims["capabilities"] = []any{map[string]any{"action": "search.web", "constraints": constraints}}
	}
	a := g.world.Token(t, e2e.Exchange(g.world.Subject(peer.Overrides{Claims: claims}), "resource", e2e.Search), g.world.AsBasic())
	if a.Token == "" {
		t.Fatalf("no token: %d %s", a.Status, a.Text)
	}
	return a.Token
}

// reloads sends SIGHUP and waits for what the log says of it, as often as that
// makes it.
func (g *guarded) reloads(t *testing.T, times int, event string) {
	t.Helper()
	g.signal(t, syscall.SIGHUP)
	g.sees(t, times, `"event":"`+event+`","what":"configuration"`)
}

// ends waits for the end, which SIGTERM is to bring about with exit code 0.
func (g *guarded) ends(t *testing.T) {
	t.Helper()
	if err := g.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM ended the process with %v, want exit code 0:\n%s", err, g.text())
	}
}

func (g *guarded) wantMetrics(t *testing.T, samples ...string) {
	t.Helper()
	code, text := get(t, g.ops+"/metrics", "")
	for _, s := range samples {
		if code != http.StatusOK || !strings.Contains(text, "\n"+s+"\n") {
			t.Errorf("/metrics is %d and lacks %q", code, s)
		}
	}
}

func wantAnswer(t *testing.T, what string, code int, text string, wantCode int, want string) {
	t.Helper()
	if code != wantCode || !strings.Contains(text, want) {
		t.Errorf("%s: answer %d %s, want %d with %q", what, code, text, wantCode, want)
	}
}

// The walk of an operator: a token of a real broker reaches the upstream, nothing
// else does, the metrics tell, SIGHUP changes the routes, a bad file changes
// nothing, and SIGTERM drains.
func TestGuardAsProxy(t *testing.T) {
	t.Parallel()
	held, release := make(chan struct{}), make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(held)
			<-release
		}
		fmt.Fprintf(w, "%s for %s, authorization %q", r.URL.Path, r.Header.Get("Comity-Agent"), r.Header.Get("Authorization"))
	}))
	defer upstream.Close()
	g := startGuard(t, "upstream: "+upstream.URL)
	token := g.token(t, nil)

	code, text := get(t, g.public+"/search?q=x", token)
	wantAnswer(t, "with a token", code, text, http.StatusOK, `/search for `)
	if !strings.HasSuffix(text, `authorization ""`) {
		t.Errorf("the upstream saw the token: %s", text)
	}
	code, text = get(t, g.public+"/search", "")
	wantAnswer(t, "without a token", code, text, http.StatusUnauthorized, "needs an access token")
	code, text = get(t, g.public+"/documents", token)
	wantAnswer(t, "no route", code, text, http.StatusForbidden, "aap_invalid_capability")
	res, err := http.DefaultClient.Do(withToken(t, http.MethodPost, g.public+"/search", token))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusForbidden || res.Header.Get("Comity-Error") != "aap_invalid_capability" {
		t.Errorf("another action: %d %v, want 403", res.StatusCode, res.Header)
	}
	code, text = get(t, g.public+"/.well-known/oauth-protected-resource", "")
	wantAnswer(t, "metadata", code, text, http.StatusOK, g.world.Issuer)
	for _, path := range []string{"/metrics", "/readyz", "/healthz", "/auth"} {
		if code, text := get(t, g.public+path, ""); code != http.StatusUnauthorized {
			t.Errorf("%s on the public listener is %d %s, want 401", path, code, text)
		}
	}
	g.wantMetrics(t, `aap_rs_validation_total{result="success"} 1`, `aap_rs_validation_total{result="failure"} 7`,
		`comity_guard_decisions_total{reason="no_credential"} 5`, `aap_rs_capability_mismatches_total 2`, `comity_guard_tokens_cached 1`)
	code, text = get(t, g.ops+"/readyz", "")
	wantAnswer(t, "/readyz", code, text, http.StatusOK, `"components":[{"name":"guard","status":"ok"}]`)

	g.write(t, "  - {match: \"GET /slow\", action: archive.search}\n")
	g.reloads(t, 1, "reload")
	code, text = get(t, g.public+"/search", token)
	wantAnswer(t, "a route that is gone", code, text, http.StatusForbidden, "aap_invalid_capability")
	g.write(t, "  - {match: nonsense}\n")
	g.reloads(t, 1, "reload.failed")
	g.sees(t, 1, `guard.yaml:\d+: routes\[0\]: `)
	code, text = get(t, g.public+"/search", token)
	wantAnswer(t, "after a bad file", code, text, http.StatusForbidden, "aap_invalid_capability")

	revoked := g.token(t, nil)
	g.write(t, searchRoute+"  - {match: \"GET /slow\", action: archive.search}\n")
	g.reloads(t, 2, "reload")
	code, text = get(t, g.public+"/search", revoked)
	wantAnswer(t, "before the revocation", code, text, http.StatusOK, "/search for ")
	if r := g.world.Admin(t, http.MethodPost, "/admin/v1/revocations", fmt.Sprintf(`{"kind":"token","value":%q}`, e2e.Claims(revoked)["jti"])); r.Status != http.StatusOK {
		t.Fatalf("revoke: %d %s", r.Status, r.Text)
	}
	g.until(t, "the revoked token is refused", func() bool {
		code, text = get(t, g.public+"/search", revoked)
		return code == http.StatusUnauthorized && strings.Contains(text, "revoked")
	})

	slow := make(chan string, 1)
	go func() {
		_, text := get(t, g.public+"/slow", token)
		slow <- text
	}()
	<-held
	g.signal(t, syscall.SIGTERM)
	g.sees(t, 1, `"event":"drain"`)
	code, text = get(t, g.ops+"/readyz", "")
	wantAnswer(t, "/readyz while draining", code, text, http.StatusServiceUnavailable, "shutting down")
	close(release)
	if text := <-slow; !strings.HasPrefix(text, "/slow for ") {
		t.Errorf("the request under way was answered with %q", text)
	}
	g.ends(t)
	if log := g.text(); strings.Contains(log, token) || strings.Contains(log, `"event":"guard.insecure"`) {
		t.Errorf("the log holds the token, or calls a setting insecure where none is:\n%s", log)
	}
}

func withToken(t *testing.T, method, url, token string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// Without an upstream the guard answers proxies, and only those that are trusted.
func TestGuardAsForwardAuth(t *testing.T) {
	t.Parallel()
	g := startGuard(t, "trusted_proxies: [127.0.0.0/8]")
	token := g.token(t, nil)
	ask := func(path, method, uri, token string) (int, http.Header) {
		t.Helper()
		r := withToken(t, http.MethodGet, g.public+path, token)
		if method != "" {
			r.Header.Set("X-Original-Method", method)
			r.Header.Set("X-Original-URI", uri)
		}
		if token == "" {
			r.Header.Del("Authorization")
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode, res.Header
	}
	for _, tt := range []struct {
		name, path, method, uri, token string
		status                         int
		said                           string
	}{
		{"admits what nginx asks about", "/auth", "GET", "/search?q=1", token, 200, ""},
		{"admits what Envoy asks about", "/ext_authz/search?q=1", "", "", token, 200, ""},
		{"refuses without a token", "/auth", "GET", "/search", "", 401, "401"},
		{"refuses another action", "/auth", "POST", "/search", token, 403, "403"},
		{"says the status that nginx does not know", "/auth", "GET", "/a//b", token, 403, "400"},
		{"refuses a path that could be read in two ways behind /ext_authz", "/ext_authz//search", "", "", token, 403, "400"},
		{"refuses a question that says nothing", "/auth", "", "", token, 403, "403"},
		{"has the metadata", "/.well-known/oauth-protected-resource", "", "", "", 200, ""},
		{"has nothing else", "/search", "", "", token, 404, ""},
		{"has no metrics", "/metrics", "", "", "", 404, ""},
	} {
		status, header := ask(tt.path, tt.method, tt.uri, tt.token)
		if status != tt.status || header.Get("Comity-Status") != tt.said {
			t.Errorf("%s: %d %v, want %d and Comity-Status %q", tt.name, status, header, tt.status, tt.said)
		}
		if admitted := header.Get("Comity-Agent") != ""; admitted != (tt.status == 200 && tt.token != "") {
			t.Errorf("%s: Comity-Agent %q", tt.name, header.Get("Comity-Agent"))
		}
	}
	g.write(t, "  - {match: \"GET /other\", action: archive.search}\n")
	g.reloads(t, 1, "reload")
	if status, _ := ask("/auth", "GET", "/search", token); status != 403 {
		t.Errorf("a route that is gone: %d, want 403", status)
	}
	g.signal(t, syscall.SIGTERM)
	g.ends(t)
}

// Counts survive a change of the configuration: a reload is no way around a rate
// limit.
func TestGuardKeepsCounts(t *testing.T) {
	t.Parallel()
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer upstream.Close()
	g := startGuard(t, "upstream: "+upstream.URL)
	token := g.token(t, map[string]any{"max_requests_per_hour": 2})
	for i, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests, http.StatusTooManyRequests} {
		if i == 1 || i == 3 {
			g.reloads(t, i/2+1, "reload")
		}
		if code, text := get(t, g.public+"/search", token); code != want {
			t.Errorf("request %d: %d %s, want %d", i+1, code, text, want)
		}
	}
	g.wantMetrics(t, `aap_rs_constraint_violations_total{type="rate_limit"} 2`, `aap_rs_validation_total{result="success"} 2`)
	g.signal(t, syscall.SIGTERM)
	g.ends(t)
}

// LC-07: what is unknown or unsafe refuses to start, and the message names the
// line or the file; check-config says the same.
func TestGuardRefuses(t *testing.T) {
	t.Parallel()
	const sound = "audience: https://a.example\nissuers: [https://b.example]\nroutes: [{match: \"GET /\", scope: x}]\n"
	for _, tt := range []struct {
		name, yaml, file string
		mode             os.FileMode
		want             string
	}{
		{"rejects an unknown key", sound + "upstream: http://127.0.0.1:1\ncolour: red\n", "", 0, "guard.yaml:5: colour: unknown key"},
		{"rejects nothing to do", sound, "", 0, "guard.yaml: upstream: is required"},
		{"rejects plain http off loopback", sound + "upstream: http://127.0.0.1:1\nlisten: 0.0.0.0:0\n", "", 0, "guard.yaml:5: listen: off loopback"},
		{"rejects a TLS key that the world can read", sound + "upstream: http://127.0.0.1:1\ntls: {cert_file: guard.yaml, key_file: key.pem}\n", "key.pem", 0o644, "key.pem: mode 0644"},
		{"rejects an issuer's keys that are none", strings.Replace(sound, "https://b.example", `{issuer: "https://b.example", jwks_file: keys.json}`, 1) + "upstream: http://127.0.0.1:1\n", "keys.json", 0o600, "keys.json: want a JWK set"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := writeFile(t, dir, "guard.yaml", tt.yaml)
			if tt.file != "" {
				if err := os.Chmod(writeFile(t, dir, tt.file, "nothing"), tt.mode); err != nil {
					t.Fatal(err)
				}
			}
			var stdout, stderr bytes.Buffer
			code := Run(t.Context(), []string{"guard", "--config", path}, strings.NewReader(""), &stdout, &stderr, nil)
			if code != exitFailure || !strings.Contains(stderr.String(), tt.want) || stdout.Len() > 0 {
				t.Errorf("guard ended with %d, stdout %q and stderr:\n%s\nwant %d and a message with %s", code, &stdout, &stderr, exitFailure, tt.want)
			}
			stderr.Reset()
			code = Run(t.Context(), []string{"check-config", "--guard", path}, strings.NewReader(""), &stdout, &stderr, nil)
			if code != exitFailure || !strings.Contains(stdout.String(), tt.want) {
				t.Errorf("check-config ended with %d, stderr %q and stdout:\n%s\nwant %d and a message with %s", code, &stderr, &stdout, exitFailure, tt.want)
			}
		})
	}
}
