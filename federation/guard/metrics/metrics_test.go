package metrics_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/guard/metrics"
)

// values are the samples of a scrape by series.
func values(t testing.TB, m *metrics.Metrics) map[string]string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	out := map[string]string{}
	for line := range strings.Lines(w.Body.String()) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && !strings.HasPrefix(line, "#") {
			out[name] = value
		}
	}
	return out
}

func want(t testing.TB, got, wanted map[string]string) {
	t.Helper()
	for series, value := range wanted {
		if got[series] != value {
			t.Errorf("%s = %q, want %q", series, got[series], value)
		}
	}
}

func event(reason string) *guard.Event {
	return &guard.Event{Mode: "middleware", Reason: reason, Took: 30 * time.Microsecond}
}

func TestObserve(t *testing.T) {
	t.Parallel()
	const duration = "aap_rs_validation_duration_seconds_"
	for _, tt := range []struct {
		name  string
		event *guard.Event
		want  map[string]string
	}{
		{"counts what was admitted as success", event(""), map[string]string{
			`aap_rs_validation_total{result="success"}`: "1", `aap_rs_validation_total{result="failure"}`: "0",
			`comity_guard_decisions_total{reason="admitted"}`: "1", duration + "count": "1",
			duration + `bucket{le="2.5e-05"}`: "0", duration + `bucket{le="5e-05"}`: "1"}},
		{"counts what was refused as failure", event("expired"), map[string]string{
			`aap_rs_validation_total{result="success"}`: "0", `aap_rs_validation_total{result="failure"}`: "1",
			`comity_guard_decisions_total{reason="expired"}`: "1", `aap_rs_capability_mismatches_total`: "0"}},
		{"counts a violated constraint by its type", event("rate_limit"), map[string]string{
			`aap_rs_constraint_violations_total{type="rate_limit"}`: "1", `aap_rs_constraint_violations_total{type="domain"}`: "0"}},
		{"counts both sizes as one type", event("request_size"), map[string]string{`aap_rs_constraint_violations_total{type="size"}`: "1"}},
		{"counts an approval that an amount needs as approval", event("approval_threshold"), map[string]string{
			`aap_rs_constraint_violations_total{type="approval"}`: "1"}},
		{"counts a capability that is missing", event("capability"), map[string]string{`aap_rs_capability_mismatches_total`: "1"}},
		{"counts a route that is missing as a mismatch", event("no_route"), map[string]string{`aap_rs_capability_mismatches_total`: "1"}},
		{"counts a response that is cut off as no other request", event("response_size"), map[string]string{
			`aap_rs_validation_total{result="failure"}`: "0", duration + "count": "0",
			`aap_rs_constraint_violations_total{type="size"}`: "1", `comity_guard_decisions_total{reason="response_size"}`: "1"}},
		{"counts a response that nobody could hold to its size as a request", &guard.Event{Mode: "forward-auth", Reason: "response_size"},
			map[string]string{`aap_rs_validation_total{result="failure"}`: "1"}},
		{"counts an admission on old knowledge", &guard.Event{Stale: true}, map[string]string{
			`comity_guard_stale_admissions_total`: "1", `comity_guard_uncounted_admissions_total`: "0"}},
		{"counts an admission without counters", &guard.Event{Uncounted: true}, map[string]string{`comity_guard_uncounted_admissions_total`: "1"}},
		{"counts no refusal as an admission", &guard.Event{Stale: true, Uncounted: true, Reason: "domain"}, map[string]string{
			`comity_guard_stale_admissions_total`: "0", `comity_guard_uncounted_admissions_total`: "0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := metrics.New("1.2.3")
			m.Observe(t.Context(), tt.event)
			want(t, values(t, m), tt.want)
		})
	}
}

