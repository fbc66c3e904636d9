package guard

import (
	"context"
	"log/slog"
	"time"
)

// Event is one decision: everything that the log, the metrics and an
// administrator's question about a correlation id are answered from. It holds no
// token, no proof and nothing of the request but its method; what it repeats of
// the token its issuer vouched for.
type Event struct {
	// ID is the correlation id, which the client has as well.
	ID   string
	At   time.Time
	Took time.Duration
	// Mode is how the request came: middleware, proxy or forward-auth.
	Mode string

	Method, Route, Action string
	// Capability is the place of the capability that was admitted on; -1 for none.
	Capability int

	// Status is what was answered; 200 for what was admitted.
	Status int
	// Code is the error code, and Reason the name of what it stands for, of the
	// closed set that Reasons lists. Both are empty for what was admitted.
	Code, Reason          string
	Check, Expected, Seen string

	Issuer, ClientID, TokenID, Actor string
	AgentID, Operator, TaskID, Trace string

	// Stale says that it was admitted on old knowledge of revocations, Uncounted
	// that its rate limits were not counted, Notify that overseers are to be told
	// of it (oversight.notify_on), and Ignored which constraints nobody enforced.
	Stale, Uncounted, Notify bool
	Ignored                  []string
}

// Admitted reports whether the request went ahead.
func (e *Event) Admitted() bool { return e.Reason == "" }

// Reasons lists every value of Event.Reason.
func Reasons() []string {
	out := make([]string, 0, len(meanings)+1)
	for _, m := range meanings {
		out = append(out, m.reason)
	}
	return append(out, "internal")
}

// token notes whose token it is, once its issuer's key proved it.
func (e *Event) token(v *verified) {
	e.Issuer, e.TokenID, e.ClientID, e.Actor = v.token.Issuer(), v.token.ID(), v.client, v.actor.Subject
	e.Trace = v.trace.String()
	if v.agent != nil {
		e.AgentID, e.Operator, e.TaskID = v.agent.Agent.ID, v.agent.Agent.Operator, v.agent.Task.ID
	}
}

// tell reports the event, once it is complete.
func (g *Guard) tell(ctx context.Context, e *Event, no *refusal) {
	e.Status, e.Took = 200, g.set.Now().Sub(e.At)
	if no != nil {
		e.Status, e.Code, e.Reason = no.status, no.code, no.reason
		e.Check, e.Expected, e.Seen = no.check, no.expected, no.seen
	}
	if g.set.Observe != nil {
		g.set.Observe(ctx, e)
	}
	if g.set.Logger != nil {
		g.log(ctx, e)
	}
}

func (g *Guard) log(ctx context.Context, e *Event) {
	level, outcome := slog.LevelInfo, "allow"
	switch {
	case e.Status >= 500:
		level, outcome = slog.LevelError, "error"
	case !e.Admitted():
		level, outcome = slog.LevelWarn, "deny"
	}
	if !g.set.Logger.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 24)
	for _, a := range []struct{ name, value string }{
		{"event", "guard.decision"}, {"outcome", outcome}, {"decision_id", e.ID}, {"mode", e.Mode},
		{"method", e.Method}, {"route", e.Route}, {"action", e.Action},
		{"error", e.Code}, {"reason", e.Reason}, {"check", e.Check}, {"expected", e.Expected}, {"seen", e.Seen},
		{"issuer", e.Issuer}, {"client_id", e.ClientID}, {"jti", e.TokenID}, {"actor", e.Actor},
		{"agent", e.AgentID}, {"operator", e.Operator}, {"task", e.TaskID}, {"trace_id", e.Trace},
	} {
		if a.value != "" {
			attrs = append(attrs, slog.String(a.name, clip(a.value)))
		}
	}
	attrs = append(attrs, slog.Int("status", e.Status), slog.Int64("took_us", e.Took.Microseconds()))
	for _, a := range []struct {
		name string
		is   bool
	}{{"stale", e.Stale}, {"uncounted", e.Uncounted}, {"notify", e.Notify}} {
		if a.is {
			attrs = append(attrs, slog.Bool(a.name, true))
		}
	}
	if len(e.Ignored) > 0 {
		attrs = append(attrs, slog.Any("ignored", e.Ignored))
	}
	g.set.Logger.LogAttrs(ctx, level, "request judged", attrs...)
}

// maxLogged bounds one text in the log, in bytes.
const maxLogged = 512

func clip(s string) string {
	if len(s) > maxLogged {
		return s[:maxLogged] + "..."
	}
	return s
}
