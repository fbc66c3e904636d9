package trust

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

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

func agentClaim(c *Client) *aap.Agent {
	a := &aap.Agent{ID: c.Agent.ID, Type: c.Agent.Type, Operator: c.Operator, Name: c.Agent.Name, Version: c.Agent.Version}
	if c.Agent.Model != "" {
		a.Model = aap.Model{ID: c.Agent.Model}
	}
	return a
}

// mapping finds the one enforcing mapping that matches.
func (d *decision) mapping(target ident.Audience) (*Mapping, error) {
	peer := Self
	if d.ask.Peer != nil {
		peer = d.ask.Peer.Name
	}
	candidates, _ := d.snapshot.mappings.get(route{peer, target.String()})
	var found []*Mapping
	others := 0
	for _, m := range candidates {
		if !m.serves(d.ask.Client) {
			// A target may have thousands of mappings, each for another client.
			if others++; others > maxOthers {
				continue
			}
		}
		switch why := d.mismatch(m); {
		case why != "":
			d.note(audit.Note, "mapping "+m.Name, "matches", why)
		case m.Shadow:
			d.note(audit.Note, "mapping "+m.Name, "enforces", "shadow: would have matched")
		default:
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return nil, d.fail(ErrNoMapping, "mapping", "one enforcing mapping from "+peer+" to "+target.String(),
			fmt.Sprintf("none of %d", len(candidates)))
	case 1:
		d.pass("mapping", "one enforcing mapping", found[0].Name)
		return found[0], nil
	}
	names := make([]string, len(found))
	for i, m := range found {
		names[i] = m.Name
	}
	return nil, d.fail(ErrAmbiguous, "mapping", "one enforcing mapping", strings.Join(names, ", "))
}

// maxOthers bounds how many mappings of other clients a record lists.
const maxOthers = 16

// mismatch says why a mapping does not match; it is empty when it does.
func (d *decision) mismatch(m *Mapping) string {
	if m.Status != Active {
		return "it is suspended"
	}
	if !m.serves(d.ask.Client) {
		return "the client is not on its list"
	}
	if m.When == nil {
		return ""
	}
	if ok, why := m.When.holds(d.vars); !ok {
		if why != "" {
			return "its condition is false: " + why
		}
		return "its condition is false"
	}
	return ""
}

func (d *decision) presenter(m *Mapping) error {
	if d.ask.NamesClient {
		d.pass("presenter", "a grant that names this client", d.ask.Client.ID.String())
		return nil
	}
	if m.AnyPresenter {
		d.pass("presenter", "any client of the mapping", d.ask.Client.ID.String())
		return nil
	}
	known := d.ask.Client.ID.String()
	if d.ask.Peer != nil {
		known = d.ask.Client.KnownAs[d.ask.Peer.Name]
	}
	if known == "" || known != d.ask.Subject.Holder {
		return d.fail(ErrPresenter, "presenter", "a token issued to this client, known there as "+quoteOr(known, "nobody"),
			"another holder")
	}
	d.pass("presenter", "a token issued to this client", known)
	return nil
}

func quoteOr(s, none string) string {
	if s == "" {
		return none
	}
	return s
}

// proof holds what the mapping or policy and the client demand, together.
func (d *decision) proof(g *Grant, of Proof) error {
	if of == "" {
		of = ProofOptional
		if g.Crosses {
			of = ProofRequired
		}
	}
	by := d.ask.Client.Proof
	if by == "" {
		by = ProofRequired
	}
	key := asks(ProofDPoP, of, by)
	g.NeedsCertificate = asks(ProofMTLS, of, by)
	optional := of == ProofOptional && by == ProofOptional
	expected := together(of, by)
	switch {
	case g.NeedsCertificate && !d.ask.Certificate:
		return d.fail(ErrCertificate, "proof", expected, d.proven())
	case key && !d.ask.DPoP, !optional && !d.ask.DPoP && !d.ask.Certificate:
		return d.fail(ErrProof, "proof", expected, d.proven())
	}
	d.pass("proof", expected, d.proven())
	return nil
}

// asks reports whether one of the demands is for this kind of proof.
func asks(kind Proof, demands ...Proof) bool {
	return slices.Contains(demands, kind) || slices.Contains(demands, ProofBoth)
}

// together names two demands at once.
func together(a, b Proof) string {
	switch {
	case a == b || b == ProofOptional || b == ProofRequired && a != ProofOptional:
		return string(a)
	case a == ProofOptional || a == ProofRequired:
		return string(b)
	}
	return string(a) + " and " + string(b)
}

// proven names what the request proved.
func (d *decision) proven() string {
	switch {
	case d.ask.DPoP && d.ask.Certificate:
		return "a key and a certificate"
	case d.ask.Certificate:
		return "a certificate"
	case d.ask.DPoP:
		return "proven"
	}
	return "none"
}

func (d *decision) policy(target ident.Audience) (*Policy, error) {
	candidates, _ := d.snapshot.policies.get(route{d.ask.Client.Operator, target.String()})
	var found []*Policy
	for _, p := range candidates {
		if p.Status == Active && (p.AgentType == "" || p.AgentType == d.ask.Client.Agent.Type) {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		is := ErrNoPolicy
		if len(found) > 1 {
			is = ErrAmbiguous
		}
		return nil, d.fail(is, "policy", "one active policy for the client's operator and "+target.String(), fmt.Sprint(len(found)))
	}
	d.pass("policy", "one active policy", found[0].Name)
	return found[0], nil
}

func (d *decision) task() (*aap.Task, error) {
	t := d.ask.Task
	if t.ID == "" || len(t.ID) > 128 || t.Purpose == "" || len(t.Purpose) > 256 || !visible(t.ID) || !visible(t.Purpose) {
		return nil, d.fail(ErrTask, "task", "task_id of 1 to 128 and task_purpose of 1 to 256 characters",
			fmt.Sprintf("%d and %d", len(t.ID), len(t.Purpose)))
	}
	d.pass("task", "task_id and task_purpose", "given")
	return &aap.Task{ID: t.ID, Purpose: t.Purpose}, nil
}

// visible reports whether s is text without control characters, line
// separators and marks that turn the order of what follows.
func visible(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) || unicode.Is(unicode.Bidi_Control, r)
	})
}

