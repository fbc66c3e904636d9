package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"
)

// authenticated lets requests with the credential through. Paths that do not
// exist are refused in the same way, so the API shows nothing to strangers.
func (h *handler) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !matches(h.opts.Token(), bearer(r)) {
			h.opts.Logger.WarnContext(r.Context(), "admin credential refused", "event", "admin.unauthorized", "address", r.RemoteAddr)
			h.fail(w, r, newProblem("unauthorized", "the request needs the admin token"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// bearer reads the credential of RFC 6750 section 2.1; empty when there is not
// exactly one.
func bearer(r *http.Request) string {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.Trim(token, " ")
}

// matches compares in constant time, whatever the lengths.
func matches(want, got string) bool {
	w, g := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(got))
	return want != "" && subtle.ConstantTimeCompare(w[:], g[:]) == 1
}

// hosts refuses requests that a name not ours led here, as DNS rebinding does.
func (h *handler) hosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.ours(r) {
			h.fail(w, r, newProblem("misdirected", "this is not one of the admin listener's host names"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (h *handler) ours(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	if host != "" && slices.Contains(h.opts.Hosts, host) {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return (host == "localhost" || err == nil && addr.IsLoopback()) && arrivedLocally(r)
}

// arrivedLocally reports whether the request came in on a loopback address. One
// that no server accepted comes from this process.
func arrivedLocally(r *http.Request) bool {
	local, served := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !served {
		return true
	}
	addr, err := netip.ParseAddrPort(local.String())
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

// canonical refuses paths that ServeMux would redirect: no client of an API
// needs them, and a redirect is no problem document.
func (h *handler) canonical(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		escaped := r.URL.EscapedPath()
		if clean := path.Clean(escaped); clean != escaped && clean+"/" != escaped {
			h.fail(w, r, newProblem("not_found", "there is nothing at this path"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// recovered turns a panic into the one answer for what nobody foresaw.
func (h *handler) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				h.opts.Logger.ErrorContext(r.Context(), "panic", "event", "http.panic", "panic", v)
				h.fail(w, r, newProblem("internal", "the request could not be completed"))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// observed counts responses by the route of the table, never by what was asked.
func (h *handler) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(sw, r)
		if h.opts.Observe != nil {
			h.opts.Observe(sw.route, sw.status, time.Since(began))
		}
	})
}

type statusWriter struct {
	http.ResponseWriter
	route  string
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController and MaxBytesReader reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
