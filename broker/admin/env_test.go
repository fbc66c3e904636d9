package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comity-auth/comity/broker/admin"
	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/ident"
	"github.com/comity-auth/comity/trust/sqlite"
)

const token = "s3cret-admin-token"

// env is a broker's administration on a real store and a real listener.
type env struct {
	store *sqlite.Store
	live  *trust.Live
	ring  *keys.Ring
	keys  *peerKeys
	log   *lockedBuffer
	url   string
	// handler is what the listener serves.
	handler http.Handler
}

func compiler(t testing.TB) *trust.Compiler {
	t.Helper()
	domain, err := ident.ParseDomain("globex.example")
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := ident.ParseIssuer("https://broker.globex.example")
	if err != nil {
		t.Fatal(err)
	}
	c, err := trust.NewCompiler(trust.Settings{Domain: domain, Issuer: issuer, TTL: 300 * time.Second, MaxTTL: 900 * time.Second, MinTTL: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// start runs the API; change adapts its options.
func start(t testing.TB, change ...func(*admin.Options)) *env {
	t.Helper()
	dir := t.TempDir()
	e := &env{keys: &peerKeys{}, log: &lockedBuffer{}}
	var err error
	if e.store, err = sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(dir, "c.db")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.store.Close() })
	comp := compiler(t)
	if e.live, err = trust.NewLive(t.Context(), e.store, comp, trust.LiveOptions{}); err != nil {
		t.Fatal(err)
	}
	seal, err := keys.OpenSeal("file:" + filepath.Join(dir, "seal"))
	if err != nil {
		t.Fatal(err)
	}
	if e.ring, err = keys.Open(t.Context(), e.store, keys.Options{Algorithm: keys.ES256, Seal: seal}); err != nil {
		t.Fatal(err)
	}
	opts := admin.Options{Store: e.store, Compiler: comp, Live: e.live, Keys: e.keys,
		Peer: func(p *trust.Peer) federation.Peer {
			return federation.Peer{Name: p.Name, Fingerprint: p.Fingerprint, Issuer: p.Issuer.String()}
		},
		Handle: handle, IDs: e.ring.IDs(), Ring: e.ring, Token: func() string { return token }, Hosts: []string{"admin.globex.example"},
		Logger: slog.New(slog.NewJSONHandler(e.log, nil))}
	for _, c := range change {
		c(&opts)
	}
	h, err := admin.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	e.url, e.handler = srv.URL, h
	return e
}

// peerKeys is a key manager that answers what it is told.
type peerKeys struct {
	mu        sync.Mutex
	refreshed []string
	probed    []federation.Peer
	report    *federation.ProbeReport
	err       error
}

func (k *peerKeys) Refresh(_ context.Context, p federation.Peer) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refreshed = append(k.refreshed, p.Name)
	return k.err
}

func (k *peerKeys) Probe(_ context.Context, p federation.Peer) (*federation.ProbeReport, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.probed = append(k.probed, p)
	return k.report, k.err
}

func (k *peerKeys) HealthOf(p federation.Peer) federation.PeerHealth {
	return federation.PeerHealth{Name: p.Name, Issuer: p.Issuer, Fingerprint: p.Fingerprint, Breaker: "closed"}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   string
}

// option changes a request before it is sent.
type option func(*http.Request)

func with(name, value string) option {
	return func(r *http.Request) {
		if name == "Host" {
			r.Host = value
			return
		}
		r.Header.Set(name, value)
	}
}

func without(name string) option { return func(r *http.Request) { r.Header.Del(name) } }

// do sends a request with the credential, and a body as YAML.
func (e *env) do(t *testing.T, method, path, body string, opts ...option) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, e.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/yaml")
	}
	for _, o := range opts {
		o(req)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(text)}
}

// want fails unless the answer has the status and, when it is a problem, the code.
func (a answer) want(t *testing.T, status int, code string) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status = %d, want %d: %s", a.status, status, a.body)
	}
	if code == "" {
		return a
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type = %q, want application/problem+json", got)
	}
	if p := decode[admin.Problem](t, a); p.Code != code || p.Status != status || p.Title == "" || p.Type != "/admin/v1/problems/"+code {
		t.Errorf("problem = %+v, want code %q with status %d, a title and a type", p, code, status)
	}
	return a
}

func decode[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("decode %q: %v", a.body, err)
	}
	return v
}

func revision(t *testing.T, e *env) trust.Revision {
	t.Helper()
	st, err := e.store.Load(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return st.Revision
}

// seed puts the sample registry in place, as revision 1.
func (e *env) seed(t *testing.T) *env {
	t.Helper()
	e.do(t, "PUT", "/admin/v1/registry", sample, with("If-Match", `"0"`)).want(t, 200, "")
	return e
}

const sample = `peers:
  - name: acme
    domain: acme.example
    issuer: https://as.acme.example
    expires: 2027-11-21T00:00:00Z
resources:
  - audience: https://archive.globex.example
    name: Archive
    scopes: [archive.read]
    actions: [archive.search]
clients:
  - id: acme-agent
    auth: client_secret_basic
    secret_hash: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    known_as: {acme: acme-agent}
    proof: optional
    expires: 2027-11-21T00:00:00Z
mappings:
  - name: acme-research
    peer: acme
    clients: [acme-agent]
    when: subject.claims.department == "research"
    resources: [https://archive.globex.example]
    scopes:
      - {scope: archive.read, from: ["docs:read"]}
    ttl: 300s
`
