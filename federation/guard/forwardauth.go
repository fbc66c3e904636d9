package guard

import (
	"net/http"
	"strconv"
	"strings"
)

// Where a proxy says what it was asked. The first family is what the guides have
// nginx send, the second is what Traefik and Caddy send by themselves.
const (
	headerMethod   = "X-Original-Method"
	headerURI      = "X-Original-Uri"
	headerLength   = "X-Original-Content-Length"
	headerMethod2  = "X-Forwarded-Method"
	headerURI2     = "X-Forwarded-Uri"
	forwardAuthAt  = "/auth"
	extAuthzPrefix = "/ext_authz"
)

// ForwardAuth judges for a proxy that asks before it passes a request on. GET
// /auth takes the original request from headers (nginx auth_request, Traefik,
// Caddy), and /ext_authz followed by the original path is the original request
// without its body (Envoy's HTTP ext_authz). Only trusted proxies are answered.
//
// Admitted: 200 with the headers that Grant.Identify sets, empty where the token
// says nothing, since proxies that copy what is there would let a client's own
// through. Refused: 401 or 403,
// and nothing else, since nginx knows no other; what the guard itself would have
// answered is in Comity-Status. The body is not there to be seen: what is to
// be extracted of it denies, and so does max_response_size, unless the route says
// otherwise.
func (g *Guard) ForwardAuth() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := &Event{ID: newID(), At: g.set.Now(), Mode: "forward-auth", Method: "other", Capability: -1}
		in, no := g.original(r)
		var grant *Grant
		if no == nil {
			e.Method = method(in.method)
			grant, no = g.judge(r.Context(), in, e)
		} else {
			in = &request{header: r.Header}
		}
		g.tell(r.Context(), e, no)
		if no != nil {
			g.answerProxy(w, in, no, e.ID)
			return
		}
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set(HeaderDecision, e.ID)
		if e.Stale {
			h.Set(HeaderStale, "true")
		}
		for _, name := range identity {
			h.Set(name, "")
		}
		grant.Identify(h)
		w.WriteHeader(http.StatusOK)
	})
}

func (g *Guard) answerProxy(w http.ResponseWriter, in *request, no *refusal, id string) {
	status := no.status
	w.Header().Set(HeaderStatus, strconv.Itoa(status))
	if status != http.StatusUnauthorized {
		status = http.StatusForbidden
	}
	g.answer(w, in, no, id, status)
}

// original is the request that the proxy asks about.
func (g *Guard) original(r *http.Request) (*request, *refusal) {
	if !g.trusts(r.RemoteAddr) {
		return nil, refuse("proxy_untrusted", "proxy", "one that is trusted", "another")
	}
	in := &request{scheme: "http", host: r.Host, header: r.Header, length: -1, certificate: g.certificate(r)}
	if r.TLS != nil {
		in.scheme = "https"
	}
	in.forwarded(r.Header)
	uri, ok := strings.CutPrefix(r.URL.EscapedPath(), extAuthzPrefix)
	switch {
	case r.URL.Path == forwardAuthAt:
		in.method, ok = one(r.Header, headerMethod, headerMethod2)
		uri, has := one(r.Header, headerURI, headerURI2)
		if !ok || !has {
			return nil, refuse("proxy_headers", "proxy", "the original method and URI, once each", "none, or several that differ")
		}
		in.path, in.query, _ = strings.Cut(uri, "?")
	case ok && strings.HasPrefix(uri, "/"):
		in.method, in.path, in.query = r.Method, uri, r.URL.RawQuery
	default:
		return nil, refuse("proxy_headers", "proxy", "a request for /auth or below /ext_authz", "another")
	}
	in.length = length(r)
	return in, nil
}

// length is how large the proxy says that the original body is; negative when it
// does not. Only proxies that are set up to say what they were asked, say it:
// the others pass on what a client sent by that name.
func length(r *http.Request) int64 {
	byItself := len(r.Header[headerMethod2])+len(r.Header[headerURI2]) > 0
	text, has := one(r.Header, headerLength)
	n, err := strconv.ParseInt(text, 10, 64)
	if r.URL.Path != forwardAuthAt || byItself || !has || err != nil || n < 0 {
		return -1
	}
	return n
}

// one is the single value that all of the headers that are there agree on.
func one(h http.Header, names ...string) (value string, ok bool) {
	for _, name := range names {
		for _, v := range h[name] {
			if ok && v != value {
				return "", false
			}
			value, ok = v, true
		}
	}
	return value, ok && value != ""
}
