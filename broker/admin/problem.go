package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/strictyaml"
)

// Problem is an error response (RFC 9457). It never holds a credential.
type Problem struct {
	Type   string `json:"type" doc:"Where the kind of problem is explained"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"code" doc:"The kind of problem, stable"`
	// Problems are the defects of a document, all of them.
	Problems strictyaml.Problems `json:"problems,omitempty"`
	// Revision is the registry's, where it matters.
	Revision trust.Revision `json:"revision,omitempty"`
}

func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// pathProblems is where the kinds of problem are explained.
const pathProblems = prefix + "/problems/"

// explanation is one kind of problem.
type explanation struct {
	Code    string `json:"code"`
	Status  int    `json:"status"`
	Title   string `json:"title"`
	Meaning string `json:"meaning" doc:"What it means and what to do"`
}

// problemKinds lists the kinds there are, by code.
func problemKinds() map[string]explanation {
	list := []explanation{
		{"unauthorized", 401, "Credential missing or wrong", "Send the admin token as Authorization: Bearer. It is in the file that admin.token_file names."},
		{"cross_origin", 403, "Request from another origin", "A browser sent the request for a page of another site. Use the console, the command line or a client that is no browser."},
		{"misdirected", 421, "Host name not served", "The Host header names a host that is not in admin.hosts."},
		{"not_found", 404, "Not found", "There is nothing here, or nothing of that name."},
		{"method_not_allowed", 405, "Method not allowed", "The Allow header lists the methods."},
		{"bad_request", 400, "Request malformed", "A parameter or header is not in the form that the API description gives."},
		{"unsupported_media_type", 415, "Media type not supported", "Send application/yaml or application/json."},
		{"too_large", 413, "Body too large", "A trust file may have 64 MiB, anything else 1 MiB."},
		{"invalid", 422, "Document invalid", "Every defect is listed in problems, with its line and path. Nothing was changed."},
		{"precondition_required", 428, "If-Match required", "Read the registry or the object first and send its ETag as If-Match, so that nobody's change is overwritten unseen."},
		{"stale", 412, "The registry has moved", "Somebody changed the registry since the revision in If-Match. Read it again, look at the difference, and repeat."},
		{"not_served", 503, "Stored, not served yet", "The change is durable at the revision named, but this broker has not caught up. It takes effect without further action; do not repeat it."},
		{"unavailable", 503, "Not available", "The store did not answer, or not in time. Try again."},
		{"peer_unreachable", 502, "Peer did not give its keys", "The peer's keys could not be fetched. The detail names the class of failure."},
		{"internal", 500, "Internal error", "Nothing is known about it outside the broker's log."},
	}
	kinds := make(map[string]explanation, len(list))
	for _, e := range list {
		kinds[e.Code] = e
	}
	return kinds
}

// newProblem makes a problem of a kind in the list.
func newProblem(code, format string, args ...any) *Problem {
	e, known := problemKinds()[code]
	if !known {
		e = problemKinds()["internal"]
	}
	return &Problem{Type: pathProblems + e.Code, Title: e.Title, Status: e.Status, Code: e.Code, Detail: fmt.Sprintf(format, args...)}
}

// maxProblems bounds how many defects one answer tells.
const maxProblems = 1000

func invalid(problems strictyaml.Problems) *Problem {
	detail := "there is 1 problem"
	if n := len(problems); n != 1 {
		detail = fmt.Sprintf("there are %d problems", n)
	}
	if len(problems) > maxProblems {
		detail += fmt.Sprintf("; the first %d are told", maxProblems)
		problems = problems[:maxProblems]
	}
	p := newProblem("invalid", "%s", detail)
	p.Problems = problems
	return p
}

// problemOf gives an error its meaning here. What is not foreseen says nothing.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	switch {
	case errors.Is(err, trust.ErrConflict):
		return newProblem("stale", "somebody changed the registry at the same time")
	case errors.Is(err, trust.ErrNotFound):
		return newProblem("not_found", "there is nothing of that name")
	case errors.Is(err, trust.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return newProblem("unavailable", "the store did not answer in time")
	}
	return newProblem("internal", "the request could not be completed")
}

// fail writes the one answer for what went wrong, and logs what the answer
// does not say.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.Status == http.StatusInternalServerError || p.Status == http.StatusServiceUnavailable {
		h.opts.Logger.ErrorContext(r.Context(), "admin request failed", "event", "admin.failed", "code", p.Code, "error", err.Error())
	}
	switch p.Status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="admin"`)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte(`{"code":"internal","status":500}`)
	}
	h.write(w, p.Status, "application/problem+json", body)
}

// refuse answers every request with the problem.
func (h *handler) refuse(p *Problem) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.fail(w, r, p) })
}

// write is where every response is written.
func (h *handler) write(w http.ResponseWriter, status int, mediaType string, body []byte) {
	header := w.Header()
	if mediaType != "" {
		header.Set("Content-Type", mediaType)
	}
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
