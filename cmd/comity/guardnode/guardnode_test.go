package guardnode_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/comity-auth/comity/cmd/comity/guardconf"
	"github.com/comity-auth/comity/cmd/comity/guardnode"
	shared "github.com/comity-auth/comity/federation/quota/valkey"
	"github.com/comity-auth/comity/fixtures/peer"
	"github.com/comity-auth/comity/fixtures/valkey"
)

func TestMain(m *testing.M) {
	shared.DiscardLibraryLog()
	os.Exit(m.Run())
}

// A guard that stops leaves nothing behind, also after its configuration changed.
// Not parallel: it counts goroutines, and sends a signal to this process.
func TestNothingIsLeftBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("site", func(t *testing.T) {
		s := newSite(t, echo).run(t).started(t)
		s.want(t, "/", s.token(nil), http.StatusOK)
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		s.logged(t, `"event":"reload","what":"configuration"`)
		if n := strings.Count(s.log.String(), `"event":"guard.insecure"`); n != 2 {
			t.Errorf("%d warnings about insecure settings, want one at the start and one at the reload", n)
		}
		s.want(t, "/", s.token(nil), http.StatusOK)
	})
	goleak.VerifyNone(t, before)
}

// A connection that was upgraded passes, in both directions, for as long as it
// lives.
func TestUpgradedConnectionsPass(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, stream, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = stream.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = stream.Flush()
		_, _ = io.Copy(conn, stream)
	}).run(t).started(t)
	conn, err := net.Dial("tcp", s.public.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", s.token(nil))
	r := bufio.NewReader(conn)
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, " 101 ") {
		t.Fatalf("answer %q, %v, want 101", line, err)
	}
	for line := ""; line != "\r\n"; {
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	for _, said := range []string{"one\n", "two\n"} {
		_, _ = io.WriteString(conn, said)
		if heard, err := r.ReadString('\n'); err != nil || heard != said {
			t.Errorf("said %q, heard %q, %v", said, heard, err)
		}
	}
}

// Bodies are streamed both ways: the upstream answers the first part before the
// second is sent.
func TestBodiesAreStreamed(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		_ = c.EnableFullDuplex()
		in := bufio.NewReader(r.Body)
		for line, err := in.ReadString('\n'); err == nil; line, err = in.ReadString('\n') {
			_, _ = io.WriteString(w, line)
			_ = c.Flush()
		}
	}).run(t).started(t)
	body, send := io.Pipe()
	go func() { _, _ = io.WriteString(send, "one\n") }()
	res, err := fresh().Do(s.request(t, http.MethodPost, s.url()+"/", s.token(nil), body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	r := bufio.NewReader(res.Body)
	for _, next := range []string{"one\n", "two\n"} {
		if next != "one\n" {
			_, _ = io.WriteString(send, next)
		}
		if line, err := r.ReadString('\n'); err != nil || line != next {
			t.Fatalf("read %q, %v, want %q", line, err, next)
		}
	}
	_ = send.Close()
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

// timed remembers the deadline that the last connection reads by.
type timed struct {
	net.Listener
	mu   sync.Mutex
	last time.Time
}

type timedConn struct {
	net.Conn
	of *timed
}

func (l *timed) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return timedConn{c, l}, err
}

func (c timedConn) SetReadDeadline(at time.Time) error {
	c.of.mu.Lock()
	c.of.last = at
	c.of.mu.Unlock()
	return c.Conn.SetReadDeadline(at)
}

func (l *timed) deadline() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// A body is waited for at most 10 s by whoever has not been admitted, and by the
// upstream for as long as it likes.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	arrived := make(chan time.Time, 1)
	var listener *timed
	s := newSite(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1))
		arrived <- listener.deadline()
	})
	listener = &timed{Listener: s.public}
	s.public = listener
	s.run(t).started(t)
	body, send := io.Pipe()
	go func() { _, _ = io.WriteString(send, "x") }()
	answered := make(chan error, 1)
	go func() {
		_, _, err := status(fresh(), s.request(t, http.MethodPost, s.url()+"/", s.token(nil), body))
		answered <- err
	}()
	if at := <-arrived; !at.IsZero() {
		t.Errorf("an admitted body is read until %s, want no end", at)
	}
	_ = send.Close()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}

	conn, err := net.Dial("tcp", s.public.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx")
	s.logged(t, `"reason":"no_credential"`)
	if at := listener.deadline(); at.Before(began.Add(time.Second)) || at.After(time.Now().Add(10*time.Second)) {
		t.Errorf("a refused request is read until %s, want 10 s from %s at most", at, began)
	}
}

