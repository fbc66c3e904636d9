package node_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comity-auth/comity/cmd/comity/node"
	"github.com/comity-auth/comity/fixtures/e2e"
	"github.com/comity-auth/comity/fixtures/pg"
	"github.com/comity-auth/comity/trust"
)

// The file is applied at start and again when it changes; what is bad keeps the
// old registry and is reported whole.
func TestTrustFileIsFollowed(t *testing.T) {
	t.Parallel()
	w := e2e.NewWorld(t, e2e.WorldOptions{})
	answers(t, w, "token")
	if got := w.Revision(t); got != 1 {
		t.Errorf("revision %d after the start, want 1", got)
	}
	editFile(t, w.Domain, setStatus("suspended"))
	answers(t, w, "invalid_request")

	good, err := os.ReadFile(filepath.Join(w.Dir, "trust.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(w.Dir, "trust.yaml"), "peers: [{name: acme, colour: red}]\nmappings: [{name: m, peer: nobody}]\n")
	logged(t, w.Log, "reload.failed", "trust file", "colour", "mappings[0].peer")
	if got := said(ask(t, w, w.Domain)); got != "invalid_request" {
		t.Errorf("a bad file: answered with %q, want what the old registry says", got)
	}
	if got := w.Revision(t); got != 2 {
		t.Errorf("revision %d after a bad file, want 2", got)
	}

	replace(t, filepath.Join(w.Dir, "trust.yaml"), "")
	logged(t, w.Log, "reload.failed", "trust file", "empty")
	replace(t, filepath.Join(w.Dir, "trust.yaml"), string(good))
	editFile(t, w.Domain, setStatus("active"))
	answers(t, w, "token")
}

// What an administrator changed stays until an administrator says otherwise,
// whatever is restarted or reloaded.
func TestTrustFileThatDidNotChangeLeavesTheRegistryAlone(t *testing.T) {
	t.Parallel()
	w := e2e.NewWorld(t, e2e.WorldOptions{})
	w.Edit(t, setStatus("suspended"))
	answers(t, w, "invalid_request")
	revision := w.Revision(t)
	w.Restart(t)
	// The same content with another time stamp is read again.
	now := time.Now().Add(time.Minute)
	if err := os.Chtimes(filepath.Join(w.Dir, "trust.yaml"), now, now); err != nil {
		t.Fatal(err)
	}
	logged(t, w.Log, `"reload"`, "trust file")
	answers(t, w, "invalid_request")
	if got := w.Revision(t); got != revision {
		t.Errorf("revision %d, want still %d", got, revision)
	}
	if n := count(w.Log, "trust.drift"); n != 0 {
		t.Errorf("%d reports of drift, want none: the file is as it was applied", n)
	}
}

// Neither side overwrites the other when both changed.
func TestTrustFileThatDriftedIsReported(t *testing.T) {
	t.Parallel()
	w := e2e.NewWorld(t, e2e.WorldOptions{})
	w.Edit(t, setStatus("suspended"))
	revision := w.Revision(t)
	editFile(t, w.Domain, func(f *trust.File) { f.Resources[0].Name = "Archive" })
	logged(t, w.Log, "trust.drift", "WARN")
	w.Restart(t)
	if n := count(w.Log, "trust.drift"); n != 2 {
		t.Errorf("%d reports of drift, want one a start and one a change", n)
	}
	answers(t, w, "invalid_request")
	if got := w.Revision(t); got != revision {
		t.Errorf("revision %d, want still %d", got, revision)
	}

	// Applied through the API, as the report asks for, the file is followed again.
	text, err := os.ReadFile(filepath.Join(w.Dir, "trust.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	w.Apply(t, string(text))
	answers(t, w, "token")
	w.Restart(t)
	editFile(t, w.Domain, setStatus("suspended"))
	answers(t, w, "invalid_request")
	if n := count(w.Log, "trust.drift"); n != 2 {
		t.Errorf("%d reports of drift, want none after the file was applied", n)
	}
}

// A registry with content that no file made is not overwritten by the first.
func TestFirstTrustFileMeetsARegistry(t *testing.T) {
	t.Parallel()
	dsn := pg.New(t)
	w := e2e.Start(t, e2e.Options{Store: dsn})
	w.Apply(t, `resources: [{audience: "https://x.globex.example", scopes: [x.read]}]`)
	revision := w.Revision(t)
	other := e2e.Start(t, e2e.Options{Store: dsn, Trust: `resources: [{audience: "https://y.globex.example", scopes: [y.read]}]`,
		Config: []string{`keys: {seal: "file:` + filepath.Join(w.Dir, "comity.seal") + `"}`}})
	logged(t, other.Log, "trust.drift")
	if got := w.Revision(t); got != revision {
		t.Errorf("revision %d, want still %d", got, revision)
	}
}

func TestReloadAppliesAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, t.TempDir())
	s.opts.WatchEvery = time.Hour
	n, err := node.Open(t.Context(), s.cfg, s.opts)
	if err != nil {
		t.Fatal(err)
	}
	defer serve(t, n)()
	if _, err := s.exchange(t.Context(), plain()); err != nil {
		t.Fatal(err)
	}
	good := s.trust()
	s.write(t, "trust.yaml", strings.Replace(good, "proof: optional\n    expires", "proof: optional\n    status: suspended\n    expires", 1))
	if err := n.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res, err := s.exchange(t.Context(), plain()); err == nil || res == nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %v for a suspended client, want 401", err)
	}
	s.write(t, "trust.yaml", "peers: 7")
	if err := n.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "trust file") {
		t.Errorf("Reload = %v, want the trust file's problem", err)
	}
	s.write(t, "trust.yaml", good)
	if err := n.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.exchange(t.Context(), plain()); err != nil {
		t.Error(err)
	}
}

