package aap_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/trust/aap"
)

func TestParseAction(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"a", "search.web", "cms.create_draft", "data-pipeline.transform_records", "api.v2.users.read", "A-_.b1",
		strings.Repeat("a", 128),
	} {
		if a, err := aap.ParseAction(good); err != nil || a.String() != good {
			t.Errorf("ParseAction(%q) = %v, %v; want it accepted", good, a, err)
		}
	}
	for _, bad := range []string{
		"", ".", "search..web", ".search.web", "search.web.", "9api.read", "a.9b", "search.web*", "cms.*", "*",
		"a b", "a/b", "-a", "a._b", "a.-b", "é.read", "a\x00", "search.web\n", "ſearch",
	} {
		if a, err := aap.ParseAction(bad); !errors.Is(err, aap.ErrAction) || !a.IsZero() {
			t.Errorf("ParseAction(%q) = %v, %v; want ErrAction", bad, a, err)
		}
	}
	if _, err := aap.ParseAction(strings.Repeat("a", 129)); !errors.Is(err, aap.ErrLength) {
		t.Errorf("X09 an action of 129: %v, want ErrLength", err)
	}
	if aap.MustAction("search.web") == aap.MustAction("Search.Web") {
		t.Error("X07 actions compare without regard to case")
	}
}

// Every byte, at the start of a component and inside one.
func TestParseActionEveryByte(t *testing.T) {
	t.Parallel()
	for i := range 256 {
		c := byte(i)
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		inside := letter || '0' <= c && c <= '9' || c == '-' || c == '_'
		if _, err := aap.ParseAction(string([]byte{c, 'x'})); (err == nil) != letter {
			t.Errorf("byte %#x at the start: %v", c, err)
		}
		if _, err := aap.ParseAction(string([]byte{'x', c, 'x'})); (err == nil) != (inside || c == '.') {
			t.Errorf("byte %#x inside: %v", c, err)
		}
	}
}

