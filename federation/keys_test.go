package federation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/fetch"
)

// bubble runs a test in fake time with a network in memory.
func bubble(t *testing.T, o federation.KeysOptions, f func(*testing.T, *pipes, *federation.Keys)) {
	t.Helper()
	t.Parallel()
	forged() // outside of the bubble: it is shared
	synctest.Test(t, func(t *testing.T) {
		net := newPipes(t)
		f(t, net, keysOver(t, net.dial, o))
	})
}

// wantKey checks the outcome of asking for a key.
func wantKey(t *testing.T, k *federation.Keys, p federation.Peer, kid string, want error) {
	t.Helper()
	key, err := k.Key(t.Context(), p, kid, es256)
	if !errors.Is(err, want) {
		t.Errorf("Key(%q) = %v, want %v", kid, err, want)
	}
	if err == nil && key.ID != kid {
		t.Errorf("Key(%q) = key %q", kid, key.ID)
	}
}

// DS-01: a static peer, and a value that is no peer, cause no traffic.
func TestDS01NoTrafficWithoutDiscovery(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		static := federation.Peer{Name: "air", Fingerprint: "air-1", Issuer: "https://as.air.example",
			Discovery: federation.Static, JWKS: keySetOf("a", "b")}
		wantKey(t, k, static, "a", nil)
		wantKey(t, k, static, "x", federation.ErrUnknownKey)
		if err := k.Refresh(t.Context(), static); err != nil {
			t.Errorf("Refresh = %v", err)
		}
		k.Prefetch([]federation.Peer{static})
		time.Sleep(3 * time.Hour)
		wantKey(t, k, static, "b", nil)
		broken := static
		broken.Fingerprint, broken.JWKS = "air-2", []byte(`{"keys":[]}`)
		wantKey(t, k, broken, "a", federation.ErrMisconfigured)
		for i := range 1000 { // issuers that nobody registered
			p := federation.Peer{Issuer: fmt.Sprintf("https://%d.example", i)}
			wantKey(t, k, p, "a", federation.ErrMisconfigured)
		}
		wantKey(t, k, federation.Peer{Fingerprint: "x", Issuer: "https://x.example"}, "a", federation.ErrMisconfigured)
		if net.dialled() != 0 {
			t.Errorf("%d connections, want none", net.dialled())
		}
	})
}

// DS-19, JO-14: random key ids must not become a stream of outbound requests.
func TestDS19UnknownKeyStorm(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		i := net.host(newFakeIssuer("a"), 1)
		p := i.peer()
		for n := range 60 * 100 {
			wantKey(t, k, p, fmt.Sprint("random-", n), federation.ErrUnknownKey)
			time.Sleep(10 * time.Millisecond)
		}
		if got := i.hits("/jwks"); got > 3 {
			t.Errorf("key set fetches = %d, want at most 3", got)
		}
		wantKey(t, k, p, "a", nil)
	})
}

// An unknown key id is asked for at most once, and never replaced.
func TestJO14OneRefetch(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		i := net.host(newFakeIssuer("a"), 1)
		wantKey(t, k, i.peer(), "a", nil)
		wantKey(t, k, i.peer(), "b", federation.ErrUnknownKey)
		if got := i.hits("/jwks"); got != 2 {
			t.Errorf("key set fetches = %d, want 2", got)
		}
	})
}

// DS-20: what can be answered from the set, well or badly, is not asked again.
func TestDS20NoRefetchForKnownKeys(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		i := net.host(newFakeIssuer("a", "b"), 1)
		for range 1000 {
			wantKey(t, k, i.peer(), "a", nil)
			if _, err := k.Key(t.Context(), i.peer(), "a", jose.RS256); !errors.Is(err, federation.ErrAlgorithm) {
				t.Errorf("Key for RS256 = %v, want ErrAlgorithm", err)
			}
			if _, err := k.Key(t.Context(), i.peer(), "", jose.RS256); !errors.Is(err, federation.ErrUnknownKey) {
				t.Errorf("Key without kid = %v, want ErrUnknownKey", err)
			}
		}
		if got := i.hits("/jwks"); got != 1 {
			t.Errorf("key set fetches = %d, want 1", got)
		}
	})
}

