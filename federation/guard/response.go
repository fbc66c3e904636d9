package guard

import (
	"errors"
	"net/http"
	"strconv"
)

// ErrResponseSize is what a handler's Write reports once the response has
// outgrown the token's max_response_size.
var ErrResponseSize = errors.New("guard: the response is larger than the token allows")

// limitedWriter holds a response to a size. One that says beforehand that it is
// too large, or is with its first write, is answered with a refusal; one that
// turns out to be is cut off, so that nobody takes it for whole. It can be
// flushed, and not be taken over: what goes over a connection that was taken
// over is not counted.
type limitedWriter struct {
	inner    http.ResponseWriter
	left     int64
	head     bool // nothing that is written is sent, as of a HEAD request
	status   int  // what the handler said, held back until something is sent
	begun    bool // the header is on its way
	over     bool
	tooLarge func(begun bool)
}

func (l *limitedWriter) Header() http.Header { return l.inner.Header() }

func (l *limitedWriter) WriteHeader(status int) {
	if l.over || l.begun || l.status != 0 {
		return
	}
	if status < 200 {
		l.inner.WriteHeader(status)
		return
	}
	l.status = status
	if status == http.StatusNoContent || status == http.StatusNotModified {
		l.head = true // what is written is not sent either (RFC 9110 section 6.4.1)
	}
	if n, err := strconv.ParseInt(l.Header().Get("Content-Length"), 10, 64); err == nil && n > l.left && !l.head {
		l.refuse()
	}
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	l.WriteHeader(http.StatusOK)
	if !l.over && !l.head && int64(len(p)) > l.left {
		l.refuse()
	}
	if l.over {
		return 0, ErrResponseSize
	}
	l.begin()
	n, err := l.inner.Write(p)
	l.left -= int64(n)
	return n, err
}

// begin sends the header that was held back.
func (l *limitedWriter) begin() {
	if !l.begun {
		l.begun = true
		l.inner.WriteHeader(l.status)
	}
}

// FlushError sends what was written.
func (l *limitedWriter) FlushError() error {
	if l.over {
		return ErrResponseSize
	}
	l.WriteHeader(http.StatusOK)
	if l.over {
		return ErrResponseSize
	}
	l.begin()
	return http.NewResponseController(l.inner).Flush()
}

// EnableFullDuplex lets the body be read while the response is written.
func (l *limitedWriter) EnableFullDuplex() error {
	return http.NewResponseController(l.inner).EnableFullDuplex()
}

// Flush sends what was written.
func (l *limitedWriter) Flush() { _ = l.FlushError() }

func (l *limitedWriter) refuse() {
	l.over = true
	l.tooLarge(l.begun)
}

// finish completes a response that was nothing but a header, and breaks the
// connection of one that was cut off.
func (l *limitedWriter) finish() {
	switch {
	case l.over && l.begun:
		panic(http.ErrAbortHandler)
	case !l.over && l.status != 0:
		l.begin()
	}
}
