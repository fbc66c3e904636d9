package guardnode_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/cmd/comity/guardconf"
	"github.com/comity-auth/comity/cmd/comity/guardnode"
	"github.com/comity-auth/comity/fixtures/e2e"
	"github.com/comity-auth/comity/fixtures/peer"
)

// patience bounds what a test waits for on a busy machine.
const patience = 30 * time.Second

const audience = "https://archive.globex.example"

// eventually asks again and again until there is no error.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("not within %s: %v", patience, err)
		}
		<-tick.C
	}
}

// site is a guard in this process, in front of an upstream of the test's.
type site struct {
	issuer      *peer.Issuer
	dir, path   string
	public, ops net.Listener
	log         e2e.Log
	cfg         guardconf.Config
	stop        context.CancelFunc
	done        chan error
}

// newSite writes a configuration with these lines, and takes the addresses.
func newSite(t testing.TB, upstream http.HandlerFunc, lines ...string) *site {
	t.Helper()
	u := httptest.NewServer(upstream)
	t.Cleanup(u.Close)
	s := &site{issuer: peer.Start(t, peer.Options{}), dir: t.TempDir()}
	for _, l := range []*net.Listener{&s.public, &s.ops} {
		var err error
		if *l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = (*l).Close() })
	}
	text := fmt.Sprintf(`audience: %s
issuers: [{issuer: %q, insecure_no_revocations: true}]
egress: {allow: [127.0.0.0/8]}
upstream: %s
routes:
  - {match: "GET /", scope: docs.read}
  - {match: "POST /", scope: docs.read}
%s
`, audience, s.issuer.URL(), u.URL, strings.Join(lines, "\n"))
	s.path = filepath.Join(s.dir, "guard.yaml")
	if err := os.WriteFile(s.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := guardconf.Load(s.path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.cfg = loaded.Config
	return s
}

// run starts the guard, until the test ends or halt is called.
func (s *site) run(t testing.TB) *site {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s.stop, s.done = stop, make(chan error, 1)
	go func() {
		s.done <- guardnode.Run(ctx, s.cfg, guardnode.Options{
			Logger: slog.New(slog.NewJSONHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Version: "test",
			Public: s.public, Ops: s.ops, WatchEvery: 20 * time.Millisecond, Drain: time.Millisecond,
			Load: func() (guardconf.Config, error) {
				loaded, err := guardconf.Load(s.path, nil, nil)
				return loaded.Config, err
			},
		})
	}()
	t.Cleanup(func() { s.halt(t) })
	return s
}

// started waits until the guard guards.
func (s *site) started(t testing.TB) *site {
	t.Helper()
	s.logged(t, `"event":"guard"`)
	return s
}

func (s *site) halt(t testing.TB) {
	t.Helper()
	s.stop()
	if err, open := <-s.done; open && err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	select {
	case <-s.done:
	default:
		close(s.done)
	}
}

func (s *site) logged(t testing.TB, text string) {
	t.Helper()
	eventually(t, func() error {
		if all := s.log.String(); !strings.Contains(all, text) {
			return fmt.Errorf("no %q in the log:\n%s", text, all[max(0, len(all)-3000):])
		}
		return nil
	})
}

// token is one that the routes accept.
func (s *site) token(over map[string]any) string {
	claims := map[string]any{"scope": "docs.read", "client_id": "c1"}
	for name, v := range over {
		claims[name] = v
	}
	return s.issuer.Token(audience, peer.Overrides{Claims: claims})
}

func (s *site) url() string { return "http://" + s.public.Addr().String() }

func (s *site) request(t testing.TB, method, url, token string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// status is what a request is answered with, on a connection of its own.
func status(c *http.Client, r *http.Request) (int, string, error) {
	res, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

func fresh() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
}

func (s *site) want(t testing.TB, path, token string, want int) string {
	t.Helper()
	code, text, err := status(fresh(), s.request(t, http.MethodGet, s.url()+path, token, nil))
	if err != nil || code != want {
		t.Errorf("%s: %d %s, %v; want %d", path, code, text, err, want)
	}
	return text
}

func (s *site) readiness(t testing.TB, want int) error {
	t.Helper()
	code, text, err := status(fresh(), s.request(t, http.MethodGet, "http://"+s.ops.Addr().String()+"/readyz", "", nil))
	if err == nil && code != want {
		err = fmt.Errorf("/readyz is %d %s, want %d", code, text, want)
	}
	return err
}

func echo(w http.ResponseWriter, r *http.Request) {
	_, err := io.Copy(w, r.Body)
	if err != nil && !errors.Is(err, io.EOF) {
		panic(http.ErrAbortHandler)
	}
}
