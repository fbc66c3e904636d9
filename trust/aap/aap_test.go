package aap_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/comity-auth/comity/trust/aap"
)

// good is a token's claims with one of everything that the profile knows.
const good = `{
 "iss": "https://as.acme.example", "sub": "agent-r1", "exp": 1735689600,
 "agent": {"id": "agent-r1", "type": "llm-autonomous", "operator": "org:acme", "name": "Archie", "version": "1.2",
  "model": {"provider": "maker", "id": "large", "version": "3"}, "runtime": {"environment": "k8s", "attested": true},
  "capabilities_verified": true, "certification": {"authority": "x", "level": "2", "expires": "2027-01-01T00:00:00Z"}},
 "task": {"id": "t-1", "purpose": "research", "created_by": "user:u9", "created_at": 1735686000,
  "expires_at": 1735690000, "priority": "high", "category": "research", "topic": "history",
  "data_sensitivity": "public", "metadata": {"ticket": "T-9"}},
 "capabilities": [
  {"action": "search.web", "description": "search", "resources": ["https://archive.example/*"], "constraints": {
   "max_requests_per_minute": 10, "max_requests_per_hour": 100, "max_requests_per_day": 1000,
   "domains_allowed": ["Example.org", "trusted.com"], "domains_blocked": ["banned.example.org"],
   "ip_ranges_allowed": ["10.0.0.0/8", "2001:db8::/32"],
   "time_window": {"start": "2024-01-01T09:00:00Z", "end": "2024-12-31T17:00:00+01:00"},
   "max_depth": 3, "max_request_size": 1024, "max_response_size": 2048, "data_classification_max": "internal",
   "allowed_methods": ["GET", "POST"], "allowed_regions": ["de", "FR"],
   "require_approval_threshold": 100.50, "require_encryption": true}},
  {"action": "cms.publish"}],
 "oversight": {"level": "approval", "requires_human_approval_for": ["cms.publish"],
  "approval_reference": "https://approve.acme.example/a", "notify_on": ["search.web"],
  "notification_endpoint": "https://notify.acme.example", "supervisor": "user:u1", "approval_timeout": 60},
 "delegation": {"depth": 1, "max_depth": 3, "chain": ["agent-r1", "tool"], "parent_jti": "j-0",
  "privilege_reduction": {"capabilities_removed": ["cms.delete"], "constraints_added": [], "lifetime_reduced_by": 1800},
  "issued_at_depth": {"0": 1735686000, "1": 1735686001}},
 "context": {"network_zone": "public-internet-only", "geo_restriction": "none",
  "time_window": {"start": "2024-01-01T00:00:00Z", "end": "2030-01-01T00:00:00Z"}, "environment": "production",
  "location": {"region": "DE", "datacenter": "fra1", "ip_address": "192.0.2.1"},
  "runtime": {"platform": "linux", "instance_id": "i-1", "version": "9"},
  "session": {"id": "s-1", "started_at": 1735686000, "expires_at": 1735689000},
  "correlation": {"request_id": "r-1", "parent_request_id": "r-0"}},
 "audit": {"trace_id": "0af7651916cd43dd8448eb211c80319c", "trace_id_scope": "task", "session_id": "s-1",
  "log_level": "full", "retention_period": 365, "log_destination": "https://log.acme.example",
  "compliance_framework": ["SOC2"], "pii_logging": "hashed", "required_fields": ["action"], "tamper_evident": true}
}`

// payload decodes a token's payload as the verifier does.
func payload(t testing.TB, text string) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		t.Fatalf("payload: %v", err)
	}
	return m
}

func parse(t testing.TB, text string) *aap.Claims {
	t.Helper()
	c, err := aap.Parse(payload(t, text), aap.Options{})
	if err != nil || c == nil {
		t.Fatalf("Parse = %v, %v; want claims", c, err)
	}
	return c
}

// merge applies an RFC 7396 merge patch without changing either side.
func merge(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out := map[string]any{}
	if m, ok := target.(map[string]any); ok {
		for k, v := range m {
			out[k] = v
		}
	}
	for k, v := range p {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = merge(out[k], v)
		}
	}
	return out
}

// constraints reads one constraints object written as JSON.
func constraints(t testing.TB, text string) aap.Constraints {
	t.Helper()
	var c aap.Constraints
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatalf("constraints: %v", err)
	}
	return c
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}
	return string(b)
}
