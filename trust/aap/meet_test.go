package aap_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/comity-auth/comity/trust/aap"
)

// anyConstraints draws from small vocabularies, so that overlaps are common.
func anyConstraints() *rapid.Generator[aap.Constraints] {
	number := rapid.Int64Range(0, 3)
	domains := rapid.SliceOfN(rapid.SampledFrom([]string{
		"example.org", "a.example.org", "b.a.example.org", "Example.ORG", "other.net", "x.other.net", "*.wild.org", "10.0.0.1",
	}), 0, 4)
	blocked := rapid.SliceOfN(rapid.SampledFrom([]string{
		"a.example.org", "example.org", "*.other.net", ".x.other.net", "evil.com", "not a host",
	}), 0, 3)
	ranges := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Prefix {
		return netip.MustParsePrefix(rapid.SampledFrom([]string{
			"10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/24", "192.0.2.0/24", "2001:db8::/32", "2001:db8:1::/48", "::ffff:10.1.0.0/112", "0.0.0.0/0",
		}).Draw(t, "range"))
	}), 0, 4)
	methods := rapid.SliceOfN(rapid.SampledFrom([]string{"GET", "POST", "PUT"}), 0, 4)
	regions := rapid.SliceOfN(rapid.SampledFrom([]string{"DE", "FR", "PL"}), 0, 4)
	return rapid.Custom(func(t *rapid.T) aap.Constraints {
		c := aap.Constraints{
			MaxRequestsPerMinute:  number.Draw(t, "minute"),
			MaxRequestsPerHour:    number.Draw(t, "hour"),
			MaxRequestsPerDay:     number.Draw(t, "day"),
			MaxRequestSize:        number.Draw(t, "request"),
			MaxResponseSize:       number.Draw(t, "response"),
			DataClassificationMax: aap.Classification(number.Draw(t, "classification")),
			RequireEncryption:     rapid.Bool().Draw(t, "encryption"),
			DomainsBlocked:        blocked.Draw(t, "blocked"),
		}
		optional := func(name string) bool { return rapid.Bool().Draw(t, name) }
		if optional("has domains") {
			c.DomainsAllowed = domains.Draw(t, "domains")
		}
		if optional("has ranges") {
			c.IPRangesAllowed = ranges.Draw(t, "ranges")
		}
		if optional("has methods") {
			c.AllowedMethods = methods.Draw(t, "methods")
		}
		if optional("has regions") {
			c.AllowedRegions = regions.Draw(t, "regions")
		}
		if optional("has depth") {
			depth := rapid.IntRange(0, 3).Draw(t, "depth")
			c.MaxDepth = &depth
		}
		if optional("has threshold") {
			c.RequireApprovalThreshold, _ = aap.ParseAmount(strconv.FormatInt(number.Draw(t, "threshold"), 10) + ".50")
		}
		if optional("has window") {
			c.TimeWindow = &aap.TimeWindow{Start: hour(number.Draw(t, "start")), End: hour(number.Draw(t, "end") + 1)}
		}
		return c
	})
}

func hour(n int64) time.Time { return time.Date(2025, 1, 1, int(n), 0, 0, 0, time.UTC) }

func TestMeetLaws(t *testing.T) {
	t.Parallel()
	meet := func(a, b aap.Constraints) aap.Constraints { c, _ := aap.Meet(a, b); return c }
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := anyConstraints().Draw(t, "a"), anyConstraints().Draw(t, "b"), anyConstraints().Draw(t, "c")
		if !meet(a, b).Equal(meet(b, a)) {
			t.Fatalf("not commutative: %+v, %+v", meet(a, b), meet(b, a))
		}
		if x, y := meet(meet(a, b), c), meet(a, meet(b, c)); !x.Equal(y) {
			t.Fatalf("not associative: %+v, %+v", x, y)
		}
		if !meet(a, a).Equal(a) || !meet(a, aap.Constraints{}).Equal(a) {
			t.Fatalf("not idempotent or without identity: %+v", meet(a, a))
		}
		if m := meet(a, b); !aap.Within(m, a) || !aap.Within(m, b) {
			t.Fatalf("wider than one it came from: %+v", m)
		}
		if aap.Within(a, b) && !meet(a, b).Equal(a) && meet(a, b).Satisfiable() && a.DomainsBlocked == nil && b.DomainsBlocked == nil {
			t.Fatalf("a lies within b but their meet is not a: %+v", meet(a, b))
		}
	})
}