// DS-21: 500 first requests at once are one discovery and one key set.
func TestDS21ColdStart(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		for round := range uint16(20) { // requests may come late, when the fetch has just ended
			i := net.host(newFakeIssuer("a"), round+1)
			p := i.peer()
			p.Fingerprint = i.url
			var wg sync.WaitGroup
			for range 500 {
				wg.Go(func() { wantKey(t, k, p, "a", nil) })
			}
			wg.Wait()
			if d, s := i.hits(openIDPath), i.hits("/jwks"); d != 1 || s != 1 {
				t.Errorf("fetches = %d of metadata and %d of keys, want 1 and 1", d, s)
			}
		}
	})
}

// DS-21: the fetch outlives the request that began it.
func TestDS21FetchOutlivesItsRequest(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		i := net.host(newFakeIssuer("a"), 1)
		i.blocked = make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := k.Key(ctx, i.peer(), "a", es256)
		if !errors.Is(err, federation.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Key = %v, want ErrUnavailable and DeadlineExceeded", err)
		}
		close(i.blocked)
		wantKey(t, k, i.peer(), "a", nil)
		if got := i.hits("/jwks"); got != 1 {
			t.Errorf("key set fetches = %d, want 1", got)
		}
	})
}

// DS-23: a new key is found at once, or when the cooldown is over.
func TestDS23NewKey(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		i := net.host(newFakeIssuer("a"), 1)
		wantKey(t, k, i.peer(), "a", nil)
		i.publish("a", "b")
		time.Sleep(100 * time.Millisecond)
		wantKey(t, k, i.peer(), "b", nil)
		i.publish("a", "b", "c") // the cooldown is running now
		time.Sleep(100 * time.Millisecond)
		wantKey(t, k, i.peer(), "c", federation.ErrUnknownKey)
		time.Sleep(30 * time.Second)
		wantKey(t, k, i.peer(), "c", nil)
	})
}

// DS-24: a withdrawn key is gone after the soft age, and at once on Refresh.
func TestDS24WithdrawnKey(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		i := net.host(newFakeIssuer("a", "b"), 1)
		wantKey(t, k, i.peer(), "a", nil)
		i.publish("b")
		wantKey(t, k, i.peer(), "a", nil)
		time.Sleep(5*time.Minute + time.Second) // with nobody asking meanwhile
		wantKey(t, k, i.peer(), "a", federation.ErrUnknownKey)
		i.publish("c")
		wantKey(t, k, i.peer(), "b", nil)
		if err := k.Refresh(t.Context(), i.peer()); err != nil {
			t.Errorf("Refresh = %v", err)
		}
		wantKey(t, k, i.peer(), "b", federation.ErrUnknownKey)
		wantKey(t, k, i.peer(), "c", nil)
	})
}

// An idle peer is asked before its stale set is trusted again, and left alone
// until then.
func TestIdlePeerIsAskedFirst(t *testing.T) {
	o := federation.KeysOptions{SoftAge: time.Minute, HardAge: time.Hour}
	bubble(t, o, func(t *testing.T, net *pipes, k *federation.Keys) {
		i := net.host(newFakeIssuer("a"), 1)
		wantKey(t, k, i.peer(), "a", nil)
		time.Sleep(time.Hour + 2*time.Minute)
		before := i.hits("/jwks")
		time.Sleep(30 * time.Minute)
		if got := i.hits("/jwks"); got != before {
			t.Errorf("an idle peer was asked %d times", got-before)
		}
		if got := k.HealthOf(i.peer()).State; got != federation.StateStale {
			t.Errorf("State = %s, want stale", got)
		}
		i.publish("b")
		wantKey(t, k, i.peer(), "a", federation.ErrUnknownKey)
		wantKey(t, k, i.peer(), "b", nil)
	})
}

