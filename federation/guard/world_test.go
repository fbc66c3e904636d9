package guard_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/guard/route"
)

const (
	audience = "https://api.example.com"
	asIssuer = "https://as.example.com"
)

// loopback is where the tests' proxies are.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// object is a JSON object under construction.
type object map[string]any

// with returns a copy with another member; a nil value removes it.
func (o object) with(name string, v any) object {
	c := maps.Clone(o)
	if c[name] = v; v == nil {
		delete(c, name)
	}
	return c
}

// signing is a memo, not state: the key is made once and never assigned to.
var signing = sync.OnceValue(func() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
})

func keySet(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	doc, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// sign makes a token of the test issuer's.
func sign(t testing.TB, header map[jose.HeaderKey]any, payload any) string {
	t.Helper()
	return signBy(t, signing(), header, payload)
}

func signBy(t testing.TB, key *ecdsa.PrivateKey, header map[jose.HeaderKey]any, payload any) string {
	t.Helper()
	if header == nil {
		header = map[jose.HeaderKey]any{"typ": "at+jwt", "kid": "k1"}
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, &jose.SignerOptions{ExtraHeaders: header})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// now is the time in the tests' tokens. Nobody waits for it to pass.
var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

// claims are those of a token that passes at the route "GET /search".
func claims() object {
	return object{
		"iss": asIssuer, "sub": "agent-r1", "aud": audience, "jti": "j1", "client_id": "c1",
		"iat": now.Add(-time.Minute).Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(4 * time.Minute).Unix(),
		"agent":        object{"id": "agent-r1", "type": "llm-autonomous", "operator": "org:example"},
		"task":         object{"id": "t-1", "purpose": "test"},
		"capabilities": []any{object{"action": "search.web"}},
		"delegation":   object{"depth": 0, "max_depth": 2, "chain": []any{"agent-r1"}},
		"audit":        object{"trace_id": "0af7651916cd43dd8448eb211c80319c"},
	}
}

// limited are the claims with constraints on search.web.
func limited(constraints object) object {
	return claims().with("capabilities", []any{object{"action": "search.web", "constraints": constraints}})
}

// options are those of a guard that needs no network.
func options(t testing.TB) guard.Options {
	t.Helper()
	return guard.Options{
		Audience: audience,
		Issuers:  []guard.Issuer{{Issuer: asIssuer, JWKS: keySet(t, signing().Public()), InsecureNoRevocations: true}},
		Routes: []route.Spec{
			{Match: "GET /search", Action: "search.web", Target: "query:url"},
			{Match: "POST /search", Action: "search.web", Target: "json:url", Amount: "json:/order/amount", Region: "header:X-Region"},
			{Match: "GET /documents/{id}", Action: "documents.read", Scope: "docs.read", Classification: "confidential"},
			{Match: "GET /reports", Scope: "reports.read"},
		},
		Leeway: 30 * time.Second, Now: clock, TrustedProxies: nil,
	}
}

func newGuard(t testing.TB, o guard.Options) *guard.Guard {
	t.Helper()
	g, err := guard.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// reached is what the guarded resource saw of a request; nil when none came.
type reached struct {
	Method, Path, Query, Body string
	Header                    http.Header
	Grant                     *guard.Grant
}

// resource remembers the last request, and answers with what answer says.
type resource struct {
	mu     sync.Mutex
	last   *reached
	answer func(w http.ResponseWriter, r *http.Request)
	// stream, when set, is all that is done: nothing is remembered.
	stream func(w http.ResponseWriter, r *http.Request)
}

func (u *resource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if u.stream != nil {
		u.stream(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	seen := &reached{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Body: string(body), Header: r.Header.Clone()}
	seen.Grant, _ = guard.FromContext(r.Context())
	u.mu.Lock()
	u.last = seen
	u.mu.Unlock()
	if u.answer != nil {
		u.answer(w, r)
	}
}

// take gives what was seen since the last take.
func (u *resource) take() *reached {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := u.last
	u.last = nil
	return out
}

// world is a guard in front of a resource, over real connections.
type world struct {
	t        testing.TB
	g        *guard.Guard
	resource *resource
	url      string
	client   *http.Client
}

// middleware puts the guard before a handler in its own process.
func middleware(t testing.TB, o guard.Options) *world {
	t.Helper()
	w := &world{t: t, g: newGuard(t, o), resource: &resource{}, client: plainClient()}
	s := httptest.NewServer(w.g.Middleware(w.resource))
	t.Cleanup(s.Close)
	w.url = s.URL
	return w
}

// proxied puts the guard before another server.
func proxied(t testing.TB, o guard.Options) *world {
	t.Helper()
	w := &world{t: t, g: newGuard(t, o), resource: &resource{}, client: plainClient()}
	upstream := httptest.NewServer(w.resource)
	t.Cleanup(upstream.Close)
	h, err := w.g.Proxy(guard.ProxyOptions{Upstream: upstream.URL})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	w.url = s.URL
	return w
}

// plainClient follows nothing and remembers nothing.
func plainClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableCompression: true, ExpectContinueTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
	}
}

// answer is a response, read in full.
type answer struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

// field is a member of a JSON body.
func (a answer) field(name string) string {
	var m map[string]any
	_ = json.Unmarshal([]byte(a.body), &m)
	s, _ := m[name].(string)
	return s
}

func (w *world) send(r *http.Request) answer {
	w.t.Helper()
	res, err := w.client.Do(r)
	if err != nil {
		w.t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(text), err}
}

func (w *world) request(method, path string, body io.Reader) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, w.url+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// get asks with a bearer token.
func (w *world) get(path, token string) answer {
	w.t.Helper()
	r := w.request(http.MethodGet, path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return w.send(r)
}

// wantRefused holds an answer against a refusal, and the resource to having seen
// nothing.
func (w *world) wantRefused(t testing.TB, a answer, status int, code string) {
	t.Helper()
	if a.status != status || a.field("error") != code {
		t.Errorf("answer %d %s, want %d %s", a.status, a.body, status, code)
	}
	if w.resource.take() != nil {
		t.Error("the request reached the resource")
	}
}

func (w *world) wantAdmitted(t testing.TB, a answer) *reached {
	t.Helper()
	seen := w.resource.take()
	if a.status != http.StatusOK || seen == nil {
		t.Fatalf("answer %d %s, want it to be admitted", a.status, a.body)
	}
	return seen
}

// asked puts a proxy before the resource that asks the guard about every request
// and does as it says.
func asked(t testing.TB, o guard.Options) *world {
	t.Helper()
	o.TrustedProxies = loopback
	w := &world{t: t, g: newGuard(t, o), resource: &resource{}, client: plainClient()}
	g := httptest.NewServer(w.g.ForwardAuth())
	t.Cleanup(g.Close)
	ask := plainClient()
	s := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		r, err := http.NewRequestWithContext(in.Context(), http.MethodGet, g.URL+"/auth", nil)
		if err != nil {
			t.Error(err)
			return
		}
		r.Header = in.Header.Clone()
		r.Header.Set("X-Original-Method", in.Method)
		r.Header.Set("X-Original-URI", in.RequestURI)
		r.Header.Set("X-Original-Content-Length", strconv.FormatInt(in.ContentLength, 10))
		r.Header.Set("X-Forwarded-Host", in.Host)
		res, err := ask.Do(r)
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		if res.StatusCode == http.StatusOK {
			w.resource.ServeHTTP(out, in)
			return
		}
		maps.Copy(out.Header(), res.Header)
		status := res.StatusCode
		if n, err := strconv.Atoi(res.Header.Get(guard.HeaderStatus)); err == nil {
			status = n
		}
		out.WriteHeader(status)
		_, _ = io.Copy(out, res.Body)
	}))
	t.Cleanup(s.Close)
	w.url = s.URL
	return w
}
