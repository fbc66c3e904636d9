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
)

const (
	// MaxBody bounds the body of a token request, in bytes.
	MaxBody = 64 << 10
	// maxPairs bounds the parameters of a form.
	maxPairs = 64
)

// What is wrong with a body before its parameters are looked at.
var (
	errBodySize  = errors.New("the body is too large")
	errMediaType = errors.New("the body is not a form")
	errForm      = errors.New("the form is malformed")
	errQuery     = errors.New("parameters belong into the body")
)

func (h *handler) token(w http.ResponseWriter, r *http.Request) {
	form, err := readForm(w, r)
	if err != nil {
		h.malformed(w, err)
		return
	}
	result, err := h.opts.Exchanger.Exchange(r.Context(), exchange.Request{
		Form:          form,
		Authorization: r.Header.Values("Authorization"),
		DPoP:          r.Header.Values("DPoP"),
		Address:       clientAddress(r, h.opts.TrustedProxies),
		UserAgent:     r.UserAgent(),
	})
	if err != nil {
		fault, _ := errors.AsType[*exchange.Fault](err)
		h.fault(w, fault, len(r.Header.Values("Authorization")) > 0)
		return
	}
	h.result(w, result)
}

// readForm reads the parameters of the body, and of nothing else.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.URL.RawQuery != "" {
		return nil, errQuery
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" || len(r.Header.Values("Content-Type")) > 1 {
		return nil, errMediaType
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, errMediaType
	}
	if r.ContentLength > MaxBody {
		w.Header().Set("Connection", "close")
		return nil, errBodySize
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, errBodySize
	}
	if err != nil {
		return nil, errForm
	}
	return parseForm(string(body))
}

func parseForm(body string) (url.Values, error) {
	if strings.Count(body, "&") >= maxPairs {
		return nil, errForm
	}
	form, err := url.ParseQuery(body)
	if err != nil {
		return nil, errForm
	}
	for name, values := range form {
		if !clean(name) || !slices.ContainsFunc(values, clean) || slices.ContainsFunc(values, func(v string) bool { return !clean(v) }) {
			return nil, errForm
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
