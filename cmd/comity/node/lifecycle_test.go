package node_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/comity-auth/comity/cmd/comity/node"
	"github.com/comity-auth/comity/fixtures/pg"
)

// LC-01: a node that stops says so at once, finishes what is under way, fails
// no client that closes its connections when told to, and leaves nothing
// behind. Not parallel: it counts goroutines.
func TestDrainUnderLoad(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := newSite(t, t.TempDir())
	s.opts.Drain = 2 * time.Second
	n, err := node.Open(t.Context(), s.cfg, s.opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- n.Serve(ctx) }()

	const workers = 8
	var warm, ended sync.WaitGroup
	warm.Add(workers)
	errs := make(chan error, workers)
	for range workers {
		ended.Go(func() { errs <- s.untilTold(warm.Done) })
	}
	warm.Wait()
	slow := s.halfARequest(t)

	stop()
	eventually(t, func() error {
		if code, _ := status(t, s.url+"/readyz"); code != http.StatusServiceUnavailable {
			return fmt.Errorf("/readyz is %d, want 503", code)
		}
		return nil
	})
	if code, _ := status(t, s.url+"/healthz"); code != http.StatusOK {
		t.Errorf("/healthz is %d while draining, want 200", code)
	}
	select {
	case <-served:
		t.Error("Serve returned before /readyz could be seen to change")
	default:
	}
	ended.Wait()
	for range workers {
		if err := <-errs; err != nil {
			t.Errorf("a request failed: %v", err)
		}
	}
	if err := <-served; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	closed := make(chan struct{})
	go func() { n.Close(); close(closed) }()
	eventually(t, func() error {
		conn, err := net.Dial("tcp", s.public.Addr().String())
		if err == nil {
			return errors.Join(errors.New("new connections are accepted still"), conn.Close())
		}
		return nil
	})
	if res := slow(); res.StatusCode != http.StatusOK || !res.Close {
		t.Errorf("the request under way was answered with %d, close %v, want 200 and close", res.StatusCode, res.Close)
	}
	<-closed
	n.Close() // does nothing
	s.acme.Close()
	goleak.VerifyNone(t, before)
}

// untilTold exchanges on one connection until the node asks to close it.
func (s *site) untilTold(first func()) error {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for began := time.Now(); ; {
		res, err := s.exchange(context.Background(), client)
		if first != nil {
			first()
			first = nil
		}
		if err != nil || res.Close {
			return err
		}
		if time.Since(began) > patience {
			return errors.New("nobody asked to close the connection")
		}
	}
}

// halfARequest sends an exchange without the end of its body. The function
// sends that and reads the answer.
func (s *site) halfARequest(t testing.TB) func() *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", s.public.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, s.url+"/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("agent", s.secret)
	body := s.form()
	head := fmt.Sprintf("POST /token HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n",
		s.public.Addr(), req.Header.Get("Authorization"), len(body))
	if _, err := io.WriteString(conn, head+body[:len(body)/2]); err != nil {
		t.Fatal(err)
	}
	return func() *http.Response {
		t.Helper()
		defer conn.Close()
		if _, err := io.WriteString(conn, body[len(body)/2:]); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res
	}
}

// A node that cannot open leaves nothing behind either.
func TestFailedOpenLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := newSite(t, t.TempDir(), `keys: {algorithm: ES256}`)
	n, err := node.Open(t.Context(), s.cfg, s.opts)
	if err != nil {
		t.Fatal(err)
	}
	n.Close()
	s.cfg.Keys.Algorithm = "RS256" // the stored key is another
	if n, err := node.Open(t.Context(), s.cfg, s.opts); err == nil || n != nil {
		t.Errorf("Open = %v, %v, want an error and no node", n, err)
	}
	s.acme.Close()
	goleak.VerifyNone(t, before)
}

