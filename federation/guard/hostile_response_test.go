package guard_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/comity-auth/comity/federation/guard"
)

// A response is held to its size however a handler goes about writing it, and one
// without a body is not held to what it says of another's.
func TestResponseSizeHoldsHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 4096)
	for name, tt := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		method string
		status int // 0: the connection breaks, or what came is short
	}{
		"read from a file":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, strings.NewReader(long)) }, "GET", 403},
		"written as a text": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, long) }, "GET", 403},
		"byte by byte, errors ignored": {func(w http.ResponseWriter, _ *http.Request) {
			for range len(long) {
				_, _ = w.Write([]byte("x"))
			}
		}, "GET", 0},
		"flushed first": {func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, long)
		}, "GET", 0},
		"behind 103": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, long)
		}, "GET", 403},
		"taken over": {func(w http.ResponseWriter, _ *http.Request) {
			if c, buf, err := http.NewResponseController(w).Hijack(); err == nil {
				_, _ = buf.WriteString("HTTP/1.1 200 OK\r\n\r\n" + long)
				_ = buf.Flush()
				_ = c.Close()
			}
		}, "GET", 200},
		"unwrapped": {func(w http.ResponseWriter, _ *http.Request) {
			if u, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
				w = u.Unwrap()
			}
			_, _ = io.WriteString(w, long)
		}, "GET", 403},
		"that says less than it is": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			_, _ = io.WriteString(w, long)
		}, "GET", 403},
		"with a number for a length that is none": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "-1")
			_, _ = io.WriteString(w, long)
		}, "GET", 403},
		"given up": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "x")
			panic(http.ErrAbortHandler)
		}, "GET", 0},
		"of HEAD": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, long) }, "HEAD", 200},
		"that is 204": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
			_, _ = io.WriteString(w, long)
		}, "GET", 204},
		"that is 304 and says the length of what did not change": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "4096")
			w.WriteHeader(http.StatusNotModified)
		}, "GET", 304},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := middleware(t, options(t))
			w.resource.answer = tt.answer
			token := sign(t, nil, limited(object{"max_response_size": 10}))
			text := w.raw(tt.method + " /search HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\nConnection: close\r\n\r\n")
			r := bufio.NewReader(strings.NewReader(text))
			req := w.request(tt.method, "/", nil)
			res, err := http.ReadResponse(r, req)
			for err == nil && res.StatusCode == http.StatusEarlyHints {
				res, err = http.ReadResponse(r, req)
			}
			if err != nil {
				if tt.status != 0 {
					t.Errorf("answer %q: %v", text, err)
				}
				return
			}
			body, err := io.ReadAll(res.Body)
			switch {
			case tt.status == 0 && (err == nil || len(body) > 10):
				t.Errorf("answer %d %q, want it cut off", res.StatusCode, body)
			case tt.status != 0 && res.StatusCode != tt.status:
				t.Errorf("answer %d %q, want %d", res.StatusCode, body, tt.status)
			case strings.Count(string(body), "x") > 100:
				t.Errorf("%d bytes came", len(body))
			case res.StatusCode == 403 && (res.Header.Get(guard.HeaderError) == "" || !strings.HasPrefix(string(body), "{")):
				t.Errorf("answer %v %q", res.Header, body)
			}
		})
	}
}
