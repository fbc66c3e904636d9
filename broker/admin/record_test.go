package admin_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/broker/admin"
	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

// decide puts n refusals on the record and returns their ids.
func (e *env) decide(t *testing.T, n int) []string {
	t.Helper()
	ledger := trust.NewLedger(e.store, trust.LedgerOptions{})
	defer ledger.Close()
	var ids []string
	for i := range n {
		rec := audit.Record{At: time.Now(), Event: "token.exchange", Outcome: audit.Deny, Reason: fmt.Sprintf("reason_%d", i),
			Checks: []audit.Check{{Step: "subject", Name: "exp", Result: audit.Fail, Expected: "later", Seen: "<b>past</b>"}}}
		out, err := ledger.Commit(t.Context(), trust.Entry{Record: rec, IfReplayed: rec})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.ring.IDs().Seal(out.At))
	}
	return ids
}

func TestDecisionByID(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	ids := e.decide(t, 3)
	for i, id := range ids {
		got := decode[admin.Decision](t, e.do(t, "GET", "/admin/v1/decisions/"+id, "").want(t, 200, ""))
		if got.ID != id || got.Record.Reason != fmt.Sprintf("reason_%d", i) || len(got.Record.Checks) != 1 || got.Seq != uint64(i+1) {
			t.Errorf("decision = %+v", got)
		}
	}
	// Whatever is wrong with an id, the answer is the same.
	want := e.do(t, "GET", "/admin/v1/decisions/0", "").want(t, 404, "not_found").body
	for _, id := range []string{
		"nothing", strings.Repeat("0", 32), strings.ToUpper(ids[0]), ids[0][:31], ids[0] + "0",
		e.ring.IDs().Seal(audit.Position{Writer: 1, Seq: 99}), e.ring.IDs().Seal(audit.Position{Writer: 9, Seq: 1}),
		e.ring.IDs().Seal(audit.Position{Writer: trust.RegistryWriter, Seq: 1}), "%2e%2e", "a%00b",
	} {
		if got := e.do(t, "GET", "/admin/v1/decisions/"+id, "").want(t, 404, "not_found").body; got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}

func TestAuditVerify(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	e.decide(t, 5)
	got := decode[admin.Verification](t, e.do(t, "GET", "/admin/v1/audit/verify", "").want(t, 200, ""))
	if !got.OK || got.Records != 6 || len(got.Chains) != 2 || got.Chains[0].Writer != trust.RegistryWriter {
		t.Errorf("verification = %+v", got)
	}
}

// forged is a store whose records somebody edited.
type forged struct {
	admin.Store
	edit func([]audit.Row) []audit.Row
}

func (f forged) Records(ctx context.Context, after audit.Position, limit int) ([]audit.Row, error) {
	rows, err := f.Store.Records(ctx, after, limit)
	if after.Writer == trust.RegistryWriter {
		return rows, err
	}
	return f.edit(rows), err
}

func TestAuditVerifyFindsForgery(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		edit func([]audit.Row) []audit.Row
	}{
		{"finds a changed record", func(r []audit.Row) []audit.Row {
			r[2].Body = []byte(strings.Replace(string(r[2].Body), "reason_2", "reason_9", 1))
			return r
		}},
		{"finds a record that is gone", func(r []audit.Row) []audit.Row { return append(r[:2], r[3:]...) }},
		{"finds records swapped", func(r []audit.Row) []audit.Row { r[1], r[2] = r[2], r[1]; return r }},
		{"finds the end cut off", func(r []audit.Row) []audit.Row {
			if len(r) < 5 {
				return nil
			}
			return r[:3]
		}},
		{"finds a chain made up anew", func(r []audit.Row) []audit.Row {
			head := audit.Head{Position: audit.Position{Writer: r[0].Writer}}
			for i := range r {
				r[i] = head.Append([]byte(`{}`))
				head = r[i].Head()
			}
			return r
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := start(t, func(o *admin.Options) { o.Store = forged{o.Store, tt.edit} })
			e.decide(t, 5)
			got := decode[admin.Verification](t, e.do(t, "GET", "/admin/v1/audit/verify", "").want(t, 200, ""))
			if got.OK || len(got.Chains) != 1 || got.Chains[0].OK || got.Chains[0].Problem == "" {
				t.Errorf("verification = %+v", got)
			}
		})
	}
}

func TestAD22_KeysAreListedWithoutSecrets(t *testing.T) {
	t.Parallel()
	e := start(t)
	a := e.do(t, "GET", "/admin/v1/keys", "").want(t, 200, "")
	got := decode[struct{ Keys []keys.KeyInfo }](t, a)
	if len(got.Keys) == 0 || !got.Keys[0].Signing {
		t.Errorf("keys = %+v", got)
	}
	for _, secret := range []string{`"d"`, `"k"`, "sealed", "Sealed"} {
		if strings.Contains(a.body, secret) {
			t.Errorf("the list holds %s: %s", secret, a.body)
		}
	}
}

