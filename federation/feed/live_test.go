package feed_test

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/broker/admin"
	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/feed"
	"github.com/comity-auth/comity/federation/fetch"
	"github.com/comity-auth/comity/fixtures/e2e"
	"github.com/comity-auth/comity/fixtures/peer"
	"github.com/comity-auth/comity/fixtures/pg"
)

// bound is what RV-03 allows from the answer to a revocation until it holds.
const bound = 5 * time.Second

// followBroker follows a running broker's feed, where a replica serves it.
func followBroker(t testing.TB, d *e2e.Domain) *follower {
	t.Helper()
	client, err := fetch.New(fetch.Options{Allow: loopback})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	f := prepareWith(t, client, federation.Peer{Name: "globex", Fingerprint: "f", Issuer: d.Issuer, Discovery: federation.AtURI,
		JWKSURI: d.URL + "/.well-known/jwks.json", Algorithms: []jose.SignatureAlgorithm{jose.ES256}},
		func(o *feed.Options) { o.URL, o.Wait = d.URL+"/revocations", time.Second })
	f.moved = make(chan struct{}, 1)
	f.run(t)
	f.until(t, "the feed is loaded", func() bool { return f.Age() < time.Minute })
	return f
}

// until waits, from one request of the follower to the next, until something
// holds, and says how long that took. It gives up after the bound.
func (f *follower) until(t testing.TB, what string, holds func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	late := time.NewTimer(2 * bound)
	defer late.Stop()
	for !holds() {
		select {
		case <-f.moved:
		case <-late.C:
			t.Fatalf("%s: not after %s; last observed %+v", what, time.Since(began), f.last())
		}
	}
	return time.Since(began)
}

// revoke asks the admin API, and returns once that is acknowledged.
func revoke(t testing.TB, d *e2e.Domain, kind, value string) admin.Revoked {
	t.Helper()
	var out admin.Revoked
	text, err := json.Marshal(map[string]string{"kind": kind, "value": value, "comment": "test"})
	if err != nil {
		t.Fatal(err)
	}
	r := d.Admin(t, http.MethodPost, "/admin/v1/revocations", string(text))
	if err := json.Unmarshal([]byte(r.Text), &out); err != nil || r.Status != http.StatusOK {
		t.Fatalf("revoke %s: %d %s", text, r.Status, r.Text)
	}
	return out
}

// RV-03: from the answer to a revocation until it holds where the feed is
// followed, of the replica that was asked and of another one.
func TestRV03Propagation(t *testing.T) {
	t.Parallel()
	const samples = 200
	for _, tt := range []struct {
		name  string
		store func(*testing.T) string
	}{
		{"one broker", func(*testing.T) string { return "" }},
		{"the other replica", func(t *testing.T) string { return pg.New(t) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := e2e.Start(t, e2e.Options{Store: tt.store(t)})
			at := d
			if tt.name != "one broker" {
				at = d.Replica(t)
			}
			f := followBroker(t, at)
			hold := func() time.Duration {
				one := revoke(t, d, "token", rand.Text())
				return f.until(t, "the revocation holds", func() bool { return f.Revoked([]string{one.Handle}, time.Time{}) })
			}
			// The first ones come while the follower waits at the broker, as it nearly
			// always does; the others one after the other, each while it pauses.
			var lone []time.Duration
			for range 3 {
				f.until(t, "a page without news", func() bool { return f.last().Took > 500*time.Millisecond && f.last().News == 0 })
				lone = append(lone, hold())
			}
			took := make([]time.Duration, samples)
			for i := range took {
				took[i] = hold()
			}
			slices.Sort(took)
			t.Logf("lone ones %s; %d one after the other: p50 %s, p99 %s, max %s", lone, samples, took[samples/2], took[samples*99/100], took[samples-1])
			if most := max(took[samples-1], slices.Max(lone)); most > bound {
				t.Errorf("a revocation held %s after its answer, want %s at most", most, bound)
			}
			if f.Len() != samples+len(lone) || f.Age() > 10*time.Second {
				t.Errorf("%d handles, age %s", f.Len(), f.Age())
			}
		})
	}
}

// RV-06: what was revoked at each width kills the tokens that the broker
// issued, by their lineage, and no others.
func TestRV06TokensOfTheBroker(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind   string
		value  func(*e2e.World, e2e.Answer) string
		others bool // whether another token, for the same subject and client, dies too
	}{
		{"token", func(_ *e2e.World, a e2e.Answer) string { jti, _ := a.Claims["jti"].(string); return jti }, false},
		{"client", func(w *e2e.World, _ e2e.Answer) string { return w.Basic.ID }, true},
		{"mapping", func(*e2e.World, e2e.Answer) string { return "acme-agents" }, true},
		{"peer", func(*e2e.World, e2e.Answer) string { return "acme" }, true},
		{"all", func(*e2e.World, e2e.Answer) string { return "" }, true},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			t.Parallel()
			w := e2e.NewWorld(t, e2e.WorldOptions{})
			f := followBroker(t, w.Domain)
			foreign := w.Subject(peer.Overrides{Claims: e2e.AgentClaims()})
			one := w.Token(t, e2e.Exchange(foreign, "resource", e2e.Search), w.AsBasic())
			other := w.Token(t, e2e.Exchange(foreign, "resource", e2e.Search), w.AsBasic())
			lineage, issued := bearing(t, one)
			others, _ := bearing(t, other)
			generation := f.Generation()
			if f.Revoked(lineage, issued) {
				t.Fatal("it is dead before the revocation")
			}
			revoke(t, w.Domain, tt.kind, tt.value(w, one))
			f.until(t, "the token is dead", func() bool { return f.Revoked(lineage, issued) })
			if got := f.Revoked(others, issued); got != tt.others {
				t.Errorf("another token is dead: %v, want %v", got, tt.others)
			}
			if f.Revoked(lineage, issued.Add(time.Hour)) || f.Generation() == generation {
				t.Errorf("what is issued later is dead, or the generation did not change: %d", f.Generation())
			}
		})
	}
}

// bearing is the lineage of a token, and when it was issued.
func bearing(t testing.TB, a e2e.Answer) (lineage []string, issued time.Time) {
	t.Helper()
	list, _ := a.Claims["lineage"].([]any)
	at, _ := a.Claims["iat"].(float64)
	for _, h := range list {
		text, _ := h.(string)
		lineage = append(lineage, text)
	}
	if len(lineage) == 0 || at == 0 {
		t.Fatalf("got %d %s, want a token with a lineage", a.Status, a.Text)
	}
	return lineage, time.Unix(int64(at), 0)
}

// A broker that restarts is followed on, and one that is gone leaves what was
// known.
func TestBrokerRestarts(t *testing.T) {
	t.Parallel()
	d := e2e.Start(t, e2e.Options{})
	f := followBroker(t, d)
	one := revoke(t, d, "token", rand.Text())
	d.Restart(t)
	two := revoke(t, d, "token", rand.Text())
	took := f.until(t, "both are dead", func() bool {
		return f.Revoked([]string{one.Handle}, time.Time{}) && f.Revoked([]string{two.Handle}, time.Time{})
	})
	t.Logf("followed on %s after the restarted broker's answer", took)
	before := f.last()
	d.Pause(t)
	f.until(t, "the follower notices", func() bool { return f.last().Result == feed.ResultUnreachable })
	if !f.Revoked([]string{one.Handle, two.Handle}, time.Time{}) || f.Len() != before.Handles {
		t.Error("what was known is gone with the broker")
	}
}
