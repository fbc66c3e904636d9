package feed_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/comity-auth/comity/broker"
	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/federation/feed"
	"github.com/comity-auth/comity/federation/fetch"
	"github.com/comity-auth/comity/fixtures/peer"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/ident"
)

const million = 1_000_000

// source is a store of an empty registry and of many revocations, which it
// makes up.
type source struct {
	head   uint64
	before time.Time
}

func (s *source) Load(_ context.Context, since trust.Revision) (trust.State, error) {
	return trust.State{Since: since, Revocations: s.head}, nil
}

func (s *source) Revocations(_ context.Context, after uint64, limit int) (out []trust.Revocation, head uint64, err error) {
	for seq := after + 1; seq <= s.head && len(out) < limit; seq++ {
		out = append(out, trust.Revocation{Seq: seq, Handle: trust.Handle(spread(seq)), Kind: trust.RevokeToken, Before: s.before,
			Expires: s.before.Add(24 * time.Hour), At: s.before})
	}
	return out, s.head, nil
}

func (*source) Changed() <-chan struct{} { return nil }

// spread is the n-th of handles that look as random as those of a broker.
func spread(n uint64) (h [12]byte) {
	binary.BigEndian.PutUint64(h[:], n*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint32(h[8:], uint32(n))
	return h
}

// signer signs as the broker does, with a key of the fixtures.
type signer struct{ key *peer.Key }

func (s signer) Sign(_ context.Context, typ string, claims any) (ident.RawToken, string, error) {
	body, err := json.Marshal(claims)
	if err != nil {
		return ident.RawToken{}, "", err
	}
	header, err := json.Marshal(map[string]string{"alg": "ES256", "kid": s.key.ID(), "typ": typ})
	return ident.NewRawToken(s.key.SignRaw(header, body)), s.key.ID(), err
}

func (signer) JWKS() []byte              { return nil }
func (signer) Derive(string, int) []byte { return nil }

// large serves the feed of a broker with n revocations, as the broker does.
func large(t testing.TB, n uint64, before time.Time) (url string, key *peer.Key) {
	t.Helper()
	key = peer.NewKey(t, "ES256")
	settings := trust.Settings{Domain: ident.MustDomain("globex.example"), Issuer: ident.MustIssuer("https://broker.globex.example"),
		TTL: 5 * time.Minute, MaxTTL: 15 * time.Minute, MinTTL: 30 * time.Second}
	compiler, err := trust.NewCompiler(settings)
	if err != nil {
		t.Fatal(err)
	}
	live, err := trust.NewLive(t.Context(), &source{n, before}, compiler, trust.LiveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f := exchange.NewFeed(settings, live, signer{key}, time.Now)
	for since := uint64(0); since <= n; since += 10_000 { // so that what the broker keeps is not taken for the follower's
		if _, _, err := f.Page(t.Context(), since); err != nil {
			t.Fatal(err)
		}
	}
	h, err := broker.New(broker.Options{Issuer: settings.Issuer, Exchanger: nobody{}, Inspector: nobody{}, Feed: f,
		JWKS: func() []byte { return nil }, Algorithm: "ES256", Ready: func() error { return nil }, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL, key
}

// nobody exchanges and inspects nothing.
type nobody struct {
	broker.Exchanger
	broker.Inspector
}

// load follows the feed to its end, and says how long that took and what it
// costs to remember it, in MiB of heap.
func load(t testing.TB, url string, key *peer.Key) (f *follower, took time.Duration, heap float64) {
	t.Helper()
	client, err := fetch.New(fetch.Options{Allow: loopback})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	before := heapNow()
	began := time.Now()
	f = prepareWith(t, client, peerOf(t, "https://broker.globex.example", key), func(o *feed.Options) { o.URL = url + "/revocations" })
	f.run(t)
	f.wait(t)
	took = time.Since(began)
	return f, took, float64(heapNow()-before) / (1 << 20)
}

func heapNow() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// RV-11: what many revocations cost, by the broker's own pages; the benchmark
// has a million.
func TestRV11Memory(t *testing.T) {
	now := time.Now()
	const many = million / 4
	url, key := large(t, many, now)
	f, took, heap := load(t, url, key)
	t.Logf("%d handles loaded in %s; %.1f MiB of heap", f.Len(), took.Round(time.Millisecond), heap)
	if f.Len() != many || heap > 16 {
		t.Errorf("%d handles in %.1f MiB, want %d in 16 at most", f.Len(), heap, many)
	}
	for n := uint64(1); n <= many; n += 997 {
		h := spread(n)
		text := base64.RawURLEncoding.EncodeToString(h[:])
		if issued := now.Add(-time.Second); !f.Revoked([]string{text}, issued) || f.Revoked([]string{text}, now.Add(time.Second)) {
			t.Fatalf("revocation %d is not what it was", n)
		}
	}
}

func BenchmarkRevoked(b *testing.B) {
	url, key := large(b, million, time.Now())
	f, took, heap := load(b, url, key)
	if f.Len() != million || heap > 64 {
		b.Errorf("%d handles in %.0f MiB, want %d in 64 at most", f.Len(), heap, million)
	}
	lineage := make([]string, 6)
	for i := range lineage {
		h := spread(uint64(i) + 2*million)
		lineage[i] = base64.RawURLEncoding.EncodeToString(h[:])
	}
	b.ReportAllocs()
	for b.Loop() {
		if f.Revoked(lineage, time.Unix(1, 0)) {
			b.Fatal("dead")
		}
	}
	b.ReportMetric(heap, "MiB")
	b.ReportMetric(float64(took.Milliseconds()), "ms/load")
}
