package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// What can go wrong with a fetch. Each error that [Client.Get] returns wraps
// one of these, or the context's error when the caller gave up. The texts hold
// no address and nothing that the server sent, so they may be shown.
var (
	// ErrURL: the URL is not one that may be fetched. Nothing was resolved.
	ErrURL = errors.New("URL not allowed")
	// ErrAddress: the host has an address that may not be contacted. Nothing
	// was dialled.
	ErrAddress = errors.New("address not allowed")
	// ErrUnreachable: no answer, or an answer that broke off.
	ErrUnreachable = errors.New("host not reachable")
	// ErrTLS refines ErrUnreachable: no connection that can be trusted.
	ErrTLS = fmt.Errorf("%w: no trusted TLS connection", ErrUnreachable)
	// ErrRedirect: the answer was a redirect, which is never followed.
	ErrRedirect = errors.New("redirect refused")
	// ErrStatus: the status was neither 200 nor an expected 304. The error is
	// a *StatusError.
	ErrStatus = errors.New("unexpected status")
	// ErrEncoding: the body came compressed although none of that was asked for.
	ErrEncoding = errors.New("content encoding not accepted")
	// ErrTooLarge: the body exceeds the limit. No part of it is returned.
	ErrTooLarge = errors.New("document too large")
	// ErrBreakerOpen: the host failed repeatedly and was left alone this time.
	ErrBreakerOpen = errors.New("circuit breaker open")
	// ErrBusy: as many requests as are allowed are under way to the host.
	ErrBusy = errors.New("too many requests under way")
)

// StatusError is the error for a status other than 200 (and 304 where a
// validator was sent). It wraps [ErrStatus].
type StatusError struct{ Code int }

func (e *StatusError) Error() string { return fmt.Sprintf("%v %d", ErrStatus, e.Code) }

// Unwrap returns [ErrStatus].
func (e *StatusError) Unwrap() error { return ErrStatus }

// failure is an error of this package on its way up through net/http: it is
// found again there by its type, without the URL that net/http adds.
type failure struct {
	kind error
	why  string
}

func (f *failure) Error() string {
	if f.why == "" {
		return f.kind.Error()
	}
	return f.kind.Error() + ": " + f.why
}

func (f *failure) Unwrap() error { return f.kind }

// classify gives a transport error its sentinel and a text without addresses.
func classify(err error) error {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return &failure{ErrUnreachable, reason(err)}
}

func tlsReason(err error) string {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the certificate is for another name"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the certificate is from an unknown authority"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if e.Reason == x509.Expired {
			return "the certificate is expired or not valid yet"
		}
		return "the certificate is not valid"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the certificate is not valid"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the host does not speak TLS"
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "timed out"
	}
	return "the handshake failed"
}

func reason(err error) string {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsNotFound {
			return "the name does not resolve"
		}
		return "the name lookup failed"
	}
	var timeout net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timed out"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed early"
	}
	return "no valid answer"
}