func TestHostAllowed(t *testing.T) {
	t.Parallel()
	allowed, blocked := []string{"example.org", "Trusted.com", "192.0.2.1", "2001:DB8::1"}, []string{"banned.example.org"}
	for _, tt := range []struct {
		name, host string
		allowed    []string
		blocked    []string
		want       bool
	}{
		{"allows the entry itself", "example.org", allowed, blocked, true},
		{"allows below the entry", "a.b.example.org", allowed, blocked, true},
		{"ignores case on both sides", "WWW.trusted.COM", allowed, blocked, true},
		{"ignores the port", "example.org:8080", allowed, blocked, true},
		{"X10 ignores the root dot", "example.org.", allowed, blocked, true},
		{"ignores the root dot before a port", "example.org.:443", allowed, blocked, true},
		{"X10 ignores the root dot of a blocked host", "banned.example.org.", allowed, blocked, false},
		{"refuses above the entry", "org", allowed, blocked, false},
		{"refuses a name that only ends alike", "notexample.org", allowed, blocked, false},
		{"refuses the entry as a prefix", "example.org.evil.com", allowed, blocked, false},
		{"refuses a blocked host", "banned.example.org", allowed, blocked, false},
		{"refuses below a blocked host", "x.banned.example.org:80", allowed, blocked, false},
		{"refuses a blocked host in capitals", "BANNED.example.org", nil, blocked, false},
		{"allows what is not blocked", "anything.net", nil, blocked, true},
		{"X14 refuses no host when some are allowed", "", allowed, nil, false},
		{"X14 refuses no host when some are blocked", "", nil, blocked, false},
		{"allows anything without a list", "", nil, nil, true},
		{"refuses all when the list is there and empty", "example.org", []string{}, nil, false},
		{"X15 never matches a wildcard", "a.example.org", []string{"*.example.org"}, nil, false},
		{"X15 never matches a leading dot", "a.example.org", []string{".example.org"}, nil, false},
		{"never matches an entry with a port", "example.org:80", []string{"example.org:80"}, nil, false},
		{"never matches an entry that is a URL", "example.org", []string{"https://example.org"}, nil, false},
		{"never matches an empty entry", "example.org", []string{""}, nil, false},
		{"blocks below a wildcard", "a.example.org", nil, []string{"*.example.org"}, false},
		{"blocks below a leading dot", "a.example.org", nil, []string{".example.org"}, false},
		{"blocks all on an entry nobody understands", "fine.net", nil, []string{"https://evil.com/"}, false},
		{"refuses user information", "example.org@evil.com", allowed, nil, false},
		{"refuses user information before", "evil.com@example.org", allowed, nil, false},
		{"refuses a path", "evil.com/.example.org", allowed, nil, false},
		{"refuses a fragment", "evil.com#.example.org", allowed, nil, false},
		{"refuses a backslash", "evil.com\\.example.org", allowed, nil, false},
		{"refuses a percent sign", "evil.com%2f.example.org", allowed, nil, false},
		{"refuses a NUL", "evil.com\x00.example.org", allowed, nil, false},
		{"refuses a letter beyond ASCII", "exämple.org", []string{"exämple.org"}, nil, false},
		{"refuses a full-width dot", "a．example.org", allowed, nil, false},
		{"refuses an empty label", "a..example.org", allowed, nil, false},
		{"refuses two root dots", "example.org..", allowed, nil, false},
		{"refuses a port that is none", "example.org:80a", allowed, nil, false},
		{"allows an address that is named", "192.0.2.1", allowed, nil, true},
		{"refuses an address as a subdomain of one", "10.192.0.2.1", []string{"0.2.1"}, nil, false},
		{"refuses an address below its own end", "192.0.2.1", []string{"2.1"}, nil, false},
		{"allows an IPv6 address in another spelling", "[2001:db8:0::1]:443", allowed, nil, true},
		{"refuses an IPv6 address without brackets", "2001:db8::1", allowed, nil, false},
		{"refuses an IPv6 address with a zone", "[fe80::1%25eth0]", []string{"fe80::1"}, nil, false},
		{"refuses an address as one hexadecimal number", "0xA9FEA9FE", nil, []string{"169.254.169.254"}, false},
		{"refuses an address with a hexadecimal end", "127.0.0.0x1:80", nil, []string{"127.0.0.1"}, false},
		{"refuses a hexadecimal end of nothing", "127.0.0.0x.", nil, []string{"127.0.0.0"}, false},
		{"allows a name that only begins like a hexadecimal number", "0x7f.example.org", allowed, nil, true},
		{"blocks all on an entry that is a hexadecimal number", "fine.net", nil, []string{"0x7f.1"}, false},
		{"refuses a label of 64", strings.Repeat("a", 64) + ".example.org", allowed, nil, false},
		{"refuses a name of 254", strings.Repeat("a.", 121) + "example.org.x", []string{"x"}, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := aap.HostAllowed(tt.host, tt.allowed, tt.blocked); got != tt.want {
				t.Errorf("HostAllowed(%q) = %v, want %v", tt.host, got, tt.want)
			}
		})
	}
}