// subject names the subject in this domain. A peer's subjects live under the
// peer's name, so no two peers and no client can be taken for one another.
func (d *decision) subject(m *Mapping) (string, error) {
	p := d.ask.Peer
	if p == nil && m.Subject == nil {
		return d.ask.Subject.Subject, nil
	}
	local, err := d.localSubject(m)
	switch {
	case err != nil:
		return "", d.fail(ErrSubject, "subject", "the mapping's expression gives a text", err.Error())
	case local == "" || len(local) > 190 || !visible(local):
		return "", d.fail(ErrSubject, "subject", "1 to 190 visible characters", fmt.Sprintf("%d bytes", len(local)))
	}
	prefix := Self
	if p != nil {
		prefix = p.Name
	}
	d.pass("subject", "a name under "+prefix+"/", prefix+"/"+local)
	return prefix + "/" + local, nil
}

func (d *decision) localSubject(m *Mapping) (string, error) {
	switch {
	case m.Subject != nil:
		return m.Subject.text(d.vars)
	case m.Keep[aap.KeepSubject] || !d.ask.Peer.Foreign:
		return d.ask.Subject.Subject, nil
	case d.ask.Names.IsZero():
		return "", errors.New("no key for pseudonyms")
	}
	return d.ask.Names.Pseudonym(aap.KindAgent, d.ask.Subject.Subject), nil
}

// delegable holds a token with agent claims to the depth it allows, whatever it
// is exchanged for: an agent gets around it by dropping its claims no more than
// by keeping them.
func (d *decision) delegable(m *Mapping) error {
	agent := d.ask.Subject.Agent
	if agent == nil {
		return nil
	}
	depth, most := 0, m.MaxDepth
	if from := agent.Delegation; from != nil {
		depth, most = from.Depth, min(from.MaxDepth, most)
	}
	if depth >= most {
		return d.fail(ErrDepth, "delegation", "a depth below "+fmt.Sprint(most), fmt.Sprint(depth))
	}
	return nil
}

