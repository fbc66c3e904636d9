package guard

import (
	"crypto/x509"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/comity-auth/comity/federation/guard/route"
	"github.com/comity-auth/comity/trust/ident"
)

// request is what is judged, wherever it came from: straight from a client, or
// as a proxy tells of it.
type request struct {
	method string
	// path is as it was sent, percent-encoded; query likewise.
	path, query string
	scheme      string // http or https, as the client sees it
	host        string
	header      http.Header
	length      int64 // bytes of the body; negative when not known
	body        func() ([]byte, bool)
	certificate *x509.Certificate
	// destination is the address that serves the request; the zero Addr when not
	// known.
	destination netip.Addr
	// limitsResponse says that a response can be held to a size.
	limitsResponse bool
}

// overrides are headers by which some servers let a request name another method
// than its own; to those that read an underscore as a dash, in that spelling too.
var overrides = []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"}

// locate reads path and route. Which route it is, or that there is none, is told
// to nobody who has not shown a good token.
func (g *Guard) locate(r *request) (route.Path, *refusal) {
	path, err := route.ParsePath(r.path)
	if err != nil {
		return path, refuse("path_form", "path", "normal form", err.Error())
	}
	for name := range r.header {
		if dashed := strings.ReplaceAll(name, "_", "-"); slices.ContainsFunc(overrides, func(o string) bool { return strings.EqualFold(o, dashed) }) {
			return path, refuse("method_override", "method", "no override", http.CanonicalHeaderKey(dashed))
		}
	}
	return path, nil
}

// credential is the one access token of a request, and how it was presented.
type credential struct {
	raw  ident.RawToken
	dpop bool // by the scheme DPoP (RFC 9449 section 7.1), else Bearer
}

// readCredential takes the token from the Authorization header, the only place
// it is looked for (RFC 6750 section 2.1; RFC 9700 section 4.3.2).
func readCredential(r *request) (credential, *refusal) {
	values := r.header["Authorization"]
	if len(values) == 0 {
		return credential{}, refuse("no_credential", "credential", "an access token", "none")
	}
	if len(values) > 1 || hasParameter(r.query, "access_token") {
		return credential{}, refuse("several_credentials", "credential", "one", "several")
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	text = strings.TrimLeft(text, " ")
	bearer, dpop := strings.EqualFold(scheme, "Bearer"), strings.EqualFold(scheme, "DPoP")
	switch {
	case !bearer && !dpop:
		return credential{}, refuse("no_credential", "credential", "the scheme Bearer or DPoP", "another")
	case text == "":
		return credential{}, refuse("credential_form", "credential", "a token", "none")
	}
	return credential{raw: ident.NewRawToken(text), dpop: dpop}, nil
}

// hasParameter reports whether the query names a parameter, however badly the
// rest of it is written.
func hasParameter(query, name string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' }), func(pair string) bool {
		key, _, _ := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(key)
		return err == nil && plain == name
	})
}

// urls are the spellings of the request's own URL, for htu.
func (g *Guard) urls(r *request, path route.Path) []string {
	base := r.scheme + "://" + r.host
	if g.set.public != nil {
		base = strings.TrimSuffix(g.set.public.String(), "/")
	}
	out := []string{base + path.Escaped()}
	if path.Escaped() != r.path {
		out = append(out, base+r.path)
	}
	return out
}