func TestPredicates(t *testing.T) {
	t.Parallel()
	c := constraints(t, `{"time_window": {"start": "2025-01-01T00:00:00Z", "end": "2025-01-02T00:00:00Z"},
		"allowed_methods": ["GET"], "ip_ranges_allowed": ["10.0.0.0/8", "::ffff:192.0.2.0/120"], "allowed_regions": ["de"],
		"data_classification_max": "internal", "max_depth": 1, "max_request_size": 10,
		"require_approval_threshold": 100, "require_encryption": true}`)
	start := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	amount := func(s string) aap.Amount { a, _ := aap.ParseAmount(s); return a }
	for _, tt := range []struct {
		name      string
		got, want bool
	}{
		{"X16 the start is inside", c.AllowsTime(start), true},
		{"X16 the end is outside", c.AllowsTime(start.AddDate(0, 0, 1)), false},
		{"the last instant is inside", c.AllowsTime(start.AddDate(0, 0, 1).Add(-1)), true},
		{"before the start is outside", c.AllowsTime(start.Add(-1)), false},
		{"a method named", c.AllowsMethod("GET"), true},
		{"a method in lower case", c.AllowsMethod("get"), false},
		{"no method", c.AllowsMethod(""), false},
		{"an address in range", c.AllowsIP(netip.MustParseAddr("10.9.9.9")), true},
		{"the same address as IPv6", c.AllowsIP(netip.MustParseAddr("::ffff:10.9.9.9")), true},
		{"a range written as IPv6", c.AllowsIP(netip.MustParseAddr("192.0.2.7")), true},
		{"an address out of range", c.AllowsIP(netip.MustParseAddr("11.0.0.1")), false},
		{"no address", c.AllowsIP(netip.Addr{}), false},
		{"a region in another case", c.AllowsRegion("DE"), true},
		{"another region", c.AllowsRegion("FR"), false},
		{"no region", c.AllowsRegion(""), false},
		{"a lower label", c.AllowsClassification(aap.Public), true},
		{"the same label", c.AllowsClassification(aap.Internal), true},
		{"X20 a higher label", c.AllowsClassification(aap.Confidential), false},
		{"X20 no label", c.AllowsClassification(0), false},
		{"the depth itself", c.AllowsDepth(1), true},
		{"a deeper one", c.AllowsDepth(2), false},
		{"a depth below zero", c.AllowsDepth(-1), false},
		{"the size itself", c.AllowsRequestSize(10), true},
		{"a byte more", c.AllowsRequestSize(11), false},
		{"an unknown size", c.AllowsRequestSize(-1), false},
		{"an amount below the threshold", c.AllowsAmount(amount("99.99")), true},
		{"the threshold", c.AllowsAmount(amount("100.0")), false},
		{"no amount", c.AllowsAmount(aap.Amount{}), false},
		{"plaintext", c.AllowsPlaintext(), false},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: allowed = %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

func TestWithoutConstraintsEverythingIsAllowed(t *testing.T) {
	t.Parallel()
	var c aap.Constraints
	if !c.AllowsTime(time.Time{}) || !c.AllowsMethod("") || !c.AllowsIP(netip.Addr{}) || !c.AllowsRegion("") ||
		!c.AllowsClassification(0) || !c.AllowsDepth(10) || !c.AllowsRequestSize(-1) || !c.AllowsAmount(aap.Amount{}) ||
		!c.AllowsPlaintext() || !c.AllowsHost("") {
		t.Error("a constraint that is absent refused something")
	}
}

func TestModel(t *testing.T) {
	t.Parallel()
	object := aap.Model{Provider: "maker", ID: "large", Version: "3"}
	text := aap.Model{Text: object.String()}
	for _, m := range []aap.Model{object, text} {
		for _, denied := range []string{"maker/large@3", "maker/large", "large", "large@3", "LARGE"} {
			if !m.Matches(denied) {
				t.Errorf("%s does not match %q", m, denied)
			}
		}
		for _, other := range []string{"", "arge", "small", "maker/small", "maker/large@4"} {
			if m.Matches(other) {
				t.Errorf("%s matches %q", m, other)
			}
		}
	}
	if (aap.Model{}).Matches("") {
		t.Error("no model matches the empty entry")
	}
}

func TestCheckIssuable(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"X15 a wildcard":                    `{"domains_allowed": ["*.example.org"]}`,
		"X15 a leading dot":                 `{"domains_allowed": [".example.org"]}`,
		"a wildcard that is blocked":        `{"domains_blocked": ["*.example.org"]}`,
		"a root dot":                        `{"domains_allowed": ["example.org."]}`,
		"a port":                            `{"domains_allowed": ["example.org:80"]}`,
		"a URL":                             `{"domains_allowed": ["https://example.org"]}`,
		"an address for a domain":           `{"domains_allowed": ["10.0.0.1"]}`,
		"a numeric top label":               `{"domains_allowed": ["1"]}`,
		"a label that begins with a dash":   `{"domains_allowed": ["-a.org"]}`,
		"a label that ends with a dash":     `{"domains_allowed": ["a-.org"]}`,
		"a letter beyond ASCII":             `{"domains_allowed": ["exämple.org"]}`,
		"4.45 a region that is no country":  `{"allowed_regions": ["EU"]}`,
		"a region of three letters":         `{"allowed_regions": ["DEU"]}`,
		"a region of one letter":            `{"allowed_regions": ["D"]}`,
		"a region across two codes":         `{"allowed_regions": ["D "]}`,
		"a window that ends as it starts":   `{"time_window": {"start": "2025-01-01T00:00:00Z", "end": "2025-01-01T00:00:00Z"}}`,
		"X29 a constraint nobody knows":     `{"max_value": 3}`,
		"domains of which all are blocked":  `{"domains_allowed": ["a.org"], "domains_blocked": ["org"]}`,
		"one bad domain among good ones":    `{"domains_allowed": ["a.org", "*.b.org"]}`,
		"a blocked entry that means a path": `{"domains_blocked": ["a.org/x"]}`,
	} {
		if err := constraints(t, text).CheckIssuable(); !errors.Is(err, aap.ErrNotIssuable) {
			t.Errorf("%s: CheckIssuable = %v, want ErrNotIssuable", name, err)
		}
	}
	eleven := 11
	for name, c := range map[string]aap.Constraints{
		"a negative rate":           {MaxRequestsPerHour: -1},
		"a depth of 11":             {MaxDepth: &eleven},
		"a domain in capitals":      {DomainsAllowed: []string{"Example.org"}},
		"an empty domain":           {DomainsAllowed: []string{""}},
		"a list that is empty":      {AllowedMethods: []string{}},
		"an unknown method":         {AllowedMethods: []string{"get"}},
		"the zero address range":    {IPRangesAllowed: []netip.Prefix{{}}},
		"a range with host bits":    {IPRangesAllowed: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}},
		"an unknown classification": {DataClassificationMax: 9},
		"a region in lower case":    {AllowedRegions: []string{"de"}},
	} {
		if err := c.CheckIssuable(); !errors.Is(err, aap.ErrNotIssuable) {
			t.Errorf("%s: CheckIssuable = %v, want ErrNotIssuable", name, err)
		}
	}
	for _, text := range []string{
		`{}`, `{"domains_allowed": ["example.org", "a-b.c_d.example"], "domains_blocked": ["x.example.org"]}`,
		`{"ip_ranges_allowed": ["2001:db8::/32", "10.0.0.0/8"]}`, `{"allowed_regions": ["AD", "DE", "ZW", "AZ", "BA"]}`,
		`{"max_depth": 0, "max_requests_per_minute": 1}`,
	} {
		if err := constraints(t, text).CheckIssuable(); err != nil {
			t.Errorf("%s: CheckIssuable = %v, want nil", text, err)
		}
	}
}