// maxHolder bounds an entry of a delegation chain, in characters.
const maxHolder = 128

// derive builds the agent claims of what is issued.
func (d *decision) derive(g *Grant, capabilities []aap.Capability) (*aap.Claims, error) {
	parent, err := d.parent(g)
	if err != nil {
		return nil, err
	}
	holder := g.Resource.Client
	if d.ask.Actor != nil {
		holder = d.ask.Actor.Subject
	}
	if holder == "" {
		holder = d.ask.Client.ID.String()
	}
	if parent.Delegation == nil && utf8.RuneCountInString(g.Subject) > maxHolder {
		return nil, d.fail(ErrSubject, "subject", fmt.Sprintf("at most %d characters beside agent claims", maxHolder), "more")
	}
	child, err := aap.Derive(parent, aap.DeriveInput{
		Subject: g.Subject, Holder: holder, ParentJTI: d.ask.ParentID, MaxDepth: g.Mapping.MaxDepth,
		Capabilities: capabilities, From: d.derived,
		ParentLife: d.ask.Subject.Expires.Sub(d.issuedAt()), ChildLife: g.Expires.Sub(d.ask.Now.Truncate(time.Second)),
	})
	if err != nil {
		return nil, d.fail(ErrDepth, "delegation", fmt.Sprintf("depth of at most %d", g.Mapping.MaxDepth), err.Error())
	}
	if r := child.Delegation.PrivilegeReduction; r != nil && g.Crosses {
		// What was not granted has a name in the other domain's vocabulary only.
		kept := *r
		kept.CapabilitiesRemoved = []aap.Action{}
		child.Delegation.PrivilegeReduction = &kept
	}
	d.pass("delegation", fmt.Sprintf("depth of at most %d", g.Mapping.MaxDepth), fmt.Sprint(child.Delegation.Depth))
	return child, nil
}

// parent gives the subject's agent claims as they may appear in this domain.
func (d *decision) parent(g *Grant) (*aap.Claims, error) {
	from := d.ask.Subject.Agent
	if from == nil {
		if d.ask.Client.Agent == nil {
			return nil, d.fail(ErrAgent, "agent", "a client registered with an agent", d.ask.Client.ID.String())
		}
		task, err := d.task()
		if err != nil {
			return nil, err
		}
		return &aap.Claims{Agent: agentClaim(d.ask.Client), Task: task}, nil
	}
	c := *from
	c.Oversight = translateOversight(g, from.Oversight)
	out, err := &c, error(nil)
	if g.Crosses {
		out, err = out.Cross(d.ask.Names, g.Mapping.Keep)
	}
	if err == nil && g.Leaves {
		out, err = out.Cross(d.ask.NamesAbroad, abroad(g.Mapping.Keep))
	}
	if err != nil {
		return nil, d.fail(ErrBoundary, "boundary", "claims that may cross", err.Error())
	}
	return out, nil
}

// abroad is what may leave for another domain: who the agent is, which that
// domain has to recognise, and what the mapping keeps.
func abroad(keep map[string]bool) map[string]bool {
	out := maps.Clone(keep)
	if out == nil {
		out = map[string]bool{}
	}
	out[aap.KeepAgentID], out[aap.KeepChain] = true, true
	return out
}

// translateOversight puts the lists of actions into the local vocabulary. They
// never shrink: an entry that no rule translates stands for no local action,
// since nothing is derived from it. Inside the domain there is one vocabulary,
// so every entry also stays as it is.
func translateOversight(g *Grant, o *aap.Oversight) *aap.Oversight {
	if o == nil {
		return nil
	}
	out := *o
	out.RequiresHumanApprovalFor = g.translate(o.RequiresHumanApprovalFor)
	out.NotifyOn = g.translate(o.NotifyOn)
	return &out
}

func (g *Grant) translate(list []aap.Action) []aap.Action {
	var out []aap.Action
	if !g.Crosses {
		out = slices.Clone(list)
	}
	for _, foreign := range list {
		for _, r := range g.Mapping.Capabilities {
			if slices.Contains(r.from, foreign.String()) && !slices.Contains(out, r.action) {
				out = append(out, r.action)
			}
		}
	}
	return out
}
