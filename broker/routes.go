package broker

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/federation/clientcert"
	"github.com/comity-auth/comity/trust/ident"
)

// Exchanger answers token requests. Its error is always an *exchange.Fault. It
// is safe for concurrent use.
type Exchanger interface {
	Exchange(ctx context.Context, req exchange.Request) (*exchange.Result, error)
}

// Options are what the public handler is made of.
type Options struct {
	Issuer    ident.Issuer
	Exchanger Exchanger
	Inspector Inspector
	// Feed is the revocation feed. Without one there is none.
	Feed Feed
	// JWKS is the public key set, as JSON.
	JWKS func() []byte
	// Algorithm is the one tokens are signed with.
	Algorithm string
	// Ready says whether tokens can be issued now.
	Ready func() error
	// TrustedProxies are whose X-Forwarded-For and certificate header count.
	TrustedProxies []netip.Prefix
	// CertificateHeader is where trusted proxies tell of the client's certificate:
	// clientcert.HeaderRFC9440 or clientcert.HeaderNginx. Empty: nowhere.
	CertificateHeader string
	// MutualTLS says that the listener asks clients for certificates itself.
	MutualTLS bool
	Logger    *slog.Logger
	// Observe sees every response, when set. The route is one of the table's.
	Observe func(route string, status int, took time.Duration)
	// Timeout bounds one request; default 10 s.
	Timeout time.Duration
}

// Paths of the public listener.
const (
	pathToken      = "/token"
	pathIntrospect = "/introspect"
	pathRevoke     = "/revoke"
	pathJWKS       = "/.well-known/jwks.json"
	pathFeed       = "/revocations"
	pathASMetadata = "/.well-known/oauth-authorization-server"
	pathOIDC       = "/.well-known/openid-configuration"
)

// TokenURL is the token endpoint of an issuer, which proofs are made for.
func TokenURL(issuer ident.Issuer) string { return issuer.String() + pathToken }

// route is one row of the table: what answers, and what stands before it.
type route struct {
	pattern string
	handler http.HandlerFunc
	before  []middleware
}

type middleware func(http.Handler) http.Handler

type handler struct {
	opts     Options
	metadata []byte
	// followers counts who waits for a revocation.
	followers atomic.Int64
}

// New returns the handler of the public listener. Whatever is not in its table
// does not exist there.
func New(o Options) (http.Handler, error) {
	if o.Issuer.IsZero() || o.Exchanger == nil || o.Inspector == nil || o.JWKS == nil || o.Ready == nil || o.Logger == nil {
		return nil, errors.New("broker: options are incomplete")
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	switch o.CertificateHeader {
	case "", clientcert.NoHeader, clientcert.HeaderRFC9440, clientcert.HeaderNginx:
	default:
		return nil, errors.New("broker: the certificate header is not one that can be read")
	}
	h := &handler{opts: o}
	var err error
	if h.metadata, err = metadata(o); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for _, r := range []route{
		{"POST " + pathToken, h.token, []middleware{h.observed(pathToken), h.recovered, h.bounded}},
		{"POST " + pathIntrospect, h.introspect, []middleware{h.observed(pathIntrospect), h.recovered, h.bounded}},
		{"POST " + pathRevoke, h.revoke, []middleware{h.observed(pathRevoke), h.recovered, h.bounded}},
		{"GET " + pathJWKS, h.jwks, []middleware{h.observed(pathJWKS), h.recovered}},
		{"GET " + pathFeed, h.revocations, []middleware{h.observed(pathFeed), h.recovered}},
		{"GET " + pathASMetadata, h.describe, []middleware{h.observed(pathASMetadata), h.recovered}},
		{"GET " + pathOIDC, h.describe, []middleware{h.observed(pathOIDC), h.recovered}},
		{"GET /healthz", h.live, nil},
		{"GET /readyz", h.ready, nil},
		{"GET /{$}", h.about, nil},
	} {
		var handler http.Handler = r.handler
		for i := len(r.before) - 1; i >= 0; i-- {
			handler = r.before[i](handler)
		}
		mux.Handle(r.pattern, handler)
	}
	return mux, nil
}

// observed counts responses by the route of the table, never by what was asked.
func (h *handler) observed(name string) middleware {
	return func(next http.Handler) http.Handler {
		if h.opts.Observe == nil {
			return next
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			began := time.Now()
			sw := &statusWriter{ResponseWriter: w}
			next.ServeHTTP(sw, r)
			h.opts.Observe(name, sw.code(), time.Since(began))
		})
	}
}

// recovered turns a panic into the one answer for what nobody foresaw.
func (h *handler) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				h.opts.Logger.ErrorContext(r.Context(), "panic", "event", "http.panic", "panic", v)
				h.fault(w, nil, false)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// bounded gives a request its deadline.
func (h *handler) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), h.opts.Timeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// Unwrap lets http.ResponseController through.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
