package fetch_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/comity-auth/comity/federation/fetch"
)

func TestGetReturnsTheDocument(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "identity" || r.Header.Get("Accept") != "application/json" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Cache-Control", "public, max-age=120")
		w.Header().Set("Age", "20")
		io.WriteString(w, `{}`)
	})
	got, err := client(t, quick()).Get(t.Context(), fetch.Request{URL: s.URL + "/jwks"})
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Body) != "{}" || got.ETag != `"1"` || got.ContentType != "application/json" || got.Date.IsZero() {
		t.Errorf("Get = %+v", got)
	}
	if !got.Explicit || got.Fresh != 100*time.Second {
		t.Errorf("freshness = %v, %v, want 100s, true", got.Fresh, got.Explicit)
	}
}

func TestNotModifiedNeedsAValidator(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	c := client(t, quick())
	got, err := c.Get(t.Context(), fetch.Request{URL: s.URL, ETag: `"1"`})
	if err != nil || !got.NotModified {
		t.Errorf("with a validator: Get = %+v, %v, want NotModified", got, err)
	}
	// DS-27: 304 without ETag
	if _, err := c.Get(t.Context(), fetch.Request{URL: s.URL}); !errors.Is(err, fetch.ErrStatus) {
		t.Errorf("without a validator: Get = %v, want ErrStatus", err)
	}
}

// DS-04: no redirect is followed, wherever it leads, nor is it asked for again.
func TestDS04RedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	canary, seen := serve(t, func(http.ResponseWriter, *http.Request) {})
	for _, code := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{canary.URL, "/same", "http://169.254.169.254/latest", "file:///etc/passwd"} {
			s, hits := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", to)
				w.WriteHeader(code)
			})
			_, err := client(t, quick()).Get(t.Context(), fetch.Request{URL: s.URL + "/start"})
			if !errors.Is(err, fetch.ErrRedirect) {
				t.Errorf("%d to %s: Get = %v, want ErrRedirect", code, to, err)
			}
			if hits.Load() != 1 {
				t.Errorf("%d to %s: %d requests, want 1", code, to, hits.Load())
			}
		}
	}
	if seen.Load() != 0 {
		t.Errorf("the canary saw %d requests", seen.Load())
	}
}

// DS-12: a proxy in the environment is not used.
func TestDS12EnvironmentProxyIsIgnored(t *testing.T) {
	canary, seen := serve(t, func(http.ResponseWriter, *http.Request) {})
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, canary.URL)
	}
	var w wire
	c := client(t, fetch.Options{Allow: loopback, Resolver: resolving([]string{"8.8.8.8"}, []string{"10.0.0.1"}), Dial: w.dial})
	if _, err := c.Get(t.Context(), fetch.Request{URL: "https://as.acme.example/"}); err == nil {
		t.Error("Get succeeded through nothing")
	}
	for _, addr := range w.seen() {
		if addr.String() != "8.8.8.8" {
			t.Errorf("dialled %v, want 8.8.8.8", addr)
		}
	}
	if seen.Load() != 0 {
		t.Errorf("the proxy saw %d requests", seen.Load())
	}
}

// DS-15: a body over the limit is an error, never a shorter body.
func TestDS15BodyLimit(t *testing.T) {
	t.Parallel()
	exact := strings.Repeat("a", fetch.DefaultMaxBytes)
	endless := func(w http.ResponseWriter, _ *http.Request) {
		for chunk := bytes.Repeat([]byte("a"), 4096); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	for _, tc := range []struct {
		name  string
		serve http.HandlerFunc
		want  error
	}{
		{"accepts 100 KiB", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, exact) }, nil},
		{"rejects 100 KiB and a byte", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, exact+"a") }, fetch.ErrTooLarge},
		{"rejects 100 KiB and a byte announced", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(exact)+1))
			io.WriteString(w, exact+"a")
		}, fetch.ErrTooLarge},
		{"rejects an endless stream", endless, fetch.ErrTooLarge},
		{"rejects less than announced", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "{}")
		}, fetch.ErrUnreachable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, _ := serve(t, tc.serve)
			o := quick()
			o.Timeout, o.HeaderTimeout = 5*time.Second, 5*time.Second
			got, err := client(t, o).Get(t.Context(), fetch.Request{URL: s.URL})
			if !errors.Is(err, tc.want) {
				t.Fatalf("Get = %v, want %v", err, tc.want)
			}
			if err == nil && string(got.Body) != exact {
				t.Errorf("body of %d bytes, want %d", len(got.Body), len(exact))
			}
		})
	}
}

