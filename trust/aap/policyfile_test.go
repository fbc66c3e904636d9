package aap_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/trust/aap"
)

const policy = `{
 "policy_id": "org-acme", "policy_version": "1.0", "applies_to": {"operator": "org:acme", "agent_type": "llm-autonomous"},
 "allowed_capabilities": [
  {"action": "search.web", "description": "Search", "default_constraints": {"max_requests_per_hour": 100, "domains_allowed": ["example.org"]}},
  {"action": "cms.publish", "requires_oversight": true}],
 "global_constraints": {"token_lifetime": 900, "max_delegation_depth": 1, "require_pop": true, "max_requests_per_minute": 30},
 "oversight": {"level": "approval", "requires_human_approval_for": ["cms.publish"], "approval_reference": "https://approve.acme.example"},
 "audit": {"log_level": "standard", "retention_period_days": 365, "compliance_framework": ["SOC2"]}
}`

func TestParsePolicyFile(t *testing.T) {
	t.Parallel()
	p, err := aap.ParsePolicyFile([]byte(policy))
	if err != nil {
		t.Fatalf("ParsePolicyFile: %v", err)
	}
	if p.ID != "org-acme" || p.Version != "1.0" || p.Operator != "org:acme" || p.AgentType != "llm-autonomous" {
		t.Errorf("head = %+v", p)
	}
	if len(p.Capabilities) != 2 || p.Capabilities[0].Constraints.MaxRequestsPerHour != 100 || !p.Capabilities[1].RequiresOversight {
		t.Errorf("capabilities = %+v", p.Capabilities)
	}
	if p.TokenLifetime != 15*time.Minute || p.MaxDelegationDepth != 1 || !p.RequirePoP {
		t.Errorf("settings = %v, %d, %v", p.TokenLifetime, p.MaxDelegationDepth, p.RequirePoP)
	}
	if got := marshal(t, p.Global); got != `{"max_requests_per_minute":30}` {
		t.Errorf("4.42 global constraints = %s, want the rate alone", got)
	}
	if !p.Oversight.Requires(aap.MustAction("cms.publish")) || p.Audit.RetentionPeriod != 365 {
		t.Errorf("oversight = %+v, audit = %+v", p.Oversight, p.Audit)
	}
}

func TestPolicyFileDefaults(t *testing.T) {
	t.Parallel()
	p, err := aap.ParsePolicyFile([]byte(`{"policy_id": "x", "applies_to": {"operator": "org:a"}, "allowed_capabilities": []}`))
	if err != nil {
		t.Fatal(err)
	}
	if p.TokenLifetime != time.Hour || p.MaxDelegationDepth != 2 || p.RequirePoP || len(p.Capabilities) != 0 || !p.Global.IsZero() {
		t.Errorf("policy = %+v, want the draft's defaults and nothing granted", p)
	}
}

func TestParsePolicyFileRefuses(t *testing.T) {
	t.Parallel()
	change := func(old, new string) string {
		if !strings.Contains(policy, old) {
			t.Fatalf("%q is not in the policy", old)
		}
		return strings.Replace(policy, old, new, 1)
	}
	for name, text := range map[string]string{
		"nothing":                           ``,
		"a list":                            `[]`,
		"something behind the document":     policy + `{}`,
		"half a document":                   policy[:200],
		"bad UTF-8":                         change("Search", "\xff"),
		"a member twice":                    change(`"policy_version": "1.0"`, `"policy_id": "x"`),
		"a member twice, deep down":         change(`"token_lifetime": 900`, `"token_lifetime": 900, "token_lifetime": 1`),
		"deep nesting":                      strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40),
		"a megabyte and a byte":             strings.Repeat(" ", 1<<20) + "{",
		"an unknown member":                 change(`"policy_version"`, `"policy_versoin"`),
		"a member in another case":          change(`"policy_version"`, `"Policy_Version"`),
		"an unknown member of a capability": change(`"description"`, `"descr"`),
		"an unknown member of oversight":    change(`"level"`, `"mode"`),
		"an unknown member of audit":        change(`"retention_period_days"`, `"retention_period"`),
		"an unknown member of applies_to":   change(`"agent_type"`, `"type"`),
		"no operator":                       change(`"operator": "org:acme", `, ``),
		"no id":                             change(`"policy_id": "org-acme", `, ``),
		"a malformed action":                change(`cms.publish`, `cms.*`),
		"an unknown constraint":             change(`"max_requests_per_hour"`, `"max_transactions_per_hour"`),
		"an unknown global constraint":      change(`"max_requests_per_minute"`, `"max_value"`),
		"X15 a wildcard domain":             change(`"example.org"`, `"*.example.org"`),
		"a lifetime of zero":                change(`900`, `0`),
		"a lifetime beyond a day":           change(`900`, `86401`),
		"a depth of 11":                     change(`"max_delegation_depth": 1`, `"max_delegation_depth": 11`),
		"proof that is a string":            change(`"require_pop": true`, `"require_pop": "true"`),
		"a reference that is no URI":        change(`https://approve.acme.example`, `policy-7`),
		"an unknown framework":              change(`"SOC2"`, `"SOX"`),
		"no capabilities at all":            `{"policy_id": "x", "applies_to": {"operator": "org:a"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if p, err := aap.ParsePolicyFile([]byte(text)); !errors.Is(err, aap.ErrPolicyFile) || p != nil {
				t.Errorf("ParsePolicyFile = %v, %v; want ErrPolicyFile", p, err)
			}
		})
	}
}

func FuzzParsePolicyFile(f *testing.F) {
	f.Add([]byte(policy))
	f.Add([]byte(`{"policy_id": "x", "applies_to": {"operator": "o"}, "allowed_capabilities": [{"action": "a"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := aap.ParsePolicyFile(b)
		if (p == nil) != (err != nil) || err != nil && !errors.Is(err, aap.ErrPolicyFile) {
			t.Fatalf("ParsePolicyFile = %v, %v", p, err)
		}
		if p == nil {
			return
		}
		for _, c := range p.Capabilities {
			if err := c.Constraints.CheckIssuable(); err != nil {
				t.Fatalf("accepted what cannot be issued: %v", err)
			}
		}
	})
}