// DS-25: a peer that is down is served from the last set until its hard age.
func TestDS25StaleUntilTheHardAge(t *testing.T) {
	var failed atomic.Int64
	o := federation.KeysOptions{SoftAge: 2 * time.Second, HardAge: 10 * time.Second, Observe: func(f federation.Fetched) {
		if f.Result == federation.FetchUnreachable {
			failed.Add(1)
		}
	}}
	bubble(t, o, func(t *testing.T, net *pipes, k *federation.Keys) {
		i := net.host(newFakeIssuer("a"), 1)
		wantKey(t, k, i.peer(), "a", nil)
		net.power(1, false)
		for range 9 {
			time.Sleep(time.Second)
			wantKey(t, k, i.peer(), "a", nil)
		}
		if failed.Load() == 0 || k.HealthOf(i.peer()).State != federation.StateStale {
			t.Errorf("failures = %d in state %s, want some and stale", failed.Load(), k.HealthOf(i.peer()).State)
		}
		time.Sleep(11 * time.Second)
		wantKey(t, k, i.peer(), "a", federation.ErrUnavailable)
		if h := k.HealthOf(i.peer()); h.State != federation.StateExpired || h.Up() {
			t.Errorf("State = %s, want expired", h.State)
		}
		net.power(1, true)
		time.Sleep(time.Second)
		wantKey(t, k, i.peer(), "a", nil)
	})
}

// DS-25: a peer that is down costs one attempt per pause, not one per request.
func TestDS25UnreachablePeerIsSpared(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		i := net.host(newFakeIssuer("a"), 1)
		net.power(1, false)
		for range 1000 {
			wantKey(t, k, i.peer(), "a", federation.ErrUnavailable)
			time.Sleep(10 * time.Millisecond)
		}
		// Each attempt is three connections.
		if got := net.dialled() / 3; got > 15 {
			t.Errorf("attempts in 10 s = %d, want at most 15", got)
		}
	})
}

// DS-27: whatever the peer answers, the last good set stays, and other peers
// do not notice.
func TestDS27LastGoodSetStays(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"keeps it on an empty set", text(200, "application/json", `{"keys":[]}`)},
		{"keeps it on no keys member", text(200, "application/json", `{}`)},
		{"keeps it on HTML", text(200, "text/html", `<html>`)},
		{"keeps it on HTML that calls itself JSON", text(200, "application/json", `<html>`)},
		{"keeps it on truncated JSON", text(200, "application/json", `{"keys":[{"kty":"EC"`)},
		{"keeps it on a wrong content type", text(200, "text/plain", string(keySetOf("x")))},
		{"keeps it on 304 that nobody asked for", text(304, "application/json", "")},
		{"keeps it on 404", text(404, "application/json", "{}")},
		{"keeps it on 500", text(500, "application/json", "{}")},
		{"keeps it on a redirect", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(302)
		}},
		{"keeps it on 100 KiB and more", text(200, "application/json", `{"keys":[]`+strings.Repeat(" ", 100<<10)+`}`)},
		{"keeps it on repeated members", text(200, "application/json", `{"keys":[],"keys":[]}`)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
				i, other := net.host(newFakeIssuer("a"), 1), net.host(newFakeIssuer("o"), 2)
				p2 := other.peer()
				p2.Name, p2.Fingerprint = "other", "other-1"
				wantKey(t, k, i.peer(), "a", nil)
				i.answer(tc.answer)
				for range 55 {
					time.Sleep(time.Minute)
					wantKey(t, k, i.peer(), "a", nil)
					wantKey(t, k, p2, "o", nil)
				}
				if h := k.HealthOf(i.peer()); h.LastError == "" || h.Failures == 0 {
					t.Errorf("health = %+v, want an error", h)
				}
				if err := k.Refresh(t.Context(), i.peer()); !errors.Is(err, federation.ErrUnavailable) {
					t.Errorf("Refresh = %v, want ErrUnavailable", err)
				}
				time.Sleep(10 * time.Minute) // the hard age
				wantKey(t, k, i.peer(), "a", federation.ErrUnavailable)
				i.publish("b")
				time.Sleep(6 * time.Second)
				wantKey(t, k, i.peer(), "b", nil)
			})
		})
	}
}

