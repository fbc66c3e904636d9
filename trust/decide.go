package trust

import (
	"errors"
	"fmt"
	"time"

	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/audit"
	"github.com/comity-auth/comity/trust/ident"
)

// Why a decision refuses. Every error of Decide wraps exactly one of these.
var (
	ErrTarget    = errors.New("one resource has to be named")
	ErrNoMapping = errors.New("no mapping allows this")
	ErrAmbiguous = errors.New("more than one mapping allows this")
	ErrNoPolicy  = errors.New("no policy allows this")
	ErrPresenter = errors.New("the token was issued to somebody else")
	ErrProof     = errors.New("a proof of possession is required")
	// ErrCertificate says that the proof demanded is a client certificate.
	ErrCertificate = errors.New("a client certificate is required")
	ErrCarried     = errors.New("the token carries authority that the mapping does not translate")
	ErrScope       = errors.New("more was asked for than can be granted, or nothing can")
	ErrSubject     = errors.New("the subject cannot be mapped")
	ErrTask        = errors.New("the task is missing or malformed")
	ErrAgent       = errors.New("the client is not registered as an agent")
	ErrDepth       = errors.New("the token may not be delegated further")
	ErrLifetime    = errors.New("too little lifetime is left")
	ErrBoundary    = errors.New("the boundary cannot be drawn")
)

// Party is a verified subject or actor.
type Party struct {
	Peer            *Peer // who vouches for it; nil stands for this broker
	Issuer, Subject string
	// Act are who acted for it so far, the current actor first.
	Act []Actor
	// Holder is who the token was issued to: azp, else client_id, else sub.
	Holder string
	// Claims are all the token's claims; they are read and never changed.
	Claims map[string]any
	Scopes ident.Scopes
	// Agent is nil when the token carries no agent claims.
	Agent             *aap.Claims
	IssuedAt, Expires time.Time
}

func (p *Party) actions() []string {
	if p.Agent == nil {
		return []string{}
	}
	out := make([]string, len(p.Agent.Capabilities))
	for i, c := range p.Agent.Capabilities {
		out[i] = c.Action.String()
	}
	return out
}

// carries reports whether the token brings authority of its own.
func (p *Party) carries() bool { return !p.Scopes.IsZero() || p.Agent != nil }

// Task is what the request says the agent is doing.
type Task struct{ ID, Purpose string }

// Ask is a question that Decide answers. Everything in it has been verified.
type Ask struct {
	Now    time.Time
	Grant  string // GrantTokenExchange or GrantClientCredentials
	Client *Client
	// Peer is who issued the subject token; nil stands for this broker.
	Peer    *Peer
	Subject Party
	Actor   *Party
	// Targets are the distinct resources named.
	Targets []ident.Audience
	// Scopes and Actions are what was asked for; none of either asks for all.
	Scopes  ident.Scopes
	Actions []aap.Action
	// TTL is the life asked for; zero asks for as long as there is.
	TTL  time.Duration
	Task Task
	// DPoP and Certificate say what the request proved possession of: a key by
	// DPoP (RFC 9449), that of a client certificate (RFC 8705).
	DPoP, Certificate bool
	// ParentID stands for the subject token in what is issued: its jti, or
	// across a boundary a keyed digest of that.
	ParentID string
	// Names gives identifiers of the peer's domain their names in ours, and
	// NamesAbroad ours their names in the domain of the resource, when that is
	// another domain's broker.
	Names, NamesAbroad aap.Pseudonymiser
	// Redeems says that the subject is a grant: its end bounds when it may be
	// redeemed, not what it yields.
	Redeems bool
	// NamesClient says that the grant is addressed to this very client.
	NamesClient bool
	// ForGrant asks for a grant that another domain redeems.
	ForGrant bool
	From     Requester
}

// Grant is what may be issued. The zero Grant allows nothing.
type Grant struct {
	Resource *Resource
	Mapping  *Mapping // nil for client_credentials
	Policy   *Policy  // nil otherwise
	// Subject is the sub of what is issued.
	Subject string
	Scopes  ident.Scopes
	// Agent is nil for a token without agent claims. Its trace is not set when
	// Crosses is true.
	Agent   *aap.Claims
	Expires time.Time
	// Act are who acts for the subject, the current actor first.
	Act []Actor
	// NeedsCertificate says that what is issued has to be bound to the client
	// certificate, whatever else it is bound to.
	NeedsCertificate bool
	// Crosses says that the subject comes from another trust domain, Leaves
	// that what is issued is for another domain's broker.
	Crosses, Leaves bool
}

// Decide answers a question on this snapshot, and says how it came to the
// answer. It is pure: it waits for nothing and changes nothing. The grant means
// something only when the error is nil; the error wraps one of the sentinels of
// this file.
func (s *Snapshot) Decide(a *Ask) (Grant, []audit.Check, error) {
	d := &decision{snapshot: s, ask: a, vars: &variables{ask: a}}
	var g Grant
	if err := d.decide(&g); err != nil {
		return Grant{}, d.checks, err
	}
	return g, d.checks, nil
}

