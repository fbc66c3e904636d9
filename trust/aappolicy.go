package trust

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/comity-auth/comity/trust/aap"
)

// PolicyOf turns an AAP policy file (aap draft-01, policy files) into a policy
// of the given name. The file names no resources: the policy reaches those
// whose vocabulary has any of its actions, which are the only ones it could
// grant anything for. Global constraints meet each action's own, and maxTTL
// bounds the life the file asks for.
func PolicyOf(name string, p *aap.PolicyFile, resources []ResourceSpec, maxTTL time.Duration) (PolicySpec, error) {
	spec := PolicySpec{Name: name, Operator: p.Operator, AgentType: p.AgentType, TTL: Duration(min(p.TokenLifetime, maxTTL)),
		MaxDepth: &p.MaxDelegationDepth}
	if p.RequirePoP {
		spec.Proof = string(ProofRequired)
	}
	approve := &aap.Oversight{}
	for _, c := range p.Capabilities {
		met, ok := aap.Meet(c.Constraints, p.Global)
		if !ok {
			return spec, fmt.Errorf("allowed_capabilities: %s: its constraints and the global ones exclude each other", c.Action)
		}
		rule := CapabilityRule{Action: c.Action.String()}
		if err := convert(met, &rule.Constraints); err != nil {
			return spec, fmt.Errorf("allowed_capabilities: %s: %w", c.Action, err)
		}
		spec.Capabilities = append(spec.Capabilities, rule)
		if c.RequiresOversight {
			approve.RequiresHumanApprovalFor = append(approve.RequiresHumanApprovalFor, c.Action)
			approve.Level = aap.LevelApproval
		}
	}
	for _, r := range resources {
		if slices.ContainsFunc(spec.Capabilities, func(c CapabilityRule) bool { return slices.Contains(r.Actions, c.Action) }) {
			spec.Resources = append(spec.Resources, r.Audience)
		}
	}
	if len(approve.RequiresHumanApprovalFor) == 0 {
		approve = nil
	}
	if o := aap.MergeOversight(p.Oversight, approve); o != nil {
		if err := convert(o, &spec.Oversight); err != nil {
			return spec, fmt.Errorf("oversight: %w", err)
		}
	}
	if p.Audit != nil {
		if err := convert(p.Audit, &spec.Audit); err != nil {
			return spec, fmt.Errorf("audit: %w", err)
		}
	}
	return spec, nil
}

// convert gives a claim the free form that specifications keep.
func convert(from any, into *map[string]any) error {
	raw, err := json.Marshal(from)
	if err != nil {
		return err
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil || len(m) == 0 {
		return err
	}
	*into = m
	return nil
}
