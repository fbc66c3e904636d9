package storetest

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

// Benchmark measures what a durable decision costs by how many callers commit
// at a time. Each entry bears a record of usual size and three identifiers: a
// client assertion's, a proof's and a subject token's.
func Benchmark(b *testing.B, backend Backend) {
	s := suite{backend}
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { s.benchCommit(b, callers) })
	}
}

func (s suite) benchCommit(b *testing.B, callers int) {
	var batches, entries atomic.Int64
	l := newLedger(b, s.fresh(b), trust.LedgerOptions{Observe: func(n int, _ time.Duration, _ error) {
		batches.Add(1)
		entries.Add(int64(n))
	}})
	var next atomic.Int64
	work := func(done chan<- error) {
		for {
			n := next.Add(1)
			if n > int64(b.N) {
				done <- nil
				return
			}
			out, err := l.Commit(b.Context(), benchEntry(n))
			if err != nil || out.Status != trust.Committed {
				done <- fmt.Errorf("status %d: %w", out.Status, err)
				return
			}
		}
	}
	done := make(chan error, callers)
	b.ReportAllocs()
	b.ResetTimer()
	for range callers {
		go work(done)
	}
	for range callers {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(entries.Load())/float64(max(batches.Load(), 1)), "entries/batch")
}

func benchEntry(n int64) trust.Entry {
	id, later := fmt.Sprint(n), time.Now().Add(time.Hour)
	e := trust.Entry{Record: record(audit.Allow, ""), Once: []trust.Once{
		trust.NewOnce(trust.OnceAssertion, "acme-agent", id, later),
		trust.NewOnce(trust.OnceProof, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", id, later),
		trust.NewOnce(trust.OnceSubject, "https://as.acme.example", id, later),
	}}
	e.Record.Client, e.Record.Peer, e.Record.Mapping = "acme-agent", "acme", "acme-research"
	e.Record.Target, e.Record.Address = "https://archive.globex.example", "192.0.2.1"
	for i := range 12 {
		e.Record.Checks = append(e.Record.Checks, audit.Check{Step: "subject", Name: fmt.Sprint("check ", i), Result: audit.Pass,
			Expected: strings.Repeat("e", 24), Seen: strings.Repeat("s", 24)})
	}
	return e
}
