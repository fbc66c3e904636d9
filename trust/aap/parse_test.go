package aap_test

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/comity-auth/comity/trust/aap"
)

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	long := func(n int) string { return strings.Repeat("a", n) }
	many := `[` + strings.TrimSuffix(strings.Repeat(`{"action":"a"},`, 65), ",") + `]`
	for _, tt := range []struct {
		name, patch string
		want        error
		path        string
	}{
		{"claims without agent", `{"agent": null}`, aap.ErrShape, "agent"},
		{"claims without task", `{"task": null}`, aap.ErrShape, "task"},
		{"claims without capabilities", `{"capabilities": null}`, aap.ErrShape, "capabilities"},
		{"an agent that is a string", `{"agent": "x"}`, aap.ErrShape, "agent"},
		{"an agent without id", `{"agent": {"id": null}}`, aap.ErrShape, "agent.id"},
		{"an agent without type", `{"agent": {"type": null}}`, aap.ErrShape, "agent.type"},
		{"an agent without operator", `{"agent": {"operator": null}}`, aap.ErrShape, "agent.operator"},
		{"an empty agent id", `{"agent": {"id": ""}}`, aap.ErrLength, "agent.id"},
		{"an agent id of 129", `{"agent": {"id": "` + long(129) + `"}}`, aap.ErrLength, "agent.id"},
		{"an agent id with a line break", `{"agent": {"id": "a\nb"}}`, aap.ErrShape, "agent.id"},
		{"an agent id with a line separator", `{"agent": {"id": "a\u2028b"}}`, aap.ErrShape, "agent.id"},
		{"an agent type of 65", `{"agent": {"type": "` + long(65) + `"}}`, aap.ErrLength, "agent.type"},
		{"an operator of 257", `{"agent": {"operator": "` + long(257) + `"}}`, aap.ErrLength, "agent.operator"},
		{"an operator that is a number", `{"agent": {"operator": 7}}`, aap.ErrShape, "agent.operator"},
		{"a model that is a list", `{"agent": {"model": []}}`, aap.ErrShape, "agent.model"},
		{"attestation that is a string", `{"agent": {"runtime": {"attested": "true"}}}`, aap.ErrShape, "agent.runtime.attested"},
		{"a task id of 129", `{"task": {"id": "` + long(129) + `"}}`, aap.ErrLength, "task.id"},
		{"X09 a purpose of 257", `{"task": {"purpose": "` + long(257) + `"}}`, aap.ErrLength, "task.purpose"},
		{"an unknown priority", `{"task": {"priority": "urgent"}}`, aap.ErrShape, "task.priority"},
		{"an expiry with a fraction", `{"task": {"expires_at": 1.5}}`, aap.ErrShape, "task.expires_at"},
		{"an expiry of zero", `{"task": {"expires_at": 0}}`, aap.ErrShape, "task.expires_at"},
		{"an expiry past the calendar", `{"task": {"expires_at": 253402300800}}`, aap.ErrShape, "task.expires_at"},
		{"no capability at all", `{"capabilities": []}`, aap.ErrLength, "capabilities"},
		{"65 capabilities", `{"capabilities": ` + many + `}`, aap.ErrLength, "capabilities"},
		{"capabilities that are an object", `{"capabilities": {"a": 1}}`, aap.ErrShape, "capabilities"},
		{"a capability that is a string", `{"capabilities": ["a"]}`, aap.ErrShape, "capabilities[0]"},
		{"a capability without action", `{"capabilities": [{"action": "a"}, {}]}`, aap.ErrShape, "capabilities[1].action"},
		{"a malformed action", `{"capabilities": [{"action": "a..b"}]}`, aap.ErrAction, "capabilities[0].action"},
		{"X09 an action of 129", `{"capabilities": [{"action": "` + long(129) + `"}]}`, aap.ErrLength, "capabilities[0].action"},
		{"an empty list of resources", `{"capabilities": [{"action": "a", "resources": []}]}`, aap.ErrShape, "resources"},
		{"conditions that are a list", `{"capabilities": [{"action": "a", "conditions": []}]}`, aap.ErrShape, "conditions"},
		{"an unknown oversight level", `{"oversight": {"level": "total"}}`, aap.ErrShape, "oversight.level"},
		{"a malformed action to approve", `{"oversight": {"requires_human_approval_for": ["*"]}}`, aap.ErrAction, "requires_human_approval_for[0]"},
		{"an approval timeout of zero", `{"oversight": {"approval_timeout": 0}}`, aap.ErrShape, "approval_timeout"},
		{"a window without end", `{"context": {"time_window": {"start": "2024-01-01T00:00:00Z", "end": null}}}`, aap.ErrShape, "context.time_window.end"},
		{"an unknown environment", `{"context": {"environment": "lab"}}`, aap.ErrShape, "context.environment"},
		{"an audit claim without trace", `{"audit": {"trace_id": null}}`, aap.ErrShape, "audit.trace_id"},
		{"a trace of 257", `{"audit": {"trace_id": "` + long(257) + `"}}`, aap.ErrLength, "audit.trace_id"},
		{"an unknown trace scope", `{"audit": {"trace_id_scope": "planet"}}`, aap.ErrShape, "audit.trace_id_scope"},
		{"an unknown framework", `{"audit": {"compliance_framework": ["X"]}}`, aap.ErrShape, "compliance_framework"},
		{"a delegation that is a list", `{"delegation": []}`, aap.ErrDelegation, "delegation"},
		{"a delegation without depth", `{"delegation": {"depth": null}}`, aap.ErrDelegation, "depth"},
		{"a delegation without max_depth", `{"delegation": {"max_depth": null}}`, aap.ErrDelegation, "depth"},
		{"a delegation without chain", `{"delegation": {"chain": null}}`, aap.ErrDelegation, "chain"},
		{"a negative depth", `{"delegation": {"depth": -1}}`, aap.ErrDelegation, "depth"},
		{"a depth of 11", `{"delegation": {"depth": 11, "max_depth": 11}}`, aap.ErrDelegation, "depth"},
		{"a chain shorter than depth+1", `{"delegation": {"chain": ["a"]}}`, aap.ErrDelegation, "chain"},
		{"a chain longer than depth+1", `{"delegation": {"chain": ["a", "b", "c"]}}`, aap.ErrDelegation, "chain"},
		{"a holder of 129", `{"delegation": {"chain": ["a", "` + long(129) + `"]}}`, aap.ErrDelegation, "chain"},
		{"a holder that is a number", `{"delegation": {"chain": ["a", 1]}}`, aap.ErrDelegation, "chain"},
		{"a depth without parent", `{"delegation": {"parent_jti": null}}`, aap.ErrDelegation, "parent_jti"},
		{"4.17 a depth above max_depth before the chain", `{"delegation": {"depth": 4, "chain": ["a"]}}`, aap.ErrDepth, "depth"},
		{"a step that is not a depth", `{"delegation": {"issued_at_depth": {"01": 1}}}`, aap.ErrDelegation, "issued_at_depth"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := merge(payload(t, good), payload(t, tt.patch)).(map[string]any)
			c, err := aap.Parse(m, aap.Options{})
			if !errors.Is(err, tt.want) || c != nil {
				t.Fatalf("Parse = %v, %v; want %v", c, err, tt.want)
			}
			if !strings.Contains(err.Error(), tt.path) {
				t.Errorf("error %q does not name %q", err, tt.path)
			}
		})
	}
}

