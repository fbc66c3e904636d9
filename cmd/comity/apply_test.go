package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/broker/admin"
	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/ident"
	"github.com/comity-auth/comity/trust/sqlite"
)

// operator is somebody at a terminal, with a broker's admin API to talk to.
type operator struct {
	dir   string
	env   []string
	stdin string
	// before is called before each request that changes something.
	before func(*http.Request)
	peers  *fakePeers
	store  *sqlite.Store
}

type fakePeers struct {
	report *federation.ProbeReport
	err    error
	asked  []string
}

func (p *fakePeers) Refresh(_ context.Context, peer federation.Peer) error {
	p.asked = append(p.asked, peer.Name)
	return p.err
}

func (p *fakePeers) Probe(_ context.Context, peer federation.Peer) (*federation.ProbeReport, error) {
	p.asked = append(p.asked, peer.Issuer)
	return p.report, p.err
}

func (p *fakePeers) HealthOf(peer federation.Peer) federation.PeerHealth {
	return federation.PeerHealth{Name: peer.Name, Issuer: peer.Issuer}
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	o := &operator{dir: t.TempDir(), peers: &fakePeers{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	domain, err := ident.ParseDomain("globex.example")
	must(err)
	issuer, err := ident.ParseIssuer("https://broker.globex.example")
	must(err)
	compiler, err := trust.NewCompiler(trust.Settings{Domain: domain, Issuer: issuer,
		TTL: 300 * time.Second, MaxTTL: 900 * time.Second, MinTTL: 30 * time.Second})
	must(err)
	o.store, err = sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(o.dir, "c.db")})
	must(err)
	t.Cleanup(func() { _ = o.store.Close() })
	live, err := trust.NewLive(t.Context(), o.store, compiler, trust.LiveOptions{})
	must(err)
	seal, err := keys.OpenSeal("file:" + filepath.Join(o.dir, "seal"))
	must(err)
	ring, err := keys.Open(t.Context(), o.store, keys.Options{Algorithm: keys.ES256, Seal: seal})
	must(err)
	api, err := admin.New(admin.Options{Store: o.store, Compiler: compiler, Live: live, Keys: o.peers,
		Handle: func(kind, value string) string {
			sum := sha256.Sum256([]byte(kind + " " + value))
			return base64.RawURLEncoding.EncodeToString(sum[:12])
		}, IDs: ring.IDs(), Ring: ring,
		Peer:  func(p *trust.Peer) federation.Peer { return federation.Peer{Name: p.Name, Issuer: p.Issuer.String()} },
		Token: func() string { return "tok" }})
	must(err)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o.before != nil && r.Method != http.MethodGet && r.URL.Query().Get("dry_run") == "" {
			o.before(r)
		}
		api.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	o.env = []string{"COMITY_SERVER=" + srv.URL, "COMITY_TOKEN_FILE=" + o.write(t, "admin.token", "tok\n")}
	return o
}

