package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/sony/gobreaker/v2"
)

// Request says what to fetch.
type Request struct {
	// URL is https, or http for an allowed literal loopback address.
	URL string
	// MaxBytes bounds the body. Zero means DefaultMaxBytes.
	MaxBytes int64
	// Accept is the Accept header. Empty means application/json.
	Accept string
	// ETag, when not empty, is sent as If-None-Match; only then may the answer
	// be 304.
	ETag string
}

// Response is a complete answer.
type Response struct {
	// NotModified means that the document still is the one with Request.ETag.
	// Body is empty then.
	NotModified bool
	Body        []byte
	ContentType string
	ETag        string
	// Explicit says that Cache-Control states a lifetime; Fresh is then how much
	// longer the document is good for, Age taken off, never negative. A lifetime
	// that cannot be understood is zero.
	Explicit bool
	Fresh    time.Duration
	// Date is the host's clock, zero if it sent none.
	Date time.Time
	// TLSVersion is the crypto/tls constant, zero for http.
	TLSVersion uint16
}

// Get fetches a document. It fails with one of the errors of this package or,
// when ctx ended first, with an error that wraps ctx.Err().
func (c *Client) Get(ctx context.Context, r Request) (*Response, error) {
	u, err := c.parse(r.URL)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	resp, err := c.guarded(ctx, u, r)
	if err != nil {
		return nil, fmt.Errorf("fetch from %s: %w", u.Host, err)
	}
	return resp, nil
}

func (c *Client) guarded(ctx context.Context, u *url.URL, r Request) (*Response, error) {
	h, err := c.hosts.get(strings.ToLower(u.Host))
	if err != nil {
		return nil, err
	}
	chain, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	// Half of the time at most, since a place without time to use it is none.
	if err := h.acquire(chain, c.timeout/2); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	defer h.release()
	resp, err := h.breaker.Execute(func() (*Response, error) {
		resp, err := c.do(chain, u, r)
		if err != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return resp, err
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return nil, &failure{kind: ErrBreakerOpen}
	}
	return resp, err
}

// do runs the attempts. Reading the body is part of an attempt, so that a
// connection that breaks in the middle is tried again.
func (c *Client) do(ctx context.Context, u *url.URL, r Request) (*Response, error) {
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, &failure{ErrURL, "not a URL"}
	}
	setHeaders(req.Header, r)
	var out *Response
	req.SetResponseHandler(func(resp *http.Response) (err error) {
		out, err = read(resp, r)
		return err
	})
	resp, err := c.retry.Do(req)
	if resp != nil {
		defer resp.Body.Close()
	}
	switch {
	case err != nil:
		return nil, classify(err)
	case out == nil: // the last attempt still had a status worth a retry
		return nil, &failure{kind: &StatusError{Code: resp.StatusCode}}
	}
	return out, nil
}

func setHeaders(h http.Header, r Request) {
	h.Set("Accept", "application/json")
	if r.Accept != "" {
		h.Set("Accept", r.Accept)
	}
	h.Set("Accept-Encoding", "identity")
	h.Set("User-Agent", "comity")
	if r.ETag != "" {
		h.Set("If-None-Match", r.ETag)
	}
}

func read(resp *http.Response, r Request) (*Response, error) {
	defer resp.Body.Close()
	out := &Response{ETag: resp.Header.Get("ETag"), ContentType: resp.Header.Get("Content-Type")}
	out.Fresh, out.Explicit = freshness(resp.Header)
	out.Date, _ = http.ParseTime(resp.Header.Get("Date"))
	if resp.TLS != nil {
		out.TLSVersion = resp.TLS.Version
	}
	switch code := resp.StatusCode; {
	case code == http.StatusNotModified && r.ETag != "":
		out.NotModified = true
		return out, nil
	case code == http.StatusOK:
	case code >= 300 && code < 400 && code != http.StatusNotModified:
		return nil, &failure{kind: ErrRedirect}
	default:
		return nil, &failure{kind: &StatusError{Code: code}}
	}
	for _, e := range resp.Header.Values("Content-Encoding") {
		if e != "" && !strings.EqualFold(e, "identity") {
			return nil, &failure{kind: ErrEncoding}
		}
	}
	var err error
	out.Body, err = readAll(resp, r.MaxBytes)
	return out, err
}

func readAll(resp *http.Response, limit int64) ([]byte, error) {
	if limit <= 0 {
		limit = DefaultMaxBytes
	}
	if resp.ContentLength > limit {
		return nil, &failure{kind: ErrTooLarge}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, classify(err)
	}
	if int64(len(body)) > limit {
		return nil, &failure{kind: ErrTooLarge}
	}
	return body, nil
}