func TestBadTrustFileRefusesToStart(t *testing.T) {
	t.Parallel()
	s := newSite(t, t.TempDir())
	path := s.write(t, "trust.yaml", "peers: [{name: acme, colour: red}]\n")
	if _, err := node.Open(t.Context(), s.cfg, s.opts); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "colour") {
		t.Errorf("Open = %v, want one that names the file and the key", err)
	}
}

// Replicas that start on an empty database at once, with one file, end with the
// same registry and the same keys.
func TestReplicasStartAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSite(t, dir, fmt.Sprintf("store: %q", pg.New(t)))
	const replicas = 4
	nodes, errs := make([]*node.Node, replicas), make([]error, replicas)
	var starting sync.WaitGroup
	for i := range replicas {
		starting.Go(func() { nodes[i], errs[i] = node.Open(t.Context(), s.cfg, s.opts) })
	}
	starting.Wait()
	for _, n := range nodes {
		if n != nil {
			defer n.Close()
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if n := count(&s.log, "trust.applied"); n != 1 {
		t.Errorf("the file was applied %d times, want once", n)
	}
	if n := count(&s.log, "trust.drift"); n != 0 {
		t.Errorf("%d reports of drift, want none", n)
	}
	for i, n := range nodes {
		if got := n.Components()[0]; got.Status != "ok" || !strings.Contains(got.Detail, "revision 1,") {
			t.Errorf("replica %d: registry %+v, want revision 1", i, got)
		}
	}
}

const policyFile = `{"policy_id": "org-globex", "applies_to": {"operator": "org:globex"},
 "allowed_capabilities": [{"action": %q, "default_constraints": {"max_requests_per_hour": 7}}],
 "global_constraints": {"token_lifetime": 120}}`

func TestPolicyFolderIsFollowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "Globex.json")
	replace(t, path, fmt.Sprintf(policyFile, "archive.search"))
	w := e2e.NewWorld(t, e2e.WorldOptions{Options: e2e.Options{Config: []string{"policies: " + dir}}})
	issue := func() e2e.Answer {
		return w.Token(t, w.Signed(w.Idle, e2e.With(url.Values{}, "grant_type", e2e.ClientCredentials, "resource", e2e.Search,
			"task_id", "task-1", "task_purpose", "search")))
	}
	actions := func(a e2e.Answer) (out []string) {
		list, _ := a.Claims["capabilities"].([]any)
		for _, v := range list {
			c, _ := v.(map[string]any)
			out = append(out, fmt.Sprintf("%v %v", c["action"], c["constraints"]))
		}
		return out
	}
	carries := func(want ...string) {
		t.Helper()
		eventually(t, func() error {
			if a := issue(); !slices.Equal(actions(a), want) {
				return fmt.Errorf("got %d %s with %v, want %v", a.Status, a.Error, actions(a), want)
			}
			return nil
		})
	}
	carries("archive.search map[max_requests_per_hour:7]")
	if a := issue(); a.ExpiresIn != 120 {
		t.Errorf("expires_in %v, want the 120 s of the policy file", a.ExpiresIn)
	}
	replace(t, path, fmt.Sprintf(policyFile, "archive.fetch"))
	carries("archive.fetch map[max_requests_per_hour:7]")

	replace(t, path, `{"policy_id": "x", "surprise": 1}`)
	replace(t, filepath.Join(dir, "other.json"), `[]`)
	logged(t, w.Log, "reload.failed", "Globex.json", "other.json")
	carries("archive.fetch map[max_requests_per_hour:7]")

	for _, name := range []string{path, filepath.Join(dir, "other.json")} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() error {
		if a := issue(); a.Error != "invalid_target" {
			return fmt.Errorf("got %d %s, want invalid_target without any policy", a.Status, a.Error)
		}
		return nil
	})
}

// The name of a policy file is the policy's: renaming it is a change.
func TestRenamedPolicyFileIsAChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	replace(t, filepath.Join(dir, "one.json"), fmt.Sprintf(policyFile, "archive.search"))
	w := e2e.NewWorld(t, e2e.WorldOptions{Options: e2e.Options{Config: []string{"policies: " + dir}}})
	if err := os.Rename(filepath.Join(dir, "one.json"), filepath.Join(dir, "two.json")); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if r := w.Admin(t, http.MethodGet, "/admin/v1/policies/two", ""); r.Status != http.StatusOK {
			return fmt.Errorf("status %d for the policy's new name", r.Status)
		}
		return nil
	})
}
