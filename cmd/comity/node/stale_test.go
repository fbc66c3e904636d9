package node_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/fixtures/e2e"
	"github.com/comity-auth/comity/fixtures/pg"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

// ST-01, ST-02: no token without its record, before the bound and after it; the
// node says that it is not ready, lives, and recovers unaided.
func TestDatabaseGoesAndComesBack(t *testing.T) {
	t.Parallel()
	db, err := pg.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w := e2e.NewWorld(t, e2e.WorldOptions{Options: e2e.Options{Store: db.DSN(), Config: []string{"registry: {max_stale: 2s}"}}})
	first := ask(t, w, w.Domain)
	if said(first) != "token" || w.Get(t, w.URL, "/readyz").Status != http.StatusOK {
		t.Fatalf("got %s before anything happened", first.Text)
	}
	if err := db.Stop(); err != nil {
		t.Fatal(err)
	}
	unavailable := func(when string) {
		t.Helper()
		a := ask(t, w, w.Domain)
		if a.Status != http.StatusServiceUnavailable || a.Error != "temporarily_unavailable" || a.Token != "" || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: got %d %s, want temporarily_unavailable and no token", when, a.Status, a.Text)
		}
	}
	unavailable("before the bound")
	eventually(t, func() error {
		if code := w.Get(t, w.URL, "/readyz").Status; code != http.StatusServiceUnavailable {
			return fmt.Errorf("/readyz is %d", code)
		}
		return nil
	})
	unavailable("after the bound")
	for _, at := range []string{w.URL, w.OpsURL} {
		if code := w.Get(t, at, "/healthz").Status; code != http.StatusOK {
			t.Errorf("%s/healthz is %d, want 200", at, code)
		}
	}
	if r := w.Get(t, w.OpsURL, "/readyz"); r.Status != http.StatusServiceUnavailable || !strings.Contains(r.Text, `"name":"store","status":"unavailable"`) {
		t.Errorf("got %d %s, want the store to be unavailable", r.Status, r.Text)
	}
	if code := w.Admin(t, http.MethodPut, "/admin/v1/registry", "{}", e2e.Header("If-Match", `"1"`)).Status; code != http.StatusServiceUnavailable {
		t.Errorf("a change was answered with %d, want 503", code)
	}
	if err := db.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := eventually(t, func() error {
		if a := ask(t, w, w.Domain); said(a) != "token" {
			return fmt.Errorf("got %d %s", a.Status, a.Text)
		}
		return nil
	})
	if took > 5*time.Second {
		t.Errorf("tokens %s after the database was back, want 5 s at most", took)
	}
	if code := w.Get(t, w.URL, "/readyz").Status; code != http.StatusOK {
		t.Errorf("/readyz is %d, want 200", code)
	}
	if r := w.Record(t, first.DecisionID); r.Outcome != audit.Allow {
		t.Errorf("the record of the first token is %+v", r)
	}
}

// A trust file that changed while the database was away is applied when it is
// back.
func TestTrustFileChangesWhileTheDatabaseIsDown(t *testing.T) {
	t.Parallel()
	db, err := pg.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w := e2e.NewWorld(t, e2e.WorldOptions{Options: e2e.Options{Store: db.DSN()}})
	answers(t, w, "token")
	if err := db.Stop(); err != nil {
		t.Fatal(err)
	}
	editFile(t, w.Domain, setStatus("suspended"))
	logged(t, w.Log, "reload.failed", "trust file", "unavailable")
	if err := db.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	answers(t, w, "invalid_request")
}

// ST-06: a replica serves a change within a second, and within five when the
// notification was lost.
func TestReplicaFollows(t *testing.T) {
	t.Parallel()
	dsn := pg.New(t)
	w := e2e.NewWorld(t, e2e.WorldOptions{Options: e2e.Options{Store: dsn}})
	other := w.Replica(t)
	// Seen in the metrics, because an exchange would fetch the change by itself.
	serves := func(revision trust.Revision) time.Duration {
		t.Helper()
		return eventually(t, func() error {
			if want := fmt.Sprintf("comity_registry_revision %d\n", revision); !strings.Contains(other.Metrics(t), want) {
				return fmt.Errorf("the replica does not serve revision %d", revision)
			}
			return nil
		})
	}
	serves(1)
	w.Edit(t, setStatus("suspended"))
	took := serves(2)
	t.Logf("by notification: %s", took)
	if took > 5*time.Second {
		t.Errorf("the replica served the change after %s", took)
	}
	if got := said(ask(t, w, other)); got != "invalid_request" {
		t.Errorf("the replica answered with %q, want what the change says", got)
	}

	killed, err := pg.KillListeners(t.Context(), dsn)
	if err != nil || killed != 2 {
		t.Fatalf("KillListeners = %d, %v, want one listener a replica", killed, err)
	}
	w.Edit(t, setStatus("active"))
	took = serves(3)
	t.Logf("with the listeners gone: %s", took)
	if took > 5*time.Second {
		t.Errorf("the replica served the change after %s", took)
	}
	if got := said(ask(t, w, other)); got != "token" {
		t.Errorf("the replica answered with %q, want a token", got)
	}
}