func TestClaimsCheckIssuable(t *testing.T) {
	t.Parallel()
	if err := parse(t, good).CheckIssuable(); err != nil {
		t.Fatalf("CheckIssuable of good claims: %v", err)
	}
	for name, change := range map[string]func(*aap.Claims){
		"no agent":                 func(c *aap.Claims) { c.Agent = nil },
		"no task":                  func(c *aap.Claims) { c.Task = nil },
		"no capability":            func(c *aap.Claims) { c.Capabilities = nil },
		"65 capabilities":          func(c *aap.Claims) { c.Capabilities = make([]aap.Capability, 65) },
		"a purpose of 257":         func(c *aap.Claims) { c.Task.Purpose = strings.Repeat("a", 257) },
		"no agent id":              func(c *aap.Claims) { c.Agent.ID = "" },
		"an action never parsed":   func(c *aap.Claims) { c.Capabilities = []aap.Capability{{}} },
		"conditions":               func(c *aap.Claims) { c.Capabilities[0].Conditions = map[string]any{"x": 1} },
		"a resource that is none":  func(c *aap.Claims) { c.Capabilities[0].Resources = []string{"docs"} },
		"a wildcard in a resource": func(c *aap.Claims) { c.Capabilities[0].Resources = []string{"https://a.example/*/b"} },
		"4.6 a reference that is no URI": func(c *aap.Claims) {
			c.Oversight.ApprovalReference = "policy-7"
		},
		"an audit claim without trace": func(c *aap.Claims) { c.Audit.TraceID = "" },
		"a depth above its limit":      func(c *aap.Claims) { c.Delegation.MaxDepth = 0 },
		"a chain of the wrong length":  func(c *aap.Claims) { c.Delegation.Chain = []string{"a"} },
		"an empty holder":              func(c *aap.Claims) { c.Delegation.Chain = []string{"a", ""} },
		"no parent":                    func(c *aap.Claims) { c.Delegation.ParentJTI = "" },
	} {
		c := parse(t, good)
		change(c)
		if err := c.CheckIssuable(); !errors.Is(err, aap.ErrNotIssuable) {
			t.Errorf("%s: CheckIssuable = %v, want ErrNotIssuable", name, err)
		}
	}
	if err := (*aap.Claims)(nil).CheckIssuable(); !errors.Is(err, aap.ErrNotIssuable) {
		t.Errorf("no claims: CheckIssuable = %v, want ErrNotIssuable", err)
	}
}