func TestPeerRefreshAndHealth(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	e.do(t, "POST", "/admin/v1/peers/acme:refresh", "").want(t, 200, "")
	e.do(t, "POST", "/admin/v1/peers/nobody:refresh", "").want(t, 404, "not_found")
	if len(e.keys.refreshed) != 1 || e.keys.refreshed[0] != "acme" {
		t.Errorf("refreshed = %v, want acme once", e.keys.refreshed)
	}
	e.keys.err = errors.New("connect to a place with a secret name")
	a := e.do(t, "POST", "/admin/v1/peers/acme:refresh", "").want(t, 502, "peer_unreachable")
	if strings.Contains(a.body, "secret name") {
		t.Errorf("the answer holds the cause: %s", a.body)
	}
	health := decode[struct{ Peers []admin.PeerHealth }](t, e.do(t, "GET", "/admin/v1/health/peers", "").want(t, 200, ""))
	if len(health.Peers) != 1 || health.Peers[0].Name != "acme" || health.Peers[0].Breaker != "closed" || health.Peers[0].Status != "active" {
		t.Errorf("health = %+v", health)
	}
}

func TestPeerProbe(t *testing.T) {
	t.Parallel()
	e := start(t)
	e.keys.report = &federation.ProbeReport{Issuer: "https://as.beta.example", JWKSURI: "https://as.beta.example/k",
		Keys: []federation.ProbeKey{{ID: "<script>", Thumbprint: "t", Algorithm: "ES256"}}, ClockKnown: true, ClockAhead: -2 * time.Second}
	for _, body := range []string{"", "{}", `{"issuer":""}`, `{"issuer":"http://as.beta.example"}`, `{"issuer":"https://as.beta.example?x"}`,
		`{"issuer":"file:///etc/passwd"}`, `{"issuer":"https://as.beta.example","x":1}`, `["https://as.beta.example"]`} {
		e.do(t, "POST", "/admin/v1/peers:probe", body, with("Content-Type", "application/json")).want(t, 422, "invalid")
	}
	if len(e.keys.probed) != 0 {
		t.Fatalf("probed = %v, want none", e.keys.probed)
	}
	for _, body := range []string{`{"trust_domain":"beta.example"}`, `{"bundle_endpoint":"https://spire.beta.example/b"}`,
		`{"trust_domain":"Beta.example","bundle_endpoint":"https://spire.beta.example/b"}`,
		`{"trust_domain":"beta.example","bundle_endpoint":"http://spire.beta.example/b"}`,
		`{"trust_domain":"beta.example","bundle_endpoint":"https://spire.beta.example/b","issuer":"https://as.beta.example"}`} {
		e.do(t, "POST", "/admin/v1/peers:probe", body, with("Content-Type", "application/json")).want(t, 422, "invalid")
	}
	e.do(t, "POST", "/admin/v1/peers:probe", `{"trust_domain":"beta.example","bundle_endpoint":"https://spire.beta.example/b"}`).want(t, 200, "")
	if p := e.keys.probed; len(p) != 1 || p[0].TrustDomain != "beta.example" || p[0].Discovery != federation.AtBundle || p[0].JWKSURI != "https://spire.beta.example/b" {
		t.Errorf("probed %+v, want the endpoint", p)
	}
	e.keys.probed = nil
	a := e.do(t, "POST", "/admin/v1/peers:probe", `{"issuer":"https://as.beta.example"}`).want(t, 200, "")
	got := decode[admin.Probe](t, a)
	if got.Keys[0].ID != "<script>" || *got.ClockAheadSeconds != -2 || got.Problems == nil {
		t.Errorf("probe = %+v", got)
	}
	if strings.Contains(a.body, "<script>") {
		t.Error("markup of a peer stands in the answer unescaped")
	}
	if rev := revision(t, e); rev != 0 {
		t.Errorf("revision = %d, want 0", rev)
	}
}

// down is a store that does not answer.
type down struct{ admin.Store }

func (down) Load(context.Context, trust.Revision) (trust.State, error) {
	return trust.State{}, fmt.Errorf("dial 10.1.2.3: %w", trust.ErrUnavailable)
}

func (down) Writers(context.Context) ([]audit.Head, error) { return nil, errors.New("disk on fire") }

func TestStoreFailuresSayNothing(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *admin.Options) { o.Store = down{o.Store} })
	a := e.do(t, "GET", registry, "").want(t, 503, "unavailable")
	if a.header.Get("Retry-After") == "" || strings.Contains(a.body, "10.1.2.3") {
		t.Errorf("answer = %v %s", a.header, a.body)
	}
	a = e.do(t, "GET", "/admin/v1/audit/verify", "").want(t, 500, "internal")
	if strings.Contains(a.body, "fire") || !strings.Contains(e.log.String(), "fire") {
		t.Errorf("the cause belongs in the log alone: %s", a.body)
	}
}

// behind is a broker whose snapshot does not follow.
type behind struct{ admin.Live }

func (behind) Await(context.Context, trust.Fence) error { return trust.ErrUnavailable }

// A change that is stored and not served yet is not reported as done.
func TestChangeThatIsNotServedYet(t *testing.T) {
	t.Parallel()
	e := start(t, func(o *admin.Options) { o.Live = behind{o.Live} })
	a := e.do(t, "PUT", registry, sample, with("If-Match", `"0"`)).want(t, 503, "not_served")
	if p := decode[admin.Problem](t, a); p.Revision != 1 || revision(t, e) != 1 {
		t.Errorf("problem = %+v", p)
	}
}
