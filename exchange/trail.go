package exchange

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/quota"
	"github.com/comity-auth/comity/federation/traceid"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

// trail gathers what the record of one request will say. It serves one request
// and is not safe for concurrent use.
type trail struct {
	now    time.Time
	record audit.Record
	once   []trust.Once
	seen   trust.Fence
	// known says that the client authenticated: from then on what it used up is
	// used up, also by a refusal.
	known   bool
	address netip.Addr
	// again says that the request was counted already: it is decided a further
	// time because the registry moved.
	again bool
	grant string
	final string // the decision id, once there is one
}

func (s *Service) begin(req Request) *trail {
	t := &trail{now: s.opts.Now(), address: req.Address}
	t.record = audit.Record{At: t.now, Event: "token.request", UserAgent: req.UserAgent,
		Checks: make([]audit.Check, 0, 16)}
	if req.Address.IsValid() {
		t.record.Address = req.Address.String()
	}
	return t
}

func (t *trail) event(grant string) {
	t.grant = grant
	switch grant {
	case trust.GrantJWTBearer:
		t.record.Event = "token.redeem"
	case trust.GrantTokenExchange:
		t.record.Event = "token.exchange"
	case trust.GrantClientCredentials:
		t.record.Event = "token.issue"
	}
}

func (t *trail) check(step, name string, r audit.Result, expected, seen string) {
	t.record.Checks = append(t.record.Checks, audit.Check{Step: step, Name: name, Result: r, Expected: expected, Seen: seen})
}

func (t *trail) pass(step, name, expected, seen string) {
	t.check(step, name, audit.Pass, expected, seen)
}
func (t *trail) note(step, name, seen string) { t.check(step, name, audit.Note, "", seen) }

// fail notes a check that did not hold and gives its error back.
func (t *trail) fail(step, name, expected, seen string, err error) error {
	t.check(step, name, audit.Fail, expected, seen)
	return err
}

// refused notes a refusal of package federation.
func (t *trail) refused(step string, err error) error {
	if r, ok := errors.AsType[*federation.Refusal](err); ok {
		return t.fail(step, r.Check, r.Expected, r.Seen, err)
	}
	return t.fail(step, "keys", "the issuer's keys", err.Error(), err)
}

// admit counts a request against a limit, once however often it is decided.
func (s *Service) admit(t *trail, l *quota.Limiter, scope, key string, limit quota.Limit) error {
	if t.again {
		return nil
	}
	if d := l.Allow(key, limit); !d.OK {
		return t.limited(scope, d.RetryAfter)
	}
	return nil
}

// limited notes that a limit was reached.
func (t *trail) limited(scope string, after time.Duration) error {
	t.check("limits", scope, audit.Fail, "within the limit", "above it")
	return &limitError{scope: scope, after: after}
}

type limitError struct {
	scope string
	after time.Duration
}

func (e *limitError) Error() string { return "the " + e.scope + " limit is reached" }
func (e *limitError) Unwrap() error { return ErrTooManyRequests }

// reserved are parameters that only the broker may decide; sent by a caller
// they are ignored and recorded.
var reserved = []string{"delegation", "chain", "act"}

func (t *trail) ignored(p parameters) {
	for _, name := range reserved {
		if p.get(name) != "" {
			t.note("request", "ignored parameter", name)
		}
	}
}

func (t *trail) fence(s *trust.Snapshot) {
	t.seen = s.Fence()
	t.record.Revision = uint64(s.Revision())
}

func (t *trail) client(c *trust.Client) {
	t.known = true
	t.record.Client, t.record.Operator = c.ID.String(), c.Operator
	if c.Agent != nil {
		t.record.Agent = c.Agent.ID
	}
}

func (t *trail) peer(role, name string) {
	if role == "subject" {
		t.record.Peer = name
	} else {
		t.record.ActorPeer = name
	}
}

// actor keeps a digest of who wants to act. Only an actor that the registry
// knows is named.
func (t *trail) actor(d traceid.Digester, p *presented) {
	if t.record.Foreign != nil {
		t.record.Foreign["actor"] = d.Digest("sub", p.party.Subject)
	}
}

func (t *trail) useOnce(o trust.Once) { t.once = append(t.once, o) }

func (t *trail) decided(g trust.Grant, checks []audit.Check) {
	t.record.Checks = append(t.record.Checks, checks...)
	if g.Mapping != nil {
		t.record.Mapping = g.Mapping.Name
	}
	if len(g.Act) > 0 && t.record.Foreign["actor"] != "" {
		t.record.Actor = g.Act[0].Subject
	}
	if g.Policy != nil {
		t.record.Policy = g.Policy.Name
	}
	if g.Resource != nil {
		t.record.Target = g.Resource.Audience.String()
	}
	if g.Agent != nil {
		t.record.Agent = g.Agent.Agent.ID
	}
}

// foreign keeps keyed digests of the other domain's identifiers, never the
// identifiers.
func (t *trail) foreign(d traceid.Digester, token *federation.Token) {
	claims := token.Claims()
	t.record.Foreign = map[string]string{}
	keep := func(kind, value string) {
		if digest := d.Digest(kind, value); digest != "" {
			t.record.Foreign[kind] = digest
		}
	}
	keep(traceid.KindJTI, token.ID())
	keep("sub", token.Subject())
	for _, kind := range []string{traceid.KindTxn, traceid.KindSession} {
		if v, ok := claims[kind].(string); ok {
			keep(kind, v)
		}
	}
	if task, ok := claims["task"].(map[string]any); ok {
		if id, ok := task["id"].(string); ok {
			keep(traceid.KindTask, id)
		}
	}
}

