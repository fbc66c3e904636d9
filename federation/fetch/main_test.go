package fetch_test

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/comity-auth/comity/federation/fetch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// quick are options with times short enough for tests of slow hosts.
func quick() fetch.Options {
	return fetch.Options{
		Allow:          loopback,
		ConnectTimeout: 2 * time.Second,
		HeaderTimeout:  100 * time.Millisecond,
		Timeout:        300 * time.Millisecond,
	}
}

func client(t *testing.T, o fetch.Options) *fetch.Client {
	t.Helper()
	c, err := fetch.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// serve starts a plain server and counts its requests.
func serve(t *testing.T, h http.HandlerFunc) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	var hits atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s, &hits
}

// names is a resolver that gives each look-up the next of the prepared answers
// and the last one for ever.
type names struct {
	mu      sync.Mutex
	answers [][]netip.Addr
	asked   int
}

func resolving(answers ...[]string) *names {
	n := new(names)
	for _, texts := range answers {
		var addrs []netip.Addr
		for _, s := range texts {
			addrs = append(addrs, netip.MustParseAddr(s))
		}
		n.answers = append(n.answers, addrs)
	}
	return n
}

func (n *names) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	answer := n.answers[min(n.asked, len(n.answers)-1)]
	n.asked++
	return answer, nil
}

func (n *names) lookups() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

// wire is a dial hook: it records what would be dialled and, when there is a
// server, connects to that instead.
type wire struct {
	to string

	mu     sync.Mutex
	dialed []netip.Addr
}

func (w *wire) dial(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	w.mu.Lock()
	w.dialed = append(w.dialed, addr.Addr())
	w.mu.Unlock()
	if w.to == "" {
		return nil, &net.OpError{Op: "dial", Err: context.DeadlineExceeded}
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", w.to)
}

func (w *wire) seen() []netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]netip.Addr(nil), w.dialed...)
}

// pool trusts the certificate of one test server.
func pool(s *httptest.Server) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(s.Certificate())
	return p
}
