package federation_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation"
)

func TestHealth(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, net *pipes, k *federation.Keys) {
		i := net.host(newFakeIssuer("a"), 1)
		p := i.peer()
		if h := k.HealthOf(p); h.State != federation.StateNone || h.Up() || !h.LastAttempt.IsZero() || h.Breaker != "closed" {
			t.Errorf("before the first fetch: %+v", h)
		}
		began := time.Now()
		wantKey(t, k, p, "a", nil)
		h := k.HealthOf(p)
		if h.State != federation.StateFresh || !h.Up() || h.Document != i.url+openIDPath || h.JWKSURI != i.url+"/jwks" {
			t.Errorf("after the first fetch: %+v", h)
		}
		if !h.LastFetch.Equal(began) || !h.LastAttempt.Equal(began) || h.LastError != "" || h.NextRefresh.IsZero() {
			t.Errorf("times and error after the first fetch: %+v", h)
		}
		if len(h.Keys) != 1 || h.Keys[0].ID != "a" || h.Keys[0].Algorithm != es256 || !h.Keys[0].FirstSeen.Equal(began) {
			t.Errorf("Keys = %+v", h.Keys)
		}
		net.power(1, false)
		time.Sleep(10 * time.Minute)
		h = k.HealthOf(p)
		if h.State != federation.StateStale || h.Failures < 2 || h.LastResult != federation.FetchUnreachable || h.LastError == "" {
			t.Errorf("in an outage: %+v", h)
		}
		net.power(1, true)
		time.Sleep(time.Second) // past the pause of the breaker, should it have just opened
		if err := k.Refresh(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		h = k.HealthOf(p)
		if h.Failures != 0 || h.LastError != "" || !h.Keys[0].FirstSeen.Equal(began) || !h.LastFetch.After(began) {
			t.Errorf("after the outage: %+v", h)
		}
	})
}

func TestHealthOfAStaticPeer(t *testing.T) {
	bubble(t, federation.KeysOptions{}, func(t *testing.T, _ *pipes, k *federation.Keys) {
		p := federation.Peer{Name: "air", Fingerprint: "air", Issuer: "https://as.air.example", Discovery: federation.Static, JWKS: keySetOf("a")}
		if h := k.HealthOf(p); h.State != federation.StateStatic || !h.Up() || len(h.Keys) != 1 {
			t.Errorf("HealthOf = %+v", h)
		}
		p.Fingerprint, p.JWKS = "bad", []byte(`{}`)
		if h := k.HealthOf(p); h.State != federation.StateNone || h.LastResult != federation.FetchMisconfigured {
			t.Errorf("HealthOf = %+v", h)
		}
	})
}

// The observer sees each fetch under its class.
func TestObserver(t *testing.T) {
	var mu sync.Mutex
	var seen []federation.FetchResult
	o := federation.KeysOptions{Observe: func(f federation.Fetched) {
		mu.Lock()
		defer mu.Unlock()
		if f.Peer != "acme" {
			t.Errorf("Peer = %q", f.Peer)
		}
		seen = append(seen, f.Result)
	}}
	bubble(t, o, func(t *testing.T, net *pipes, k *federation.Keys) {
		i := net.host(newFakeIssuer("a"), 1)
		try := func() { k.Refresh(t.Context(), i.peer()) }
		try()
		i.answer(text(200, "text/html", "<html>"))
		try()
		i.answer(text(http.StatusForbidden, "application/json", ""))
		try()
		i.publish("a")
		i.set(func() { i.meta = map[string]any{"issuer": "https://x.example", "jwks_uri": "https://x.example/"} })
		try()
		net.power(1, false)
		try()
		want := []federation.FetchResult{federation.FetchOK, federation.FetchMalformed, federation.FetchStatus,
			federation.FetchMisconfigured, federation.FetchUnreachable}
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(seen, want) {
			t.Errorf("results = %v, want %v", seen, want)
		}
	})
}

// A failure, a recovery and a published secret leave a line; what the peer sent
// does not get into it.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	o := federation.KeysOptions{Logger: slog.New(slog.NewJSONHandler(&log, nil))}
	bubble(t, o, func(t *testing.T, net *pipes, k *federation.Keys) {
		i := net.host(newFakeIssuer("a"), 1)
		set := strings.TrimSuffix(string(keySetOf("a")), "]}")
		i.answer(text(200, "application/json", set+`,{"kty":"oct","kid":"evil","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"}]}`))
		for _, on := range []bool{true, false, true} {
			net.power(1, on)
			k.Refresh(t.Context(), i.peer())
		}
		k.Close()
		got := log.String()
		for _, want := range []string{`"result":"unreachable"`, `"recovered":true`, federation.ReasonSecret, `"level":"ERROR"`, `"peer":"acme"`} {
			if !strings.Contains(got, want) {
				t.Errorf("log lacks %s:\n%s", want, got)
			}
		}
		for _, bad := range []string{"evil", "c2VjcmV0"} {
			if strings.Contains(got, bad) {
				t.Errorf("log holds %s:\n%s", bad, got)
			}
		}
	})
}
