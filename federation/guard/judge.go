package guard

import (
	"context"
	"strings"
	"time"

	"github.com/comity-auth/comity/federation/guard/route"
	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/federation/quota"
	"github.com/comity-auth/comity/federation/traceid"
	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/ident"
)

// Grant is what an admitted request was admitted on. Everything in it is from
// the token, which its issuer's key proved. It must not be changed.
type Grant struct {
	// Route is the pattern of the route that matched.
	Route string
	// Public says that the route asks for no token; the rest is empty then.
	Public bool

	Issuer, Subject, ClientID, TokenID string
	Expires                            time.Time
	Scopes                             ident.Scopes
	// Actor is who acts for the subject; zero when nobody does.
	Actor Actor
	// Agent holds the claims of the agent profile; nil when the token has none.
	Agent *aap.Claims
	// Action is the route's, and Constraints are those of the capability that was
	// admitted on; both zero when it was the scope.
	Action      aap.Action
	Constraints aap.Constraints
	// Trace is a span of this resource's own in the token's trace, for what it
	// calls in turn.
	Trace traceid.Context

	token *verified // nil for a public route
}

// judgement is one request under judgement.
type judgement struct {
	g     *Guard
	r     *request
	now   time.Time
	path  route.Path
	route *route.Route // nil when none matches
	token *verified
	event *Event
	seen  inputs
}

// judge runs the steps in their order (see the package). The event is filled as
// far as it came.
func (g *Guard) judge(ctx context.Context, r *request, e *Event) (*Grant, *refusal) {
	j := &judgement{g: g, r: r, now: g.set.Now(), event: e}
	var no *refusal
	if j.path, no = g.locate(r); no != nil {
		return nil, no
	}
	if found, ok := g.set.routes.Find(r.method, j.path); ok {
		j.route, e.Route = found, found.Match
		if found.Public {
			return &Grant{Route: found.Match, Public: true, Trace: traceid.Start()}, nil
		}
	}
	c, no := readCredential(r) // 1
	if no != nil {
		return nil, no
	}
	if j.token, no = g.verify(ctx, c.raw); no != nil { // 2 to 6
		return nil, no
	}
	e.token(j.token)
	for _, step := range []func() *refusal{
		j.revocation, // 7
		func() *refusal { return j.possession(ctx, c) }, // 8
		j.shape,                                                // 9
		j.agent, j.task, j.delegation, j.context, j.authorised, // 10 to 14
	} {
		if no := step(); no != nil {
			return nil, no
		}
	}
	capability, no := j.capability(ctx) // 15 to 17
	if no != nil {
		return nil, no
	}
	return j.grant(capability), nil
}

// revocation is step 7: what is known to be dead is dead, however old the
// knowledge; what is not known to live is not admitted.
func (j *judgement) revocation() *refusal {
	from := j.token.from
	if from.InsecureNoRevocations {
		return nil
	}
	if len(j.token.lineage) == 0 {
		return refuse("claims", "lineage", "handles to be revoked by", "none")
	}
	feed := j.g.feeds[from.Issuer.Issuer]
	if ahead := j.token.issued.Sub(j.now); ahead > j.g.set.Leeway {
		// No revocation is of what is issued later, so this one could not be revoked.
		return refuse("not_yet_valid", "iat", "in the past", ahead.Round(time.Second).String()+" ahead")
	}
	if feed.Revoked(j.token.lineage, j.token.issued) {
		return refuse("revoked", "revocations", "none of the token's handles", "one of them")
	}
	if age := feed.Age(); age > j.g.set.FeedMaxAge {
		if !j.g.set.InsecureAdmitStale {
			return refuse("feed_stale", "revocations", "at most "+j.g.set.FeedMaxAge.String()+" old", age.Round(time.Second).String())
		}
		j.event.Stale = true
	}
	return nil
}

// possession is step 8: the scheme is that of the binding, and every key the
// token is bound to is proved.
func (j *judgement) possession(ctx context.Context, c credential) *refusal {
	cnf := j.token.cnf
	switch {
	case c.dpop != (cnf.JKT != ""):
		return refuse("scheme", "scheme", schemeOf(cnf.JKT != ""), schemeOf(c.dpop))
	case cnf.IsZero() && j.g.set.RequireProof:
		return refuse("unbound", "cnf", "a key", "none")
	case cnf.IsZero():
		return nil
	}
	proven := proof.OfCertificate(j.r.certificate)
	if cnf.JKT == "" {
		return j.satisfied(cnf, proven)
	}
	p, err := proof.Parse(j.r.header["Dpop"], proof.Want{Method: j.r.method, URLs: j.g.urls(j.r, j.path), Now: j.now,
		Window: proof.Window, Algorithms: proof.Algorithms(), AccessToken: c.raw})
	if err != nil {
		return refuse("proof", "proof", "one for this request and token", err.Error())
	}
	proven.JKT = p.JKT()
	if no := j.satisfied(cnf, proven); no != nil {
		return no
	}
	jkt, id := p.OnceKey()
	fresh, err := j.g.set.Once.Use(ctx, quota.Key("dpop", jkt, id), p.Expires())
	switch {
	case err != nil:
		return refuse("once_unavailable", "proof", "not used before", err.Error())
	case !fresh:
		return refuse("proof_replayed", "proof", "not used before", "used")
	}
	return nil
}

func (j *judgement) satisfied(cnf, proven proof.Confirmation) *refusal {
	if !cnf.Satisfied(proven) {
		return refuse("binding", "cnf", "a proof with the token's keys", "another key or none")
	}
	return nil
}

