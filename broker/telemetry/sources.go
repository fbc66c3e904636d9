package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// PeerState is what is known of one registered peer.
type PeerState struct {
	Name string
	// Up says that tokens of the peer can be verified.
	Up bool
	// KeyAge is the time since its keys were last fetched or confirmed;
	// negative when they never were.
	KeyAge time.Duration
	// Breaker is the state of its host's circuit breaker: closed, half-open or
	// open; empty when there is none.
	Breaker string
}

// Sources are what is read at each scrape, because it changes by itself. A nil
// function has no metric. The functions must be safe for concurrent use and
// must not wait for the network.
type Sources struct {
	Peers            func() []PeerState
	RegistryRevision func() uint64
	// RegistryAge is the time since the store was last heard of.
	RegistryAge func() time.Duration
	// SigningKeyAge is the time since the signing key became active.
	SigningKeyAge func() time.Duration
}

// Watch adds metrics that are read from sources. It is called once.
func (m *Metrics) Watch(s Sources) {
	m.registry.MustRegister(&watcher{sources: s, peers: m.peers})
}

// watcher reads the sources when it is scraped.
type watcher struct {
	sources Sources
	peers   *names
}

var (
	peerUp = prometheus.NewDesc("comity_peer_up", "1 when tokens of the peer can be verified.", []string{"peer"}, nil)
	keyAge = prometheus.NewDesc("comity_peer_key_age_seconds",
		"Time since the peer's keys were last fetched or confirmed.", []string{"peer"}, nil)
	breaker = prometheus.NewDesc("comity_breaker_state",
		"Circuit breaker of the peer's host: 0 closed, 1 half-open, 2 open.", []string{"peer"}, nil)
	revision    = prometheus.NewDesc("comity_registry_revision", "Revision of the registry that is served.", nil, nil)
	registryAge = prometheus.NewDesc("comity_registry_age_seconds", "Time since the store confirmed that revision.", nil, nil)
	signingAge  = prometheus.NewDesc("comity_signing_key_age_seconds", "Time since the signing key became active.", nil, nil)
)

// Describe implements [prometheus.Collector].
func (w *watcher) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{peerUp, keyAge, breaker, revision, registryAge, signingAge} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (w *watcher) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := &w.sources
	if s.RegistryRevision != nil {
		gauge(revision, float64(s.RegistryRevision()))
	}
	if s.RegistryAge != nil {
		gauge(registryAge, s.RegistryAge().Seconds())
	}
	if s.SigningKeyAge != nil {
		gauge(signingAge, s.SigningKeyAge().Seconds())
	}
	if s.Peers == nil {
		return
	}
	// Two series of one name would spoil the whole scrape, so the first counts.
	done := map[string]bool{}
	for _, p := range s.Peers() {
		name := w.peers.of(p.Name)
		if done[name] || p.Name == "" || name != p.Name && name == other {
			continue
		}
		done[name] = true
		up := 0.0
		if p.Up {
			up = 1
		}
		gauge(peerUp, up, name)
		if p.KeyAge >= 0 {
			gauge(keyAge, p.KeyAge.Seconds(), name)
		}
		if v, ok := breakerValue(p.Breaker); ok {
			gauge(breaker, v, name)
		}
	}
}

func breakerValue(state string) (float64, bool) {
	switch state {
	case "closed":
		return 0, true
	case "half-open":
		return 1, true
	case "open":
		return 2, true
	}
	return 0, false
}
