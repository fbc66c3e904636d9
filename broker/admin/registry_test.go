package admin_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/comity-auth/comity/broker/admin"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

const registry = "/admin/v1/registry"

func TestRegistryStartsEmpty(t *testing.T) {
	t.Parallel()
	a := start(t).do(t, "GET", registry, "").want(t, 200, "")
	if a.header.Get("ETag") != `"0"` || a.header.Get("Content-Type") != "application/yaml" {
		t.Errorf("header = %v", a.header)
	}
}

// What is exported is accepted unchanged and makes no difference.
func TestExportThenApplyIsNoDifference(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	for _, mediaType := range []string{"application/yaml", "application/json"} {
		got := e.do(t, "GET", registry, "", with("Accept", mediaType)).want(t, 200, "")
		if ct := got.header.Get("Content-Type"); ct != mediaType {
			t.Errorf("Content-Type = %q, want %q", ct, mediaType)
		}
		a := e.do(t, "PUT", registry, got.body, with("Content-Type", mediaType), with("If-Match", got.header.Get("ETag"))).want(t, 200, "")
		if r := decode[admin.Result](t, a); r.Changed || r.Revision != 1 || len(r.Differences) != 0 {
			t.Errorf("%s: result = %+v, want no difference at revision 1", mediaType, r)
		}
	}
}

// A change is served when the answer comes.
func TestPutIsServedWhenAnswered(t *testing.T) {
	t.Parallel()
	e := start(t)
	a := e.do(t, "PUT", registry+"?comment=first+peers", sample, with("If-Match", `"0"`)).want(t, 200, "")
	r := decode[admin.Result](t, a)
	if !r.Changed || r.Revision != 1 || len(r.Differences) != 4 || a.header.Get("ETag") != `"1"` {
		t.Errorf("result = %+v with ETag %s", r, a.header.Get("ETag"))
	}
	s, err := e.live.Snapshot()
	if err != nil || s.Revision() != 1 {
		t.Fatalf("snapshot at %d, %v; want 1", s.Revision(), err)
	}
	rows, err := e.store.Records(t.Context(), audit.Position{}, 10)
	if err != nil || len(rows) != 1 {
		t.Fatalf("records = %d, %v; want 1", len(rows), err)
	}
	for _, want := range []string{`"by":"bootstrap"`, `"origin":"api"`, `"comment":"first peers"`, `"object":"peer/acme"`, `"document":"`} {
		if !strings.Contains(string(rows[0].Body), want) {
			t.Errorf("record %s lacks %s", rows[0].Body, want)
		}
	}
}

func TestDryRunShowsTheDifferenceAndChangesNothing(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	changed := strings.Replace(sample, "ttl: 300s", "ttl: 600s", 1)
	for _, opts := range [][]option{nil, {with("If-Match", `"1"`)}} {
		r := decode[admin.Result](t, e.do(t, "PUT", registry+"?dry_run=true", changed, opts...).want(t, 200, ""))
		if len(r.Differences) != 1 || !r.Changed || !r.DryRun || r.Revision != 1 {
			t.Fatalf("result = %+v", r)
		}
		d := r.Differences[0]
		if d.Op != "change" || d.Object != "mapping/acme-research" || len(d.Fields) != 1 ||
			d.Fields[0] != (trust.FieldChange{Path: "ttl", Before: `"5m"`, After: `"10m"`}) {
			t.Errorf("difference = %+v", d)
		}
	}
	if got := revision(t, e); got != 1 {
		t.Errorf("revision = %d after dry runs, want 1", got)
	}
}

func TestAD06_StaleAndMissingIfMatch(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	changed := strings.Replace(sample, "ttl: 300s", "ttl: 600s", 1)
	tests := []struct {
		name, ifMatch string
		status        int
		code          string
	}{
		{"refuses without If-Match", "", 428, "precondition_required"},
		{"refuses an older revision", `"0"`, 412, "stale"},
		{"refuses a revision to come", `"2"`, 412, "stale"},
		{"refuses a weak tag, which never matches", `W/"1"`, 412, "stale"},
		{"refuses any", `*`, 400, "bad_request"},
		{"refuses a revision without quotes", `1`, 400, "bad_request"},
		{"refuses a list with a malformed tag", `"1", 1`, 400, "bad_request"},
		{"refuses a leading zero", `"01"`, 412, "stale"},
	}
	for _, path := range []string{registry, "/admin/v1/mappings/acme-research"} {
		for _, tt := range tests {
			t.Run(path+" "+tt.name, func(t *testing.T) {
				body := changed
				if path != registry {
					body = "peer: acme\nclients: [acme-agent]\nresources: [https://archive.globex.example]\nscopes: [archive.read]\n"
				}
				var opts []option
				if tt.ifMatch != "" {
					opts = append(opts, with("If-Match", tt.ifMatch))
				}
				e.do(t, "PUT", path, body, opts...).want(t, tt.status, tt.code)
				if got := revision(t, e); got != 1 {
					t.Errorf("revision = %d, want 1", got)
				}
			})
		}
	}
	for _, path := range []string{"/admin/v1/mappings/acme-research"} {
		e.do(t, "DELETE", path, "").want(t, 428, "precondition_required")
		e.do(t, "DELETE", path, "", with("If-Match", `"0"`)).want(t, 412, "stale")
	}
	a := e.do(t, "PUT", registry, changed, with("If-Match", `"7", "1"`)).want(t, 200, "")
	if r := decode[admin.Result](t, a); r.Revision != 2 {
		t.Errorf("revision = %d, want 2", r.Revision)
	}
}