// Every reason of package guard has its series from the start, and is no other.
func TestSetsAreThoseOfTheGuard(t *testing.T) {
	t.Parallel()
	m := metrics.New("1.2.3")
	before := values(t, m)
	for _, reason := range append(guard.Reasons(), "admitted") {
		if series := fmt.Sprintf("comity_guard_decisions_total{reason=%q}", reason); before[series] != "0" {
			t.Errorf("%s = %q at the start, want 0", series, before[series])
		}
	}
	for _, reason := range append(guard.Reasons(), "") {
		m.Observe(t.Context(), event(reason))
	}
	after := values(t, m)
	if len(after) != len(before) {
		t.Errorf("%d series after every reason, want the %d from the start", len(after), len(before))
	}
	for series, value := range after {
		if strings.HasPrefix(series, "comity_guard_decisions_total") && value != "1" {
			t.Errorf("%s = %s, want 1", series, value)
		}
		// Every type is there for a reason.
		if strings.HasPrefix(series, "aap_rs_constraint_violations_total") && value == "0" {
			t.Errorf("%s counts nothing", series)
		}
	}
}

func TestNothingOfARequestBecomesALabel(t *testing.T) {
	t.Parallel()
	m := metrics.New("1.2.3")
	m.Observe(t.Context(), event("made up"))
	before := len(values(t, m))
	for i := range 500 {
		text := fmt.Sprint("evil\"} 1\n", i)
		m.Observe(t.Context(), &guard.Event{Reason: text, Route: text, Action: text, Issuer: text, Mode: text, Code: text, AgentID: text, Method: text})
	}
	got := values(t, m)
	if len(got) != before {
		t.Errorf("500 hostile events made %d new series", len(got)-before)
	}
	want(t, got, map[string]string{`comity_guard_decisions_total{reason="other"}`: "501"})
}

func TestWatchReadsAtEachScrape(t *testing.T) {
	t.Parallel()
	m := metrics.New("1.2.3")
	tokens := 41
	m.Watch(func() guard.Stats {
		tokens++
		return guard.Stats{Tokens: tokens, FeedAges: map[string]time.Duration{"https://as.example.com": 1500 * time.Millisecond, "new": math.MaxInt64}}
	})
	want(t, values(t, m), map[string]string{`comity_guard_tokens_cached`: "42", `comity_guard_feed_age_seconds{issuer="https://as.example.com"}`: "1.5",
		`comity_guard_feed_age_seconds{issuer="new"}`: "+Inf"})
	want(t, values(t, m), map[string]string{`comity_guard_tokens_cached`: "43"})
}

// Dashboards, alerts and acceptance checks rely on these names and labels.
func TestNamesAreThePromisedOnes(t *testing.T) {
	t.Parallel()
	m := metrics.New("1.2.3")
	m.Watch(func() guard.Stats { return guard.Stats{FeedAges: map[string]time.Duration{"i": 0}} })
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	var got []string
	for _, match := range regexp.MustCompile(`(?m)^# TYPE ((?:aap|comity)_\S+ \S+)$`).FindAllStringSubmatch(w.Body.String(), -1) {
		got = append(got, match[1])
	}
	promised := []string{
		"aap_rs_capability_mismatches_total counter",
		"aap_rs_constraint_violations_total counter",
		"aap_rs_validation_duration_seconds histogram",
		"aap_rs_validation_total counter",
		"comity_build_info gauge",
		"comity_guard_decisions_total counter",
		"comity_guard_feed_age_seconds gauge",
		"comity_guard_stale_admissions_total counter",
		"comity_guard_tokens_cached gauge",
		"comity_guard_uncounted_admissions_total counter",
	}
	slices.Sort(got)
	if diff := cmp.Diff(promised, got); diff != "" {
		t.Errorf("names (-promised +got):\n%s", diff)
	}
	for _, expected := range []string{"go_goroutines ", "process_start_time_seconds ", "go_build_info{", `version="1.2.3"} 1`} {
		if !strings.Contains(w.Body.String(), expected) {
			t.Errorf("%q is missing", expected)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	m := metrics.New("1.2.3")
	m.Watch(func() guard.Stats { return guard.Stats{} })
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for range 100 {
				m.Observe(context.Background(), event("domain"))
			}
		})
	}
	values(t, m)
	work.Wait()
	want(t, values(t, m), map[string]string{`aap_rs_constraint_violations_total{type="domain"}`: "800"})
}

func BenchmarkObserve(b *testing.B) {
	m := metrics.New("1.2.3")
	e := event("")
	b.ReportAllocs()
	for b.Loop() {
		m.Observe(b.Context(), e)
	}
}
