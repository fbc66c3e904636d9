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
)

func agentClaim(c *Client) *aap.Agent {
	a := &aap.Agent{ID: c.Agent.ID, Type: c.Agent.Type, Operator: c.Operator, Name: c.Agent.Name, Version: c.Agent.Version}
	if c.Agent.Model != "" {
		a.Model = aap.Model{ID: c.Agent.Model}
	}
	return a
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
