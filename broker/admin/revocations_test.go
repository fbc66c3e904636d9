package admin_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/broker/admin"
	"github.com/comity-auth/comity/trust"
)

// handle stands in for the keyed one of package exchange.
func handle(kind, value string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + value))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

const revocations = "/admin/v1/revocations"

type revocationList struct {
	Head  uint64
	Items []admin.Revocation
	Next  string `json:"next_page_token"`
}

func TestRevokeIsServedWhenItIsAnswered(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	issued := time.Now()
	for i, tc := range []struct{ kind, body, name string }{
		{"token", `{"kind":"token","value":"4f2a"}`, "4f2a"},
		{"token", `{"kind":"token","value":"4f2a","issuer":"https://broker.globex.example"}`, "4f2a"},
		{"token", `{"kind":"token","value":"4f2a","issuer":"https://as.acme.example"}`, "https://as.acme.example 4f2a"},
		{"client", `{"kind":"client","value":"acme-agent","comment":"stolen laptop"}`, "acme-agent"},
		{"subject", `{"kind":"subject","value":"acme/alice"}`, "acme/alice"},
		{"peer-key", `{"kind":"peer-key","value":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"},
		{"all", `{"kind":"all","comment":"the worst day"}`, ""},
	} {
		got := decode[admin.Revoked](t, e.do(t, "POST", revocations, tc.body).want(t, 200, ""))
		want := handle(tc.kind, tc.name)
		if got.Handle != want || got.Kind != tc.kind || got.Head != uint64(i)+1 || got.DryRun || !got.Before.After(issued.Add(-time.Second)) {
			t.Errorf("%s: got %+v, want handle %s with number %d", tc.body, got, want, i+1)
		}
		s, err := e.live.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if _, dead := s.Revoked([]string{want}, issued.Truncate(time.Second)); !dead {
			t.Errorf("%s: the snapshot spares what was revoked", tc.body)
		}
	}
	list := decode[revocationList](t, e.do(t, "GET", revocations, "").want(t, 200, ""))
	if list.Head != 7 || len(list.Items) != 7 || list.Items[3].Comment != "stolen laptop" || list.Items[3].By == "" || list.Next != "" {
		t.Errorf("list = %+v, want the seven", list)
	}
	if strings.Contains(e.log.String(), "4f2a") {
		t.Error("the log holds a token's id")
	}
}

func TestRevokeDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	for _, tc := range []struct {
		body string
		want string // registered
	}{
		{`{"kind":"client","value":"acme-agent"}`, "true"},
		{`{"kind":"client","value":"acme-agnet"}`, "false"},
		{`{"kind":"mapping","value":"acme-research"}`, "true"},
		{`{"kind":"peer","value":"acme"}`, "true"},
		{`{"kind":"policy","value":"acme"}`, "false"},
		{`{"kind":"operator","value":"org:nobody"}`, "false"},
		{`{"kind":"key","value":"` + e.ring.KeyIDs()[0] + `"}`, "true"},
		{`{"kind":"token","value":"4f2a"}`, "unset"},
		{`{"kind":"agent","value":"acme/a1"}`, "unset"},
	} {
		got := decode[admin.Revoked](t, e.do(t, "POST", revocations+"?dry_run=true", tc.body).want(t, 200, ""))
		registered := "unset"
		if got.Registered != nil {
			registered = fmt.Sprint(*got.Registered)
		}
		if !got.DryRun || got.Head != 0 || registered != tc.want || got.Handle == "" || !got.Expires.After(got.Before) {
			t.Errorf("%s: got %+v, registered %s, want %s", tc.body, got, registered, tc.want)
		}
	}
	if _, head, err := e.store.Revocations(t.Context(), 0, 1); err != nil || head != 0 {
		t.Errorf("the store is at revocation %d, %v, want none", head, err)
	}
}

func TestRevokeRefuses(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	for name, body := range map[string]string{
		"no kind":                     `{"value":"x"}`,
		"an unknown kind":             `{"kind":"everything","comment":"x"}`,
		"no value":                    `{"kind":"client"}`,
		"a value of two lines":        `{"kind":"client","value":"a\nb"}`,
		"a value too long":            `{"kind":"client","value":"` + strings.Repeat("a", 1025) + `"}`,
		"all with a value":            `{"kind":"all","value":"x","comment":"x"}`,
		"all without a comment":       `{"kind":"all"}`,
		"an issuer of a client":       `{"kind":"client","value":"x","issuer":"https://as.acme.example"}`,
		"an issuer with a blank":      `{"kind":"token","value":"x","issuer":"https://as.acme.example y"}`,
		"a comment of two lines":      `{"kind":"client","value":"x","comment":"a\nb"}`,
		"an instant that is none":     `{"kind":"client","value":"x","before":"yesterday"}`,
		"an instant before 1970":      `{"kind":"client","value":"x","before":"1969-12-31T23:59:59Z"}`,
		"an instant in the future":    `{"kind":"client","value":"x","before":"` + time.Now().Add(time.Hour).Format(time.RFC3339) + `"}`,
		"a member nobody knows":       `{"kind":"client","value":"x","force":true}`,
		"a member given twice":        `{"kind":"client","kind":"peer","value":"x"}`,
		"a list":                      `[]`,
		"a value that is not a text":  `{"kind":"client","value":{"a":1}}`,
		"an instant without its zone": `{"kind":"client","value":"x","before":"2026-11-21T12:00:00"}`,
	} {
		t.Run(name, func(t *testing.T) {
			e.do(t, "POST", revocations, body).want(t, 422, "invalid")
		})
	}
	e.do(t, "POST", revocations, `{"kind":"client","value":"x"}`, without("Authorization")).want(t, 401, "unauthorized")
	e.do(t, "GET", revocations, "", without("Authorization")).want(t, 401, "unauthorized")
	e.do(t, "GET", revocations+"?page_size=0", "").want(t, 400, "bad_request")
	e.do(t, "GET", revocations+"?page_token=x", "").want(t, 400, "bad_request")
	if _, head, err := e.store.Revocations(t.Context(), 0, 1); err != nil || head != 0 {
		t.Errorf("the store is at revocation %d, %v, want none", head, err)
	}
}

func TestRevocationsComeInPages(t *testing.T) {
	t.Parallel()
	e := start(t)
	for i := range 5 {
		e.do(t, "POST", revocations, fmt.Sprintf(`{"kind":"client","value":"c%d"}`, i)).want(t, 200, "")
	}
	var seen []uint64
	for next, pages := "", 0; pages == 0 || next != ""; pages++ {
		list := decode[revocationList](t, e.do(t, "GET", revocations+"?page_size=2&page_token="+next, "").want(t, 200, ""))
		for _, r := range list.Items {
			seen = append(seen, r.Seq)
		}
		next = list.Next
	}
	if fmt.Sprint(seen) != "[1 2 3 4 5]" {
		t.Errorf("pages held %v, want 1 to 5", seen)
	}
}

// A cutoff in the past spares what was issued since.
func TestRevokeBefore(t *testing.T) {
	t.Parallel()
	e := start(t)
	noon := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	for range 2 {
		e.do(t, "POST", revocations, `{"kind":"client","value":"c","before":"`+noon.Format(time.RFC3339)+`"}`).want(t, 200, "")
	}
	s, err := e.live.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for issued, want := range map[time.Time]bool{noon.Add(-time.Second): true, noon: false} {
		if _, dead := s.Revoked([]string{handle("client", "c")}, issued); dead != want {
			t.Errorf("issued at %s: dead is %v, want %v", issued, dead, want)
		}
	}
	again := decode[admin.Revoked](t, e.do(t, "POST", revocations+"?dry_run=true", `{"kind":"client","value":"c"}`).want(t, 200, ""))
	if !again.Since.Equal(noon) {
		t.Errorf("since = %s, want %s", again.Since, noon)
	}
}

// unwilling is a store that fails to revoke.
type unwilling struct {
	admin.Store
	err error
}

func (s unwilling) Revoke(context.Context, []trust.Revocation) (uint64, error) { return 0, s.err }

// RV-04: never 200 when the store failed.
func TestRV04StoreFailsDuringRevoke(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"unavailable": fmt.Errorf("commit: %w", trust.ErrUnavailable),
		"timed out":   context.DeadlineExceeded,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := start(t, func(o *admin.Options) { o.Store = unwilling{o.Store, err} })
			a := e.do(t, "POST", revocations, `{"kind":"client","value":"x"}`).want(t, 503, "unavailable")
			if a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		})
	}
	e := start(t)
	if err := e.store.Close(); err != nil {
		t.Fatal(err)
	}
	e.do(t, "POST", revocations, `{"kind":"client","value":"x"}`).want(t, 503, "unavailable")
	e.do(t, "GET", revocations, "").want(t, 503, "unavailable")
}