// write makes a file and returns its path.
func (o *operator) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(o.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs a command line and fails unless it ends with the code.
func (o *operator) run(t *testing.T, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if got := Run(t.Context(), args, strings.NewReader(o.stdin), &out, &errs, o.env); got != code {
		t.Fatalf("%v ended with %d, want %d\nstdout: %s\nstderr: %s", args, got, code, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

const sampleTrust = `peers:
  - name: acme
    domain: acme.example
    issuer: https://as.acme.example
    expires: 2027-11-21T00:00:00Z
resources:
  - audience: https://archive.globex.example
    scopes: [archive.read]
clients:
  - id: acme-agent
    auth: client_secret_basic
    secret_hash: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    proof: optional
    expires: 2027-11-21T00:00:00Z
mappings:
  - name: acme-research
    peer: acme
    clients: [acme-agent]
    resources: [https://archive.globex.example]
    scopes: [archive.read]
    ttl: 300s
`

func TestApplyPrintsTheDifferenceFirst(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	file := o.write(t, "trust.yaml", sampleTrust)
	stdout, stderr := o.run(t, 0, "apply", "-f", file)
	want := "+ peer/acme\n+ resource/https://archive.globex.example\n+ client/acme-agent\n+ mapping/acme-research\n" +
		"4 to add, 0 to change, 0 to remove (revision 0)\n"
	if stdout != want || stderr != "applied as revision 1\n" {
		t.Errorf("stdout:\n%s\nwant:\n%s\nstderr: %s", stdout, want, stderr)
	}
	if stdout, _ = o.run(t, 0, "apply", "-f", file); stdout != "no difference (revision 1)\n" {
		t.Errorf("stdout of the second = %q", stdout)
	}

	second := strings.Replace(strings.Replace(sampleTrust, "ttl: 300s", "ttl: 600s\n    max_depth: 2", 1), "name: acme-research", "name: acme-other", 1)
	o.write(t, "trust.yaml", strings.Replace(second, "issuer: https://as.acme.example", "issuer: https://as2.acme.example", 1))
	stdout, _ = o.run(t, 0, "apply", "-f", file, "--comment", "new mapping")
	want = "~ peer/acme  issuer: \"https://as.acme.example\" → \"https://as2.acme.example\"\n" +
		"+ mapping/acme-other\n- mapping/acme-research\n1 to add, 1 to change, 1 to remove (revision 1)\n"
	if stdout != want {
		t.Errorf("stdout:\n%s\nwant:\n%s", stdout, want)
	}
}

func TestExportIsAppliedUnchanged(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	o.run(t, 0, "apply", "-f", o.write(t, "trust.yaml", sampleTrust))
	exported, stderr := o.run(t, 0, "export")
	if stderr != "" || !strings.Contains(exported, "name: acme-research") {
		t.Errorf("stdout:\n%s\nstderr: %s", exported, stderr)
	}
	out := filepath.Join(o.dir, "out.yaml")
	o.run(t, 0, "export", "-o", out)
	if text, err := os.ReadFile(out); err != nil || string(text) != exported {
		t.Errorf("the file differs from what was printed: %v", err)
	}
	asJSON, _ := o.run(t, 0, "export", "--json")
	for name, text := range map[string]string{"again.yaml": exported, "again.json": asJSON} {
		if stdout, _ := o.run(t, 0, "diff", "-f", o.write(t, name, text)); stdout != "no difference (revision 1)\n" {
			t.Errorf("%s: stdout = %q", name, stdout)
		}
	}
	o.stdin = exported
	o.run(t, 0, "diff", "-f", "-")
}

// diff and apply --dry-run end with 0 same, 1 differs, 4 failed, 2 wrong usage.
func TestExitCodesOfDiff(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	file := o.write(t, "trust.yaml", sampleTrust)
	empty := o.write(t, "empty.yaml", "{}\n")
	bad := o.write(t, "bad.yaml", strings.Replace(sampleTrust, "peer: acme\n", "peer: nobody\n", 1))
	for _, command := range [][]string{{"diff"}, {"apply", "--dry-run"}} {
		run := func(code int, args ...string) (string, string) {
			t.Helper()
			return o.run(t, code, append(command, args...)...)
		}
		run(0, "-f", empty)
		if stdout, _ := run(1, "-f", file); !strings.HasPrefix(stdout, "+ peer/acme\n") {
			t.Errorf("stdout = %q", stdout)
		}
		if stdout, _ := run(1, "-f", file, "--json"); !strings.Contains(stdout, `"object": "peer/acme"`) {
			t.Errorf("stdout = %q", stdout)
		}
		stdout, stderr := run(4, "-f", bad)
		if stdout != "" || stderr != bad+":17: mappings[0].peer: no peer of that name is registered\n" {
			t.Errorf("stdout = %q, stderr = %q", stdout, stderr)
		}
		run(4, "-f", filepath.Join(o.dir, "absent.yaml"))
		run(4, "-f", file, "--server", "http://127.0.0.1:1")
		run(4, "-f", file, "--token-file", o.write(t, "wrong.token", "nope"))
		run(4, "-f", file, "--token-file", filepath.Join(o.dir, "absent.token"))
		run(2)
		run(2, "-f", file, "--server", "http://broker.example:8090")
		run(2, "-f", file, "extra")
	}
	if st, err := o.store.Load(t.Context(), 0); err != nil || st.Revision != 0 {
		t.Errorf("revision = %d, %v; want 0", st.Revision, err)
	}
}

func TestApplyFailures(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	bad := o.write(t, "bad.yaml", strings.Replace(sampleTrust, "ttl: 300s", "tll: 300s", 1))
	if _, stderr := o.run(t, 1, "apply", "-f", bad); stderr != bad+":21: mappings[0].tll: unknown key; did you mean ttl?\n" {
		t.Errorf("stderr = %q", stderr)
	}
	o.run(t, 1, "apply", "-f", o.write(t, "none.yaml", ""))
	o.run(t, 2, "apply")
	for _, command := range []string{"apply", "diff"} {
		if _, stderr := o.run(t, 2, command, "trust.yaml"); !strings.HasPrefix(stderr, "comity: name the trust file with -f: comity "+command+" -f trust.yaml\n") {
			t.Errorf("%s without the flag: stderr = %q", command, stderr)
		}
	}
}

// Apply refuses when the registry moved between the difference and the change.
func TestAD06_ApplyRefusesWhenTheRegistryMoved(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	file := o.write(t, "trust.yaml", sampleTrust)
	o.before = func(*http.Request) {
		o.before = nil
		body := []byte(`{"name":"other","domain":"other.example","issuer":"https://as.other.example","expires":"2027-11-21T00:00:00Z"}`)
		c := trust.Change{By: "somebody", Origin: "api", At: time.Now(),
			Put: []trust.Object{trust.NewObject(trust.Key{Kind: trust.KindPeer, Name: "other"}, 1, body)}}
		if _, err := o.store.Apply(context.Background(), c); err != nil {
			t.Error(err)
		}
	}
	_, stderr := o.run(t, 1, "apply", "-f", file)
	if !strings.Contains(stderr, "the registry was changed meanwhile; nothing was applied") {
		t.Errorf("stderr = %q", stderr)
	}
	st, err := o.store.Load(t.Context(), 0)
	if err != nil || st.Revision != 1 || len(st.Objects) != 1 {
		t.Errorf("registry = %d objects at %d, %v; want the other writer's", len(st.Objects), st.Revision, err)
	}
}

func TestApplyFolder(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	head, tail, _ := strings.Cut(sampleTrust, "clients:\n")
	o.write(t, "d/10-peers.yaml", head)
	o.write(t, "d/20-clients.yml", "clients:\n"+tail)
	o.write(t, "d/30.json", `{"peers":[{"name":"beta","domain":"beta.example","issuer":"https://as.beta.example","expires":"2027-11-21T00:00:00Z"}]}`)
	o.write(t, "d/.hidden.yaml", "nonsense")
	o.write(t, "d/README.md", "nonsense")
	dir := filepath.Join(o.dir, "d")
	if stdout, _ := o.run(t, 0, "apply", "-f", dir); !strings.Contains(stdout, "5 to add, 0 to change, 0 to remove") {
		t.Errorf("stdout = %s", stdout)
	}
	o.run(t, 0, "diff", "-f", dir)

	// Defects are told by file, whoever finds them.
	o.write(t, "d/30.json", "{\n\"peers\":[{\"name\":\"beta\",\n\"domain\":\"beta.example\",\n\"issuer\":\"https://as.acme.example\",\"expires\":\"2027-11-21T00:00:00Z\"}]}")
	_, stderr := o.run(t, 1, "apply", "-f", dir)
	if want := filepath.Join(dir, "30.json") + ":4: peers[0].issuer: is registered already, for peer acme\n"; stderr != want {
		t.Errorf("stderr = %q, want %q", stderr, want)
	}
	o.write(t, "d/30.json", "peers:\n- nmae: x\n")
	_, stderr = o.run(t, 1, "apply", "-f", dir)
	if !strings.HasPrefix(stderr, filepath.Join(dir, "30.json")+":2: peers[0].nmae: unknown key") {
		t.Errorf("stderr = %q", stderr)
	}
	o.run(t, 1, "apply", "-f", t.TempDir())
}

// The printed commands hold no token and change nothing.
func TestPrintCurl(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	file := o.write(t, "it's.yaml", sampleTrust)
	for _, args := range [][]string{{"apply", "-f", file}, {"diff", "-f", file}, {"export"}} {
		stdout, stderr := o.run(t, 0, append(args, "--print-curl")...)
		if !strings.Contains(stdout, `curl -sS --fail-with-body `) || strings.Contains(stdout, "Bearer tok") || stderr != "" {
			t.Errorf("%v: stdout = %q, stderr = %q", args, stdout, stderr)
		}
		if !strings.Contains(stdout, `-H "Authorization: Bearer $(cat `) {
			t.Errorf("%v: the token is not read from its file: %q", args, stdout)
		}
	}
	stdout, _ := o.run(t, 0, "apply", "-f", file, "--print-curl")
	if !strings.Contains(stdout, `-H 'If-Match: "REVISION"'`) || !strings.Contains(stdout, `it'\''s.yaml'`) {
		t.Errorf("stdout = %q", stdout)
	}
	if st, err := o.store.Load(t.Context(), 0); err != nil || st.Revision != 0 {
		t.Errorf("revision = %d, %v; want 0", st.Revision, err)
	}
}