func (t *trail) link(l traceid.Link) {
	if l.Foreign != "" && t.record.Foreign != nil {
		t.record.Foreign[traceid.KindTrace] = l.Foreign
	}
}

func (t *trail) minted(c *claims, handles []string, kid, trace string) {
	issued := &audit.Token{ID: c.ID, KeyID: kid, Subject: c.Subject, Audience: c.Audience, Scope: c.Scope,
		Expires: time.Unix(c.Expires, 0).UTC(), Confirmation: c.Cnf.JKT, TraceID: trace, Lineage: handles}
	if c.Claims != nil {
		for _, capability := range c.Capabilities {
			if name := capability.Action.String(); !slices.Contains(issued.Actions, name) {
				issued.Actions = append(issued.Actions, name)
			}
		}
	}
	t.record.Issued = issued
	t.check("mint", "token", audit.Pass, "signed", kid)
}

// replayed is the record to keep when something that counts once was used
// before.
func (t *trail) replayed() audit.Record {
	r := t.record
	r.Outcome, r.Reason, r.Issued = audit.Deny, "replayed", nil
	r.Error = t.replayCode()
	r.Detail = ""
	r.Checks = append(slices.Clip(r.Checks), audit.Check{Step: "commit", Name: "one-time identifiers", Result: audit.Fail,
		Expected: "used for the first time", Seen: "used before"})
	return r
}

// replayCode is what a replay will mean to the client; empty while that depends
// on which of several identifiers it is.
func (t *trail) replayCode() string {
	code := ""
	for i, o := range t.once {
		c := t.fault(&replay{kind: o.Kind}).Code
		if i > 0 && c != code {
			return ""
		}
		code = c
	}
	return code
}

func (t *trail) addressKey() string {
	if !t.address.IsValid() {
		return "unknown"
	}
	if a := t.address.Unmap(); a.Is6() {
		// One subscriber commonly holds a /64.
		prefix, _ := a.WithZone("").Prefix(64)
		return prefix.String()
	}
	return t.address.Unmap().String()
}

// refuse ends a request that gets no token: it records why and says what the
// client is told.
func (s *Service) refuse(ctx context.Context, t *trail, cause error) *Fault {
	if r, ok := errors.AsType[*replay](cause); ok {
		t.final = s.ids.Seal(r.at)
		f := t.fault(cause)
		t.record.Error = f.Code
		f.DecisionID = t.final
		return f
	}
	f := t.fault(cause)
	t.record.Outcome, t.record.Error, t.record.Reason = f.outcome, f.Code, f.reason
	t.record.Detail, t.record.Issued = cause.Error(), nil
	entry := trust.Entry{Record: t.record}
	if t.known && !errors.Is(cause, ErrTooManyRequests) {
		entry.IfReplayed, entry.Once = t.replayed(), t.spent()
	} else if d := s.records.Allow(t.addressKey(), quotaPerMinute(s.opts.Limits.RecordsPerMinute)); !d.OK {
		return f // counted, and not worth a write each
	}
	if errors.Is(cause, trust.ErrUnavailable) && !errors.Is(cause, errMoved) {
		// The store that should keep the record is what failed.
		return f
	}
	out, err := s.opts.Ledger.Commit(context.WithoutCancel(ctx), entry)
	switch {
	case err != nil:
		return t.fault(fmt.Errorf("%w: record a refusal: %w", trust.ErrUnavailable, err))
	case out.Status == trust.Replayed:
		f = t.fault(&replay{kind: out.Replay, at: out.At})
		t.record = entry.IfReplayed
		t.record.Error = f.Code
	}
	t.final = s.ids.Seal(out.At)
	f.DecisionID = t.final
	return f
}

// fault says what an error means on the leg that the request took.
func (t *trail) fault(err error) *Fault {
	f := classify(err)
	if t.grant == trust.GrantJWTBearer {
		return f.asGrant()
	}
	return f
}

// spent is what a refusal uses up: the assertion and the proof, which were
// used, and never a subject token, which was not.
func (t *trail) spent() []trust.Once {
	return slices.DeleteFunc(slices.Clone(t.once), func(o trust.Once) bool {
		return o.Kind != trust.OnceAssertion && o.Kind != trust.OnceProof
	})
}

func (s *Service) observe(ctx context.Context, t *trail, began time.Time) {
	if s.opts.Observe != nil {
		s.opts.Observe(ctx, &t.record, t.final, s.opts.Now().Sub(began))
	}
}

// replay says that something that counts once was used before.
type replay struct {
	kind trust.OnceKind
	at   audit.Position
}

func (r *replay) Error() string { return "a " + string(r.kind) + " was used before" }

func quotaPerMinute(n int) quota.Limit { return quota.Limit{Events: n, Per: time.Minute, Burst: n} }
func quotaPerSecond(n int) quota.Limit { return quota.Limit{Events: n, Per: time.Second, Burst: n} }
