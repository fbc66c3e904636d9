package traceid

import (
	"net/http"
	"strings"
)

// Link joins a foreign trace to ours, for the decision record and nothing
// else. It never holds the foreign value.
type Link struct {
	// Foreign is the digest, of kind [KindTrace], of the trace id that came in;
	// empty if none came.
	Foreign string `json:"foreign,omitempty"`
	// Local is the id on our side of the boundary.
	Local ID `json:"local"`
}

// Cross ends a trace at the boundary of the domain: the id for the far side is
// random and in no way derived from the incoming one, which is whatever names
// the trace in a traceparent or in a token's audit.trace_id. A d that has no
// key yields a Link without Foreign.
func Cross(d Digester, incoming string) (ID, Link) {
	outgoing := New()
	return outgoing, Link{Foreign: d.Digest(KindTrace, incoming), Local: outgoing}
}

// Strip removes every header of h that carries a trace, a request id or what
// rides on them, in the spellings of the tracing systems in use. It is for
// requests that come from or go to another domain.
func Strip(h http.Header) {
	for name := range h {
		if correlates(strings.ToLower(name)) {
			delete(h, name)
		}
	}
}

// correlates reports whether a header, in lower case, names a trace or request.
func correlates(name string) bool {
	switch name {
	case "traceparent", "tracestate", "traceresponse", "baggage", "correlation-context",
		"x-request-id", "request-id", "x-correlation-id", "correlation-id", "x-trace-id",
		"b3", "uber-trace-id", "x-amzn-trace-id", "x-amzn-requestid", "x-cloud-trace-context",
		"x-client-trace-id", "grpc-trace-bin", "sentry-trace", "elastic-apm-traceparent", "sw8", "newrelic":
		return true
	}
	for _, prefix := range []string{"x-b3-", "x-datadog-", "x-ot-", "ot-baggage-", "uberctx-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