// The meet of two allows a request exactly when both do.
func TestMeetAllowsWhatBothAllow(t *testing.T) {
	t.Parallel()
	hosts := []string{"example.org", "a.example.org", "b.a.example.org", "z.example.org", "other.net", "x.other.net", "wild.org", "s.wild.org", "evil.com", "10.0.0.1", "9.10.0.0.1", ""}
	addrs := []string{"10.0.0.1", "10.1.0.1", "10.1.2.9", "192.0.2.1", "2001:db8::1", "2001:db8:1::1", "8.8.8.8"}
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyConstraints().Draw(t, "a"), anyConstraints().Draw(t, "b")
		m, satisfiable := aap.Meet(a, b)
		allows := func(what string, ask func(aap.Constraints) bool) {
			got, want := ask(m), ask(a) && ask(b)
			if got != want {
				t.Fatalf("%s: the meet says %v, its parts %v and %v", what, got, ask(a), ask(b))
			}
		}
		anyHost := false
		for _, h := range hosts {
			allows("host "+h, func(c aap.Constraints) bool { return c.AllowsHost(h) })
			anyHost = anyHost || m.AllowsHost(h)
		}
		for _, s := range addrs {
			allows("address "+s, func(c aap.Constraints) bool { return c.AllowsIP(netip.MustParseAddr(s)) })
		}
		for n := range int64(6) {
			allows("time", func(c aap.Constraints) bool { return c.AllowsTime(hour(n)) })
			allows("size", func(c aap.Constraints) bool { return c.AllowsRequestSize(n) })
			allows("depth", func(c aap.Constraints) bool { return c.AllowsDepth(int(n)) })
			allows("label", func(c aap.Constraints) bool { return c.AllowsClassification(aap.Classification(n)) })
			amount, _ := aap.ParseAmount(strconv.FormatInt(n, 10))
			allows("amount", func(c aap.Constraints) bool { return c.AllowsAmount(amount) })
		}
		for _, s := range []string{"GET", "POST", "PUT", "DELETE", ""} {
			allows("method", func(c aap.Constraints) bool { return c.AllowsMethod(s) })
		}
		for _, s := range []string{"DE", "FR", "PL", "US", ""} {
			allows("region", func(c aap.Constraints) bool { return c.AllowsRegion(s) })
		}
		if !satisfiable {
			if _, err := json.Marshal(m); err == nil && m.TimeWindow == nil {
				t.Fatalf("what allows nothing was written: %+v", m)
			}
			if m.CheckIssuable() == nil {
				t.Fatalf("what allows nothing is issuable: %+v", m)
			}
		}
		_ = anyHost
	})
}

