package telemetry

import (
	"net/http"
	"runtime"
	"time"

	"github.com/comity-auth/comity/trust/audit"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the metrics of one broker, in a registry of their own. All
// methods are safe for concurrent use and wait for nothing.
type Metrics struct {
	registry *prometheus.Registry

	issued     *prometheus.CounterVec
	exchanged  *prometheus.CounterVec
	evaluation prometheus.Histogram
	errors     *prometheus.CounterVec
	limited    *prometheus.CounterVec

	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec

	appended     prometheus.Histogram
	batch        prometheus.Histogram
	appendFailed prometheus.Counter

	fetches *prometheus.CounterVec

	operators, peers, routes *names
}

// decisionBuckets are seconds: an exchange takes about a millisecond, and the
// slow ones waited for a peer's keys.
var decisionBuckets = []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// New returns metrics that begin at zero. The version is the program's own.
func New(version string) *Metrics {
	m := &Metrics{
		registry:  prometheus.NewRegistry(),
		issued:    counter("aap_as_token_issuance_total", "Tokens issued, by every grant.", "operator"),
		exchanged: counter("aap_as_token_exchange_total", "Token exchanges by result: allow, deny (refused), error (not answerable). peer is self for this broker's own tokens and none when no issuer was recognised.", "result", "peer"),
		evaluation: histogram("aap_as_policy_evaluation_duration_seconds",
			"Time from a token request to its durable decision.", decisionBuckets),
		errors:  counter("aap_as_errors_total", "Token requests that got no token, by OAuth error code.", "type"),
		limited: counter("comity_rate_limited_total", "Token requests turned away by a rate limit: of one address, one client, or all.", "scope"),

		requests: counter("comity_http_requests_total", "Responses of the public listener.", "route", "status"),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "comity_http_request_duration_seconds",
			Help: "Time to answer a request on the public listener.", Buckets: decisionBuckets}, []string{"route"}),

		appended: histogram("comity_audit_append_duration_seconds", "Time of one transaction that made decisions durable.", decisionBuckets),
		batch:    histogram("comity_audit_batch_size", "Decisions made durable in one transaction.", prometheus.ExponentialBuckets(1, 2, 10)),
		appendFailed: prometheus.NewCounter(prometheus.CounterOpts{Name: "comity_audit_append_failures_total",
			Help: "Transactions that made no decision durable."}),

		fetches: counter("comity_peer_fetch_total", "Fetches of a peer's keys, by outcome. peer is none for the keys of clients.", "peer", "result"),

		operators: newNames(maxNames), peers: newNames(maxNames), routes: newNames(maxRoutes),
	}
	m.register(version)
	m.begin()
	return m
}

func (m *Metrics) register(version string) {
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "comity_build_info", Help: "Always 1; the labels say which program this is.",
		ConstLabels: prometheus.Labels{"version": label(version), "go_version": runtime.Version()}})
	build.Set(1)
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
		build, m.issued, m.exchanged, m.evaluation, m.errors, m.limited, m.requests, m.latency,
		m.appended, m.batch, m.appendFailed, m.fetches,
	)
}

// begin makes the series exist that need no registered name: a rate over a
// series that appears with its first event misses that event.
func (m *Metrics) begin() {
	for _, code := range codes {
		m.errors.WithLabelValues(code)
	}
	for _, scope := range scopes {
		m.limited.WithLabelValues(scope)
	}
	for _, outcome := range []audit.Outcome{audit.Allow, audit.Deny, audit.Error} {
		m.exchanged.WithLabelValues(string(outcome), none)
	}
}

// Handler serves the metrics. It belongs on the operations listener only.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true,
		Registry:          m.registry,
		// What can be gathered is worth more than an empty answer.
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 8,
		Timeout:             10 * time.Second,
	})
}

// Decision counts one token request, with the time from its arrival to its
// final record. The record is not kept.
func (m *Metrics) Decision(r *audit.Record, took time.Duration) {
	m.evaluation.Observe(took.Seconds())
	if r.Event == "token.exchange" {
		m.exchanged.WithLabelValues(known(string(r.Outcome), outcomes), m.peers.of(r.Peer)).Inc()
	}
	if r.Outcome == audit.Allow {
		m.issued.WithLabelValues(m.operators.of(r.Operator)).Inc()
		return
	}
	m.errors.WithLabelValues(known(r.Error, codes)).Inc()
	for i := range r.Checks {
		if c := &r.Checks[i]; c.Step == "limits" && c.Result == audit.Fail {
			m.limited.WithLabelValues(known(c.Name, scopes)).Inc()
		}
	}
}

// HTTP counts one response. The route is a name of the caller's route table,
// never the path that was asked for.
func (m *Metrics) HTTP(route string, status int, took time.Duration) {
	route = m.routes.of(route)
	m.requests.WithLabelValues(route, statusLabel(status)).Inc()
	m.latency.WithLabelValues(route).Observe(took.Seconds())
}

// Batch times one transaction of the ledger with this many entries.
func (m *Metrics) Batch(entries int, took time.Duration, err error) {
	m.appended.Observe(took.Seconds())
	m.batch.Observe(float64(entries))
	if err != nil {
		m.appendFailed.Inc()
	}
}

// Fetch counts one fetch of a registered peer's keys; an empty peer stands for
// clients. The result is one of the closed set of package federation.
func (m *Metrics) Fetch(peer, result string) {
	m.fetches.WithLabelValues(m.peers.of(peer), known(result, results)).Inc()
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
}