func TestCollapse(t *testing.T) {
	t.Parallel()
	read := func(text string) aap.Capability {
		var c aap.Capability
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	same := []aap.Capability{
		read(`{"action": "a", "description": "one", "constraints": {"allowed_methods": ["GET", "PUT"], "domains_allowed": ["a.org", "b.a.org"]}}`),
		read(`{"action": "a", "constraints": {"domains_allowed": ["A.org"], "allowed_methods": ["PUT", "GET", "GET"]}}`),
	}
	if got := aap.Collapse(same); len(got) != 1 || got[0].Description != "one" {
		t.Errorf("Collapse = %v, want the first alone", got)
	}
	different := []aap.Capability{
		read(`{"action": "a"}`),
		read(`{"action": "A"}`),
		read(`{"action": "a", "constraints": {"max_depth": 0}}`),
		read(`{"action": "a", "constraints": {"max_depth": 1}}`),
		read(`{"action": "a", "constraints": {"custom": 1}}`),
		read(`{"action": "a", "constraints": {"domains_blocked": ["a.org"]}}`),
		read(`{"action": "a", "constraints": {"domains_allowed": ["a.org"]}}`),
		read(`{"action": "a", "resources": ["https://a.example"]}`),
		read(`{"action": "a", "conditions": {"x": 1}}`),
		{Action: aap.MustAction("a"), Constraints: aap.Constraints{AllowedMethods: []string{}}},
		{Action: aap.MustAction("a"), Constraints: aap.Constraints{AllowedRegions: []string{}}},
	}
	if got := aap.Collapse(different); len(got) != len(different) {
		t.Errorf("Collapse kept %d of %d capabilities that differ", len(got), len(different))
	}
}

func TestX44MergeOversight(t *testing.T) {
	t.Parallel()
	a, b := aap.MustAction("a"), aap.MustAction("b")
	token := &aap.Oversight{Level: aap.LevelApproval, RequiresHumanApprovalFor: []aap.Action{a}, NotifyOn: []aap.Action{a}, ApprovalReference: "https://t.example", ApprovalTimeout: 60}
	local := &aap.Oversight{Level: aap.LevelNotification, RequiresHumanApprovalFor: []aap.Action{b, a}, ApprovalReference: "https://l.example", ApprovalTimeout: 90}
	got := marshal(t, aap.MergeOversight(token, local))
	want := `{"level":"approval","requires_human_approval_for":["a","b"],"approval_reference":"https://l.example","notify_on":["a"],"approval_timeout":60}`
	if got != want {
		t.Errorf("MergeOversight = %s, want %s", got, want)
	}
	if aap.MergeOversight(nil, nil) != nil {
		t.Error("merging nothing gives something")
	}
	for _, o := range []*aap.Oversight{aap.MergeOversight(token, nil), aap.MergeOversight(nil, token)} {
		if !o.Requires(a) || o.Requires(b) || !o.Notifies(a) || o.Level != aap.LevelApproval {
			t.Errorf("merging with nothing changed it: %+v", o)
		}
	}
	if (*aap.Oversight)(nil).Requires(a) {
		t.Error("no oversight requires something")
	}
}
