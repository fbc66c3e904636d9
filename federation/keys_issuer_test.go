package federation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/fetch"
)

const (
	openIDPath = "/.well-known/openid-configuration"
	oauthPath  = "/.well-known/oauth-authorization-server"
	es256      = jose.ES256
)

// fakeIssuer is an issuer with knobs: a real HTTP handler that counts.
type fakeIssuer struct {
	url string

	mu      sync.Mutex
	kids    []string
	jwks    func(http.ResponseWriter, *http.Request) // instead of the keys
	meta    map[string]any                           // instead of the metadata
	header  http.Header                              // added to the key set
	paths   map[string]int                           // requests by path
	router  func(string) (int, any, bool)            // instead of all but the key set
	entered chan struct{}                            // told of each key set request
	blocked chan struct{}                            // holds key set requests back
}

func newFakeIssuer(kids ...string) *fakeIssuer {
	return &fakeIssuer{kids: kids, paths: make(map[string]int)}
}

func (i *fakeIssuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

func (i *fakeIssuer) publish(kids ...string) { i.set(func() { i.kids, i.jwks = kids, nil }) }

func (i *fakeIssuer) answer(h http.HandlerFunc) { i.set(func() { i.jwks = h }) }

func (i *fakeIssuer) hits(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.paths[path]
}

func (i *fakeIssuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.paths[r.URL.Path]++
	kids, jwks, meta, header, entered, blocked, router := i.kids, i.jwks, i.meta, i.header, i.entered, i.blocked, i.router
	i.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if router != nil {
		if code, doc, ok := router(r.URL.Path); ok {
			w.WriteHeader(code)
			json.NewEncoder(w).Encode(doc)
			return
		}
	}
	switch r.URL.Path {
	case openIDPath:
		if meta == nil {
			meta = map[string]any{"issuer": i.url, "jwks_uri": i.url + "/jwks"}
		}
		json.NewEncoder(w).Encode(meta)
	case "/jwks":
		if entered != nil {
			entered <- struct{}{}
		}
		if blocked != nil {
			<-blocked
		}
		for k, vs := range header {
			w.Header()[k] = vs
		}
		if jwks != nil {
			jwks(w, r)
			return
		}
		w.Write(keySetOf(kids...))
	default:
		http.NotFound(w, r)
	}
}

// keySetOf is a key set with one key under each name. Equal names have equal
// keys.
func keySetOf(kids ...string) []byte {
	var set jose.JSONWebKeySet
	for _, kid := range kids {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: forged().p256.Public(), KeyID: kid, Algorithm: "ES256", Use: "sig"})
	}
	b, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	return b
}

func (i *fakeIssuer) peer() federation.Peer {
	return federation.Peer{Name: "acme", Fingerprint: "acme-1", Issuer: i.url, Discovery: federation.Auto}
}

// listen serves the issuer on the loopback interface.
func (i *fakeIssuer) listen(t *testing.T) *fakeIssuer {
	t.Helper()
	s := httptest.NewServer(i)
	t.Cleanup(s.Close)
	i.url = s.URL
	return i
}

// pipes is a network in memory, for tests in a bubble of fake time: every
// dialled loopback port leads to the handler that is registered for it.
type pipes struct {
	mu       sync.Mutex
	handlers map[uint16]http.Handler
	down     map[uint16]bool
	dials    int
	conns    chan net.Conn
	done     chan struct{}
}

func newPipes(t *testing.T) *pipes {
	p := &pipes{handlers: make(map[uint16]http.Handler), down: make(map[uint16]bool), conns: make(chan net.Conn), done: make(chan struct{})}
	s := &http.Server{Handler: p}
	stopped := make(chan struct{})
	go func() { defer close(stopped); s.Serve(p) }()
	t.Cleanup(func() { s.Close(); <-stopped })
	return p
}

// host registers an issuer under a port.
func (p *pipes) host(i *fakeIssuer, port uint16) *fakeIssuer {
	p.mu.Lock()
	defer p.mu.Unlock()
	i.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	p.handlers[port] = i
	return i
}

func (p *pipes) power(port uint16, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down[port] = !on
}

func (p *pipes) dialled() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dials
}

func (p *pipes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	addr := netip.MustParseAddrPort(r.Host)
	p.mu.Lock()
	h := p.handlers[addr.Port()]
	p.mu.Unlock()
	w.Header().Set("Connection", "close")
	h.ServeHTTP(w, r)
}

func (p *pipes) dial(_ context.Context, addr netip.AddrPort) (net.Conn, error) {
	p.mu.Lock()
	p.dials++
	down := p.down[addr.Port()] || p.handlers[addr.Port()] == nil
	p.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.done:
	default:
		close(p.done)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// keysOver makes a manager whose fetches go through dial, or TCP without one.
func keysOver(t *testing.T, dial fetch.DialFunc, o federation.KeysOptions) *federation.Keys {
	t.Helper()
	f, err := fetch.New(fetch.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Dial: dial})
	if err != nil {
		t.Fatal(err)
	}
	k := federation.NewKeys(f, o)
	t.Cleanup(func() { k.Close(); f.Close() })
	return k
}

// text answers with a status and a body of a type.
func text(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}
