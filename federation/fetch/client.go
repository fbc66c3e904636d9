package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// DefaultMaxBytes bounds a document when a request does not say otherwise.
const DefaultMaxBytes = 100 << 10

const (
	retries         = 2
	retryWaitMin    = 50 * time.Millisecond
	retryWaitMax    = 250 * time.Millisecond
	maxHeaderBytes  = 64 << 10
	idleConnections = 30 * time.Second
)

// Options configure a [Client]. The zero Options reach public addresses over
// https with the system's roots, within the default times.
type Options struct {
	// Allow names ranges that hosts may live in besides public addresses.
	// Metadata services of clouds stay refused even inside them.
	Allow []netip.Prefix
	// RootCAs verify the hosts' certificates. Nil means the system's.
	RootCAs *x509.CertPool

	// ConnectTimeout bounds one name look-up and one connection attempt, and
	// twice it a TLS handshake. Default 1 s.
	ConnectTimeout time.Duration
	// HeaderTimeout bounds the wait for an answer to one attempt. Default 3 s.
	HeaderTimeout time.Duration
	// Timeout bounds a whole Get, its retries included. Default 5 s.
	Timeout time.Duration

	// PerHost is how many requests may be under way to one host. Further ones
	// wait, for half of Timeout at most. Default 4.
	PerHost int
	// BreakerFailures in a row open a host's circuit breaker. Default 5.
	BreakerFailures uint32
	// BreakerPause is how long an open breaker refuses before it lets one
	// request try again. Default 500 ms: short, since a host that is back must
	// be noticed within a second, and enough to spare a host that is not.
	BreakerPause time.Duration
	// OnBreaker is told each change of a host's breaker state. It must not
	// block and not call the client. Nil is allowed.
	OnBreaker func(host, state string)

	// Resolver is asked for addresses. Nil means net.DefaultResolver.
	Resolver Resolver
	// Dial connects to addresses that have passed the policy. Nil means TCP.
	Dial DialFunc
}

func (o *Options) setDefaults() {
	o.ConnectTimeout = or(o.ConnectTimeout, time.Second)
	o.HeaderTimeout = or(o.HeaderTimeout, 3*time.Second)
	o.Timeout = or(o.Timeout, 5*time.Second)
	o.PerHost = or(o.PerHost, 4)
	o.BreakerFailures = or(o.BreakerFailures, 5)
	o.BreakerPause = or(o.BreakerPause, 500*time.Millisecond)
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
}

func or[T int | uint32 | time.Duration](v, instead T) T {
	if v <= 0 {
		return instead
	}
	return v
}

// Client fetches documents. It is safe for concurrent use.
type Client struct {
	policy    policy
	dialer    *dialer
	options   Options
	retry     *retryablehttp.Client
	transport *http.Transport
	timeout   time.Duration
	hosts     *hosts
}

// New returns a client. It fails on an invalid prefix in Options.Allow.
func New(o Options) (*Client, error) {
	o.setDefaults()
	p, err := newPolicy(o.Allow)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	if o.Dial == nil {
		o.Dial = connector(p)
	}
	d := &dialer{
		policy: p, resolver: o.Resolver, connect: o.Dial, timeout: o.ConnectTimeout,
		tls: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs, NextProtos: []string{"http/1.1"}},
	}
	c := &Client{policy: p, dialer: d, options: o, transport: transport(d, o), timeout: o.Timeout, hosts: newHosts(o)}
	c.retry = retrying(c.transport)
	return c, nil
}

// Trusting returns a client like c for hosts that do not prove themselves by a
// certificate for their name: verify decides on the chain that one shows, its
// own certificate first and not empty. It is asked for every connection, and
// none is kept, so that no answer outlives the verdict. Everything else is c's,
// breakers and address policy included. A nil verify trusts nobody. Close drops
// nothing of c.
func (c *Client) Trusting(verify func(chain []*x509.Certificate) error) *Client {
	d := *c.dialer
	d.tls = d.tls.Clone()
	// The standard library's way to verify otherwise: VerifyConnection is asked
	// after every handshake, resumed ones included, and none is resumed here.
	d.tls.InsecureSkipVerify = true
	d.tls.VerifyConnection = func(s tls.ConnectionState) error {
		if verify == nil || len(s.PeerCertificates) == 0 {
			return errors.New("no certificate that is trusted")
		}
		return verify(s.PeerCertificates)
	}
	out := *c
	out.dialer = &d
	out.transport = transport(&d, c.options)
	out.transport.DisableKeepAlives = true
	out.retry = retrying(out.transport)
	return &out
}

