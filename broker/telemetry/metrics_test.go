package telemetry_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comity-auth/comity/broker/telemetry"
	"github.com/comity-auth/comity/trust/audit"
	"github.com/google/go-cmp/cmp"
)

// scrape asks a real listener, as Prometheus does.
func scrape(t *testing.T, m *telemetry.Metrics, accept string) (body, contentType string) {
	t.Helper()
	srv := httptest.NewServer(m.Handler())
	t.Cleanup(srv.Close)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status = %d: %s", resp.StatusCode, b)
	}
	return string(b), resp.Header.Get("Content-Type")
}

// values are the lines of the text format that are not comments, by series.
func values(t *testing.T, m *telemetry.Metrics) map[string]string {
	t.Helper()
	body, _ := scrape(t, m, "text/plain")
	out := map[string]string{}
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		if cut := strings.LastIndex(line, " "); cut > 0 && !strings.HasPrefix(line, "#") {
			out[line[:cut]] = line[cut+1:]
		}
	}
	return out
}

func want(t *testing.T, got map[string]string, want map[string]string) {
	t.Helper()
	for series, value := range want {
		if have, ok := got[series]; !ok || have != value {
			t.Errorf("%s = %q, want %q", series, have, value)
		}
	}
}

func exchanged(outcome audit.Outcome) *audit.Record {
	return &audit.Record{At: time.Now(), Event: "token.exchange", Outcome: outcome, Client: "acme-agent", Operator: "org:acme", Peer: "acme"}
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	limited := &audit.Record{Event: "token.request", Outcome: audit.Deny, Error: "too_many_requests", Checks: []audit.Check{
		{Step: "limits", Name: "client", Result: audit.Fail}}}
	for _, tt := range []struct {
		name   string
		record *audit.Record
		want   map[string]string
	}{
		{"counts an allowed exchange as issued and as exchanged", exchanged(audit.Allow), map[string]string{
			`aap_as_token_issuance_total{operator="org:acme"}`:              "1",
			`aap_as_token_exchange_total{peer="acme",result="allow"}`:       "1",
			`aap_as_errors_total{type="invalid_target"}`:                    "0",
			`aap_as_policy_evaluation_duration_seconds_count`:               "1",
			`aap_as_policy_evaluation_duration_seconds_sum`:                 "0.003",
			`aap_as_policy_evaluation_duration_seconds_bucket{le="0.0005"}`: "0",
		}},
		{"counts a refused exchange as an error and never as issued", func() *audit.Record {
			r := exchanged(audit.Deny)
			r.Error = "invalid_target"
			return r
		}(), map[string]string{
			`aap_as_token_exchange_total{peer="acme",result="deny"}`: "1",
			`aap_as_errors_total{type="invalid_target"}`:             "1",
		}},
		{"counts what could not be answered apart from what was refused", func() *audit.Record {
			r := exchanged(audit.Error)
			r.Error = "temporarily_unavailable"
			return r
		}(), map[string]string{
			`aap_as_token_exchange_total{peer="acme",result="error"}`: "1",
			`aap_as_errors_total{type="temporarily_unavailable"}`:     "1",
		}},
		{"counts a token for an own agent as issued only", &audit.Record{Event: "token.issue", Outcome: audit.Allow, Operator: "org:globex"},
			map[string]string{
				`aap_as_token_issuance_total{operator="org:globex"}`:      "1",
				`aap_as_token_exchange_total{peer="none",result="allow"}`: "0",
			}},
		{"counts a rate limit under its scope", limited, map[string]string{
			`comity_rate_limited_total{scope="client"}`:     "1",
			`comity_rate_limited_total{scope="global"}`:     "0",
			`aap_as_errors_total{type="too_many_requests"}`: "1",
		}},
		{"counts an exchange before any issuer was recognised under none", &audit.Record{Event: "token.exchange", Outcome: audit.Deny,
			Error: "invalid_client"}, map[string]string{
			`aap_as_token_exchange_total{peer="none",result="deny"}`: "1",
			`aap_as_errors_total{type="invalid_client"}`:             "1",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := telemetry.New("1.2.3")
			m.Decision(tt.record, 3*time.Millisecond)
			got := values(t, m)
			want(t, got, tt.want)
			if tt.record.Outcome != audit.Allow && slices.ContainsFunc(series(got), func(s string) bool {
				return strings.HasPrefix(s, "aap_as_token_issuance_total")
			}) {
				t.Error("a refusal was counted as an issued token")
			}
		})
	}
}