// Of writers that all start from one revision one wins and the others hear of it.
func TestAD06_OneOfManyWritersWins(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	const writers = 8
	status := make([]int, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			body := strings.Replace(sample, "ttl: 300s", fmt.Sprintf("ttl: %ds", 310+i), 1)
			status[i] = e.do(t, "PUT", registry, body, with("If-Match", `"1"`)).status
		})
	}
	wg.Wait()
	count := map[int]int{}
	for _, s := range status {
		count[s]++
	}
	if count[200] != 1 || count[412] != writers-1 {
		t.Errorf("statuses = %v, want one 200 and the rest 412", count)
	}
	if got := revision(t, e); got != 2 {
		t.Errorf("revision = %d, want 2", got)
	}
}

// Every defect is told at once, with its line, and nothing is changed.
func TestAD08_DefectsAreToldAtOnceWithLines(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	body := strings.NewReplacer("domain: acme.example", "domain: ACME", "peer: acme\n", "peer: nobody\n",
		"ttl: 300s", "tll: 300s", "when: subject", "when: (subject").Replace(sample)
	a := e.do(t, "PUT", registry, body, with("If-Match", `"1"`)).want(t, 422, "invalid")
	got := map[string]int{}
	for _, p := range decode[admin.Problem](t, a).Problems {
		got[p.Path] = p.Line
	}
	for path, line := range map[string]int{"peers[0].domain": 3, "mappings[0].peer": 20, "mappings[0].tll": 26, "mappings[0].when": 22} {
		if got[path] != line {
			t.Errorf("line of %s = %d, want %d; all: %v", path, got[path], line, got)
		}
	}
	if rev := revision(t, e); rev != 1 {
		t.Errorf("revision = %d, want 1", rev)
	}
}

func TestPutRegistryRefusals(t *testing.T) {
	t.Parallel()
	e := start(t).seed(t)
	garbage := make([]byte, 64<<10)
	for i := range garbage {
		garbage[i] = byte(i*7 + i/251)
	}
	tests := []struct {
		name, body string
		status     int
		code       string
		opts       []option
	}{
		{"refuses 64 KiB of garbage", string(garbage), 422, "invalid", nil},
		{"refuses 64 KiB of brackets", strings.Repeat("[", 64<<10), 422, "invalid", nil},
		{"refuses an empty body", "", 422, "invalid", []option{with("Content-Type", "application/yaml")}},
		{"refuses a body of comments only", "# nothing\n", 422, "invalid", nil},
		{"refuses null", "null\n", 422, "invalid", nil},
		{"refuses a list", "[]\n", 422, "invalid", nil},
		{"refuses a second document", sample + "---\n{}\n", 422, "invalid", nil},
		{"refuses a repeated key", "peers: []\npeers: []\n", 422, "invalid", nil},
		{"refuses an alias", "peers: &a []\nclients: *a\n", 422, "invalid", nil},
		{"refuses JSON with an unknown member", `{"peers":[],"x":1}`, 422, "invalid", []option{with("Content-Type", "application/json")}},
		{"refuses a form's media type", sample, 415, "unsupported_media_type", []option{with("Content-Type", "text/plain")}},
		{"refuses no media type", sample, 415, "unsupported_media_type", []option{without("Content-Type")}},
		{"refuses a compressed body", sample, 415, "unsupported_media_type", []option{with("Content-Encoding", "gzip")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e.do(t, "PUT", registry, tt.body, append(tt.opts, with("If-Match", `"1"`))...).want(t, tt.status, tt.code)
			if rev := revision(t, e); rev != 1 {
				t.Errorf("revision = %d, want 1", rev)
			}
		})
	}
	// An explicit nothing is a decision.
	a := e.do(t, "PUT", registry, "{}", with("If-Match", `"1"`)).want(t, 200, "")
	if r := decode[admin.Result](t, a); len(r.Differences) != 4 || r.Revision != 2 {
		t.Errorf("result = %+v", r)
	}
}
