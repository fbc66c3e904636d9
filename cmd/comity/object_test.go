package main

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/trust"
)

// seeded is an operator of a registry that holds the sample.
func seeded(t *testing.T) *operator {
	t.Helper()
	o := newOperator(t)
	o.run(t, 0, "apply", "-f", o.write(t, "trust.yaml", sampleTrust))
	return o
}

func TestListShowsATable(t *testing.T) {
	t.Parallel()
	o := seeded(t)
	tests := []struct{ noun, want string }{
		{"peer", "NAME  DOMAIN        ISSUER                   STATUS  EXPIRES\nacme  acme.example  https://as.acme.example  active  2027-11-21T00:00:00Z\n"},
		{"mapping", "NAME           PEER  AUTHORITY  MODE     STATUS\nacme-research  acme  token      enforce  active\n"},
		{"client", "ID          AUTH                 OPERATOR  STATUS  EXPIRES\nacme-agent  client_secret_basic  -         active  2027-11-21T00:00:00Z\n"},
		{"resource", "AUDIENCE                        NAME  CLIENT  PEER\nhttps://archive.globex.example  -     -       -\n"},
		{"policy", "NAME  OPERATOR  TTL  STATUS\n"},
	}
	for _, tt := range tests {
		if stdout, stderr := o.run(t, 0, tt.noun, "list"); stdout != tt.want || stderr != "" {
			t.Errorf("%s list:\n%s\nwant:\n%s\nstderr: %s", tt.noun, stdout, tt.want, stderr)
		}
	}
	if stdout, _ := o.run(t, 0, "policy", "list", "--json"); stdout != "[]\n" {
		t.Errorf("stdout = %q", stdout)
	}
	if stdout, _ := o.run(t, 0, "peer", "list", "--json"); !strings.Contains(stdout, `"name": "acme"`) {
		t.Errorf("stdout = %q", stdout)
	}
}

// What show prints, add accepts.
func TestShowRemoveAdd(t *testing.T) {
	t.Parallel()
	o := seeded(t)
	for _, name := range [][2]string{{"mapping", "acme-research"}, {"client", "acme-agent"}, {"resource", "https://archive.globex.example"}, {"peer", "acme"}} {
		stdout, _ := o.run(t, 0, name[0], "show", name[1])
		file := o.write(t, name[0]+".yaml", stdout)
		o.run(t, 1, name[0], "add", "-f", file) // it is there already
		if stdout, _ := o.run(t, 0, name[0], "remove", name[1]); !strings.HasPrefix(stdout, "- "+name[0]+"/"+name[1]+"\n") {
			t.Errorf("stdout of remove = %q", stdout)
		}
		o.run(t, 1, name[0], "show", name[1])
		o.run(t, 1, name[0], "remove", name[1])
	}
	for _, noun := range []string{"peer", "resource", "client", "mapping"} {
		if stdout, _ := o.run(t, 0, noun, "add", "-f", filepath.Join(o.dir, noun+".yaml")); !strings.HasPrefix(stdout, "+ "+noun+"/") {
			t.Errorf("stdout of add = %q", stdout)
		}
	}
	o.run(t, 0, "diff", "-f", filepath.Join(o.dir, "trust.yaml"))
}

func TestAddRefusals(t *testing.T) {
	t.Parallel()
	o := seeded(t)
	bad := o.write(t, "bad.yaml", "name: beta\ndomain: beta.example\nissuer: ftp://x\nexpires: 2027-11-21T00:00:00Z\n")
	if _, stderr := o.run(t, 1, "peer", "add", "-f", bad); !strings.HasPrefix(stderr, bad+":3: issuer: ") {
		t.Errorf("stderr = %q", stderr)
	}
	o.run(t, 1, "peer", "add", "-f", o.write(t, "nameless.yaml", "domain: beta.example\n"))
	o.run(t, 1, "peer", "add", "-f", o.write(t, "list.yaml", "[]\n"))
	o.run(t, 1, "peer", "add", "-f", o.write(t, "none.yaml", ""))
	o.run(t, 2, "peer", "add", "-f", o.write(t, "d/x.yaml", "{}")[:len(o.dir)+2])
	o.run(t, 2, "peer", "add")
	o.run(t, 2, "peer", "nothing")
}

