package node_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/cmd/comity/node"
	"github.com/comity-auth/comity/fixtures/e2e"
	"github.com/comity-auth/comity/fixtures/peer"
	"github.com/comity-auth/comity/trust"
)

// patience bounds what a test waits for on a busy machine.
const patience = 30 * time.Second

// eventually asks again and again until there is no error, and returns how long
// that took.
func eventually(t testing.TB, check func() error) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > patience {
			t.Fatalf("not within %s: %v", patience, err)
		}
		<-tick.C
	}
}

// logged waits for a line of the log that holds all the texts.
func logged(t testing.TB, log *e2e.Log, texts ...string) {
	t.Helper()
	eventually(t, func() error {
		if count(log, texts...) == 0 {
			all := log.String()
			return fmt.Errorf("no line with %q in the log, which ends so:\n%s", texts, all[max(0, len(all)-3000):])
		}
		return nil
	})
}

// count is how many lines of the log hold all the texts.
func count(log *e2e.Log, texts ...string) int {
	n := 0
lines:
	for line := range strings.Lines(log.String()) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		n++
	}
	return n
}

// replace puts a whole file in place of another.
func replace(t testing.TB, path, text string) {
	t.Helper()
	next := path + ".next"
	if err := errors.Join(os.WriteFile(next, []byte(text), 0o600), os.Rename(next, path)); err != nil {
		t.Fatal(err)
	}
}

// ask exchanges a fresh token of the neighbour acme.
func ask(t testing.TB, w *e2e.World, at *e2e.Domain) e2e.Answer {
	t.Helper()
	return at.Token(t, e2e.Exchange(w.Subject(peer.Overrides{})), w.AsBasic())
}

// said is an answer in one word: "token" or the OAuth error.
func said(a e2e.Answer) string {
	if a.Status == http.StatusOK && a.Token != "" {
		return "token"
	}
	return a.Error
}

// answers waits until an exchange is answered so.
func answers(t testing.TB, w *e2e.World, want string) {
	t.Helper()
	eventually(t, func() error {
		if got := said(ask(t, w, w.Domain)); got != want {
			return fmt.Errorf("the exchange was answered with %q, want %q", got, want)
		}
		return nil
	})
}

// editFile changes the trust file on disk.
func editFile(t testing.TB, d *e2e.Domain, change func(*trust.File)) {
	t.Helper()
	path := filepath.Join(d.Dir, "trust.yaml")
	text, err := os.ReadFile(path)
	var f trust.File
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		t.Fatal(err)
	}
	change(&f)
	replace(t, path, e2e.Document(t, &f))
}

func setStatus(status string) func(*trust.File) {
	return func(f *trust.File) { f.Peers[0].Status = status }
}

// site is one broker that a test opens, serves and closes by itself.
type site struct {
	dir, issuer         string
	public, admin, ops  net.Listener
	log                 e2e.Log
	cfg                 config.Config
	opts                node.Options
	acme                *peer.Issuer
	secret              string
	url, adminAt, opsAt string
}

// newSite writes what serve would be started with, with lines added to the
// configuration.
func newSite(t testing.TB, dir string, lines ...string) *site {
	t.Helper()
	s := &site{dir: dir, acme: peer.Start(t, peer.Options{}), secret: "a secret of this test and no other"}
	for _, l := range []*net.Listener{&s.public, &s.admin, &s.ops} {
		var err error
		if *l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = (*l).Close() })
	}
	s.url, s.adminAt, s.opsAt = "http://"+s.public.Addr().String(), "http://"+s.admin.Addr().String(), "http://"+s.ops.Addr().String()
	s.issuer = s.url
	s.write(t, "trust.yaml", s.trust())
	s.write(t, "comity.yaml", strings.Join(append([]string{
		"domain: globex.example", "issuer: " + s.issuer, "trust: trust.yaml",
		"egress: {allow: [127.0.0.0/8]}",
		"limits: {client_per_minute: 100000, global_per_second: 100000}",
		fmt.Sprintf("listen: %s\nadmin: {listen: %q}\nops: {listen: %q, pprof: true}", s.public.Addr(), s.admin.Addr(), s.ops.Addr()),
	}, lines...), "\n"))
	loaded, err := config.Load(filepath.Join(dir, "comity.yaml"), nil, nil)
	if err != nil {
		t.Fatalf("configuration: %v", err)
	}
	s.cfg = loaded.Config
	s.opts = node.Options{Logger: slog.New(slog.NewJSONHandler(&s.log, nil)), Version: "test", Public: s.public, Admin: s.admin, Ops: s.ops}
	return s
}

func (s *site) write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	replace(t, path, text)
	return path
}

func (s *site) trust() string {
	return fmt.Sprintf(`peers:
  - {name: acme, domain: acme.example, issuer: %q, expires: 2099-01-01T00:00:00Z}
resources:
  - {audience: %q, scopes: [archive.read]}
clients:
  - id: agent
    auth: client_secret_basic
    secret_hash: "sha256:%x"
    operator: org:globex
    agent: {id: agent-1, type: software}
    known_as: {acme: agent-1}
    proof: optional
    expires: 2099-01-01T00:00:00Z
mappings:
  - name: acme
    peer: acme
    clients: [agent]
    resources: [%q]
    scopes: [{scope: archive.read, from: ["docs:read"]}]
    proof: optional
`, s.acme.URL(), e2e.Archive, sha256.Sum256([]byte(s.secret)), e2e.Archive)
}

// form is the body of an exchange with a fresh token.
func (s *site) form() string {
	return e2e.Exchange(s.acme.Token(s.issuer, peer.Overrides{Claims: map[string]any{"scope": "docs:read"}})).Encode()
}

// exchange posts one exchange. The response was read to its end.
func (s *site) exchange(ctx context.Context, client *http.Client) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/token", strings.NewReader(s.form()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("agent", s.secret)
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", res.StatusCode, text)
	}
	return res, err
}

// serve serves an open node. The function stops it and waits.
func serve(t testing.TB, n *node.Node) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Serve(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		n.Close()
	}
}

// plain is a client that makes a connection for each request.
func plain() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
}

// status is the status and the body of a GET.
func status(t testing.TB, url string) (int, string) {
	t.Helper()
	res, err := plain().Get(url)
	if err != nil {
		t.Errorf("GET %s: %v", url, err)
		return 0, ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("GET %s: %v", url, err)
	}
	return res.StatusCode, string(text)
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