// DS-16: nothing is ever inflated.
func TestDS16CompressedBodiesAreRefused(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 64 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	for _, encoding := range []string{"gzip", "deflate", "br", "gzip, identity", "x"} {
		s, hits := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", encoding)
			w.Write(bomb.Bytes())
		})
		_, err := client(t, quick()).Get(t.Context(), fetch.Request{URL: s.URL})
		if !errors.Is(err, fetch.ErrEncoding) || hits.Load() != 1 {
			t.Errorf("%s: Get = %v after %d requests, want ErrEncoding after 1", encoding, err, hits.Load())
		}
	}
}

// DS-17: a host that is slow, silent or breaks off costs no more than the limit.
func TestDS17SlowHostsAreCutOff(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		talk func(net.Conn, <-chan struct{})
	}{
		{"cuts a drip", func(c net.Conn, done <-chan struct{}) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
			for {
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond):
					io.WriteString(c, "a")
				}
			}
		}},
		{"cuts a drip of headers", func(c net.Conn, done <-chan struct{}) {
			for {
				if _, err := io.WriteString(c, "H"); err != nil {
					return
				}
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}},
		{"cuts silence", func(_ net.Conn, done <-chan struct{}) { <-done }},
		{"survives a reset in the body", func(c net.Conn, _ <-chan struct{}) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
			c.(*net.TCPConn).SetLinger(0)
		}},
		{"survives a half close", func(c net.Conn, done <-chan struct{}) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
			c.(*net.TCPConn).CloseWrite()
			<-done
		}},
		{"survives nonsense", func(c net.Conn, _ <-chan struct{}) { io.WriteString(c, "SSH-2.0-x\r\n\r\n") }},
		{"survives endless headers", func(c net.Conn, _ <-chan struct{}) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(c, "X-%d: a\r\n", i); err != nil {
					return
				}
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			addr := talker(t, tc.talk)
			_, err := client(t, quick()).Get(t.Context(), fetch.Request{URL: "http://" + addr})
			if !errors.Is(err, fetch.ErrUnreachable) {
				t.Errorf("Get = %v, want ErrUnreachable", err)
			}
		})
	}
}

// talker accepts connections, reads a request and lets talk answer.
func talker(t *testing.T, talk func(net.Conn, <-chan struct{})) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	gone := make(chan struct{})
	t.Cleanup(func() { close(done); l.Close(); <-gone })
	go func() {
		defer close(gone)
		var open atomic.Int64
		idle := make(chan struct{}, 64)
		for {
			c, err := l.Accept()
			if err != nil {
				for open.Load() > 0 {
					<-idle
				}
				return
			}
			open.Add(1)
			go func() {
				defer func() { c.Close(); open.Add(-1); idle <- struct{}{} }()
				c.Read(make([]byte, 4096))
				talk(c, done)
			}()
		}
	}()
	return l.Addr().String()
}

