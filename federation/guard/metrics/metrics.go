package metrics

import (
	"context"
	"net/http"
	"runtime"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/comity-auth/comity/federation/guard"
)

const (
	// admitted stands among the reasons for what was not refused.
	admitted = "admitted"
	// other is a value that should not occur.
	other = "other"

	success, failure = "success", "failure"
)

// violations are the types of constraints, of the agent profile and around it.
var violations = []string{"rate_limit", "domain", "time_window", "size", "method", "classification", "region", "address", "depth",
	"encryption", "approval", "resource", "unknown"}

// violation is the type of constraint that a reason is about; empty when it is
// about none.
func violation(reason string) string {
	switch reason {
	case "rate_limit", "domain", "time_window", "method", "classification", "region", "address", "encryption", "approval", "resource":
		return reason
	case "request_size", "response_size":
		return "size"
	case "capability_depth":
		return "depth"
	case "approval_threshold":
		return "approval"
	case "unknown_constraint":
		return "unknown"
	}
	return ""
}

// mismatch reports whether the reason is that the token has no capability for
// what was asked.
func mismatch(reason string) bool { return reason == "capability" || reason == "no_route" }

// buckets are seconds: a judgement takes tens of microseconds, and the slow ones
// waited for keys or for shared counters.
var buckets = []float64{.000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

// Metrics are the metrics of one guard, or of several that follow one another, in
// a registry of their own. All methods are safe for concurrent use and wait for
// nothing.
type Metrics struct {
	registry *prometheus.Registry
	reasons  []string

	validated  *prometheus.CounterVec
	duration   prometheus.Histogram
	violated   *prometheus.CounterVec
	mismatched prometheus.Counter
	decisions  *prometheus.CounterVec
	stale      prometheus.Counter
	uncounted  prometheus.Counter
}

// New returns metrics that begin at zero. The version is the program's own.
func New(version string) *Metrics {
	m := &Metrics{
		registry:   prometheus.NewRegistry(),
		reasons:    append(guard.Reasons(), admitted),
		validated:  counters("aap_rs_validation_total", "Requests judged: success (admitted) or failure (refused).", "result"),
		duration:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "aap_rs_validation_duration_seconds", Help: "Time to judge a request.", Buckets: buckets}),
		violated:   counters("aap_rs_constraint_violations_total", "Requests refused for a constraint of the token, by its type.", "type"),
		mismatched: counter("aap_rs_capability_mismatches_total", "Requests refused because the token has no capability for them."),
		decisions:  counters("comity_guard_decisions_total", "Decisions by their reason.", "reason"),
		stale:      counter("comity_guard_stale_admissions_total", "Requests admitted on old knowledge of revocations."),
		uncounted:  counter("comity_guard_uncounted_admissions_total", "Requests admitted although their rate could not be counted."),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "comity_build_info", Help: "Always 1; the labels say which program this is.",
		ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()}})
	build.Set(1)
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
		build, m.validated, m.duration, m.violated, m.mismatched, m.decisions, m.stale, m.uncounted,
	)
	m.begin()
	return m
}

// begin makes every series exist: a rate over one that appears with its first
// event misses that event.
func (m *Metrics) begin() {
	for _, result := range []string{success, failure} {
		m.validated.WithLabelValues(result)
	}
	for _, t := range violations {
		m.violated.WithLabelValues(t)
	}
	for _, reason := range m.reasons {
		m.decisions.WithLabelValues(reason)
	}
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// Observe counts a decision. It is made for [guard.Options.Observe].
func (m *Metrics) Observe(_ context.Context, e *guard.Event) {
	reason, result := e.Reason, failure
	switch {
	case e.Admitted():
		reason, result = admitted, success
	case !slices.Contains(m.reasons, reason):
		reason = other
	}
	m.decisions.WithLabelValues(reason).Inc()
	if t := violation(reason); t != "" {
		m.violated.WithLabelValues(t).Inc()
	}
	if mismatch(reason) {
		m.mismatched.Inc()
	}
	if afterwards(e) {
		return
	}
	m.validated.WithLabelValues(result).Inc()
	m.duration.Observe(e.Took.Seconds())
	if e.Admitted() && e.Stale {
		m.stale.Inc()
	}
	if e.Admitted() && e.Uncounted {
		m.uncounted.Inc()
	}
}

// afterwards reports whether the event is about a request that was admitted and
// is counted already: its response turned out to be too large.
func afterwards(e *guard.Event) bool {
	return e.Reason == "response_size" && e.Mode == "middleware"
}
