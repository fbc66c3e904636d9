package guard

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"

	"github.com/comity-auth/comity/federation/clientcert"
	"github.com/comity-auth/comity/federation/guard/route"
)

// Middleware admits requests to next. A request that is admitted reaches it with
// the path in normal form, with the headers that Grant.Identify sets, with
// FromContext, and with its response held to max_response_size where the token
// has one. Every other request is answered here, and so is one for the metadata
// of RFC 9728.
func (g *Guard) Middleware(next http.Handler) http.Handler { return g.before(next, "middleware") }

func (g *Guard) before(next http.Handler, mode string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.serveMetadata(w, r) {
			return
		}
		in := g.direct(r)
		e := &Event{ID: newID(), At: g.set.Now(), Mode: mode, Method: method(r.Method), Capability: -1}
		grant, no := g.judge(r.Context(), in, e)
		g.tell(r.Context(), e, no)
		if no != nil {
			g.answer(w, in, no, e.ID, no.status)
			return
		}
		w.Header().Set(HeaderDecision, e.ID)
		if e.Stale {
			w.Header().Set(HeaderStale, "true")
		}
		g.serve(w, g.admitted(r, grant), grant, in, e, next)
	})
}

// method is a method as the log may have it: one that is known, or nothing.
func method(m string) string {
	if slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}, m) {
		return m
	}
	return "other"
}

// direct describes a request that came straight to this server.
func (g *Guard) direct(r *http.Request) *request {
	in := &request{method: r.Method, path: r.URL.EscapedPath(), query: r.URL.RawQuery, scheme: "http", host: r.Host,
		header: r.Header, length: r.ContentLength, limitsResponse: true, body: func() ([]byte, bool) { return peekBody(r) }}
	if r.TLS != nil {
		in.scheme = "https"
	}
	in.certificate = g.certificate(r)
	if g.trusts(r.RemoteAddr) {
		in.forwarded(r.Header)
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if at, err := netip.ParseAddrPort(local.String()); err == nil {
			in.destination = at.Addr().Unmap()
		}
	}
	return in
}

// certificate is the client's own, by whatever way it is shown. One that cannot be
// read proves nothing, so it is as good as none.
func (g *Guard) certificate(r *http.Request) *x509.Certificate {
	chain, err := clientcert.FromRequest(r, g.set.TrustedProxies, g.set.CertificateHeader)
	if err != nil || len(chain) == 0 {
		return nil
	}
	return chain[0]
}

// trusts reports whether the connection is by a proxy whose word counts.
func (g *Guard) trusts(remote string) bool {
	at, err := netip.ParseAddrPort(remote)
	return err == nil && slices.ContainsFunc(g.set.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(at.Addr().Unmap()) })
}

// forwarded takes over what a trusted proxy says of the original scheme and host.
// The proxy overwrites what its client sent by these names.
func (in *request) forwarded(h http.Header) {
	if v := h["X-Forwarded-Proto"]; len(v) == 1 && (v[0] == "http" || v[0] == "https") {
		in.scheme = v[0]
	}
	if v := h["X-Forwarded-Host"]; len(v) == 1 && v[0] != "" {
		in.host = v[0]
	}
}

// peekBody reads the body, at most route.MaxBody, and puts it back. False when
// there is more than that, or it broke off.
func peekBody(r *http.Request) ([]byte, bool) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength > route.MaxBody {
		return nil, false
	}
	head, err := io.ReadAll(io.LimitReader(r.Body, route.MaxBody+1))
	rest := r.Body
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), rest), rest}
	return head, err == nil && len(head) <= route.MaxBody
}

// admitted is the request as the handler gets it.
func (g *Guard) admitted(r *http.Request, grant *Grant) *http.Request {
	out := r.WithContext(withGrant(r.Context(), grant))
	out.Header = r.Header.Clone()
	cleanse(out.Header)
	grant.Identify(out.Header)
	u := *r.URL
	if path, err := route.ParsePath(r.URL.EscapedPath()); err == nil {
		u = url.URL{Scheme: u.Scheme, Host: u.Host, Path: path.String(), RawQuery: u.RawQuery, ForceQuery: u.ForceQuery}
	}
	out.URL = &u
	return out
}

// serve calls the handler, with its response held to a size where the token
// says so.
func (g *Guard) serve(w http.ResponseWriter, r *http.Request, grant *Grant, in *request, e *Event, next http.Handler) {
	if grant.Constraints.MaxResponseSize == 0 {
		next.ServeHTTP(w, r)
		return
	}
	limited := &limitedWriter{inner: w, left: grant.Constraints.MaxResponseSize, head: r.Method == http.MethodHead}
	limited.tooLarge = func(begun bool) {
		no := refuse("response_size", "max_response_size", "a response within the limit", "one beyond it")
		cut := *e
		g.tell(context.WithoutCancel(r.Context()), &cut, no)
		if !begun {
			clear(w.Header())
			g.answer(w, in, no, e.ID, no.status)
		}
	}
	defer func() {
		// A reverse proxy that cannot write gives up by this panic; where the
		// answer is written already there is nothing to give up.
		p := recover()
		gaveUp, _ := p.(error)
		if p != nil && (!errors.Is(gaveUp, http.ErrAbortHandler) || !limited.over || limited.begun) {
			panic(p)
		}
	}()
	next.ServeHTTP(limited, r)
	limited.finish()
}