func TestStatusIsTyped(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		code int
		hits int64
	}{
		{204, 1}, {206, 1}, {400, 1}, {401, 1}, {404, 1}, {429, 1}, {500, 3}, {501, 1}, {502, 3}, {503, 3},
	} {
		s, hits := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600") // must not make us wait
			w.WriteHeader(tc.code)
		})
		o := quick()
		o.Timeout = 5 * time.Second
		_, err := client(t, o).Get(t.Context(), fetch.Request{URL: s.URL})
		e, ok := errors.AsType[*fetch.StatusError](err)
		if !ok || e.Code != tc.code || !errors.Is(err, fetch.ErrStatus) {
			t.Errorf("Get = %v, want status %d", err, tc.code)
		}
		if hits.Load() != tc.hits {
			t.Errorf("status %d: %d requests, want %d", tc.code, hits.Load(), tc.hits)
		}
	}
}

func TestABrokenConnectionIsTriedAgain(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	s, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) < 3 {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "{")
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, "{}")
	})
	o := quick()
	o.Timeout = 5 * time.Second
	got, err := client(t, o).Get(t.Context(), fetch.Request{URL: s.URL})
	if err != nil || string(got.Body) != "{}" {
		t.Errorf("Get = %v, %v, want the third answer", got, err)
	}
}

// A breaker opens after failures in a row, refuses without a connection, and
// lets one request try again after its pause.
func TestBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var w wire
		var states []string
		c, err := fetch.New(fetch.Options{
			Resolver: resolving([]string{"8.8.8.8"}), Dial: w.dial, BreakerFailures: 2, BreakerPause: time.Minute,
			OnBreaker: func(host, state string) { states = append(states, host+" "+state) },
		})
		if err != nil {
			t.Fatal(err)
		}
		const host = "as.acme.example"
		get := func() error {
			_, err := c.Get(t.Context(), fetch.Request{URL: "https://" + host + "/jwks"})
			return err
		}
		for range 2 {
			if err := get(); !errors.Is(err, fetch.ErrUnreachable) {
				t.Fatalf("Get = %v, want ErrUnreachable", err)
			}
		}
		before := len(w.seen())
		if err := get(); !errors.Is(err, fetch.ErrBreakerOpen) || c.State(host) != "open" {
			t.Errorf("Get = %v in state %s, want ErrBreakerOpen in open", err, c.State(host))
		}
		if len(w.seen()) != before {
			t.Error("an open breaker let a connection through")
		}
		if c.State("other.example") != "closed" {
			t.Error("another host's breaker is open")
		}
		time.Sleep(61 * time.Second)
		if err := get(); !errors.Is(err, fetch.ErrUnreachable) {
			t.Errorf("Get after the pause = %v, want ErrUnreachable", err)
		}
		if len(w.seen()) == before || len(states) == 0 {
			t.Errorf("nothing was dialled after the pause (states %v)", states)
		}
	})
}

