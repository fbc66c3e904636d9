package metrics

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comity-auth/comity/federation/guard"
)

// Watch offers what changes by itself, read at each scrape. The function must be
// safe for concurrent use and must not wait for the network; where guards follow
// one another it tells of the latest. Watch is called once.
func (m *Metrics) Watch(stats func() guard.Stats) {
	m.registry.MustRegister(&watched{
		stats: stats,
		age: prometheus.NewDesc("comity_guard_feed_age_seconds", "Since what is known of an issuer's revocations was known to be everything.",
			[]string{"issuer"}, nil),
		tokens: prometheus.NewDesc("comity_guard_tokens_cached", "Verified tokens that are remembered.", nil, nil),
	})
}

type watched struct {
	stats       func() guard.Stats
	age, tokens *prometheus.Desc
}

func (w *watched) Describe(out chan<- *prometheus.Desc) {
	out <- w.age
	out <- w.tokens
}

func (w *watched) Collect(out chan<- prometheus.Metric) {
	s := w.stats()
	out <- prometheus.MustNewConstMetric(w.tokens, prometheus.GaugeValue, float64(s.Tokens))
	for issuer, age := range s.FeedAges {
		seconds := age.Seconds()
		if age == math.MaxInt64 {
			seconds = math.Inf(1) // nothing is known yet
		}
		out <- prometheus.MustNewConstMetric(w.age, prometheus.GaugeValue, seconds, issuer)
	}
}
