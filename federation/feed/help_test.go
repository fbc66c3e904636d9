package feed_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/feed"
	"github.com/comity-auth/comity/federation/fetch"
	"github.com/comity-auth/comity/fixtures/peer"
)

// TestMain lets nothing that a test started outlive it, but for a Postgres
// server of the fixtures, which lives as long as the process.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/comity-auth/comity/fixtures/daemon.Start.func1"))
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// handle is the text of the n-th handle.
func handle(n uint64) string {
	var b [12]byte
	binary.BigEndian.PutUint64(b[4:], n)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

type claims = map[string]any

// station is an issuer's feed on connections in memory, honest unless a test
// makes it otherwise. It may be used inside of a synctest bubble.
type station struct {
	url    string
	key    *peer.Key
	server *http.Server
	conns  chan net.Conn
	closed chan struct{}
	close  sync.Once

	mu      sync.Mutex
	list    [][3]any
	head    uint64
	limit   int                   // entries a page
	clock   time.Duration         // how far the station's clock is ahead
	changed chan struct{}         // closed with each revocation
	forge   func(p claims) string // makes a page of the honest claims; nil for honest
	refuse  int                   // a status instead of a page
	keyless bool                  // there is no key set to be had
	asked   []string              // queries
}

func newStation(t testing.TB) *station {
	t.Helper()
	s := &station{url: "http://127.0.0.1:4000", key: peer.NewKey(t, "ES256"), limit: 10_000, conns: make(chan net.Conn), closed: make(chan struct{}), changed: make(chan struct{})}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.server.Serve(s)
	}()
	t.Cleanup(func() {
		_ = s.server.Close()
		<-done
	})
	return s
}

// Accept, Close and Addr make it a net.Listener.
func (s *station) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *station) Close() error {
	s.close.Do(func() { close(s.closed) })
	return nil
}

func (s *station) Addr() net.Addr { return &net.TCPAddr{} }

func (s *station) dial(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case s.conns <- theirs:
		return ours, nil
	case <-s.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *station) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/jwks.json" {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.refuse == 0 && !s.keyless {
			w.Header().Set("Content-Type", "application/jwk-set+json")
			_ = json.NewEncoder(w).Encode(s.key.JWKS())
			return
		}
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	since, _ := strconv.ParseUint(r.URL.Query().Get("since"), 10, 64)
	wait, _ := strconv.Atoi(r.URL.Query().Get("wait"))
	s.mu.Lock()
	s.asked = append(s.asked, r.URL.RawQuery)
	head, changed := s.head, s.changed
	s.mu.Unlock()
	if wait > 0 && since == head {
		select {
		case <-changed:
		case <-time.After(time.Duration(wait) * time.Second):
		case <-r.Context().Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != 0 {
		w.WriteHeader(s.refuse)
		return
	}
	body := s.sign(s.page(since))
	if s.forge != nil {
		body = s.forge(s.page(since))
	}
	_, _ = w.Write([]byte(body))
}

// page is the honest one.
func (s *station) page(since uint64) claims {
	if since > s.head {
		since = 0
	}
	now := time.Now().Add(s.clock)
	p := claims{"iss": s.url, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "head": s.head, "since": since}
	var list [][3]any
	for _, e := range s.list {
		if e[0].(uint64) <= since {
			continue
		}
		if len(list) == s.limit {
			p["more"] = true
			break
		}
		list = append(list, e)
	}
	p["revocations"] = append([][3]any{}, list...)
	return p
}

func (s *station) sign(p claims) string {
	return s.key.Sign(map[string]any{"typ": "revocation-feed+jwt"}, p)
}

func (s *station) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// revoke adds revocations of handles as of an instant.
func (s *station) revoke(before time.Time, handles ...string) {
	s.set(func() {
		for _, h := range handles {
			s.head++
			s.list = append(s.list, [3]any{s.head, h, before.Unix()})
		}
	})
}

func (s *station) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

// follower follows, and says what it saw.
type follower struct {
	*feed.Follower
	stop context.CancelFunc
	done chan error

	moved chan struct{} // has a value after a request, when there is one

	mu   sync.Mutex
	seen []feed.Observed
}

func (f *follower) last() feed.Observed {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) == 0 {
		return feed.Observed{}
	}
	return f.seen[len(f.seen)-1]
}

// follow runs a follower of the station until the test ends.
func follow(t testing.TB, s *station, change ...func(*feed.Options)) *follower {
	t.Helper()
	f := prepare(t, s, change...)
	f.run(t)
	return f
}

func (f *follower) run(t testing.TB) {
	t.Helper()
	var ctx context.Context
	ctx, f.stop = context.WithCancel(context.Background())
	f.done = make(chan error, 1)
	go func() { f.done <- f.Run(ctx) }()
	t.Cleanup(f.halt)
}

// halt ends it, once.
func (f *follower) halt() {
	f.stop()
	if f.done != nil {
		<-f.done
		f.done = nil
	}
}

func prepare(t testing.TB, s *station, change ...func(*feed.Options)) *follower {
	t.Helper()
	client, err := fetch.New(fetch.Options{Allow: loopback, Dial: s.dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return prepareWith(t, client, peerOf(t, s.url, s.key), change...)
}

func peerOf(t testing.TB, issuer string, key *peer.Key) federation.Peer {
	t.Helper()
	set, err := json.Marshal(key.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	return federation.Peer{Name: "globex", Fingerprint: "f", Issuer: issuer, Discovery: federation.Static, JWKS: set,
		Algorithms: []jose.SignatureAlgorithm{jose.ES256}}
}

func prepareWith(t testing.TB, client *fetch.Client, p federation.Peer, change ...func(*feed.Options)) *follower {
	t.Helper()
	f := new(follower)
	keys := federation.NewKeys(client, federation.KeysOptions{})
	t.Cleanup(keys.Close)
	o := feed.Options{Issuer: p, Fetcher: client, Verifier: federation.NewVerifier(keys, time.Now), Observe: func(o feed.Observed) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.seen = append(f.seen, o)
		select {
		case f.moved <- struct{}{}:
		default:
		}
	}}
	for _, c := range change {
		c(&o)
	}
	var err error
	if f.Follower, err = feed.New(o); err != nil {
		t.Fatal(err)
	}
	return f
}

// wait waits until the feed is loaded.
func (f *follower) wait(t testing.TB) {
	t.Helper()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	select {
	case <-f.Loaded():
	case <-late.C:
		t.Fatalf("not loaded after a minute; last observed %+v", f.last())
	}
}

// after lets bubble time pass and everything settle.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