// DS-29, DS-30: how much of a set is taken.
func TestDS29SizeOfASet(t *testing.T) {
	many := func(n int) string {
		kids := make([]string, n)
		for i := range kids {
			kids[i] = fmt.Sprint("k", i)
		}
		return string(keySetOf(kids...))
	}
	strange := func(n int, good string) string {
		var set struct {
			Keys []any `json:"keys"`
		}
		for i := range n {
			set.Keys = append(set.Keys, map[string]any{"kty": "future", "kid": fmt.Sprint(i), "alg": "X", "crv": "Y"})
		}
		var one struct{ Keys []any }
		if err := json.Unmarshal([]byte(good), &one); err != nil {
			t.Fatal(err)
		}
		set.Keys = append(set.Keys, one.Keys...)
		b, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, tc := range []struct {
		name, body string
		want       error
	}{
		{"accepts 100 keys", many(100), nil},
		{"refuses 101 keys", many(101), federation.ErrUnavailable},
		{"refuses 10000 keys", many(10000), federation.ErrUnavailable},
		{"accepts one good key among 99 unusable", strange(99, many(1)), nil},
		{"ignores unknown kinds beside good ones", strange(3, many(2)), nil},
		{"refuses only unusable keys", strange(3, `{"keys":[]}`), federation.ErrUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			i := newFakeIssuer().listen(t)
			i.answer(text(200, "application/jwk-set+json", tc.body))
			wantKey(t, keysOver(t, nil, federation.KeysOptions{}), i.peer(), "k0", tc.want)
		})
	}
}

// DS-31: what a peer says of freshness is clamped to a minute and an hour.
func TestDS31CacheControlIsClamped(t *testing.T) {
	for _, tc := range []struct {
		name   string
		header http.Header
		want   time.Duration
	}{
		{"nothing is five minutes", nil, 5 * time.Minute},
		{"two minutes are two minutes", http.Header{"Cache-Control": {"max-age=120"}}, 2 * time.Minute},
		{"no-store is a minute", http.Header{"Cache-Control": {"no-store"}}, time.Minute},
		{"zero is a minute", http.Header{"Cache-Control": {"max-age=0"}}, time.Minute},
		{"ten years are an hour", http.Header{"Cache-Control": {"max-age=315360000"}}, time.Hour},
		{"an overflow is an hour", http.Header{"Cache-Control": {"max-age=99999999999999999999"}}, time.Hour},
		{"garbage is a minute", http.Header{"Cache-Control": {"max-age=x"}}, time.Minute},
		{"of two headers the least counts", http.Header{"Cache-Control": {"max-age=900", "max-age=120"}}, 2 * time.Minute},
		{"an age beyond is a minute", http.Header{"Cache-Control": {"max-age=600"}, "Age": {"700"}}, time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
				i := net.host(newFakeIssuer("a"), 1)
				i.header = tc.header
				began := time.Now()
				wantKey(t, k, i.peer(), "a", nil)
				h := k.HealthOf(i.peer())
				if got := h.StaleAt.Sub(began); got != tc.want {
					t.Errorf("soft age = %v, want %v", got, tc.want)
				}
				if got := h.ExpiresAt.Sub(began); got != time.Hour {
					t.Errorf("hard age = %v, want 1h", got)
				}
				if h.NextRefresh.After(h.StaleAt) || h.NextRefresh.Before(began.Add(tc.want/2)) {
					t.Errorf("next refresh after %v of %v", h.NextRefresh.Sub(began), tc.want)
				}
			})
		})
	}
}

