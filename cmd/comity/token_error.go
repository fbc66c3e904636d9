package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// tokenError is an answer without a token (RFC 6749 section 5.2).
type tokenError struct {
	status                      int
	code, description, decision string
	retryAfter                  string
}

func parseTokenError(a *answered) *tokenError {
	var in struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
		Decision    string `json:"decision_id"`
	}
	_ = json.Unmarshal(a.body, &in) // what is no error object has no code
	return &tokenError{a.status, visible(in.Code), visible(in.Description),
		firstOf(visible(in.Decision), visible(a.header.Get("Comity-Decision"))), visible(a.header.Get("Retry-After"))}
}

func (e *tokenError) Error() string {
	var b strings.Builder
	if e.code == "" {
		fmt.Fprintf(&b, "the endpoint answered with status %d and no error code", e.status)
	} else {
		b.WriteString(e.code)
	}
	if e.description != "" {
		b.WriteString(": " + e.description)
	}
	if e.retryAfter != "" {
		b.WriteString(" Retry after " + e.retryAfter + " s.")
	}
	if e.decision != "" {
		b.WriteString(" (decision " + e.decision + ")")
	}
	return b.String()
}

// exitCode tells a refusal by policy, which trying again does not change, from
// a request that failed. RFC 8693 section 2.2.2 calls a subject token that is
// not acceptable an invalid_request.
func (e *tokenError) exitCode() int {
	if e.status < http.StatusBadRequest || e.status >= http.StatusInternalServerError || e.status == http.StatusTooManyRequests {
		return exitFailure
	}
	switch e.code {
	case "invalid_target", "invalid_scope", "invalid_request", "invalid_grant", "unauthorized_client", "access_denied":
		return exitRefused
	}
	return exitFailure
}

// visible is another party's text as it may reach a terminal: printable ASCII
// of bounded length.
func visible(s string) string {
	const limit = 16 << 10
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