func TestSetFields(t *testing.T) {
	t.Parallel()
	o := seeded(t)
	stdout, stderr := o.run(t, 0, "peer", "set", "acme", "status=suspended", "expires=2028-01-01T00:00:00Z", "algorithms=[ES256, EdDSA]", "single_use=true")
	want := "~ peer/acme  algorithms: (unset) → [\"ES256\",\"EdDSA\"]\n" +
		"~ peer/acme  expires: \"2027-11-21T00:00:00Z\" → \"2028-01-01T00:00:00Z\"\n" +
		"~ peer/acme  single_use: (unset) → true\n~ peer/acme  status: (unset) → \"suspended\"\n" +
		"0 to add, 1 to change, 0 to remove (revision 2)\n"
	if stdout != want || stderr != "applied as revision 2\n" {
		t.Errorf("stdout:\n%s\nwant:\n%s\nstderr: %s", stdout, want, stderr)
	}
	if stdout, _ = o.run(t, 0, "peer", "set", "acme", "status="); !strings.Contains(stdout, "status: \"suspended\" → (unset)") {
		t.Errorf("stdout = %q", stdout)
	}
	if stdout, _ = o.run(t, 0, "mapping", "set", "acme-research", "boundary.keep=[task.id]", "max_depth=2"); !strings.Contains(stdout, "max_depth: (unset) → 2") {
		t.Errorf("stdout = %q", stdout)
	}
	if stdout, _ = o.run(t, 0, "peer", "set", "acme", "single_use=true"); stdout != "no difference (revision 4)\n" {
		t.Errorf("stdout = %q", stdout)
	}
}

func TestSetRefusals(t *testing.T) {
	t.Parallel()
	o := seeded(t)
	if _, stderr := o.run(t, 1, "mapping", "set", "acme-research", "ttl=long"); !strings.HasPrefix(stderr, "ttl: want a duration") {
		t.Errorf("stderr = %q", stderr)
	}
	o.run(t, 1, "peer", "set", "acme", "nothing=1")
	o.run(t, 1, "peer", "set", "acme", "status=off")
	o.run(t, 1, "peer", "set", "acme", "name=other")
	o.run(t, 1, "peer", "set", "nobody", "status=suspended")
	for _, args := range [][]string{{"acme"}, {"acme", "status"}, {"acme", "=x"}, {"acme", "algorithms=[ES256"}, {"acme", "jwks=*a"}, {"acme", "name.x=1"}} {
		o.run(t, 2, append([]string{"peer", "set"}, args...)...)
	}
	if st, err := o.store.Load(t.Context(), 0); err != nil || st.Revision != 1 {
		t.Errorf("revision = %d, %v; want 1", st.Revision, err)
	}
}

// A change of one object is tried again when somebody changed another meanwhile.
func TestAD06_SetRepeatsWhenTheRegistryMoved(t *testing.T) {
	t.Parallel()
	o := seeded(t)
	o.before = func(*http.Request) {
		o.before = nil
		body := []byte(`{"name":"other","domain":"other.example","issuer":"https://as.other.example","expires":"2027-11-21T00:00:00Z"}`)
		c := trust.Change{Base: 1, By: "somebody", Origin: "api", At: time.Now(),
			Put: []trust.Object{trust.NewObject(trust.Key{Kind: trust.KindPeer, Name: "other"}, 1<<30, body)}}
		if _, err := o.store.Apply(context.Background(), c); err != nil {
			t.Error(err)
		}
	}
	o.run(t, 0, "peer", "set", "acme", "status=suspended")
	if stdout, _ := o.run(t, 0, "peer", "list"); !strings.Contains(stdout, "other") || !strings.Contains(stdout, "suspended") {
		t.Errorf("a change was lost:\n%s", stdout)
	}
}