func schemeOf(dpop bool) string {
	if dpop {
		return "DPoP"
	}
	return "Bearer"
}

// shape is step 9. A token without claims of the profile is enough for a route
// that asks for a scope, and for no other.
func (j *judgement) shape() *refusal {
	if j.token.shape != nil {
		return j.token.shape
	}
	if j.token.agent == nil && j.route != nil && j.route.Scopes.IsZero() {
		return refuse("claims", "agent claims", "those of the agent profile", "none")
	}
	return nil
}

// agent is step 10.
func (j *judgement) agent() *refusal {
	if j.token.agent == nil {
		if len(j.g.set.agents) > 0 {
			return refuse("agent", "agent", "one that is listed", "none")
		}
		return nil
	}
	a := j.token.agent.Agent
	if len(j.g.set.agents) > 0 && !j.g.set.agents[a.ID] {
		return refuse("agent", "agent", "one that is listed", "another")
	}
	for _, denied := range j.g.set.DeniedModels {
		if a.Model.Matches(denied) {
			return refuse("model", "agent.model", "one that is not denied", denied)
		}
	}
	if j.g.set.RequireAttested && (a.Runtime == nil || !a.Runtime.Attested) {
		return refuse("attestation", "agent.runtime", "attested", "not attested")
	}
	return nil
}

// task is step 11: its times, and how sensitive the data it is about may be.
// Whether a purpose covers a request is for whoever reads both.
func (j *judgement) task() *refusal {
	if j.token.agent == nil {
		return nil
	}
	t := j.token.agent.Task
	switch {
	case t.ExpiresAt != 0 && !j.now.Before(time.Unix(t.ExpiresAt, 0)):
		return refuse("task", "task.expires_at", "in the future", "past")
	case t.CreatedAt != 0 && time.Unix(t.CreatedAt, 0).After(j.now.Add(j.g.set.Leeway)):
		return refuse("task", "task.created_at", "in the past", "ahead")
	}
	if t.DataSensitivity == "" || j.route == nil {
		return nil
	}
	declared, err := aap.ParseClassification(t.DataSensitivity)
	if err == nil && j.route.Classification > declared {
		return refuse("task", "task.data_sensitivity", "at least "+j.route.Classification.String(), declared.String())
	}
	return nil
}

// delegation is step 12.
func (j *judgement) delegation() *refusal {
	if err := j.token.delegation; err != nil {
		return refuseFor(err, "delegation", "a chain within its limit")
	}
	if most := j.g.set.MaxDepth; most != nil && j.depth() > *most {
		return refuse("delegation_depth", "delegation.depth", "within this resource's limit", "beyond it")
	}
	return nil
}

// depth is how far the authority has travelled. A token that does not say is
// an original one.
func (j *judgement) depth() int {
	if j.token.agent == nil || j.token.agent.Delegation == nil {
		return 0
	}
	return j.token.agent.Delegation.Depth
}

// context is step 13: what limits a token to a place, a zone or a time and
// cannot be told here does not hold.
func (j *judgement) context() *refusal {
	if j.token.agent == nil || j.token.agent.Context == nil {
		return nil
	}
	c := j.token.agent.Context
	switch {
	case c.NetworkZone != "" && c.NetworkZone != j.g.set.NetworkZone:
		return refuse("context", "context.network_zone", "this zone", "another")
	case c.TimeWindow != nil && !c.TimeWindow.Contains(j.now):
		return refuse("context", "context.time_window", "open", "closed")
	case c.Session != nil && !c.Session.ExpiresAt.IsZero() && !j.now.Before(c.Session.ExpiresAt.Time()):
		return refuse("context", "context.session", "in the future", "past")
	}
	for _, region := range regions(c) {
		if !strings.EqualFold(region, j.region()) {
			return refuse("context", "context region", "the request's", "another, or not told")
		}
	}
	return nil
}

// regions are those that the context ties the token to.
func regions(c *aap.Context) []string {
	var out []string
	if c.GeoRestriction != "" && c.GeoRestriction != "none" {
		out = append(out, c.GeoRestriction)
	}
	if c.Location != nil && c.Location.Region != "" {
		out = append(out, c.Location.Region)
	}
	return out
}

// authorised is the part of step 14 that needs no capability: there is a route,
// and where the token has no capabilities its scope is enough.
func (j *judgement) authorised() *refusal {
	if j.route == nil {
		return refuse("no_route", "route", "one that matches", "none")
	}
	if j.byCapability() {
		return nil
	}
	for _, s := range j.route.Scopes.List() {
		if !j.token.scopes.Has(s) {
			return refuse("scope", "scope", j.route.Scopes.String(), "less").withScope(j.route.Scopes.String())
		}
	}
	return nil
}

// byCapability reports whether a capability decides: scope is nothing beside
// capabilities wherever the route has an action.
func (j *judgement) byCapability() bool {
	return j.token.agent != nil && !j.route.Action.IsZero()
}

func (j *judgement) grant(capability int) *Grant {
	v := j.token
	out := &Grant{Route: j.route.Match, Issuer: v.token.Issuer(), Subject: v.token.Subject(), ClientID: v.client, TokenID: v.token.ID(),
		Expires: v.token.Expires(), Scopes: v.scopes, Actor: v.actor, Agent: v.agent, Trace: traceid.Within(v.trace), token: v}
	if v.trace.IsZero() {
		out.Trace = traceid.Start()
	}
	if capability >= 0 {
		out.Action, out.Constraints = j.route.Action, v.agent.Capabilities[capability].Constraints
	}
	return out
}