// LC-06: with its database down the node lives, is not ready and does not end;
// once the database is up it serves within 5 s.
func TestStartWithTheDatabaseDown(t *testing.T) {
	t.Parallel()
	db, err := pg.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Stop(); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, t.TempDir(), fmt.Sprintf("store: %q", db.DSN()))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx, s.cfg, s.opts) }()
	logged(t, &s.log, "store.waiting")
	for _, tc := range []struct {
		url  string
		want int
	}{
		{s.url + "/healthz", http.StatusOK}, {s.url + "/readyz", http.StatusServiceUnavailable},
		{s.opsAt + "/healthz", http.StatusOK}, {s.opsAt + "/readyz", http.StatusServiceUnavailable},
		{s.adminAt + "/admin/v1/registry", http.StatusServiceUnavailable},
		{s.url + "/.well-known/jwks.json", http.StatusServiceUnavailable},
	} {
		if got, _ := status(t, tc.url); got != tc.want {
			t.Errorf("%s is %d, want %d", tc.url, got, tc.want)
		}
	}
	if res, err := s.exchange(t.Context(), plain()); res == nil || res.StatusCode != http.StatusServiceUnavailable ||
		res.Header.Get("Retry-After") == "" || !strings.Contains(err.Error(), "temporarily_unavailable") {
		t.Errorf("an exchange was answered with %v, want temporarily_unavailable", err)
	}
	if err := db.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := eventually(t, func() error {
		_, err := s.exchange(t.Context(), plain())
		return err
	})
	if took > 5*time.Second {
		t.Errorf("tokens %s after the database was up, want 5 s at most", took)
	}
	if got, text := status(t, s.opsAt+"/readyz"); got != http.StatusOK {
		t.Errorf("/readyz is %d %s, want 200", got, text)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

// A node that waits for its database can be stopped.
func TestStopWhileTheDatabaseIsDown(t *testing.T) {
	t.Parallel()
	s := newSite(t, t.TempDir(), `store: "postgres://nobody@127.0.0.1:1/none?sslmode=disable"`)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx, s.cfg, s.opts) }()
	logged(t, &s.log, "store.waiting")
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

// What no waiting mends ends the node at once.
func TestRunRefuses(t *testing.T) {
	t.Parallel()
	down := `store: "postgres://nobody@127.0.0.1:1/none?sslmode=disable"`
	for _, tc := range []struct {
		name, line string
		change     func(*site)
		want       string
	}{
		{"rejects a bad trust file though the database is down", down, func(s *site) { s.write(t, "trust.yaml", "peers: 7") }, "trust.yaml"},
		{"rejects a bad credential though the database is down", down, func(s *site) { s.write(t, "admin.token", "short") }, "admin.token"},
		{"rejects a bad seal though the database is down", down, func(s *site) { s.write(t, "comity.seal", "x") }, "comity.seal"},
		{"rejects an embedded store that cannot be opened", "", func(s *site) { s.write(t, "comity.db", "this is no database, but text") }, "comity.db"},
		{"rejects an address in use", "", func(s *site) { s.opts.Public = nil }, "public listener"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, t.TempDir(), tc.line)
			tc.change(s)
			if err := node.Run(t.Context(), s.cfg, s.opts); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Run = %v, want one that names %s", err, tc.want)
			}
		})
	}
}

// MT-11, AD-23: each listener has its own paths and none of another's.
func TestListenersShareNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, t.TempDir())
	n, err := node.Open(t.Context(), s.cfg, s.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer serve(t, n)()
	paths := map[string]string{ // to the listener that has it
		"/metrics": s.opsAt, "/health": s.opsAt, "/debug/pprof/": s.opsAt, "/debug/pprof/cmdline": s.opsAt, "/debug/pprof/symbol": s.opsAt,
		"/admin/v1/registry": s.adminAt, "/admin/v1/openapi.json": s.adminAt, "/admin/v1/decisions": s.adminAt, "/admin/v1/keys": s.adminAt,
		"/.well-known/jwks.json": s.url, "/.well-known/openid-configuration": s.url, "/.well-known/oauth-authorization-server": s.url,
	}
	for path, owner := range paths {
		for _, at := range []string{s.url, s.adminAt, s.opsAt} {
			code, text := status(t, at+path)
			missing := code == http.StatusNotFound || at == s.adminAt && code == http.StatusUnauthorized
			if at == owner && code == http.StatusNotFound {
				t.Errorf("%s is not on its own listener", path)
			}
			if at != owner && !missing {
				t.Errorf("%s%s is %d %s, want 404", at, path, code, text)
			}
		}
	}
	for _, path := range []string{"/admin", "/admin/", "/console/", "/debug/vars", "/debug/pprof", "//metrics", "/x/../metrics", "/%6detrics"} {
		if code, _ := status(t, s.url+path); code < 300 || code == http.StatusOK {
			t.Errorf("%s is %d on the public listener", path, code)
		}
	}
}