func TestMeet(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, a, b, want string }{
		{"takes the lower number", `{"max_requests_per_hour": 100}`, `{"max_requests_per_hour": 50}`, `{"max_requests_per_hour":50}`},
		{"takes the only number", `{}`, `{"max_requests_per_day": 5}`, `{"max_requests_per_day":5}`},
		{"takes depth zero over none", `{"max_depth": 0}`, `{}`, `{"max_depth":0}`},
		{"keeps a subdomain of the other's entry", `{"domains_allowed": ["a.example.org"]}`, `{"domains_allowed": ["example.org"]}`, `{"domains_allowed":["a.example.org"]}`},
		{"keeps nothing that only looks like a subdomain", `{"domains_allowed": ["notexample.org", "b.org"]}`, `{"domains_allowed": ["example.org", "b.org"]}`, `{"domains_allowed":["b.org"]}`},
		{"unites what is blocked", `{"domains_blocked": ["a.org"]}`, `{"domains_blocked": ["b.org"]}`, `{"domains_blocked":["a.org","b.org"]}`},
		{"drops an allowed entry that is blocked", `{"domains_allowed": ["a.org", "x.b.org"]}`, `{"domains_blocked": ["b.org"]}`, `{"domains_allowed":["a.org"],"domains_blocked":["b.org"]}`},
		{"takes the narrower range", `{"ip_ranges_allowed": ["10.0.0.0/8"]}`, `{"ip_ranges_allowed": ["10.1.0.0/16", "192.0.2.0/24"]}`, `{"ip_ranges_allowed":["10.1.0.0/16"]}`},
		{"takes the narrower IPv6 range", `{"ip_ranges_allowed": ["2001:db8::/32"]}`, `{"ip_ranges_allowed": ["2001:db8:1::/48"]}`, `{"ip_ranges_allowed":["2001:db8:1::/48"]}`},
		{"intersects windows", `{"time_window": {"start": "2025-01-01T00:00:00Z", "end": "2025-01-03T00:00:00Z"}}`, `{"time_window": {"start": "2025-01-02T00:00:00Z", "end": "2025-01-04T00:00:00Z"}}`, `{"time_window":{"start":"2025-01-02T00:00:00Z","end":"2025-01-03T00:00:00Z"}}`},
		{"takes the lower classification", `{"data_classification_max": "restricted"}`, `{"data_classification_max": "internal"}`, `{"data_classification_max":"internal"}`},
		{"intersects methods and regions", `{"allowed_methods": ["GET", "PUT"], "allowed_regions": ["DE", "FR"]}`, `{"allowed_methods": ["PUT", "POST"], "allowed_regions": ["FR"]}`, `{"allowed_methods":["PUT"],"allowed_regions":["FR"]}`},
		{"lets required encryption win", `{"require_encryption": true}`, `{"require_encryption": false}`, `{"require_encryption":true}`},
		{"takes the lower threshold by value", `{"require_approval_threshold": 1000}`, `{"require_approval_threshold": 99.9}`, `{"require_approval_threshold":99.9}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, ok := aap.Meet(constraints(t, tt.a), constraints(t, tt.b))
			if got := marshal(t, c); got != tt.want || !ok {
				t.Errorf("Meet = %s, %v; want %s, true", got, ok, tt.want)
			}
		})
	}
}

func TestX40MeetWithNothingInCommon(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, a, b string }{
		{"domains", `{"domains_allowed": ["a.org"]}`, `{"domains_allowed": ["b.org"]}`},
		{"domains that are all blocked", `{"domains_allowed": ["a.org"]}`, `{"domains_blocked": ["a.org"]}`},
		{"domains that match nothing", `{"domains_allowed": ["*.a.org"]}`, `{}`},
		{"ranges", `{"ip_ranges_allowed": ["10.0.0.0/8"]}`, `{"ip_ranges_allowed": ["192.0.2.0/24"]}`},
		{"ranges of two families", `{"ip_ranges_allowed": ["0.0.0.0/0"]}`, `{"ip_ranges_allowed": ["::/0"]}`},
		{"methods", `{"allowed_methods": ["GET"]}`, `{"allowed_methods": ["PUT"]}`},
		{"regions", `{"allowed_regions": ["DE"]}`, `{"allowed_regions": ["FR"]}`},
		{"windows that only touch", `{"time_window": {"start": "2025-01-01T00:00:00Z", "end": "2025-01-02T00:00:00Z"}}`, `{"time_window": {"start": "2025-01-02T00:00:00Z", "end": "2025-01-03T00:00:00Z"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, ok := aap.Meet(constraints(t, tt.a), constraints(t, tt.b))
			if ok || c.IsZero() || c.Satisfiable() {
				t.Fatalf("Meet = %v, %v; want unsatisfiable and not unlimited", c.Names(), ok)
			}
			if err := c.CheckIssuable(); !errors.Is(err, aap.ErrNotIssuable) {
				t.Errorf("CheckIssuable = %v, want ErrNotIssuable", err)
			}
		})
	}
}

