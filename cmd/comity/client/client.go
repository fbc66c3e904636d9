package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/strictyaml"
)

// ErrServer says that the server's address cannot be used.
var ErrServer = errors.New("server address")

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 128 << 20

// Options say where the broker is and how to speak to it.
type Options struct {
	// Server is the admin listener's URL, without a path.
	Server string
	// TokenFile holds the admin token. It is read for each request, so a token
	// that was replaced takes effect.
	TokenFile string
	// Transport makes the connections; nil makes one that uses no proxy.
	Transport http.RoundTripper
}

// Client is safe for concurrent use.
type Client struct {
	server    string
	tokenFile string
	http      *http.Client
}

// New checks the address. The error wraps ErrServer.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.Server)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("%w: want a URL without a path, such as http://127.0.0.1:8090", ErrServer)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, fmt.Errorf("%w: want https, or http to a loopback address: the admin token must not travel in the clear", ErrServer)
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 11 * time.Minute,
			DisableKeepAlives:     true,
		}
	}
	return &Client{
		server: u.Scheme + "://" + u.Host, tokenFile: o.TokenFile,
		http: &http.Client{Transport: o.Transport, Timeout: 12 * time.Minute, CheckRedirect: refuseRedirect},
	}, nil
}

func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Request is one call of the API.
type Request struct {
	Method string
	Path   string // escaped, from /admin/v1 on
	Query  url.Values
	// IfMatch and Accept are headers, left out when empty.
	IfMatch, Accept string
	// Body is sent with the type in MediaType.
	Body      []byte
	MediaType string
	// BodyFile names the file that Body was read from, for printing.
	BodyFile string
}

// Answer is a successful answer.
type Answer struct {
	Body []byte
	ETag string
}

// Error is a problem that the API reported.
type Error struct {
	Status   int                 `json:"status"`
	Code     string              `json:"code"`
	Title    string              `json:"title"`
	Detail   string              `json:"detail"`
	Problems strictyaml.Problems `json:"problems"`
	Revision trust.Revision      `json:"revision"`
}

func (e *Error) Error() string {
	text := e.Title
	if text == "" {
		text = "the server answered " + http.StatusText(e.Status)
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	for _, p := range e.Problems {
		text += "\n  " + p.String()
	}
	return text
}

// Is makes the two outcomes that callers act on known by name.
func (e *Error) Is(target error) bool {
	return target == ErrStale && e.Status == http.StatusPreconditionFailed || target == ErrNotFound && e.Status == http.StatusNotFound
}

// What the API reports and callers act on.
var (
	// ErrStale says that the registry moved since it was read.
	ErrStale = errors.New("the registry has moved")
	// ErrNotFound says that there is nothing of that name.
	ErrNotFound = errors.New("not found")
)

// Do sends the request. An answer other than success is an *Error.
func (c *Client) Do(ctx context.Context, r Request) (*Answer, error) {
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, c.url(r), bytes.NewReader(r.Body))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	for name, value := range r.headers() {
		req.Header.Set(name, value)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reach the broker: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(http.MaxBytesReader(nil, res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return &Answer{Body: body, ETag: res.Header.Get("ETag")}, nil
	}
	return nil, failure(res, body)
}

// failure reads a problem; of anything else only the status is told.
func failure(res *http.Response, body []byte) error {
	e := &Error{Status: res.StatusCode}
	if mediaType, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); mediaType == "application/problem+json" {
		if err := json.Unmarshal(body, e); err != nil {
			return fmt.Errorf("the server answered %s with a problem that cannot be read", http.StatusText(res.StatusCode))
		}
	}
	e.Status = res.StatusCode
	return e
}

func (c *Client) token() (string, error) {
	text, err := os.ReadFile(c.tokenFile)
	if err != nil {
		return "", fmt.Errorf("read the admin token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("read the admin token: %s holds no token", c.tokenFile)
	}
	return token, nil
}

func (c *Client) url(r Request) string {
	if len(r.Query) == 0 {
		return c.server + r.Path
	}
	return c.server + r.Path + "?" + r.Query.Encode()
}

func (r Request) headers() map[string]string {
	out := map[string]string{}
	for name, value := range map[string]string{"If-Match": r.IfMatch, "Accept": r.Accept, "Content-Type": r.MediaType} {
		if value != "" {
			out[name] = value
		}
	}
	return out
}

// Curl is the request as a command for a POSIX shell. The token is read from
// its file by the command and does not stand in it.
func (c *Client) Curl(r Request) string {
	out := []string{"curl -sS --fail-with-body"}
	if r.Method != http.MethodGet {
		out = append(out, "-X "+r.Method)
	}
	out = append(out, `-H "Authorization: Bearer $(cat `+quote(c.tokenFile)+`)"`)
	headers := r.headers()
	for _, name := range []string{"If-Match", "Accept", "Content-Type"} {
		if value, there := headers[name]; there {
			out = append(out, "-H "+quote(name+": "+value))
		}
	}
	switch {
	case r.BodyFile != "":
		out = append(out, "--data-binary "+quote("@"+r.BodyFile))
	case len(r.Body) > 0:
		out = append(out, "--data-binary "+quote(string(r.Body)))
	}
	return strings.Join(append(out, quote(c.url(r))), " ")
}

// quote is single quotes, inside which a shell changes nothing.
func quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+=,", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