func TestBreakerIgnoresWhatIsNotTheHostsFault(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	arrived := make(chan struct{})
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			arrived <- struct{}{}
			<-release
			return
		}
		w.WriteHeader(http.StatusNotFound)
	})
	o := quick()
	o.BreakerFailures = 1
	o.Timeout, o.HeaderTimeout = time.Minute, time.Minute
	c := client(t, o)
	host := strings.TrimPrefix(s.URL, "http://")
	if _, err := c.Get(t.Context(), fetch.Request{URL: s.URL}); !errors.Is(err, fetch.ErrStatus) {
		t.Errorf("Get = %v, want ErrStatus", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if _, err := c.Get(ctx, fetch.Request{URL: s.URL + "/hang"}); !errors.Is(err, context.Canceled) {
		t.Errorf("Get = %v, want context.Canceled", err)
	}
	close(release)
	if got := c.State(host); got != "closed" {
		t.Errorf("State = %s, want closed", got)
	}
}

// Requests beyond the cap wait and, when their time is over, fail as busy.
func TestConcurrencyCap(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	arrived := make(chan struct{}, 8)
	s, hits := serve(t, func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-release })
	o := quick()
	o.PerHost = 2
	o.Timeout, o.HeaderTimeout = time.Minute, time.Minute
	c := client(t, o)
	results := make(chan error, 3)
	for range 2 {
		go func() { _, err := c.Get(t.Context(), fetch.Request{URL: s.URL}); results <- err }()
	}
	<-arrived
	<-arrived
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, err := c.Get(ctx, fetch.Request{URL: s.URL}); results <- err }()
	cancel()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Errorf("third Get = %v, want context.Canceled", err)
	}
	close(release)
	for range 2 {
		if err := <-results; err != nil {
			t.Errorf("Get = %v", err)
		}
	}
	if hits.Load() != 2 {
		t.Errorf("requests = %d, want 2", hits.Load())
	}
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	const years = 10 * 365 * 24 * time.Hour
	for _, tc := range []struct {
		name     string
		header   http.Header
		want     time.Duration
		explicit bool
	}{
		{"none", http.Header{}, 0, false},
		{"max-age", http.Header{"Cache-Control": {"max-age=60"}}, time.Minute, true},
		{"upper case and blanks", http.Header{"Cache-Control": {" Public , MAX-AGE=60 "}}, time.Minute, true},
		{"quoted", http.Header{"Cache-Control": {`max-age="60"`}}, time.Minute, true},
		{"no-store wins", http.Header{"Cache-Control": {"no-store, max-age=60"}}, 0, true},
		{"no-cache wins", http.Header{"Cache-Control": {"max-age=60", "no-cache"}}, 0, true},
		{"garbage is zero", http.Header{"Cache-Control": {"max-age=soon"}}, 0, true},
		{"negative is zero", http.Header{"Cache-Control": {"max-age=-1"}}, 0, true},
		{"other directives say nothing", http.Header{"Cache-Control": {"public, s-maxage=9"}}, 0, false},
		{"two headers: the least", http.Header{"Cache-Control": {"max-age=90", "max-age=60"}}, time.Minute, true},
		{"an overflow is large", http.Header{"Cache-Control": {"max-age=99999999999999999999"}}, years, true},
		{"age is taken off", http.Header{"Cache-Control": {"max-age=60"}, "Age": {"20"}}, 40 * time.Second, true},
		{"an age beyond is zero", http.Header{"Cache-Control": {"max-age=60"}, "Age": {"99999999999999999999"}}, 0, true},
	} {
		s, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			for k, vs := range tc.header {
				w.Header()[k] = vs
			}
			io.WriteString(w, "{}")
		})
		got, err := client(t, quick()).Get(t.Context(), fetch.Request{URL: s.URL})
		if err != nil || got.Fresh != tc.want || got.Explicit != tc.explicit {
			t.Errorf("%s: Get = %+v, %v, want %v, %v", tc.name, got, err, tc.want, tc.explicit)
		}
	}
}

// A request that got no place within its time is busy, and the host's breaker
// does not hear of it.
func TestConcurrencyCapTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
			time.Sleep(3 * time.Second)
			return nil, context.DeadlineExceeded
		}
		c, err := fetch.New(fetch.Options{Resolver: resolving([]string{"8.8.8.8"}), Dial: hang, PerHost: 1, BreakerFailures: 2})
		if err != nil {
			t.Fatal(err)
		}
		get := func() error {
			_, err := c.Get(t.Context(), fetch.Request{URL: "https://as.acme.example/"})
			return err
		}
		first := make(chan error)
		go func() { first <- get() }()
		synctest.Wait()
		if err := get(); !errors.Is(err, fetch.ErrBusy) {
			t.Errorf("second Get = %v, want ErrBusy", err)
		}
		if err := <-first; !errors.Is(err, fetch.ErrUnreachable) {
			t.Errorf("first Get = %v, want ErrUnreachable", err)
		}
		if got := c.State("as.acme.example"); got != "closed" {
			t.Errorf("State after one failure = %s, want closed", got)
		}
		time.Sleep(time.Minute) // for the connection attempts in the background
	})
}
