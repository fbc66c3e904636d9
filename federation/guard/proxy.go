package guard

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/comity-auth/comity/federation/clientcert"
	"github.com/comity-auth/comity/federation/fetch"
)

// ProxyOptions say where admitted requests go. What never goes with them: trailers,
// headers with an underscore in their name, X-Forwarded-* and X-Original-* but what
// the guard itself says of its client, and but for those of trusted proxies X-Real-IP
// and its like.
type ProxyOptions struct {
	// Upstream is scheme and host, and a path that goes before every request's.
	Upstream string
	// Roots is a PEM file of the authorities that vouch for an https upstream.
	// Empty: those of the system.
	Roots string
	// ForwardCredential passes the Authorization header on. Without it the
	// upstream never sees a token that it could use elsewhere.
	ForwardCredential bool
	// PreserveHost passes the Host of the request on instead of the upstream's.
	PreserveHost bool
	// HeaderTimeout bounds the wait for the upstream to begin its answer. Default
	// 60 s.
	HeaderTimeout time.Duration
}

// ErrUpstream says that ProxyOptions.Upstream cannot be used.
var ErrUpstream = errors.New("guard: the upstream is not an http or https URL without query")

// Proxy is the guard in front of a server in any language: requests that are
// admitted go upstream with the path in normal form, without the credential, and
// with the headers of Grant.Identify, which no client can forge or have removed.
// Bodies are streamed in both directions, at the same time if need be, and WebSocket
// connections pass, for as long as their token has not expired and was not revoked.
func (g *Guard) Proxy(o ProxyOptions) (http.Handler, error) {
	upstream := webURL(o.Upstream)
	if upstream == nil || upstream.RawQuery != "" {
		return nil, ErrUpstream
	}
	transport, err := upstreamTransport(o)
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	p := &httputil.ReverseProxy{
		Rewrite:   func(pr *httputil.ProxyRequest) { g.rewrite(pr, upstream, o) },
		Transport: transport,
		ModifyResponse: func(res *http.Response) error {
			disown(res.Header)
			return nil
		},
		FlushInterval: -1, // an upstream that streams is streamed on
		ErrorHandler:  g.badGateway,
	}
	if g.set.Logger != nil {
		p.ErrorLog = slog.NewLogLogger(g.set.Logger.Handler(), slog.LevelWarn)
	}
	return g.before(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Otherwise HTTP/1 would have the upstream's answer wait for the end of the
		// request. A writer that cannot is none of net/http's.
		_ = http.NewResponseController(w).EnableFullDuplex()
		if grant, ok := FromContext(r.Context()); ok && upgrades(r) {
			ctx, end := g.whileAlive(r.Context(), grant)
			defer end()
			r = r.WithContext(ctx)
		}
		p.ServeHTTP(w, r)
	}), "proxy"), nil
}

func upstreamTransport(o ProxyOptions) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 nil, // also not the environment's
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		DisableCompression:    true, // what is passed on is what was sent
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if o.HeaderTimeout > 0 {
		t.ResponseHeaderTimeout = o.HeaderTimeout
	}
	if o.Roots == "" {
		return t, nil
	}
	roots, err := fetch.LoadCAs(o.Roots)
	t.TLSClientConfig.RootCAs = roots
	return t, err
}

// steering are headers by which some servers take another path or host than the
// request's own, besides those that purge knows by how they begin.
var steering = []string{"X-Rewrite-Url", "X-Host"}

// addresses are headers in which proxies of various makes say who their client is.
var addresses = []string{"X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip"}

// purge removes what only a proxy says (X-Forwarded-*, X-Original-*), and every
// name with an underscore: servers that read it as a dash (CGI, WSGI, Rack, PHP)
// would take it for another header, one that was judged or set here included.
func purge(h http.Header) {
	for name := range h {
		if strings.Contains(name, "_") || strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Original-") {
			delete(h, name)
		}
	}
	for _, name := range steering {
		h.Del(name)
	}
}

// rewrite makes the upstream's request. By now the hop-by-hop headers are gone,
// those that the client's Connection header named included, so what is set here
// stays.
func (g *Guard) rewrite(pr *httputil.ProxyRequest, upstream *url.URL, o ProxyOptions) {
	pr.SetURL(upstream)
	if o.PreserveHost {
		pr.Out.Host = pr.In.Host
	}
	pr.Out.Trailer = nil // a server may take it for headers (RFC 9110 section 6.5.1)
	h := pr.Out.Header
	purge(h)
	for _, name := range []string{clientcert.HeaderRFC9440, clientcert.HeaderChain, clientcert.HeaderNginx} {
		h.Del(name) // what a certificate was good for is over
	}
	if !o.ForwardCredential {
		h.Del("Authorization")
	}
	h.Del("Dpop")
	if !upgrades(pr.Out) {
		// What else a connection can be upgraded to may carry further requests (h2c),
		// which nobody would judge.
		h.Del("Upgrade")
		h.Del("Connection")
		h.Del("Http2-Settings")
	}
	if g.trusts(pr.In.RemoteAddr) {
		h["X-Forwarded-For"] = pr.In.Header["X-Forwarded-For"]
	}
	if !g.trusts(pr.In.RemoteAddr) {
		for _, name := range addresses {
			h.Del(name)
		}
	}
	pr.SetXForwarded()
	if g.trusts(pr.In.RemoteAddr) {
		for _, name := range []string{"X-Forwarded-Proto", "X-Forwarded-Host"} {
			if v := pr.In.Header[name]; len(v) == 1 {
				h.Set(name, v[0])
			}
		}
	}
	cleanse(h)
	if grant, ok := FromContext(pr.In.Context()); ok {
		grant.Identify(h)
	}
}

// badGateway answers when the upstream does not.
func (g *Guard) badGateway(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, ErrResponseSize) || errors.Is(err, context.Canceled) {
		return // answered already, or nobody is left to answer
	}
	status, say := http.StatusBadGateway, "The resource cannot be reached."
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		status, say = http.StatusGatewayTimeout, "The resource did not answer in time."
	}
	if g.set.Logger != nil {
		g.set.Logger.LogAttrs(r.Context(), slog.LevelError, "upstream failed", slog.String("event", "guard.upstream"),
			slog.Int("status", status), slog.String("cause", strings.ReplaceAll(clip(err.Error()), "\n", " ")))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "{\"error\":%q,\"error_description\":%q}\n", Unavailable, say)
}