func (d *decision) decide(g *Grant) error {
	if err := d.target(g); err != nil {
		return err
	}
	if d.ask.Client == nil {
		return d.fail(ErrNoMapping, "client", "a registered client", "none")
	}
	switch d.ask.Grant {
	case GrantTokenExchange, GrantJWTBearer:
		return d.exchange(g)
	case GrantClientCredentials:
		return d.issue(g)
	}
	return d.fail(ErrNoMapping, "grant", "one that is decided on", "another")
}

type decision struct {
	snapshot *Snapshot
	ask      *Ask
	vars     *variables
	checks   []audit.Check
	// derived names, for a granted action, the foreign actions it came from.
	derived map[aap.Action][]aap.Action
}

func (d *decision) note(result audit.Result, name, expected, seen string) {
	d.checks = append(d.checks, audit.Check{Step: "decide", Name: name, Result: result, Expected: expected, Seen: seen})
}

func (d *decision) pass(name, expected, seen string) { d.note(audit.Pass, name, expected, seen) }

// fail notes the check and refines the sentinel with what was seen.
func (d *decision) fail(is error, name, expected, seen string) error {
	d.note(audit.Fail, name, expected, seen)
	return fmt.Errorf("%w: %s: %s", is, name, seen)
}

func (d *decision) target(g *Grant) error {
	if n := len(d.ask.Targets); n != 1 {
		return d.fail(ErrTarget, "target", "one distinct resource or audience", fmt.Sprint(n))
	}
	aud := d.ask.Targets[0].String()
	if g.Resource = d.snapshot.Resource(aud); g.Resource == nil {
		return d.fail(ErrNoMapping, "target", "a registered resource", aud)
	}
	d.pass("target", "a registered resource", aud)
	return nil
}

// exchange decides on a token that somebody brought.
func (d *decision) exchange(g *Grant) (err error) {
	g.Crosses = d.ask.Peer != nil && d.ask.Peer.Foreign
	g.Leaves = d.snapshot.Abroad(g.Resource)
	if d.ask.ForGrant && !g.Leaves {
		return d.fail(ErrNoMapping, "target", "another domain's broker", g.Resource.Audience.String())
	}
	if g.Mapping, err = d.mapping(g.Resource.Audience); err != nil {
		return err
	}
	if err := d.presenter(g.Mapping); err != nil {
		return err
	}
	if err := d.actor(g); err != nil {
		return err
	}
	if err := d.proof(g, g.Mapping.Proof); err != nil {
		return err
	}
	entitled, err := d.entitled(g)
	if err != nil {
		return err
	}
	granted, err := d.narrow(entitled)
	if err != nil {
		return err
	}
	g.Scopes = granted.scopes
	if g.Subject, err = d.subject(g.Mapping); err != nil {
		return err
	}
	if err := d.delegable(g.Mapping); err != nil {
		return err
	}
	if g.Expires, err = d.expires(append(d.exchangeBounds(g), d.agentBounds()...)); err != nil {
		return err
	}
	if len(granted.capabilities) > 0 {
		g.Agent, err = d.derive(g, granted.capabilities)
	}
	return err
}

// issue decides on a token for one of this domain's own agents.
func (d *decision) issue(g *Grant) (err error) {
	c := d.ask.Client
	if c.Agent == nil {
		return d.fail(ErrAgent, "agent", "a client registered with an agent", c.ID.String())
	}
	if g.Policy, err = d.policy(g.Resource.Audience); err != nil {
		return err
	}
	if err := d.proof(g, g.Policy.Proof); err != nil {
		return err
	}
	var entitled authority
	for _, r := range g.Policy.Capabilities {
		if g.Resource.Actions[r.action] {
			entitled.add(aap.Capability{Action: r.action, Constraints: r.ceiling})
		}
	}
	granted, err := d.narrow(entitled)
	if err != nil {
		return err
	}
	g.Subject = c.Agent.ID
	task, err := d.task()
	if err != nil {
		return err
	}
	bounds := []bound{{"policy", d.ask.Now.Add(g.Policy.TTL)}, {"client", c.Expires}}
	if g.Expires, err = d.expires(bounds); err != nil {
		return err
	}
	g.Agent = &aap.Claims{
		Agent:        agentClaim(c),
		Task:         task,
		Capabilities: granted.capabilities,
		Oversight:    g.Policy.Oversight,
		Delegation:   &aap.Delegation{Depth: 0, MaxDepth: g.Policy.MaxDepth, Chain: []string{c.Agent.ID}},
		Audit:        g.Policy.Audit,
	}
	return nil
}
