package guard

import (
	"context"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/comity-auth/comity/federation/traceid"
)

// The headers that tell an upstream who is asking. They come from the token
// alone; whatever a client sends by these names, however it spells them, is
// removed.
const (
	HeaderSubject  = "Comity-Subject"
	HeaderAgent    = "Comity-Agent"
	HeaderOperator = "Comity-Operator"
	HeaderTask     = "Comity-Task"
	HeaderTrace    = "Comity-Trace"
	HeaderTokenID  = "Comity-Token-Id"
)

// identity lists them. It is never assigned to.
var identity = []string{HeaderSubject, HeaderAgent, HeaderOperator, HeaderTask, HeaderTrace, HeaderTokenID}

type contextKey struct{}

// FromContext gives what the request was admitted on. False: no guard admitted
// it.
func FromContext(ctx context.Context) (*Grant, bool) {
	g, ok := ctx.Value(contextKey{}).(*Grant)
	return g, ok
}

// withGrant puts a grant into a context.
func withGrant(ctx context.Context, g *Grant) context.Context {
	return context.WithValue(ctx, contextKey{}, g)
}

// cleanse removes from a request's headers every name that an upstream could
// take for one of ours, and whatever carries a trace.
func cleanse(h http.Header) {
	disown(h)
	traceid.Strip(h)
}

// disown removes every name that could be taken for one of ours: some servers read
// underscores as dashes.
func disown(h http.Header) {
	for name := range h {
		if strings.HasPrefix(strings.ToLower(strings.ReplaceAll(name, "_", "-")), "comity-") {
			delete(h, name)
		}
	}
}

// Identify sets the headers that tell an upstream who is asking, and continues
// the token's trace. Texts that no header can hold as they are, are
// percent-encoded.
func (g *Grant) Identify(h http.Header) {
	set := func(name, value string) {
		if value != "" {
			h[textproto.CanonicalMIMEHeaderKey(name)] = []string{headerText(value)}
		}
	}
	set("traceparent", g.Trace.String())
	if g.Public {
		return
	}
	set(HeaderSubject, g.Subject)
	set(HeaderTokenID, g.TokenID)
	set(HeaderTrace, g.Trace.Trace().String())
	if g.Agent != nil {
		set(HeaderAgent, g.Agent.Agent.ID)
		set(HeaderOperator, g.Agent.Agent.Operator)
		set(HeaderTask, g.Agent.Task.ID)
	}
}
