package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is the command as an operator runs it.
type process struct {
	cmd *exec.Cmd
	mu  sync.Mutex
	log bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func startServe(t *testing.T, dir string) *process {
	t.Helper()
	return start(t, "serve", "--config", filepath.Join(dir, "comity.yaml"))
}

// start runs this binary, which TestMain has put into the path under the name
// comity.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(t.Context(), "comity", args...)}
	p.cmd.Stderr, p.cmd.Stdout = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// sees waits until the log holds a pattern as often as wanted, and returns its
// last match.
func (p *process) sees(t *testing.T, times int, pattern string) []string {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	re := regexp.MustCompile(pattern)
	for began := time.Now(); ; <-tick.C {
		if found := re.FindAllStringSubmatch(p.text(), -1); len(found) >= times {
			return found[len(found)-1]
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%q is not %d times in the log:\n%s", pattern, times, p.text())
		}
	}
}

func serveFolder(t *testing.T, lines string) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, dir, "trust.yaml", `resources: [{audience: "https://one.globex.example", scopes: [one.read]}]`)
	writeFile(t, dir, "comity.yaml", `domain: globex.example
issuer: http://127.0.0.1:8080
listen: 127.0.0.1:0
admin: {listen: "127.0.0.1:0"}
ops: {listen: "127.0.0.1:0"}
trust: trust.yaml
`+lines)
	return dir
}

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.WriteFile(path+".next", []byte(text), 0o600), os.Rename(path+".next", path)); err != nil {
		t.Fatal(err)
	}
	return path
}

func get(t *testing.T, url, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// SIGHUP reloads, a bad file stops nothing, SIGTERM ends the process with 0.
func TestServeObeysSignals(t *testing.T) {
	t.Parallel()
	dir := serveFolder(t, "")
	p := startServe(t, dir)
	public := "http://" + p.sees(t, 1, `"listener":"public","address":"([^"]+)"`)[1]
	admin := "http://" + p.sees(t, 1, `"listener":"admin","address":"([^"]+)"`)[1]
	p.sees(t, 1, `"event":"serve","revision":1`)
	token, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	registry := func(want string) {
		t.Helper()
		if code, text := get(t, admin+"/admin/v1/registry", strings.TrimSpace(string(token))); code != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("the registry is %d %s, want one with %s", code, text, want)
		}
	}
	registry("https://one.globex.example")

	writeFile(t, dir, "trust.yaml", `resources: [{audience: "https://two.globex.example", scopes: [two.read]}]`)
	hangUp := func() {
		t.Helper()
		p.signal(t, syscall.SIGHUP)
	}
	hangUp()
	// No file holds the keys here, so that only the signal reloads them.
	p.sees(t, 1, `"reload","what":"keys"`)
	registry("https://two.globex.example")

	writeFile(t, dir, "trust.yaml", "peers: 7")
	hangUp()
	p.sees(t, 1, `"reload.failed","what":"trust file"`)
	p.sees(t, 2, `"reload","what":"keys"`)
	registry("https://two.globex.example")
	if code, text := get(t, public+"/readyz", ""); code != http.StatusOK {
		t.Errorf("/readyz is %d %s after a bad file, want 200", code, text)
	}

	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM ended the process with %v, want exit code 0:\n%s", err, p.text())
	}
	if !strings.Contains(p.text(), `"event":"drain"`) {
		t.Errorf("the log does not say that the process drained:\n%s", p.text())
	}
	if strings.Contains(p.text(), strings.TrimSpace(string(token))) {
		t.Error("the log holds the admin credential")
	}
}

// LC-06: without its database the process lives and waits. It listens before
// it asks for the database, and ends with 0 when told to.
func TestServeWaitsForItsDatabase(t *testing.T) {
	t.Parallel()
	p := startServe(t, serveFolder(t, `store: "postgres://nobody@127.0.0.1:1/none?sslmode=disable"`))
	public := "http://" + p.sees(t, 1, `"listener":"public","address":"([^"]+)"`)[1]
	p.sees(t, 2, `"store.waiting"`)
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable} {
		if code, text := get(t, public+path, ""); code != want {
			t.Errorf("%s is %d %s, want %d", path, code, text, want)
		}
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM ended the process with %v, want exit code 0", err)
	}
}

// LC-07: what is unknown or unsafe refuses to start, and the message names the
// line or the file.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, lines, file string
		mode              os.FileMode
		want              string
	}{
		{"rejects an unknown key", "colour: red\n", "", 0, "comity.yaml:7: "},
		{"rejects a key file that the world can read", "keys: {file: signing.pem}\n", "signing.pem", 0o644, "signing.pem"},
		{"rejects a seal that the world can read", "keys: {seal: \"file:comity.seal\"}\n", "comity.seal", 0o644, "comity.seal"},
		{"rejects a seal that the group can read", "", "comity.seal", 0o640, "comity.seal"},
		{"rejects a TLS key that the world can read", "tls: {cert_file: cert.pem, key_file: key.pem}\n", "key.pem", 0o644, "key.pem"},
		{"rejects a credential that the world can read", "", "admin.token", 0o604, "admin.token"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := serveFolder(t, tc.lines)
			if tc.file != "" {
				if err := os.Chmod(writeFile(t, dir, tc.file, fmt.Sprintf("%040d\n", 7)), tc.mode); err != nil {
					t.Fatal(err)
				}
			}
			var stdout, stderr bytes.Buffer
			code := Run(t.Context(), []string{"serve", "--config", filepath.Join(dir, "comity.yaml")}, strings.NewReader(""), &stdout, &stderr, nil)
			if code != exitFailure || !strings.Contains(stderr.String(), tc.want) || stdout.Len() > 0 {
				t.Errorf("ended with %d, stdout %q and stderr:\n%s\nwant %d and a message with %s", code, &stdout, &stderr, exitFailure, tc.want)
			}
		})
	}
}
