package broker

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/comity-auth/comity/exchange"
)

// Inspector answers what is asked about tokens. Its errors are always an
// *exchange.Fault. It is safe for concurrent use.
type Inspector interface {
	Introspect(ctx context.Context, req exchange.Request, signed bool) (*exchange.Introspection, error)
	Revoke(ctx context.Context, req exchange.Request) (decisionID string, err error)
}

const mediaIntrospection = "application/token-introspection+jwt"

// introspect is RFC 7662, and RFC 9701 when the caller accepts that.
func (h *handler) introspect(w http.ResponseWriter, r *http.Request) {
	accepted := strings.Split(strings.Join(r.Header.Values("Accept"), ","), ",")
	signed := slices.ContainsFunc(accepted, func(s string) bool {
		kind, _, _ := strings.Cut(s, ";")
		return strings.EqualFold(strings.TrimSpace(kind), mediaIntrospection)
	})
	out, err := h.opts.Inspector.Introspect(r.Context(), h.request(w, r), signed)
	if err != nil {
		h.failed(w, r, err)
		return
	}
	w.Header().Set("Comity-Decision", out.DecisionID)
	switch {
	case signed:
		header := w.Header()
		header.Set("Content-Type", mediaIntrospection)
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write([]byte(out.Signed.Reveal()))
	case out.Active:
		h.write(w, http.StatusOK, out.Members)
	default:
		h.write(w, http.StatusOK, map[string]bool{"active": false})
	}
}

// revoke is RFC 7009. What needs no revoking is no error.
func (h *handler) revoke(w http.ResponseWriter, r *http.Request) {
	id, err := h.opts.Inspector.Revoke(r.Context(), h.request(w, r))
	if err != nil {
		h.failed(w, r, err)
		return
	}
	w.Header().Set("Comity-Decision", id)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

func (h *handler) failed(w http.ResponseWriter, r *http.Request, err error) {
	fault, _ := errors.AsType[*exchange.Fault](err)
	h.fault(w, fault, len(r.Header.Values("Authorization")) > 0)
}