func TestMeetChangesNeitherSide(t *testing.T) {
	t.Parallel()
	a := constraints(t, `{"domains_allowed": ["z.org", "a.org"], "allowed_methods": ["PUT", "GET"], "ip_ranges_allowed": ["192.0.2.0/24", "10.0.0.0/8"]}`)
	before := marshal(t, a)
	aap.Meet(a, aap.Constraints{})
	aap.Meet(a, a)
	_ = a.Equal(a)
	if after := marshal(t, a); after != before {
		t.Errorf("constraints became %s, were %s", after, before)
	}
}

func TestWithin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, child, parent string
		want                bool
	}{
		{"anything lies within no limit", `{"max_depth": 3}`, `{}`, true},
		{"no limit does not lie within one", `{}`, `{"max_requests_per_hour": 5}`, false},
		{"a higher number does not", `{"max_requests_per_hour": 6}`, `{"max_requests_per_hour": 5}`, false},
		{"no depth does not lie within a depth", `{}`, `{"max_depth": 0}`, false},
		{"a subdomain does", `{"domains_allowed": ["a.b.org"]}`, `{"domains_allowed": ["b.org"]}`, true},
		{"a parent domain does not", `{"domains_allowed": ["b.org"]}`, `{"domains_allowed": ["a.b.org"]}`, false},
		{"a lost block does not", `{}`, `{"domains_blocked": ["a.org"]}`, false},
		{"a lost block does where it cannot be reached", `{"domains_allowed": ["b.org"]}`, `{"domains_blocked": ["a.org"]}`, true},
		{"a wider block does", `{"domains_blocked": ["org"]}`, `{"domains_blocked": ["a.org"]}`, true},
		{"lost encryption does not", `{}`, `{"require_encryption": true}`, false},
		{"a higher threshold does not", `{"require_approval_threshold": 10}`, `{"require_approval_threshold": 9}`, false},
		{"a longer window does not", `{"time_window": {"start": "2025-01-01T00:00:00Z", "end": "2025-01-03T00:00:01Z"}}`, `{"time_window": {"start": "2025-01-01T00:00:00Z", "end": "2025-01-03T00:00:00Z"}}`, false},
		{"nothing is known to lie within what is unknown", `{"custom": 1}`, `{"custom": 1}`, false},
	} {
		if got := aap.Within(constraints(t, tt.child), constraints(t, tt.parent)); got != tt.want {
			t.Errorf("%s: Within = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestAmounts(t *testing.T) {
	t.Parallel()
	ascending := []string{"0", "0.05", "0.5", "1", "9.99", "10", "10.01", "100", "9007199254740993", "9007199254740993.1"}
	for i, a := range ascending {
		for j, b := range ascending {
			x, errX := aap.ParseAmount(a)
			y, errY := aap.ParseAmount(b)
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := x.Compare(y); got != want || errX != nil || errY != nil {
				t.Errorf("%s against %s = %d, want %d", a, b, got, want)
			}
		}
	}
	if a, _ := aap.ParseAmount("007.50"); a.String() != "7.5" {
		t.Errorf("007.50 reads %s, want 7.5", a)
	}
	for _, s := range []string{"", ".", "1.", ".5", "-1", "+1", "1e3", "0x1", "1_0", " 1", "NaN", "12345678901234567890123456789012345678901"} {
		if a, err := aap.ParseAmount(s); err == nil {
			t.Errorf("%q accepted as %s", s, a)
		}
	}
}

func BenchmarkMeet(b *testing.B) {
	c := parse(b, good)
	ceiling := constraints(b, `{"max_requests_per_hour": 50, "domains_allowed": ["a.example.org"], "allowed_methods": ["GET"]}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := aap.Meet(c.Capabilities[0].Constraints, ceiling); !ok {
			b.Fatal("not satisfiable")
		}
	}
}