// A set that the peer says is unchanged is good for another term.
func TestNotModified(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		i := net.host(newFakeIssuer("a"), 1)
		var full, unchanged atomic.Int64
		i.answer(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"1"`)
			if r.Header.Get("If-None-Match") == `"1"` {
				unchanged.Add(1)
				w.WriteHeader(http.StatusNotModified)
				return
			}
			full.Add(1)
			w.Write(keySetOf("a"))
		})
		for range 180 {
			wantKey(t, k, i.peer(), "a", nil)
			time.Sleep(time.Minute)
		}
		if full.Load() != 1 || unchanged.Load() < 30 {
			t.Errorf("answers = %d full and %d unchanged, want 1 and at least 30", full.Load(), unchanged.Load())
		}
		if err := k.Refresh(t.Context(), i.peer()); err != nil || full.Load() != 2 {
			t.Errorf("Refresh = %v after %d full answers, want a second one", err, full.Load())
		}
	})
}

// DS-38: key sets that end together are refreshed spread out, off the path of
// requests.
func TestDS38RefreshesAreSpreadOut(t *testing.T) {
	const peers = 400
	var mu sync.Mutex
	perSecond := make(map[int64]int)
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		var all []federation.Peer
		count := func() {
			mu.Lock()
			defer mu.Unlock()
			perSecond[time.Now().Unix()]++
		}
		for n := range peers {
			i := net.host(newFakeIssuer("a"), uint16(n+1))
			i.answer(func(w http.ResponseWriter, _ *http.Request) { count(); w.Write(keySetOf("a")) })
			p := i.peer()
			p.Fingerprint, p.Discovery, p.JWKSURI = fmt.Sprint("p", n), federation.AtURI, i.url+"/jwks"
			all = append(all, p)
		}
		k.Prefetch(all)
		for range 15 {
			time.Sleep(time.Minute)
			asked := net.dialled()
			for _, p := range all {
				wantKey(t, k, p, "a", nil)
			}
			if got := net.dialled(); got != asked {
				t.Errorf("%d fetches on the path of requests", got-asked)
			}
		}
		total := 0
		for second, n := range perSecond {
			total += n
			if n > 51 { // a second's edge may fall between two of them
				t.Errorf("%d fetches in second %d, want at most 50", n, second)
			}
		}
		if total < 3*peers {
			t.Errorf("fetches = %d, want three rounds", total)
		}
	})
}

// DS-39: a peer that comes back with only new keys is believed within a second.
func TestDS39RolloverDuringAnOutage(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		i := net.host(newFakeIssuer("old"), 1)
		wantKey(t, k, i.peer(), "old", nil)
		net.power(1, false)
		i.publish("new")
		for range 200 {
			time.Sleep(100 * time.Millisecond)
			wantKey(t, k, i.peer(), "old", nil)
			wantKey(t, k, i.peer(), "new", federation.ErrUnavailable)
		}
		net.power(1, true)
		var took time.Duration
		for ; took <= time.Second; took += 50 * time.Millisecond {
			if _, err := k.Key(t.Context(), i.peer(), "new", es256); err == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if took > time.Second {
			t.Errorf("the new key was not found within a second")
		}
		wantKey(t, k, i.peer(), "old", federation.ErrUnknownKey)
	})
}

// A key set that moved is found by new metadata.
func TestMovedKeySet(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		i, keys := net.host(newFakeIssuer("a"), 1), net.host(newFakeIssuer("b"), 2)
		p := i.peer()
		p.JWKSHosts = []string{"127.0.0.1:2"}
		wantKey(t, k, p, "a", nil)
		i.set(func() { i.meta = map[string]any{"issuer": i.url, "jwks_uri": keys.url + "/jwks"} })
		wantKey(t, k, p, "b", nil)
		wantKey(t, k, p, "a", federation.ErrUnknownKey)
	})
}

// Refresh does not take a fetch for its own that began before it.
func TestRefreshDoesNotJoinAnEarlierFetch(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		i := net.host(newFakeIssuer("a"), 1)
		i.entered, i.blocked = make(chan struct{}, 8), make(chan struct{})
		p := i.peer()
		go k.Key(t.Context(), p, "a", es256)
		<-i.entered
		done := make(chan error)
		go func() { done <- k.Refresh(t.Context(), p) }()
		synctest.Wait()
		close(i.blocked)
		if err := <-done; err != nil || i.hits("/jwks") != 2 {
			t.Errorf("Refresh = %v after %d fetches, want 2", err, i.hits("/jwks"))
		}
	})
}

func TestRetain(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		one, two := net.host(newFakeIssuer("a"), 1), net.host(newFakeIssuer("b"), 2)
		p1, p2 := one.peer(), two.peer()
		p2.Fingerprint = "two"
		wantKey(t, k, p1, "a", nil)
		wantKey(t, k, p2, "b", nil)
		k.Retain(slices.Values([]string{"two"}))
		if h := k.Health(); len(h) != 1 || h[0].Fingerprint != "two" {
			t.Errorf("Health = %+v, want only the second", h)
		}
		before := one.hits("/jwks")
		for range 30 {
			time.Sleep(time.Minute)
			wantKey(t, k, p2, "b", nil)
		}
		if got := one.hits("/jwks"); got != before {
			t.Errorf("a dropped peer was asked %d times", got-before)
		}
		wantKey(t, k, p1, "a", nil)
	})
}

// Close waits for what is under way; nothing is fetched behind it.
func TestClose(t *testing.T) {
	i := newFakeIssuer("a").listen(t)
	i.entered, i.blocked = make(chan struct{}, 8), make(chan struct{})
	k := keysOver(t, nil, federation.KeysOptions{})
	failed := make(chan error)
	go func() { _, err := k.Key(t.Context(), i.peer(), "a", es256); failed <- err }()
	<-i.entered
	k.Close()
	if err := <-failed; !errors.Is(err, federation.ErrUnavailable) {
		t.Errorf("Key during Close = %v, want ErrUnavailable", err)
	}
	close(i.blocked)
	p := i.peer()
	p.Fingerprint = "another"
	wantKey(t, k, p, "a", federation.ErrUnavailable)
	if err := k.Refresh(t.Context(), p); !errors.Is(err, federation.ErrUnavailable) {
		t.Errorf("Refresh after Close = %v, want ErrUnavailable", err)
	}
	k.Prefetch([]federation.Peer{p})
	if got := i.hits(openIDPath); got != 1 {
		t.Errorf("metadata fetches = %d, want 1", got)
	}
}

// DS-17: what a host breaks off is not a key set.
func TestDS17BrokenAnswers(t *testing.T) {
	t.Parallel()
	i := newFakeIssuer().listen(t)
	i.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, `{"keys":[]}`)
	})
	wantKey(t, keysOver(t, nil, federation.KeysOptions{}), i.peer(), "a", federation.ErrUnavailable)
}

// TestMain also looks for goroutines that outlive their test.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// BenchmarkKey is the path of every request: a key that is held.
func BenchmarkKey(b *testing.B) {
	f, err := fetch.New(fetch.Options{})
	if err != nil {
		b.Fatal(err)
	}
	k := federation.NewKeys(f, federation.KeysOptions{})
	b.Cleanup(k.Close)
	p := federation.Peer{Fingerprint: "air", Issuer: "https://as.air.example", Discovery: federation.Static, JWKS: keySetOf("a", "b")}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Key(b.Context(), p, "b", es256); err != nil {
			b.Fatal(err)
		}
	}
}
