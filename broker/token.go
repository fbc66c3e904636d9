package broker

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/federation/clientcert"
)

const (
	// MaxBody bounds the body of a token request, in bytes.
	MaxBody = 64 << 10
	// maxPairs bounds the parameters of a form.
	maxPairs = 64
)

func (h *handler) token(w http.ResponseWriter, r *http.Request) {
	result, err := h.opts.Exchanger.Exchange(r.Context(), h.request(w, r))
	if err != nil {
		h.failed(w, r, err)
		return
	}
	h.result(w, result)
}

// request is what every endpoint takes of a request.
func (h *handler) request(w http.ResponseWriter, r *http.Request) exchange.Request {
	form, defect := readForm(w, r)
	chain, bad := clientcert.FromRequest(r, h.opts.TrustedProxies, h.opts.CertificateHeader)
	return exchange.Request{
		Form:          form,
		Defect:        defect,
		Authorization: r.Header.Values("Authorization"),
		DPoP:          r.Header.Values("DPoP"),

		Certificates: chain, CertificateDefect: bad,
		Address:   clientAddress(r, h.opts.TrustedProxies),
		UserAgent: r.UserAgent(),
	}
}

// readForm reads the parameters of the body, and of nothing else. The error is
// one of package exchange's.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.URL.RawQuery != "" {
		return nil, exchange.ErrQuery
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" || len(r.Header.Values("Content-Type")) > 1 {
		return nil, exchange.ErrMediaType
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, exchange.ErrMediaType
	}
	if r.ContentLength > MaxBody {
		w.Header().Set("Connection", "close")
		return nil, exchange.ErrBodySize
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, exchange.ErrBodySize
	}
	if err != nil {
		return nil, exchange.ErrForm
	}
	return parseForm(string(body))
}

func parseForm(body string) (url.Values, error) {
	if strings.Count(body, "&") >= maxPairs {
		return nil, exchange.ErrForm
	}
	form, err := url.ParseQuery(body)
	if err != nil {
		return nil, exchange.ErrForm
	}
	for name, values := range form {
		if !clean(name) || slices.ContainsFunc(values, func(v string) bool { return !clean(v) }) {
			return nil, exchange.ErrForm
		}
	}
	return form, nil
}

func clean(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// clientAddress is who sent the request: the peer of the connection or, behind
// trusted proxies, the nearest address that is not one of them.
func clientAddress(r *http.Request, trusted []netip.Prefix) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := at.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && isTrusted(addr, trusted); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = next.Unmap()
	}
	return addr
}

func isTrusted(a netip.Addr, trusted []netip.Prefix) bool {
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}
