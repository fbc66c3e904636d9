package guard_test

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/fixtures/peer"
)

// broker is an issuer with a feed, whose revocations are of the handle "dead".
type broker struct {
	*peer.Issuer
	revoked atomic.Int64 // the instant before which dead is dead; 0 for none
}

const dead, alive = "ZGVhZGRlYWRkZWFk", "YWxpdmVhbGl2ZTEy"

func newBroker(t *testing.T) *broker {
	b := &broker{}
	b.Issuer = peer.Start(t, peer.Options{Handle: map[string]http.Handler{"GET /revocations": http.HandlerFunc(b.page)}})
	return b
}

// page is what there is after the number asked for. It never waits.
func (b *broker) page(w http.ResponseWriter, r *http.Request) {
	since, _ := strconv.Atoi(r.URL.Query().Get("since"))
	head, list := 0, []any{}
	if at := b.revoked.Load(); at != 0 {
		if head = 1; since < 1 {
			list = append(list, []any{1, dead, at})
		}
	}
	now := time.Now().Unix()
	_, _ = io.WriteString(w, b.Sign(map[string]any{"typ": "revocation-feed+jwt"},
		map[string]any{"iss": b.URL(), "iat": now, "exp": now + 60, "head": head, "since": since, "revocations": list}))
}

func (b *broker) token(jti string, lineage ...any) string {
	c := claims()
	return b.Token(audience, peer.Overrides{Header: map[string]any{"typ": "at+jwt"}, Claims: map[string]any{
		"agent": c["agent"], "task": c["task"], "capabilities": c["capabilities"], "jti": jti, "lineage": lineage}})
}

// live is a guard that follows the broker, and runs until the test ends.
func live(t *testing.T, b *broker) (*world, func()) {
	o := options(t)
	o.Now, o.Egress = nil, loopback
	o.Issuers = []guard.Issuer{{Issuer: b.URL()}}
	g, err := guard.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		_ = g.Run(ctx)
	}()
	w := &world{t: t, g: g, resource: &resource{}, client: plainClient()}
	s := httptest.NewServer(g.Middleware(w.resource))
	w.url = s.URL
	for w.get("/search", b.token("j-ready", alive)).status == http.StatusServiceUnavailable {
	}
	w.resource.take()
	return w, func() {
		w.client.CloseIdleConnections()
		s.Close()
		cancel()
		<-ran
		g.Close()
	}
}

// RV-17: what was admitted and is remembered ends with its key and with its
// revocation, for every request that begins afterwards, while others go on.
func TestRV17RememberedTokensEndUnderLoad(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	w, end := live(t, b)
	defer end()
	doomed, kept := b.token("j-dead", dead), b.token("j-alive", alive)
	var wg sync.WaitGroup
	var over atomic.Bool
	for range 4 {
		wg.Go(func() {
			for !over.Load() {
				if a := w.get("/search", kept); a.status != 200 {
					t.Errorf("a token that is alive: %d %s", a.status, a.body)
					return
				}
				if a := w.get("/search", doomed); a.status != 200 && a.status != 401 {
					t.Errorf("a token that is or is not dead: %d %s", a.status, a.body)
				}
			}
		})
	}
	if a := w.get("/search", doomed); a.status != 200 {
		t.Fatalf("before: %d %s", a.status, a.body)
	}
	b.revoked.Store(time.Now().Unix() + 1)
	for w.get("/search", doomed).status != 401 {
	}
	for range 50 {
		if a := w.get("/search", doomed); a.status != 401 {
			t.Errorf("admitted after it was refused: %d", a.status)
		}
	}
	over.Store(true)
	wg.Wait()
}

// RV-06: what says that it was issued later than the revocation would outlive it,
// with nbf or without.
func TestRV06NothingIsIssuedLater(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	w, end := live(t, b)
	defer end()
	c := claims()
	later := time.Now().Add(time.Hour).Unix()
	for name, over := range map[string]map[string]any{"with nbf": {"nbf": time.Now().Unix()}, "without": {}} {
		maps.Copy(over, map[string]any{"agent": c["agent"], "task": c["task"], "capabilities": c["capabilities"],
			"lineage": []any{alive}, "iat": later, "exp": later + 60})
		w.wantRefused(t, w.get("/search", b.Token(audience, peer.Overrides{Header: map[string]any{"typ": "at+jwt"}, Claims: over})), 401, "invalid_token")
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

// RV-20: tokens of a key that was withdrawn end, remembered or not, and those of
// its successor are admitted, while others ask.
func TestRV20KeysRotateUnderLoad(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	w, end := live(t, b)
	defer end()
	old := b.token("j-old", alive)
	if a := w.get("/search", old); a.status != 200 {
		t.Fatalf("before: %d %s", a.status, a.body)
	}
	if _, err := b.Rotate("ES256"); err != nil {
		t.Fatal(err)
	}
	fresh := b.token("j-new", alive)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				if a := w.get("/search", old); a.status != 200 && a.status != 401 {
					t.Errorf("the old key's token: %d %s", a.status, a.body)
				}
				if a := w.get("/search", fresh); a.status != 200 {
					t.Errorf("the new key's token: %d %s", a.status, a.body)
				}
			}
		})
	}
	wg.Wait()
	if a := w.get("/search", old); a.status != 401 {
		t.Errorf("the withdrawn key's token, which is remembered: %d, want 401", a.status)
	}
}

// Tokens of keys and issuers that nobody has cause no traffic beyond a fetch,
// and nothing of them is kept.
func TestUnknownKeysAndIssuersCauseNoTraffic(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	w, end := live(t, b)
	defer end()
	stranger := peer.NewKey(t, "ES256")
	before := b.Hits(b.KeysPath())
	for i := range 200 {
		n := strconv.Itoa(i)
		kid := stranger.WithID("kid-"+n).Sign(map[string]any{"typ": "at+jwt"}, b.Claims(audience, map[string]any{"jti": n}))
		w.wantRefused(t, w.get("/search", kid), 401, "invalid_token")
		iss := stranger.Sign(map[string]any{"typ": "at+jwt"}, b.Claims(audience, map[string]any{"iss": "https://i" + n + ".example", "jti": n}))
		w.wantRefused(t, w.get("/search", iss), 401, "invalid_token")
	}
	if n := b.Hits(b.KeysPath()) - before; n > 1 {
		t.Errorf("%d fetches of the key set, want at most one", n)
	}
}

// Not parallel: what others start would be taken for what is left.
func TestNothingIsLeftRunning(t *testing.T) {
	b := newBroker(t)
	others := goleak.IgnoreCurrent()
	w, end := live(t, b)
	w.wantAdmitted(t, w.get("/search", b.token("j-1", alive)))
	end()
	o := options(t)
	o.Issuers = []guard.Issuer{{Issuer: b.URL(), Feed: b.URL() + "/revocations?since=0"}}
	if g, err := guard.New(o); err == nil || g != nil {
		t.Errorf("New = %T, %v with a feed that has a query, want an error alone", g, err)
	}
	goleak.VerifyNone(t, others)
}