func TestPeerProbe(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	o.peers.report = &federation.ProbeReport{Issuer: "https://as.beta.example", JWKSURI: "https://as.beta.example/k", TLS: "TLS 1.3",
		Documents: []federation.ProbeDocument{{URL: "https://as.beta.example/.well-known/openid-configuration", Result: federation.FetchOK}},
		Keys:      []federation.ProbeKey{{ID: "k\x1b[31m1", Thumbprint: "tp", Algorithm: "ES256"}}, ClockKnown: true, ClockAhead: 3 * time.Second}
	stdout, _ := o.run(t, 0, "peer", "probe", "https://as.beta.example")
	for _, want := range []string{"metadata    https://as.beta.example/.well-known/openid-configuration  ok", "keys at     https://as.beta.example/k",
		"3 s ahead of the broker's", "TLS 1.3", `kid k\x1b[31m1`, "thumbprint tp"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the report lacks %q:\n%s", want, stdout)
		}
	}
	if strings.Contains(stdout, "\x1b") {
		t.Error("the issuer's text reaches the terminal unescaped")
	}
	if stdout, _ = o.run(t, 0, "peer", "probe", "https://as.beta.example", "--json"); !strings.Contains(stdout, `"thumbprint": "tp"`) {
		t.Errorf("stdout = %q", stdout)
	}
	o.peers.report.Problems = []string{"the key set holds no usable key"}
	if stdout, _ = o.run(t, 1, "peer", "probe", "https://as.beta.example"); !strings.Contains(stdout, "problem     the key set holds no usable key") {
		t.Errorf("stdout = %q", stdout)
	}
	o.peers.report.Keys = append(o.peers.report.Keys, federation.ProbeKey{Thumbprint: "ca", Use: federation.UseX509SVID})
	if stdout, _ = o.run(t, 1, "peer", "probe", "https://spire.beta.example/b", "--trust-domain", "beta.example"); !strings.Contains(stdout, "thumbprint ca  x509-svid") {
		t.Errorf("stdout = %q", stdout)
	}
	if stdout, _ = o.run(t, 0, "peer", "probe", "https://spire.beta.example/b", "--trust-domain", "beta.example", "--print-curl"); !strings.Contains(stdout, `"bundle_endpoint":"https://spire.beta.example/b"`) {
		t.Errorf("stdout = %q", stdout)
	}
	o.run(t, 1, "peer", "probe", "https://spire.beta.example/b", "--trust-domain", "Beta.example")
	o.run(t, 1, "peer", "probe", "ftp://as.beta.example")
	o.run(t, 2, "peer", "probe")
	if _, stderr := o.run(t, 2, "peer", "probe", "acme"); !strings.Contains(stderr, "comity peer refresh acme") {
		t.Errorf("stderr = %q, want what to do with a peer's name", stderr)
	}
}

func TestPeerRefresh(t *testing.T) {
	t.Parallel()
	o := seeded(t)
	if stdout, _ := o.run(t, 0, "peer", "refresh", "acme"); !strings.Contains(stdout, "https://as.acme.example") {
		t.Errorf("stdout = %q", stdout)
	}
	o.peers.err = errors.New("no")
	o.run(t, 1, "peer", "refresh", "acme")
	o.run(t, 1, "peer", "refresh", "nobody")
	if len(o.peers.asked) != 2 {
		t.Errorf("asked = %v, want acme twice", o.peers.asked)
	}
}

func TestObjectsPrintCurl(t *testing.T) {
	t.Parallel()
	o := seeded(t)
	file := o.write(t, "peer.yaml", "name: beta\n")
	for _, args := range [][]string{{"list"}, {"show", "acme"}, {"add", "-f", file}, {"set", "acme", "status=suspended"}, {"remove", "acme"},
		{"probe", "https://as.acme.example"}, {"refresh", "acme"}} {
		stdout, _ := o.run(t, 0, append(append([]string{"peer"}, args...), "--print-curl")...)
		if !strings.Contains(stdout, "/admin/v1/peers") || strings.Contains(stdout, "Bearer tok") {
			t.Errorf("%v: stdout = %q", args, stdout)
		}
	}
	if st, err := o.store.Load(t.Context(), 0); err != nil || st.Revision != 1 || len(o.peers.asked) != 0 {
		t.Errorf("revision = %d, %v, asked %v; want nothing done", st.Revision, err, o.peers.asked)
	}
}

// The shell completes the names that the registry has.
func TestNamesAreCompleted(t *testing.T) {
	t.Parallel()
	o := seeded(t)
	if stdout, _ := o.run(t, 0, "__complete", "peer", "show", ""); !strings.HasPrefix(stdout, "acme\n") {
		t.Errorf("stdout = %q", stdout)
	}
	if stdout, _ := o.run(t, 0, "__complete", "mapping", "set", "acme-research", ""); strings.Contains(stdout, "acme-research\n") {
		t.Errorf("stdout = %q", stdout)
	}
}
