package aap

import (
	"strconv"
)

// delegation reads the delegation claim and checks it in the order that its
// error codes ask for: fields, then the depth against its limit, then the
// length of the chain, then the parent.
func (o *object) delegation() *Delegation {
	v, ok := o.m["delegation"]
	if !ok {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		o.fail(ErrDelegation, "delegation", "is not an object")
		return nil
	}
	d := o.child("delegation", -1, m)
	d.as = ErrDelegation
	depth, okDepth := d.integer("depth", 0, maxDepth)
	limit, okLimit := d.integer("max_depth", 0, maxDepth)
	if !okDepth || !okLimit {
		d.fail(ErrDelegation, "depth", "or max_depth is missing")
		return nil
	}
	out := &Delegation{
		Depth:              int(depth),
		MaxDepth:           int(limit),
		ParentJTI:          d.id("parent_jti", maxText),
		PrivilegeReduction: d.reduction(),
		IssuedAtDepth:      d.issuedAt(),
	}
	if _, ok := m["chain"]; !ok {
		d.fail(ErrDelegation, "chain", "is missing")
	}
	if l, ok := m["chain"].([]any); !ok {
		d.fail(ErrDelegation, "chain", "is not a list")
	} else if depth <= limit && len(l) != int(depth)+1 {
		d.fail(ErrDelegation, "chain", "does not have depth+1 entries")
	}
	if depth > limit {
		d.as = nil
		d.fail(ErrDepth, "depth", "is above max_depth")
		return nil
	}
	out.Chain = d.ids("chain", maxOrigin)
	if depth > 0 && out.ParentJTI == "" {
		d.fail(ErrDelegation, "parent_jti", "is missing")
	}
	return out
}

func (o *object) reduction() *PrivilegeReduction {
	r := o.object("privilege_reduction")
	if r == nil {
		return nil
	}
	out := &PrivilegeReduction{
		CapabilitiesRemoved: r.actions("capabilities_removed"),
		ConstraintsAdded:    r.ids("constraints_added", maxText),
	}
	out.LifetimeReducedBy, _ = r.integer("lifetime_reduced_by", 0, maxSeconds)
	if out.CapabilitiesRemoved == nil {
		out.CapabilitiesRemoved = []Action{}
	}
	if out.ConstraintsAdded == nil {
		out.ConstraintsAdded = []string{}
	}
	return out
}

func (o *object) issuedAt() map[int]int64 {
	v := o.object("issued_at_depth")
	if v == nil {
		return nil
	}
	out := make(map[int]int64, maxDepth+1)
	for name := range v.m {
		depth, err := strconv.Atoi(name)
		if err != nil || depth < 0 || depth > maxDepth || strconv.Itoa(depth) != name {
			o.fail(ErrDelegation, "issued_at_depth", "has a member that is not a depth")
			return nil
		}
		out[depth] = v.seconds(name)
	}
	return out
}

func (o *object) context() *Context {
	v := o.object("context")
	if v == nil {
		return nil
	}
	out := &Context{
		NetworkZone:    v.id("network_zone", maxText),
		TimeWindow:     v.window("time_window"),
		GeoRestriction: v.id("geo_restriction", maxText),
		Environment:    v.oneOf("environment", "production", "staging", "development", "testing"),
	}
	if l := v.object("location"); l != nil {
		out.Location = &Location{
			Region: l.id("region", maxLabel), Datacenter: l.id("datacenter", maxText), IPAddress: l.id("ip_address", maxText),
		}
	}
	if r := v.object("runtime"); r != nil {
		out.Runtime = &ContextRuntime{
			Platform: r.id("platform", maxText), InstanceID: r.id("instance_id", maxText), Version: r.id("version", maxText),
		}
	}
	if s := v.object("session"); s != nil {
		out.Session = &Session{
			ID: s.id("id", maxText), StartedAt: s.timestamp("started_at"), ExpiresAt: s.timestamp("expires_at"),
		}
	}
	if c := v.object("correlation"); c != nil {
		out.Correlation = &Correlation{
			RequestID: c.id("request_id", maxText), ParentRequestID: c.id("parent_request_id", maxText),
		}
	}
	return out
}

func (o *object) audit() *Audit {
	v := o.object("audit")
	if v == nil {
		return nil
	}
	out := v.auditRules()
	out.TraceID = v.needID("trace_id", maxTrace)
	out.TraceIDScope = v.oneOf("trace_id_scope", "task", "session", "agent", "domain")
	out.SessionID = v.id("session_id", maxText)
	return out
}

// auditRules reads what an audit claim has in common with a policy file.
func (o *object) auditRules() *Audit {
	out := &Audit{
		LogLevel:            o.oneOf("log_level", "none", "minimal", "standard", "full", "debug"),
		LogDestination:      o.id("log_destination", maxURI),
		ComplianceFramework: o.ids("compliance_framework", maxLabel),
		PIILogging:          o.oneOf("pii_logging", "prohibited", "hashed", "encrypted", "allowed"),
		RequiredFields:      o.ids("required_fields", maxText),
		TamperEvident:       o.boolean("tamper_evident"),
	}
	for _, f := range out.ComplianceFramework {
		if _, ok := ordinal(f, frameworks()); !ok {
			o.fail(ErrShape, "compliance_framework", "has an entry that is not one of the values allowed")
		}
	}
	out.RetentionPeriod, _ = o.integer("retention_period", 0, maxInteger)
	return out
}

func frameworks() []string {
	return []string{"SOC2", "ISO27001", "HIPAA", "GDPR", "PCI-DSS", "FedRAMP"}
}
