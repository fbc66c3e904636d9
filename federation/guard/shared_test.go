package guard_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/quota/valkey"
	server "github.com/comity-auth/comity/fixtures/valkey"
)

// Replicas that share a store count as one, and take a proof once between them.
func TestReplicasShareCountsAndProofs(t *testing.T) {
	t.Parallel()
	s := server.Private(t, server.Options{})
	replica := func() *world {
		store, err := valkey.Open(t.Context(), s.URL(), valkey.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		o := options(t)
		o.Now, o.PublicURL = time.Now, "https://api.example.com"
		o.Counters, o.Once = store.Counters(), store.Once()
		return middleware(t, o)
	}
	a, b := replica(), replica()
	live := func(o object) object {
		return o.with("iat", time.Now().Unix()).with("nbf", nil).with("exp", time.Now().Add(5*time.Minute).Unix())
	}
	token := sign(t, nil, live(limited(object{"max_requests_per_day": 2})))
	a.wantAdmitted(t, a.get("/search", token))
	b.wantAdmitted(t, b.get("/search", token))
	for _, w := range []*world{a, b} {
		w.wantRefused(t, w.get("/search", token), 429, "aap_constraint_violation")
	}

	proven, key := bound(t, live(claims().with("jti", "shared-2")))
	p := proofNow(t, key, "https://api.example.com/search", proven)
	ask := func(w *world) answer {
		r := w.request(http.MethodGet, "/search", nil)
		r.Header.Set("Authorization", "DPoP "+proven)
		r.Header.Set("DPoP", p)
		return w.send(r)
	}
	a.wantAdmitted(t, ask(a))
	b.wantRefused(t, ask(b), 401, "invalid_token")

	s.Stop()
	b.wantRefused(t, b.get("/search", sign(t, nil, live(limited(object{"max_requests_per_day": 2}).with("jti", "shared-3")))), 503, guard.Unavailable)
}
