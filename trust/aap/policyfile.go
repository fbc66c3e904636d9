package aap

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// PolicyFile is an AAP policy file: what an operator's agents may be issued.
// What the file leaves out has the draft's defaults here: one hour, two steps
// of delegation, no proof of possession.
type PolicyFile struct {
	ID      string // policy_id
	Version string // policy_version

	Operator  string // applies_to.operator
	AgentType string // applies_to.agent_type; empty applies to all

	Capabilities []PolicyCapability

	TokenLifetime      time.Duration // global_constraints.token_lifetime
	MaxDelegationDepth int           // global_constraints.max_delegation_depth
	RequirePoP         bool          // global_constraints.require_pop
	Global             Constraints   // the rest of global_constraints; holds for every capability

	Oversight *Oversight
	Audit     *Audit // without a trace; retention_period_days is RetentionPeriod
}

// PolicyCapability is one entry of allowed_capabilities.
type PolicyCapability struct {
	Action            Action
	Description       string
	Constraints       Constraints // default_constraints
	RequiresOversight bool        // the action is to be approved by a human
}

const (
	defaultLifetime = 3600 // seconds
	maxLifetime     = 86400
	defaultDepth    = 2
)

// ParsePolicyFile reads a policy file strictly: unknown and repeated members,
// and constraints that could not be issued, are errors. Nothing is merged:
// the caller combines Global with each capability's constraints by Meet.
// Errors wrap ErrPolicyFile and name the path.
func ParsePolicyFile(b []byte) (*PolicyFile, error) {
	m, err := decodeStrict(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicyFile, err)
	}
	o := newObject(m)
	o.as = ErrPolicyFile
	p := o.policyFile()
	if o.faults.first != nil {
		return nil, o.faults.first
	}
	return p, nil
}

func (o *object) policyFile() *PolicyFile {
	o.only("policy_id", "policy_version", "applies_to", "allowed_capabilities", "global_constraints",
		"oversight", "audit")
	p := &PolicyFile{
		ID:      o.needID("policy_id", maxText),
		Version: o.id("policy_version", maxText),
	}
	if a := o.requiredObject("applies_to"); a != nil {
		a.only("operator", "agent_type")
		p.Operator = a.needID("operator", maxOperator)
		p.AgentType = a.id("agent_type", maxType)
	}
	o.need("allowed_capabilities")
	for i, v := range o.list("allowed_capabilities") {
		m, ok := v.(map[string]any)
		if !ok {
			o.fail(ErrPolicyFile, "allowed_capabilities["+strconv.Itoa(i)+"]", "is not an object")
			break
		}
		p.Capabilities = append(p.Capabilities, o.child("allowed_capabilities", i, m).policyCapability())
	}
	o.globals(p)
	if v := o.object("oversight"); v != nil {
		v.only("level", "requires_human_approval_for", "approval_reference", "notify_on",
			"notification_endpoint", "supervisor", "approval_timeout")
		p.Oversight = o.oversight()
		if r := p.Oversight.ApprovalReference; r != "" && !isURI(r) {
			v.fail(ErrPolicyFile, "approval_reference", "is not a URI")
		}
	}
	o.policyAudit(p)
	return p
}

// only refuses members with other names. It says where, not which.
func (o *object) only(names ...string) {
	for name := range o.m {
		if !slices.Contains(names, name) {
			o.fail(ErrPolicyFile, "", "has an unknown member")
		}
	}
}

func (o *object) policyCapability() PolicyCapability {
	o.only("action", "description", "default_constraints", "requires_oversight")
	out := PolicyCapability{
		Action:            o.action("action"),
		Description:       o.text("description", maxText),
		RequiresOversight: o.boolean("requires_oversight"),
	}
	if k := o.object("default_constraints"); k != nil {
		out.Constraints = k.issuable()
	}
	return out
}

// issuable reads constraints that must be fit to be issued.
func (o *object) issuable() Constraints {
	c := o.constraints()
	if err := c.CheckIssuable(); err != nil {
		o.wrap(err)
	}
	return c
}

// wrap reports an error whose text names paths only.
func (o *object) wrap(err error) {
	if o.faults.first == nil {
		o.faults.first = fmt.Errorf("%w: %s: %w", o.as, o.path(), err)
	}
}

// globals reads global_constraints. Its three settings of the server are taken
// out first: they are no constraints and never appear in a token.
func (o *object) globals(p *PolicyFile) {
	p.TokenLifetime = defaultLifetime * time.Second
	p.MaxDelegationDepth = defaultDepth
	g := o.object("global_constraints")
	if g == nil {
		return
	}
	if n, ok := g.integer("token_lifetime", 1, maxLifetime); ok {
		p.TokenLifetime = time.Duration(n) * time.Second
	}
	if n, ok := g.integer("max_delegation_depth", 0, maxDepth); ok {
		p.MaxDelegationDepth = int(n)
	}
	p.RequirePoP = g.boolean("require_pop")
	rest := make(map[string]any, len(g.m))
	for name, v := range g.m {
		switch name {
		case "token_lifetime", "max_delegation_depth", "require_pop":
		default:
			rest[name] = v
		}
	}
	p.Global = o.child("global_constraints", -1, rest).issuable()
}

func (o *object) policyAudit(p *PolicyFile) {
	a := o.object("audit")
	if a == nil {
		return
	}
	a.only("log_level", "retention_period_days", "compliance_framework", "log_destination",
		"pii_logging", "required_fields", "tamper_evident")
	p.Audit = a.auditRules()
	p.Audit.RetentionPeriod, _ = a.integer("retention_period_days", 0, maxInteger)
}
