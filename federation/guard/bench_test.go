package guard_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust/ident"
)

// What one guarded request costs, without the connection: beside it the bare
// signatures that it cannot do without.
func BenchmarkGuard(b *testing.B) {
	constrained := object{"max_requests_per_minute": 1 << 30, "max_requests_per_hour": 1 << 30, "domains_allowed": []any{"example.org", "trusted.example"},
		"allowed_methods": []any{"GET"}, "time_window": object{"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}}
	const target = "/search?url=https://data.example.org/a"
	for _, bm := range []struct {
		name string
		// tokens is how many there are: one that is repeated, or each a new one.
		repeated, bound bool
		constraints     object
	}{
		{"new-token", false, false, nil},
		{"new-token-constrained", false, false, constrained},
		{"new-token-dpop-constrained", false, true, constrained},
		{"repeated-token", true, false, nil},
		{"repeated-token-constrained", true, false, constrained},
		{"repeated-token-dpop-constrained", true, true, constrained},
	} {
		b.Run(bm.name, func(b *testing.B) { benchmarkGuard(b, bm.repeated, bm.bound, bm.constraints, target) })
	}
	b.Run("bare-verification", func(b *testing.B) {
		sum := sha256.Sum256([]byte("a"))
		sig, err := ecdsa.SignASN1(rand.Reader, signing(), sum[:])
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if !ecdsa.VerifyASN1(&signing().PublicKey, sum[:], sig) {
				b.Fatal("wrong")
			}
		}
	})
}

func benchmarkGuard(b *testing.B, repeated, bound bool, constraints object, target string) {
	o := options(b)
	o.Now = time.Now
	g := newGuard(b, o)
	h := g.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	key, err := proof.GenerateSigner()
	if err != nil {
		b.Fatal(err)
	}
	const batch = 512
	var requests []*http.Request
	began := time.Now()
	for i := 0; b.Loop(); i++ {
		if i%batch == 0 {
			b.StopTimer()
			requests = prepared(b, batch, i, repeated, bound, key, constraints, target, began)
			b.StartTimer()
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, requests[i%batch])
		if w.Code != http.StatusOK {
			b.Fatalf("answer %d %s", w.Code, w.Body)
		}
	}
	b.ReportAllocs()
}

// prepared makes requests before the clock starts.
func prepared(b *testing.B, n, from int, repeated, bound bool, key *proof.Signer, constraints object, target string, began time.Time) []*http.Request {
	b.Helper()
	out := make([]*http.Request, n)
	token := ""
	for i := range out {
		if token == "" || !repeated {
			id := from + i
			if repeated {
				id = 0
			}
			base := claims()
			if constraints != nil {
				base = limited(constraints)
			}
			base = base.with("iat", began.Unix()).with("nbf", nil).with("exp", began.Add(10*time.Minute).Unix()).with("jti", strconv.Itoa(id))
			if bound {
				base = base.with("cnf", object{"jkt": key.JKT()})
			}
			token = sign(b, nil, base)
		}
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if bound {
			r.Header.Set("Authorization", "DPoP "+token)
			p, err := key.Proof(http.MethodGet, "http://example.com/search", proof.Options{AccessToken: ident.NewRawToken(token)})
			if err != nil {
				b.Fatal(err)
			}
			r.Header.Set("DPoP", p)
		}
		out[i] = r
	}
	return out
}
