package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/comity-auth/comity/federation/fetch"
	"github.com/comity-auth/comity/federation/wire"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// maxDocument bounds a metadata document or a key set in bytes.
const maxDocument = 100 << 10

// The well-known paths of OpenID Connect Discovery 1.0 section 4 and RFC 8414
// section 3.
const (
	openIDPath = oidc.DiscoveryEndpoint
	oauthPath  = "/.well-known/oauth-authorization-server"
)

// Metadata is what an issuer says about itself in OpenID Connect or RFC 8414
// metadata.
type Metadata struct {
	// Issuer is the issuer that the document names.
	Issuer string
	// JWKSURI is where its keys are.
	JWKSURI string
	// Advertised holds the members besides these two, as far as they have the
	// usual form. Nothing is decided on them.
	Advertised oidc.DiscoveryConfiguration
}

// ParseMetadata reads a metadata document strictly and holds it against the
// peer's registration: it must name p.Issuer byte for byte (OpenID Connect
// Discovery 1.0 section 4.3, RFC 8414 section 3.3), and its jwks_uri must be on
// the issuer's host or on one of p.JWKSHosts. Only these two members are
// required. A contradiction wraps [ErrMisconfigured], and the Metadata is
// returned with it so that it can be shown; anything that is no metadata
// wraps [ErrUnavailable].
func ParseMetadata(doc []byte, p Peer) (*Metadata, error) {
	top, err := wire.ParseObject(doc, wire.Limits{
		MaxBytes: maxDocument, MaxDepth: 16, MaxMembers: 1024, MaxString: 8 << 10, MaxValues: 8192,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: metadata: %w", ErrUnavailable, err)
	}
	m := new(Metadata)
	for _, required := range []struct {
		name string
		into *string
	}{{"issuer", &m.Issuer}, {"jwks_uri", &m.JWKSURI}} {
		value, present, err := wire.String(top, required.name)
		if err != nil || !present || value == "" {
			return nil, fmt.Errorf("%w: metadata: %s is missing or no string", ErrUnavailable, required.name)
		}
		*required.into = value
	}
	// Members of a form that the type does not know are nobody's harm.
	if json.Unmarshal(doc, &m.Advertised) != nil {
		m.Advertised = oidc.DiscoveryConfiguration{}
	}
	m.Advertised.Issuer, m.Advertised.JwksURI = m.Issuer, m.JWKSURI // as read strictly
	if err := sameIssuer(m.Issuer, p.Issuer); err != nil {
		return m, err
	}
	return m, checkKeyURI(m.JWKSURI, p)
}

// sameIssuer compares byte for byte and says how near a miss was.
func sameIssuer(got, want string) error {
	if want == "" || got != want {
		return fmt.Errorf("%w: the issuer in the metadata is %s", ErrMisconfigured, likeness(got, want))
	}
	return nil
}

// checkKeyURI applies the rules for a discovered jwks_uri (DS-03).
func checkKeyURI(raw string, p Peer) error {
	bad := func(why string) error { return fmt.Errorf("%w: jwks_uri: %s", ErrMisconfigured, why) }
	u, err := url.Parse(raw)
	if err != nil {
		return bad("not a URL")
	}
	issuer, err := url.Parse(p.Issuer)
	if err != nil {
		return bad("the issuer is no URL")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return bad("the scheme must be https")
	case u.Scheme == "http" && (issuer.Scheme != "http" || !literalLoopback(u.Hostname())):
		return bad("http is for literal loopback addresses only")
	case u.User != nil:
		return bad("user information is not allowed")
	case strings.Contains(raw, "#"):
		return bad("a fragment is not allowed")
	case u.Hostname() == "":
		return bad("the host is missing")
	}
	host := hostPort(u)
	if host == hostPort(issuer) || slices.ContainsFunc(p.JWKSHosts, func(h string) bool {
		return h != "" && host == hostPort(&url.URL{Scheme: u.Scheme, Host: h})
	}) {
		return nil
	}
	return bad("the host is neither the issuer's nor registered")
}

// hostPort is the host in lower case with its port, the default one written
// out.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
		if u.Scheme == "http" {
			port = "80"
		}
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}

func literalLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// metadataURLs are the addresses of an issuer's metadata in the order they are
// tried: OpenID Connect appends its path, RFC 8414 section 3.1 inserts its own
// between host and path, and both drop a slash at the end of the issuer.
func metadataURLs(issuer string) ([]string, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.ContainsAny(issuer, "?#") {
		return nil, fmt.Errorf("%w: the issuer is no URL that metadata can be found at", ErrMisconfigured)
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	base := u.Scheme + "://" + u.Host
	return []string{base + path + openIDPath, base + oauthPath + path}, nil
}

// finding is the outcome of asking for one document.
type finding struct {
	url      string
	response *fetch.Response // nil when there was none
	metadata *Metadata       // nil when the answer was none
	err      error
}

// discover asks for one metadata document after the other until one answers
// the question, and returns everything it tried. The last finding is the
// answer when its err is nil. A document that contradicts the registration
// ends the search: another one must not paper over it. So does a host that
// cannot be reached.
func discover(ctx context.Context, f *fetch.Client, p Peer) ([]finding, error) {
	urls, err := metadataURLs(p.Issuer)
	if err != nil {
		return nil, err
	}
	var tried []finding
	for _, u := range urls {
		next := finding{url: u}
		next.response, next.err = getJSON(ctx, f, fetch.Request{URL: u, MaxBytes: maxDocument})
		if next.err == nil {
			next.metadata, next.err = ParseMetadata(next.response.Body, p)
		}
		tried = append(tried, next)
		if next.err == nil {
			return tried, nil
		}
		if errors.Is(next.err, ErrMisconfigured) || hopeless(next.err) {
			return tried, next.err
		}
	}
	return tried, fmt.Errorf("no usable metadata at the issuer: %w", tried[0].err)
}

// hopeless reports that another document on the same host has no better chance.
func hopeless(err error) bool {
	for _, e := range []error{fetch.ErrUnreachable, fetch.ErrAddress, fetch.ErrBreakerOpen, fetch.ErrBusy,
		context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// getJSON fetches a document that must call itself JSON, if it says what it
// is. Errors wrap [ErrUnavailable] or, for a URL that may never be fetched,
// [ErrMisconfigured].
func getJSON(ctx context.Context, f *fetch.Client, r fetch.Request) (*fetch.Response, error) {
	if err := f.CheckURL(r.URL); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMisconfigured, err)
	}
	resp, err := f.Get(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if !resp.NotModified && !isJSON(resp.ContentType) {
		return nil, fmt.Errorf("%w: the document is not JSON", ErrUnavailable)
	}
	return resp, nil
}

func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" ||
		strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"))
}
