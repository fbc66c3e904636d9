package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/comity-auth/comity/federation/fetch"
	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust/ident"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 256 << 10

// web talks to authorization servers that the user of the command named.
type web struct {
	client *http.Client
	shows  string // the x5t#S256 of the certificate that it shows, if it shows one
}

func newWeb(caFile string) (*web, error) {
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  15 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if caFile != "" {
		var err error
		if t.TLSClientConfig.RootCAs, err = fetch.LoadCAs(caFile); err != nil {
			return nil, err
		}
	}
	return &web{client: &http.Client{Transport: t, Timeout: 30 * time.Second,
		// A redirect would carry credentials to where nobody meant them to go.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (w *web) close() { w.client.CloseIdleConnections() }

// checkURL accepts https, and http where nobody can listen.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return errors.New("want a URL such as https://as.example/token")
	case u.Scheme == "https", u.Scheme == "http" && ident.IsLoopbackHost(u.Hostname()):
		return nil
	}
	return errors.New("want https, or http to a literal loopback address such as 127.0.0.1")
}

// answered is a response that was read whole.
type answered struct {
	status int
	header http.Header
	body   []byte
}

func (w *web) do(req *http.Request) (*answered, error) {
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "comity/"+thisBuild().Version)
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := readAtMost(resp.Body, maxAnswer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	return &answered{resp.StatusCode, resp.Header, body}, nil
}

func (w *web) get(ctx context.Context, at string) (*answered, error) {
	if err := checkURL(at); err != nil {
		return nil, fmt.Errorf("%s: %w", visible(at), err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return nil, err
	}
	return w.do(req)
}

// serverMetadata is what the commands need of RFC 8414 metadata.
type serverMetadata struct {
	Issuer  string `json:"issuer"`
	JWKSURI string `json:"jwks_uri"`
	endpoints
	// Aliases are for clients with certificates (RFC 8705 section 5).
	Aliases endpoints `json:"mtls_endpoint_aliases"`
}

// endpoints are those that clients authenticate at.
type endpoints struct {
	Token      string `json:"token_endpoint"`
	Introspect string `json:"introspection_endpoint"`
	Revoke     string `json:"revocation_endpoint"`
}

func (e endpoints) named(member string) string {
	switch member {
	case "token_endpoint":
		return e.Token
	case "introspection_endpoint":
		return e.Introspect
	case "revocation_endpoint":
		return e.Revoke
	}
	return ""
}

// metadataURLs are where an issuer's metadata can be: RFC 8414 section 3, then
// OpenID Connect Discovery section 4.
func metadataURLs(issuer string) [2]string {
	issuer = strings.TrimSuffix(issuer, "/")
	scheme, rest, _ := strings.Cut(issuer, "://")
	host, path, _ := strings.Cut(rest, "/")
	if path != "" {
		path = "/" + path
	}
	return [2]string{scheme + "://" + host + "/.well-known/oauth-authorization-server" + path, issuer + "/.well-known/openid-configuration"}
}

// discover reads the metadata of an issuer, which must name itself so.
func (w *web) discover(ctx context.Context, issuer string) (*serverMetadata, error) {
	var last error
	for _, at := range metadataURLs(issuer) {
		a, err := w.get(ctx, at)
		if err != nil {
			return nil, fmt.Errorf("metadata of the issuer: %w", err)
		}
		if a.status != http.StatusOK {
			last = fmt.Errorf("metadata of the issuer: %s answered with status %d", at, a.status)
			continue
		}
		var m serverMetadata
		if err := json.Unmarshal(a.body, &m); err != nil {
			return nil, fmt.Errorf("metadata of the issuer: %s is no metadata", at)
		}
		if m.Issuer != issuer {
			return nil, fmt.Errorf("metadata of the issuer: %s is about another issuer, %s", at, visible(m.Issuer))
		}
		return &m, nil
	}
	return nil, last
}

// endpoint is the one of that name for a client that shows a certificate, or shows
// none.
func (m *serverMetadata) endpoint(w *web, member string) (string, error) {
	if alias := m.Aliases.named(member); w.shows != "" && alias != "" {
		return m.url("mtls_endpoint_aliases", alias)
	}
	return m.url(member, m.named(member))
}

// url is a member that holds a URL, no less safe than the issuer is.
func (m *serverMetadata) url(name, value string) (string, error) {
	err := checkURL(value)
	if err == nil && strings.HasPrefix(m.Issuer, "https:") && !strings.HasPrefix(value, "https:") {
		err = errors.New("want https, as the issuer has")
	}
	if err != nil {
		return "", fmt.Errorf("metadata of the issuer: %s: %w", name, err)
	}
	return value, nil
}

// granted is a token that was issued (RFC 6749 section 5.1).
type granted struct {
	Type   string
	issued string // issued_token_type (RFC 8693 section 2.2.1), when there is one
	token  ident.RawToken
	whole  json.RawMessage // a secret
}

// isGrant reports whether it is no access token (RFC 8693 section 2.2.1).
func (g *granted) isGrant() bool { return strings.EqualFold(g.Type, "N_A") }

var errUnknownType = errors.New("the answer of the token endpoint holds a token of an unknown type")

// token asks a token endpoint, and once more when it wants a nonce in the
// proof (RFC 9449 section 8). The error is a *tokenError when it answered.
func (w *web) token(ctx context.Context, endpoint string, form url.Values, c *credential) (*granted, error) {
	nonce := ""
	for {
		a, err := w.post(ctx, endpoint, form, c, nonce)
		if err != nil {
			return nil, err
		}
		if a.status == http.StatusOK {
			return parseGranted(a.body)
		}
		refused := parseTokenError(a)
		if refused.code != "use_dpop_nonce" || c.proof == nil || nonce != "" || a.header.Get("DPoP-Nonce") == "" {
			return nil, refused
		}
		nonce = a.header.Get("DPoP-Nonce")
	}
}

func (w *web) post(ctx context.Context, endpoint string, form url.Values, c *credential, nonce string) (*answered, error) {
	form = maps.Clone(form)
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if err := c.apply(form, header); err != nil {
		return nil, err
	}
	if c.proof != nil {
		p, err := c.proof.Proof(http.MethodPost, endpoint, proof.Options{Nonce: nonce})
		if err != nil {
			return nil, err
		}
		header.Set("DPoP", p)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header = header
	return w.do(req)
}

func parseGranted(body []byte) (*granted, error) {
	var in struct {
		Token  string `json:"access_token"`
		Type   string `json:"token_type"`
		Issued string `json:"issued_token_type"`
	}
	switch err := json.Unmarshal(body, &in); {
	case err != nil:
		return nil, errors.New("the answer of the token endpoint is no JSON object")
	case in.Token == "" || visible(in.Token) != in.Token:
		return nil, errors.New("the answer of the token endpoint holds no token")
	case !strings.EqualFold(in.Type, "Bearer") && !strings.EqualFold(in.Type, "DPoP") && !strings.EqualFold(in.Type, "N_A"):
		return nil, errUnknownType
	}
	return &granted{Type: in.Type, issued: in.Issued, token: ident.NewRawToken(in.Token), whole: bytes.TrimSpace(body)}, nil
}