func transport(d *dialer, o Options) *http.Transport {
	one := new(http.Protocols)
	one.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  nil, // also not the environment's
		DialContext:            d.dial,
		DialTLSContext:         d.dialTLS,
		Protocols:              one,
		DisableCompression:     true, // else net/http inflates without a limit
		ResponseHeaderTimeout:  o.HeaderTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxConnsPerHost:        o.PerHost,
		MaxIdleConnsPerHost:    1,
		MaxIdleConns:           64,
		IdleConnTimeout:        idleConnections,
	}
}

// retrying wraps the transport. Redirects come back as answers: a policy that
// returns an error would be retried, and an outer client is not used at all.
func retrying(t *http.Transport) *retryablehttp.Client {
	c := retryablehttp.NewClient()
	c.HTTPClient = &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.Logger = nil
	c.RetryMax = retries
	c.RetryWaitMin, c.RetryWaitMax = retryWaitMin, retryWaitMax
	c.Backoff = retryablehttp.LinearJitterBackoff // deaf to the host's Retry-After
	c.CheckRetry = worthRetrying
	c.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return c
}

// worthRetrying says whether another attempt may end differently: after a
// connection that failed or broke, and after a gateway's error.
func worthRetrying(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		err = classify(err)
		return errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrTLS), nil
	}
	switch resp.StatusCode {
	case http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true, nil
	}
	return false, nil
}

// Close drops idle connections. Requests under way are not disturbed.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// State is the state of the circuit breaker of a host (with its port, as in
// the URL): "closed", "half-open" or "open". A host never asked is "closed".
func (c *Client) State(host string) string { return c.hosts.state(host) }

// CheckURL reports, without any I/O, whether Get would try this URL. The error
// wraps [ErrURL] or, for a literal address, [ErrAddress].
func (c *Client) CheckURL(raw string) error {
	_, err := c.parse(raw)
	return err
}

func (c *Client) parse(raw string) (*url.URL, error) {
	if len(raw) > 2048 {
		return nil, &failure{ErrURL, "too long"}
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, &failure{ErrURL, "not a URL"}
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, &failure{ErrURL, "the scheme must be https"}
	case u.User != nil:
		return nil, &failure{ErrURL, "user information is not allowed"}
	case strings.Contains(raw, "#"):
		return nil, &failure{ErrURL, "a fragment is not allowed"}
	case u.Hostname() == "":
		return nil, &failure{ErrURL, "the host is missing"}
	}
	addr, err := netip.ParseAddr(u.Hostname())
	literal := err == nil
	switch {
	case literal && (addr.Is4In6() || !c.policy.permits(addr)):
		return nil, &failure{kind: ErrAddress}
	case !literal && endsInNumber(u.Hostname()):
		return nil, &failure{kind: ErrAddress}
	case u.Scheme == "http" && !(literal && addr.IsLoopback() && c.policy.allows(addr)):
		return nil, &failure{ErrURL, "http is for allowed literal loopback addresses only"}
	}
	return u, nil
}

// endsInNumber finds the spellings of IPv4 addresses that only some resolvers
// understand, such as 0x7f.1 and 2130706433 (WHATWG URL, "ends in a number").
func endsInNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	last, hex := strings.CutPrefix(last, "0x")
	digits := "0123456789"
	if hex {
		digits += "abcdef"
	}
	return strings.Trim(last, digits) == "" && (hex || last != "")
}

// LoadCAs returns the system's roots and, with them, the PEM certificates in
// the named file.
func LoadCAs(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read certificate authorities: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read certificate authorities: %s holds none", file)
	}
	return pool, nil
}