func series(got map[string]string) []string {
	var out []string
	for s := range got {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// Whoever can invent label values can fill memory, and can write lines of their
// own where values are not escaped.
func TestNothingOfARequestBecomesALabel(t *testing.T) {
	t.Parallel()
	const hostile = "evil\"} 1\naap_as_errors_total{type=\"x"
	m := telemetry.New("1.2.3")
	series := func() int { return len(values(t, m)) }
	m.Decision(&audit.Record{Event: "token.exchange", Outcome: audit.Deny, Error: "invalid_client"}, time.Millisecond)
	before := series()
	for i := range 500 {
		text := fmt.Sprint(hostile, i)
		m.Decision(&audit.Record{Event: "token.exchange", Outcome: audit.Deny, Error: "invalid_client", Client: text, Agent: text, Target: text,
			Mapping: text, Policy: text, Reason: text, Detail: text, Address: text, UserAgent: text,
			Foreign: map[string]string{"jti": text}, Checks: []audit.Check{{Step: text, Name: text, Result: audit.Fail, Seen: text}}}, time.Millisecond)
	}
	if after := series(); after != before {
		t.Errorf("500 hostile records made %d new series", after-before)
	}
	if body, _ := scrape(t, m, "text/plain"); strings.Contains(body, "evil") {
		t.Error("text of a request is in the metrics")
	}
}

// Sets that should be closed are closed here too: a caller's mistake costs one
// series, not one for each value.
func TestUnknownValuesAreCountedUnderOther(t *testing.T) {
	t.Parallel()
	m := telemetry.New("1.2.3")
	for i := range 10 {
		text := fmt.Sprint("made up ", i)
		m.Decision(&audit.Record{Event: "token.exchange", Outcome: audit.Outcome(text), Error: text,
			Checks: []audit.Check{{Step: "limits", Name: text, Result: audit.Fail}}}, time.Millisecond)
		m.Fetch("acme", text)
		m.HTTP("/token", 1000+i, time.Millisecond)
	}
	want(t, values(t, m), map[string]string{
		`aap_as_token_exchange_total{peer="none",result="other"}`:    "10",
		`aap_as_errors_total{type="other"}`:                          "10",
		`comity_rate_limited_total{scope="other"}`:                   "10",
		`comity_peer_fetch_total{peer="acme",result="other"}`:        "10",
		`comity_http_requests_total{route="/token",status="other"}`:  "10",
		`comity_http_request_duration_seconds_count{route="/token"}`: "10",
	})
}

func TestNamesAreBoundedInNumber(t *testing.T) {
	t.Parallel()
	m := telemetry.New("1.2.3")
	for i := range 300 {
		m.HTTP(fmt.Sprintf("/route-%d", i), 200, time.Millisecond)
	}
	m.HTTP("/route-0", 200, time.Millisecond)
	got := values(t, m)
	want(t, got, map[string]string{
		`comity_http_requests_total{route="other",status="200"}`:    "100",
		`comity_http_requests_total{route="/route-0",status="200"}`: "2",
	})
}

// A label that is not UTF-8 makes the client library panic.
func TestNamesMayHoldAnything(t *testing.T) {
	t.Parallel()
	m := telemetry.New("1.2.3\xff")
	for _, name := range []string{"\xff", "a\x00b", "line\nbreak", `quo"te\`, strings.Repeat("ü", 200)} {
		r := exchanged(audit.Allow)
		r.Operator, r.Peer = name, name
		m.Decision(r, time.Millisecond)
	}
	got := values(t, m)
	want(t, got, map[string]string{
		`aap_as_token_issuance_total{operator="line\nbreak"}`:                      "1",
		`aap_as_token_issuance_total{operator="quo\"te\\"}`:                        "1",
		`aap_as_token_issuance_total{operator="` + strings.Repeat("ü", 64) + `…"}`: "1",
	})
}

func TestHTTPAndLedgerAndFetches(t *testing.T) {
	t.Parallel()
	m := telemetry.New("1.2.3")
	m.HTTP("/token", 200, 2*time.Millisecond)
	m.HTTP("/token", 400, 2*time.Millisecond)
	m.Batch(3, 4*time.Millisecond, nil)
	m.Batch(200, 4*time.Millisecond, errors.New("disk full"))
	m.Fetch("acme", "ok")
	m.Fetch("", "unreachable")
	want(t, values(t, m), map[string]string{
		`comity_http_requests_total{route="/token",status="200"}`:    "1",
		`comity_http_requests_total{route="/token",status="400"}`:    "1",
		`comity_http_request_duration_seconds_count{route="/token"}`: "2",
		`comity_audit_append_duration_seconds_count`:                 "2",
		`comity_audit_append_duration_seconds_sum`:                   "0.008",
		`comity_audit_append_failures_total`:                         "1",
		`comity_audit_batch_size_sum`:                                "203",
		`comity_audit_batch_size_bucket{le="4"}`:                     "1",
		`comity_peer_fetch_total{peer="acme",result="ok"}`:           "1",
		`comity_peer_fetch_total{peer="none",result="unreachable"}`:  "1",
	})
}

func sources() telemetry.Sources {
	return telemetry.Sources{
		Peers: func() []telemetry.PeerState {
			return []telemetry.PeerState{
				{Name: "acme", Up: true, KeyAge: 90 * time.Second, Breaker: "closed"},
				{Name: "acme", Up: false, KeyAge: time.Hour, Breaker: "open"}, // the registration before
				{Name: "initech", KeyAge: -1, Breaker: "half-open"},
				{Name: "hooli", KeyAge: -1, Breaker: "open"},
				{Name: "airgap", Up: true, KeyAge: -1},
				{Name: ""},
			}
		},
		RegistryRevision: func() uint64 { return 42 },
		RegistryAge:      func() time.Duration { return 1500 * time.Millisecond },
		SigningKeyAge:    func() time.Duration { return time.Hour },
	}
}

func TestSourcesAreReadAtEachScrape(t *testing.T) {
	t.Parallel()
	m := telemetry.New("1.2.3")
	s := sources()
	revision := uint64(41)
	s.RegistryRevision = func() uint64 { revision++; return revision }
	m.Watch(s)
	got := values(t, m)
	want(t, got, map[string]string{
		`comity_registry_revision`:                 "42",
		`comity_registry_age_seconds`:              "1.5",
		`comity_signing_key_age_seconds`:           "3600",
		`comity_peer_up{peer="acme"}`:              "1",
		`comity_peer_up{peer="initech"}`:           "0",
		`comity_peer_up{peer="airgap"}`:            "1",
		`comity_peer_key_age_seconds{peer="acme"}`: "90",
		`comity_breaker_state{peer="acme"}`:        "0",
		`comity_breaker_state{peer="initech"}`:     "1",
		`comity_breaker_state{peer="hooli"}`:       "2",
	})
	for _, absent := range []string{`comity_peer_key_age_seconds{peer="airgap"}`, `comity_breaker_state{peer="airgap"}`, `comity_peer_up{peer="none"}`} {
		if v, ok := got[absent]; ok {
			t.Errorf("%s = %s, want no series for what is not known", absent, v)
		}
	}
	want(t, values(t, m), map[string]string{`comity_registry_revision`: "43"})
}

func TestSourcesMayBeMissing(t *testing.T) {
	t.Parallel()
	m := telemetry.New("1.2.3")
	m.Watch(telemetry.Sources{})
	for s := range values(t, m) {
		if strings.HasPrefix(s, "comity_registry") || strings.HasPrefix(s, "comity_peer_up") {
			t.Errorf("%s has no source", s)
		}
	}
}

// Dashboards, alerts and acceptance checks rely on these names and labels.
func TestNamesAreThePromisedOnes(t *testing.T) {
	t.Parallel()
	m := telemetry.New("1.2.3")
	m.Watch(sources())
	m.Decision(exchanged(audit.Allow), time.Millisecond)
	m.HTTP("/token", 200, time.Millisecond)
	m.Batch(1, time.Millisecond, nil)
	m.Fetch("acme", "ok")
	body, _ := scrape(t, m, "text/plain")
	var got []string
	for _, match := range regexp.MustCompile(`(?m)^# TYPE ((?:aap|comity)_\S+ \S+)$`).FindAllStringSubmatch(body, -1) {
		got = append(got, match[1])
	}
	promised := []string{
		"aap_as_errors_total counter",
		"aap_as_policy_evaluation_duration_seconds histogram",
		"aap_as_token_exchange_total counter",
		"aap_as_token_issuance_total counter",
		"comity_audit_append_duration_seconds histogram",
		"comity_audit_append_failures_total counter",
		"comity_audit_batch_size histogram",
		"comity_breaker_state gauge",
		"comity_build_info gauge",
		"comity_http_request_duration_seconds histogram",
		"comity_http_requests_total counter",
		"comity_peer_fetch_total counter",
		"comity_peer_key_age_seconds gauge",
		"comity_peer_up gauge",
		"comity_rate_limited_total counter",
		"comity_registry_age_seconds gauge",
		"comity_registry_revision gauge",
		"comity_signing_key_age_seconds gauge",
	}
	if diff := cmp.Diff(promised, got); diff != "" {
		t.Errorf("names (-promised +got):\n%s", diff)
	}
	for _, expected := range []string{"go_goroutines ", "process_start_time_seconds ", "go_build_info{", `comity_build_info{go_version="go`, `version="1.2.3"} 1`} {
		if !strings.Contains(body, expected) {
			t.Errorf("%q is missing", expected)
		}
	}
}

func TestHandlerNegotiatesTheFormat(t *testing.T) {
	t.Parallel()
	m := telemetry.New("1.2.3")
	body, contentType := scrape(t, m, "application/openmetrics-text; version=1.0.0")
	if !strings.HasPrefix(contentType, "application/openmetrics-text") || !strings.HasSuffix(body, "# EOF\n") {
		t.Errorf("content type = %q, want OpenMetrics", contentType)
	}
	if _, contentType = scrape(t, m, "text/plain"); !strings.HasPrefix(contentType, "text/plain") {
		t.Errorf("content type = %q, want text/plain", contentType)
	}
}

// Two brokers in one process, as in the demo, keep apart.
func TestTwoInstancesShareNothing(t *testing.T) {
	t.Parallel()
	a, b := telemetry.New("1.2.3"), telemetry.New("1.2.3")
	a.Decision(exchanged(audit.Allow), time.Millisecond)
	if _, ok := values(t, b)[`aap_as_token_issuance_total{operator="org:acme"}`]; ok {
		t.Error("one broker's token is counted by the other")
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	m := telemetry.New("1.2.3")
	m.Watch(sources())
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			for j := range 100 {
				r := exchanged(audit.Allow)
				r.Peer = fmt.Sprintf("peer-%d", j)
				m.Decision(r, time.Millisecond)
				m.HTTP("/token", 200, time.Millisecond)
				m.Batch(i, time.Millisecond, nil)
				m.Fetch(r.Peer, "ok")
			}
		})
	}
	values(t, m)
	work.Wait()
	want(t, values(t, m), map[string]string{
		`aap_as_token_issuance_total{operator="org:acme"}`:           "800",
		`aap_as_token_exchange_total{peer="peer-99",result="allow"}`: "8",
	})
}

func BenchmarkDecision(b *testing.B) {
	m := telemetry.New("1.2.3")
	r := exchanged(audit.Allow)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Decision(r, time.Millisecond)
		}
	})
}
