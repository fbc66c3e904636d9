package trust

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/ident"
)

func (c *Compiler) mapping(s MappingSpec, n *notes) *Mapping {
	m := &Mapping{Name: s.Name, Peer: s.Peer, Clients: map[string]bool{}, TTL: time.Duration(s.TTL), MaxDepth: defaultMaxDepth,
		Keep: map[string]bool{}}
	_, err := ident.ParseName(s.Name)
	n.check("name", err)
	if s.Peer == "" {
		n.add("peer", "is missing")
	}
	if len(s.Clients) == 0 {
		n.add("clients", "is missing: name who may bring such a token")
	}
	for _, id := range s.Clients {
		if id == "*" {
			m.AnyClient = true
			continue
		}
		m.Clients[id] = true
	}
	m.Resources = n.audiences("resources", s.Resources)
	m.AnyPresenter = n.choice("presenter", s.Presenter, "subject", "subject", "any") == "any"
	m.ByIdentity = n.choice("authority", s.Authority, "token", "token", "mapping") == "mapping"
	m.IgnoreCarry = n.choice("carried", s.Carried, "refuse", "refuse", "ignore") == "ignore"
	if m.ByIdentity && strings.TrimSpace(s.When) == "" {
		n.add("when", "is missing: authority: mapping entitles by identity alone, so it has to say whose")
	}
	if s.Carried != "" && !m.ByIdentity {
		n.add("carried", "is only for authority: mapping")
	}
	m.When = c.condition("when", s.When, cel.BoolType, n)
	m.Subject = c.condition("subject", s.Subject, cel.StringType, n)
	if m.Subject != nil && !m.Subject.tellsApart {
		n.add("subject", "does not depend on who the subject is: all would be one")
	}
	m.rules(s, n)
	m.TTL = c.ttl(s.TTL, n)
	if s.MaxDepth != nil {
		m.MaxDepth = *s.MaxDepth
	}
	if m.MaxDepth < 0 || m.MaxDepth > maxDepth {
		n.add("max_depth", "want 0 to %d", maxDepth)
	}
	if s.Proof != "" {
		m.Proof = n.proof("proof", s.Proof)
	}
	for i, a := range s.Actors {
		at := fmt.Sprintf("actors[%d]", i)
		if a.Issuer == "" || len(a.Issuer) > 512 {
			n.add(at+".issuer", "want an issuer")
		}
		if a.Subject == "" || len(a.Subject) > 255 {
			n.add(at+".subject", "want a subject of 1 to 255 bytes")
		}
		m.Actors = append(m.Actors, Actor(a))
	}
	if s.Boundary != nil {
		for i, name := range s.Boundary.Keep {
			if !slices.Contains(aap.Keepable(), name) {
				n.add(fmt.Sprintf("boundary.keep[%d]", i), "want one of %s", strings.Join(aap.Keepable(), ", "))
			}
			m.Keep[name] = true
		}
	}
	m.Shadow = n.choice("mode", s.Mode, "enforce", "enforce", "shadow") == "shadow"
	m.Status = n.status("status", s.Status)
	return m
}

func (m *Mapping) rules(s MappingSpec, n *notes) {
	for i, r := range s.Scopes {
		at := fmt.Sprintf("scopes[%d]", i)
		m.Scopes = append(m.Scopes, n.scopeRule(at, r))
		m.noFrom(at, r.From, n)
	}
	m.Capabilities = n.capabilities("capabilities", s.Capabilities)
	for i, r := range s.Capabilities {
		m.noFrom(fmt.Sprintf("capabilities[%d]", i), r.From, n)
	}
	if len(m.Scopes)+len(m.Capabilities) == 0 {
		n.add("scopes", "a mapping without scopes and capabilities can grant nothing")
	}
}

// noFrom notes a from that would not be looked at.
func (m *Mapping) noFrom(path string, from []string, n *notes) {
	if m.ByIdentity && from != nil {
		n.add(path+".from", "is only for authority: token; here the identity alone entitles")
	}
}

func (c *Compiler) policy(s PolicySpec, n *notes) *Policy {
	p := &Policy{Name: s.Name, Operator: s.Operator, AgentType: s.AgentType, TTL: c.ttl(s.TTL, n)}
	_, err := ident.ParseName(s.Name)
	n.check("name", err)
	if s.Operator == "" || len(s.Operator) > maxOperator || !visible(s.Operator) {
		n.add("operator", "want 1 to %d visible characters", maxOperator)
	}
	p.Resources = n.audiences("resources", s.Resources)
	if p.Capabilities = n.capabilities("capabilities", s.Capabilities); len(p.Capabilities) == 0 {
		n.add("capabilities", "is missing: a policy without capabilities grants nothing")
	}
	for i, r := range s.Capabilities {
		if r.From != nil {
			n.add(fmt.Sprintf("capabilities[%d].from", i), "is for mappings: a policy translates nothing")
		}
	}
	if s.MaxDepth != nil {
		p.MaxDepth = *s.MaxDepth
	}
	if p.MaxDepth < 0 || p.MaxDepth > maxDepth {
		n.add("max_depth", "want 0 to %d", maxDepth)
	}
	if s.Proof != "" {
		p.Proof = n.proof("proof", s.Proof)
	}
	if s.Oversight != nil {
		numbers, err := jsonNumbers(s.Oversight)
		if n.check("oversight", err) {
			p.Oversight, err = aap.ParseOversight(numbers)
			n.check("oversight", err)
		}
	}
	if s.Audit != nil {
		p.Audit = &aap.Audit{}
		n.strict("audit", s.Audit, p.Audit)
		if p.Audit.TraceID != "" || p.Audit.TraceIDScope != "" || p.Audit.SessionID != "" {
			n.add("audit", "the broker sets trace and session identifiers itself")
		}
	}
	p.Status = n.status("status", s.Status)
	if len(n.list) == 0 {
		n.check("", p.issuable())
	}
	return p
}

// issuable reports what would keep every token of the policy from being signed.
func (p *Policy) issuable() error {
	c := aap.Claims{Agent: &aap.Agent{ID: "id", Type: "type", Operator: p.Operator}, Task: &aap.Task{ID: "id", Purpose: "purpose"},
		Oversight: p.Oversight, Audit: p.Audit}
	for _, r := range p.Capabilities {
		c.Capabilities = append(c.Capabilities, aap.Capability{Action: r.action, Constraints: r.ceiling})
	}
	return c.WithTrace("trace", "task").CheckIssuable()
}