func TestParseRefusesNull(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"agent", "task", "capabilities", "oversight", "delegation", "context", "audit"} {
		m := payload(t, good)
		m[name] = nil
		if c, err := aap.Parse(m, aap.Options{}); err == nil {
			t.Errorf("%s: null: Parse = %v, want an error", name, c)
		}
	}
}

func TestParseConstraintRefuses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a rate of zero":                 `{"max_requests_per_hour": 0}`,
		"a rate with an exponent":        `{"max_requests_per_hour": 1e3}`,
		"a rate that is a string":        `{"max_requests_per_minute": "5"}`,
		"a rate beyond exact integers":   `{"max_requests_per_day": 9007199254740992}`,
		"a size of zero":                 `{"max_request_size": 0}`,
		"a depth of 11":                  `{"max_depth": 11}`,
		"a depth below zero":             `{"max_depth": -1}`,
		"no domain":                      `{"domains_allowed": []}`,
		"domains in a string":            `{"domains_allowed": "example.org"}`,
		"a domain that is a number":      `{"domains_allowed": [1]}`,
		"an empty domain":                `{"domains_allowed": [""]}`,
		"domains that are null":          `{"domains_allowed": null}`,
		"no address range":               `{"ip_ranges_allowed": []}`,
		"an address without length":      `{"ip_ranges_allowed": ["10.0.0.1"]}`,
		"an address with a zone":         `{"ip_ranges_allowed": ["fe80::1%eth0/64"]}`,
		"a window without end":           `{"time_window": {"start": "2024-01-01T00:00:00Z"}}`,
		"a window by time of day":        `{"time_window": {"start": "09:00", "end": "17:00"}}`,
		"a window with a sloppy hour":    `{"time_window": {"start": "2024-01-01T9:00:00Z", "end": "2024-01-01T10:00:00Z"}}`,
		"a window before the calendar":   `{"time_window": {"start": "0000-01-01T00:00:00+23:00", "end": "2024-01-01T10:00:00Z"}}`,
		"a window that is null":          `{"time_window": null}`,
		"an unknown classification":      `{"data_classification_max": "secret"}`,
		"no method":                      `{"allowed_methods": []}`,
		"a method in lower case":         `{"allowed_methods": ["get"]}`,
		"a method outside the set":       `{"allowed_methods": ["CONNECT"]}`,
		"no region":                      `{"allowed_regions": []}`,
		"a negative threshold":           `{"require_approval_threshold": -1}`,
		"a threshold with an exponent":   `{"require_approval_threshold": 1e400}`,
		"a threshold that is a string":   `{"require_approval_threshold": "1"}`,
		"encryption that is a string":    `{"require_encryption": "true"}`,
		"a member twice":                 `{"max_depth": 3, "max_depth": 9}`,
		"constraints that are not there": `[]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c aap.Constraints
			if err := json.Unmarshal([]byte(text), &c); !errors.Is(err, aap.ErrConstraint) {
				t.Errorf("Unmarshal = %v, want ErrConstraint", err)
			}
		})
	}
}

func TestParseReadsEverythingAndWritesItBack(t *testing.T) {
	t.Parallel()
	c := parse(t, good)
	want := payload(t, good)
	for _, name := range []string{"iss", "sub", "exp"} {
		delete(want, name)
	}
	// What is written differs from what was read only where the profile has
	// one spelling: the model, lower-case hosts, upper-case regions, UTC.
	want["agent"].(map[string]any)["model"] = "maker/large@3"
	limits := want["capabilities"].([]any)[0].(map[string]any)["constraints"].(map[string]any)
	limits["domains_allowed"] = []any{"example.org", "trusted.com"}
	limits["allowed_regions"] = []any{"DE", "FR"}
	limits["time_window"].(map[string]any)["end"] = "2024-12-31T16:00:00Z"
	limits["require_approval_threshold"] = json.Number("100.5")
	got := payload(t, marshal(t, c))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims written (-want +got):\n%s", diff)
	}
	again := parse(t, marshal(t, c))
	if a, b := marshal(t, c), marshal(t, again); a != b {
		t.Errorf("a second reading differs: %s, %s", a, b)
	}
	var decoded aap.Claims
	if err := json.Unmarshal([]byte(marshal(t, c)), &decoded); err != nil {
		t.Fatalf("Unmarshal: %v", err)
	}
	if a, b := marshal(t, c), marshal(t, decoded); a != b {
		t.Errorf("UnmarshalJSON differs from Parse: %s, %s", a, b)
	}
}

func TestParseWithoutClaims(t *testing.T) {
	t.Parallel()
	c, err := aap.Parse(payload(t, `{"iss": "x", "scope": "docs:read", "agents": 1}`), aap.Options{})
	if c != nil || err != nil {
		t.Errorf("Parse = %v, %v; want nil, nil", c, err)
	}
	if err := json.Unmarshal([]byte(`{"iss": "x"}`), new(aap.Claims)); !errors.Is(err, aap.ErrShape) {
		t.Errorf("Unmarshal = %v, want ErrShape", err)
	}
}

// alias renames the claims named to their aap_* spelling.
func alias(m map[string]any, names ...string) map[string]any {
	m = maps.Clone(m)
	for _, n := range names {
		m["aap_"+n] = m[n]
		delete(m, n)
	}
	return m
}

func TestNames(t *testing.T) {
	t.Parallel()
	all := []string{"agent", "task", "capabilities", "oversight", "delegation", "context", "audit"}
	both := func(change bool) map[string]any {
		m := payload(t, good)
		other := payload(t, good)["agent"].(map[string]any)
		if change {
			other["id"] = "someone-else"
		}
		m["aap_agent"] = other
		return m
	}
	for _, tt := range []struct {
		name   string
		claims map[string]any
		names  aap.Names
		want   error
	}{
		{"X01 strict refuses aap names only", alias(payload(t, good), all...), aap.NamesShort, aap.ErrNames},
		{"X01 alias reads aap names only", alias(payload(t, good), all...), aap.NamesAlias, nil},
		{"strict refuses one aap name among short ones", alias(payload(t, good), "oversight"), aap.NamesShort, aap.ErrNames},
		{"alias reads a mixture", alias(payload(t, good), "oversight", "task"), aap.NamesAlias, nil},
		{"X02 strict refuses both spellings that differ", both(true), aap.NamesShort, aap.ErrNames},
		{"X02 alias refuses both spellings that differ", both(true), aap.NamesAlias, aap.ErrNames},
		{"strict reads both spellings that agree", both(false), aap.NamesShort, nil},
		{"alias reads both spellings that agree", both(false), aap.NamesAlias, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := aap.Parse(tt.claims, aap.Options{Names: tt.names})
			if !errors.Is(err, tt.want) {
				t.Fatalf("Parse error = %v, want %v", err, tt.want)
			}
			if tt.want != nil {
				return
			}
			if got, want := marshal(t, c), marshal(t, parse(t, good)); got != want {
				t.Errorf("claims = %s, want those of the short names: %s", got, want)
			}
		})
	}
}

func TestErrorsNeverHoldAValue(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for _, patch := range []string{
		`{"agent": {"id": "hunter2\n"}}`, `{"task": {"priority": "hunter2"}}`, `{"capabilities": [{"action": "hunter2!"}]}`,
		`{"capabilities": [{"action": "a", "constraints": {"allowed_methods": ["hunter2"]}}]}`,
		`{"capabilities": [{"action": "a", "constraints": {"ip_ranges_allowed": ["hunter2"]}}]}`,
		`{"capabilities": [{"action": "a", "constraints": {"time_window": {"start": "hunter2"}}}]}`,
		`{"delegation": {"issued_at_depth": {"hunter2": 1}}}`, `{"audit": {"log_level": "hunter2"}}`,
	} {
		m := merge(payload(t, good), payload(t, patch)).(map[string]any)
		_, err := aap.Parse(m, aap.Options{})
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: error = %v, want one without the value", patch, err)
		}
	}
}

func TestPurposeLimit(t *testing.T) {
	t.Parallel()
	with := func(n int) map[string]any {
		p := map[string]any{"task": map[string]any{"purpose": strings.Repeat("é", n)}}
		return merge(payload(t, good), p).(map[string]any)
	}
	for _, tt := range []struct {
		name        string
		length, max int
		want        error
	}{
		{"256 characters by default", 256, 0, nil},
		{"not 257 by default", 257, 0, aap.ErrLength},
		{"500 when configured", 500, 500, nil},
		{"not 501 whatever is configured", 501, 9000, aap.ErrLength},
	} {
		_, err := aap.Parse(with(tt.length), aap.Options{MaxPurpose: tt.max})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: error = %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestUnknownConstraintsAreKeptByName(t *testing.T) {
	t.Parallel()
	m := merge(payload(t, good), payload(t, `{"capabilities": [{"action": "a", "constraints":
		{"status": "draft_only", "max_value": 3, "max_depth": 1}}]}`)).(map[string]any)
	c, err := aap.Parse(m, aap.Options{})
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	got := c.Capabilities[0].Constraints
	if diff := cmp.Diff([]string{"max_value", "status"}, got.Unknown()); diff != "" {
		t.Errorf("Unknown (-want +got):\n%s", diff)
	}
	if _, err := json.Marshal(c); !errors.Is(err, aap.ErrNotIssuable) {
		t.Errorf("Marshal = %v, want ErrNotIssuable: what is not understood must not be dropped", err)
	}
	if got.IsZero() || got.Equal(aap.Constraints{}) {
		t.Error("an unknown constraint reads as none")
	}
}

func TestEmptyConstraintsAreNone(t *testing.T) {
	t.Parallel()
	c := constraints(t, `{}`)
	if !c.IsZero() || !c.Equal(aap.Constraints{}) {
		t.Errorf("{} = %v, want no constraint", c.Names())
	}
	if got := marshal(t, aap.Capability{Action: aap.MustAction("a"), Constraints: c}); got != `{"action":"a"}` {
		t.Errorf("written as %s, want constraints left out", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good), uint8(0))
	f.Add([]byte(`{"aap_agent": {}, "agent": null}`), uint8(1))
	f.Add([]byte(`{"agent":{"id":"a","type":"b","operator":"c"},"task":{"id":"t","purpose":"p"},"capabilities":[{"action":"a","constraints":{"x":1}}]}`), uint8(0))
	f.Add([]byte(`{"delegation":{"depth":1,"max_depth":0,"chain":[]}}`), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, names uint8) {
		d := json.NewDecoder(strings.NewReader(string(b)))
		d.UseNumber()
		var m map[string]any
		if d.Decode(&m) != nil {
			return
		}
		c, err := aap.Parse(m, aap.Options{Names: aap.Names(names % 2)})
		if c != nil && err != nil {
			t.Fatalf("claims beside error %v", err)
		}
		if c == nil {
			return
		}
		out, err := json.Marshal(c)
		if err != nil {
			if !errors.Is(err, aap.ErrNotIssuable) {
				t.Fatalf("parsed claims cannot be written: %v", err)
			}
			return
		}
		again, err := aap.Parse(payload(t, string(out)), aap.Options{})
		if err != nil {
			t.Fatalf("own claims are refused: %v", err)
		}
		for i, capability := range again.Capabilities {
			if !capability.Equal(c.Capabilities[i]) {
				t.Fatalf("capability %d changed on its way", i)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	m := payload(b, good)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := aap.Parse(m, aap.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