// Replicas share counts and used proofs, whatever their configuration was
// reloaded to.
func TestReplicasShare(t *testing.T) {
	t.Parallel()
	line := "valkey: " + valkey.New(t)
	a := newSite(t, echo, line, "listen: 127.0.0.1:0").run(t).started(t)
	b := newSite(t, echo, line)
	b.issuer.Close()
	b.cfg.Issuers, b.issuer = a.cfg.Issuers, a.issuer
	b.run(t).started(t)
	key := peer.NewKey(t, "ES256")
	token := a.token(map[string]any{"cnf": map[string]any{"jkt": key.Thumbprint()}})
	for i, s := range []*site{a, b} {
		r := s.request(t, http.MethodGet, s.url()+"/", "", nil)
		r.Host = "api.example"
		r.Header.Set("Authorization", "DPoP "+token)
		r.Header.Set("DPoP", key.Proof(http.MethodGet, "http://api.example/", peer.Overrides{Claims: map[string]any{"ath": peer.Digest(token), "jti": "one"}}))
		code, text, err := status(fresh(), r)
		if want := []int{http.StatusOK, http.StatusUnauthorized}[i]; err != nil || code != want {
			t.Errorf("replica %d: %d %s, %v; want %d", i+1, code, text, err, want)
		}
	}
}

// LC-06: while its shared counters are down the guard lives, is not ready and does
// not end; it can be stopped, and guards once they are up.
func TestLC06WaitsForSharedCounters(t *testing.T) {
	t.Parallel()
	server := valkey.Private(t, valkey.Options{})
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, echo, "valkey: "+server.URL()).run(t)
	s.logged(t, "valkey.waiting")
	if err := s.readiness(t, http.StatusServiceUnavailable); err != nil {
		t.Error(err)
	}
	s.want(t, "/", s.token(nil), http.StatusServiceUnavailable)
	if err := server.Restart(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	s.started(t)
	eventually(t, func() error { return s.readiness(t, http.StatusOK) })
	s.want(t, "/", s.token(nil), http.StatusOK)

	down := newSite(t, echo, "valkey: redis://127.0.0.1:1").run(t)
	down.logged(t, "valkey.waiting")
	down.halt(t)
}

// An issuer that is not asked has its keys in a file: a JWK set, or PEM, by the
// thumbprint.
func TestKeysFromFiles(t *testing.T) {
	t.Parallel()
	issuer := peer.Start(t, peer.Options{})
	key := issuer.Key()
	set, err := json.Marshal(key.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	private, err := json.Marshal(map[string]any{"keys": []any{key.PrivateJWK()}})
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Signer().Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	for _, tt := range []struct{ name, text, refused string }{
		{"accepts a JWK set", string(set), ""},
		{"accepts PEM", string(public), ""},
		{"refuses a private key", string(private), "key 0 is a private or symmetric key"},
		{"refuses a private key in PEM", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "want a JWK set, or public keys in PEM"},
		{"refuses PEM that is none", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "want a JWK set, or public keys in PEM"},
		{"refuses a set without keys", `{"keys":[]}`, "holds no public key that can be used"},
		{"refuses text", "nothing", "want a JWK set, or public keys in PEM"},
		{"refuses an empty file", "", "want a JWK set, or public keys in PEM"},
		{"refuses more than 100 KiB", strings.Repeat(" ", 100<<10+1), "is larger than 102400 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, echo)
			path := filepath.Join(s.dir, "keys")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			s.cfg.PublicKeyFile = path
			err := guardnode.Check(s.cfg)
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("Check = %v, want %s", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			s.issuer.Set(func(k *peer.Knobs) { k.Status = http.StatusServiceUnavailable })
			s.run(t).started(t)
			signer := key.WithID(key.Thumbprint())
			if tt.name == "accepts a JWK set" {
				signer = key
			}
			token := signer.Sign(map[string]any{"typ": "at+jwt"}, s.issuer.Claims(audience, map[string]any{"scope": "docs.read", "client_id": "c1"}))
			s.want(t, "/", token, http.StatusOK)
		})
	}
}

// Some settings are for the life of the process, and a reload says so.
func TestReloadNamesWhatItCannotChange(t *testing.T) {
	was, is := newSite(t, echo), newSite(t, echo, "listen: 127.0.0.1:9999", "log: {level: debug}")
	text, err := os.ReadFile(is.path)
	if err != nil {
		t.Fatal(err)
	}
	was.run(t).started(t)
	if err := os.WriteFile(was.path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	was.logged(t, `"event":"reload.restart","settings":"listen, log"`)
}

// Whatever a file of keys holds, it is refused or makes a guard.
func FuzzKeyFile(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n-----BEGIN CERTIFICATE-----\n"))
	f.Add([]byte(" {} "))
	path := filepath.Join(f.TempDir(), "keys")
	cfg := guardconf.Config{Audience: "a", Upstream: "http://127.0.0.1:1", PublicKeyFile: path, MaxDepth: -1,
		Issuers: []guardconf.Issuer{{Issuer: "https://as.example", InsecureNoRevocations: true}}, Routes: []guardconf.Route{{Match: "GET /", Scope: "x"}}}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := guardnode.Check(cfg); err != nil && !strings.Contains(err.Error(), "issuer https://as.example: ") {
			t.Errorf("Check = %v, want it to name the issuer", err)
		}
	})
}
