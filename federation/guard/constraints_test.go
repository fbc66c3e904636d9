package guard_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/guard/route"
	"github.com/comity-auth/comity/federation/quota"
)

// post asks with a body and headers, in pairs.
func (w *world) post(token, body string, headers ...string) answer {
	w.t.Helper()
	r := w.request(http.MethodPost, "/search", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return w.send(r)
}

func TestDomains(t *testing.T) {
	t.Parallel()
	w := middleware(t, options(t))
	for _, tt := range []struct {
		name        string
		constraints object
		target      string
		status      int
	}{
		{"admits an allowed host", object{"domains_allowed": []any{"example.org"}}, "https://example.org/", 200},
		{"X10: admits the root dot", object{"domains_allowed": []any{"example.org"}}, "https://example.org./", 200},
		{"X14: refuses without a target", object{"domains_allowed": []any{"example.org"}}, "", 403},
		{"refuses without a target where hosts are only blocked", object{"domains_blocked": []any{"evil.example"}}, "", 403},
		{"X15: a wildcard matches nothing", object{"domains_allowed": []any{"*.example.org"}}, "https://a.example.org/", 403},
		{"X15: a leading dot matches nothing", object{"domains_allowed": []any{".example.org"}}, "https://a.example.org/", 403},
		{"refuses a blocked host below an allowed one", object{"domains_allowed": []any{"example.org"}, "domains_blocked": []any{"a.example.org"}}, "https://b.a.example.org/", 403},
		{"refuses the allowed host as user information", object{"domains_allowed": []any{"example.org"}}, "https://example.org@evil.example/", 403},
		{"refuses user information at all", object{"domains_allowed": []any{"example.org"}}, "https://evil.example@example.org/", 403},
		{"refuses a backslash", object{"domains_allowed": []any{"example.org"}}, `https://evil.example\@example.org/`, 403},
		{"refuses a fragment", object{"domains_allowed": []any{"example.org"}}, "https://example.org/#@evil.example", 403},
		{"refuses blanks", object{"domains_allowed": []any{"example.org"}}, " https://example.org/", 403},
		{"refuses a line end", object{"domains_allowed": []any{"example.org"}}, "https://example.org/\n", 403},
		{"refuses another scheme", object{"domains_allowed": []any{"example.org"}}, "file://example.org/etc", 403},
		{"refuses a URL without a scheme", object{"domains_allowed": []any{"example.org"}}, "//example.org/", 403},
		{"refuses a bare host", object{"domains_allowed": []any{"example.org"}}, "example.org", 403},
		{"refuses a blocked address as one hexadecimal number", object{"domains_blocked": []any{"169.254.169.254"}}, "http://0xA9FEA9FE/", 403},
		{"refuses a blocked address with a hexadecimal end", object{"domains_blocked": []any{"127.0.0.1"}}, "http://127.0.0.0x1:80/", 403},
		{"refuses a blocked address with a hexadecimal end of nothing", object{"domains_blocked": []any{"127.0.0.0"}}, "http://127.0.0.0x./", 403},
		{"refuses a blocked address as one number", object{"domains_blocked": []any{"169.254.169.254"}}, "http://2852039166/", 403},
		{"refuses a blocked address in octal", object{"domains_blocked": []any{"127.0.0.1"}}, "http://0177.0.0.1/", 403},
		{"refuses a blocked address in IPv6 clothes", object{"domains_blocked": []any{"127.0.0.1"}}, "http://[::ffff:7f00:1]/", 403},
		{"refuses an address with a zone", object{"domains_blocked": []any{"fe80::1"}}, "http://[fe80::1%25lo]/", 403},
		{"refuses a host that is percent-encoded", object{"domains_blocked": []any{"evil.example"}}, "http://evil%2eexample/", 403},
		{"refuses a host with an encoded letter beyond ASCII", object{"domains_allowed": []any{"example.org"}}, "http://evil.example%EF%BC%8Fa.example.org/", 403},
		{"refuses a scheme without slashes", object{"domains_allowed": []any{"example.org"}}, "https:example.org", 403},
		{"refuses three slashes", object{"domains_allowed": []any{"example.org"}}, "https:///example.org", 403},
		{"refuses a tab in the host", object{"domains_allowed": []any{"example.org"}}, "https://exa\tmple.org", 403},
		{"refuses two ports", object{"domains_allowed": []any{"example.org"}}, "https://example.org:80:80/", 403},
		{"refuses a host that only looks alike", object{"domains_allowed": []any{"example.org"}}, "https://exаmple.org/", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := "/search"
			if tt.target != "" {
				path += "?url=" + url.QueryEscape(tt.target)
			}
			a := w.get(path, sign(t, nil, limited(tt.constraints)))
			if tt.status == 200 {
				w.wantAdmitted(t, a)
				return
			}
			w.wantRefused(t, a, 403, "aap_domain_not_allowed")
		})
	}
	t.Run("refuses a target that is named twice", func(t *testing.T) {
		token := sign(t, nil, limited(object{"domains_allowed": []any{"example.org"}}))
		w.wantRefused(t, w.get("/search?url=https://example.org/&url=https://evil.example/", token), 403, "aap_domain_not_allowed")
	})
	t.Run("reads the target of a body, and leaves the body whole", func(t *testing.T) {
		token := sign(t, nil, limited(object{"domains_allowed": []any{"example.org"}}))
		const body = `{"url": "https://example.org/", "more": [1, 2]}`
		if seen := w.wantAdmitted(t, w.post(token, body, "Content-Type", "application/json")); seen.Body != body {
			t.Errorf("the resource read %q, want %q", seen.Body, body)
		}
		w.wantRefused(t, w.post(token, `{"url":"https://evil.example/","url":"https://example.org/"}`, "Content-Type", "application/json"), 403, "aap_domain_not_allowed")
		w.wantRefused(t, w.post(token, body, "Content-Type", "text/plain"), 403, "aap_domain_not_allowed")
		large := `{"url": "https://example.org/", "more": "` + strings.Repeat("a", route.MaxBody) + `"}`
		w.wantRefused(t, w.post(token, large, "Content-Type", "application/json"), 403, "aap_domain_not_allowed")
	})
}

func TestConstraints(t *testing.T) {
	t.Parallel()
	instant := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }
	depth := func(o object, depth int) object {
		chain := []any{}
		for range depth + 1 {
			chain = append(chain, "a")
		}
		return o.with("delegation", object{"depth": depth, "max_depth": 5, "chain": chain, "parent_jti": "p"})
	}
	for _, tt := range []struct {
		name   string
		claims object
		status int
		code   string
	}{
		{"X16: admits at the start of the window", limited(object{"time_window": object{"start": instant(0), "end": instant(time.Hour)}}), 200, ""},
		{"X16: refuses at the end of the window", limited(object{"time_window": object{"start": instant(-time.Hour), "end": instant(0)}}), 403, "aap_capability_expired"},
		{"admits a depth at the capability's limit", depth(limited(object{"max_depth": 2}), 2), 200, ""},
		{"refuses a depth beyond the capability's limit", depth(limited(object{"max_depth": 1}), 2), 403, "aap_excessive_delegation"},
		{"refuses a delegated token where the capability may not be", depth(limited(object{"max_depth": 0}), 1), 403, "aap_excessive_delegation"},
		{"refuses a method that is not allowed", limited(object{"allowed_methods": []any{"GET"}}), 403, "aap_constraint_violation"},
		{"admits a method that is allowed", limited(object{"allowed_methods": []any{"GET", "POST"}}), 200, ""},
		{"refuses a body that is too large", limited(object{"max_request_size": 39}), 413, "request_too_large"},
		{"admits a body of just the size", limited(object{"max_request_size": 40}), 200, ""},
		{"X20: refuses a route without a label", limited(object{"data_classification_max": "restricted"}), 403, "aap_constraint_violation"},
		{"refuses a region that is not told", limited(object{"allowed_regions": []any{"FR"}}), 403, "aap_constraint_violation"},
		{"admits the region that is told", limited(object{"allowed_regions": []any{"de"}}), 200, ""},
		{"refuses a plain connection where encryption is required", limited(object{"require_encryption": true}), 403, "aap_constraint_violation"},
		{"refuses an amount at the threshold", limited(object{"require_approval_threshold": 12.5}), 403, "aap_approval_required"},
		{"admits an amount below the threshold", limited(object{"require_approval_threshold": 12.51}), 200, ""},
		{"X29: refuses a constraint nobody knows", limited(object{"status": "draft_only"}), 403, "aap_constraint_violation"},
		{"refuses conditions", claims().with("capabilities", []any{object{"action": "search.web", "conditions": object{"x": 1}}}), 403, "aap_constraint_violation"},
		{"admits empty conditions", claims().with("capabilities", []any{object{"action": "search.web", "conditions": object{}}}), 200, ""},
		{"refuses resources elsewhere", claims().with("capabilities", []any{object{"action": "search.web", "resources": []any{"https://other.example/search"}}}), 403, "aap_constraint_violation"},
		{"refuses resources that only begin alike", claims().with("capabilities", []any{object{"action": "search.web", "resources": []any{"https://api.example.com/se*"}}}), 403, "aap_constraint_violation"},
		{"admits the resource itself", claims().with("capabilities", []any{object{"action": "search.web", "resources": []any{"https://api.example.com/search"}}}), 200, ""},
		{"admits what is below a resource", claims().with("capabilities", []any{object{"action": "search.web", "resources": []any{"https://api.example.com/*"}}}), 200, ""},
		{"refuses an address that is not this server's", limited(object{"ip_ranges_allowed": []any{"192.0.2.0/24"}}), 403, "aap_constraint_violation"},
		{"X07: tells actions apart by case", claims().with("capabilities", []any{object{"action": "Search.Web"}}), 403, "aap_invalid_capability"},
		{"refuses an empty allow list", limited(object{"allowed_methods": []any{}}), 401, "invalid_token"},
		{"refuses a limit of zero", limited(object{"max_requests_per_hour": 0}), 401, "invalid_token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			o.PublicURL = "https://api.example.com"
			w := middleware(t, o)
			a := w.post(sign(t, nil, tt.claims), `{"order": {"amount": 12.50}, "pad": "x"}`, "Content-Type", "application/json", "X-Region", "DE")
			if tt.status == 200 {
				w.wantAdmitted(t, a)
				return
			}
			w.wantRefused(t, a, tt.status, tt.code)
		})
	}
}

// A capability's resources are this resource's, by its own name: a client that sends
// another Host does not make it another.
func TestResourcesAreNotChosenByHost(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		audience, resource, host string
		status                   int
	}{
		"the audience's host":              {audience, audience + "/search", "api.example.com", 200},
		"the audience's host, unnamed":     {audience, audience + "/*", "127.0.0.1", 200},
		"another host that is named":       {audience, "http://other.example/search", "other.example", 403},
		"an audience that is no URL":       {"urn:example:api", "http://other.example/search", "other.example", 403},
		"an audience that has a path, too": {audience + "/v1", audience + "/search", "other.example", 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			o.Audience = tt.audience
			w := middleware(t, o)
			token := sign(t, nil, claims().with("aud", tt.audience).with("capabilities", []any{object{"action": "search.web", "resources": []any{tt.resource}}}))
			r := w.authorised(http.MethodGet, token)
			r.Host = tt.host
			if a := w.send(r); a.status != tt.status {
				t.Errorf("answer %d %s, want %d", a.status, a.body, tt.status)
			}
		})
	}
}

// The destination is the target's address where the route has a target, and this
// server's where it has none. A name may lead anywhere.
func TestDestination(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Routes = append(o.Routes, route.Spec{Match: "GET /here", Action: "search.web"})
	w := middleware(t, o)
	token := sign(t, nil, limited(object{"ip_ranges_allowed": []any{"127.0.0.0/8", "2001:db8::/32"}}))
	for path, status := range map[string]int{
		"/here": 200, "/search?url=http://127.0.0.1:9/": 200, "/search?url=http://[2001:db8::1]/": 200, "/search?url=http://192.0.2.1/": 403,
		"/search?url=http://localhost/": 403, "/search": 403, "/search?url=http://2130706433/": 403, "/search?url=http://0x7f.1/": 403,
	} {
		if a := w.get(path, token); a.status != status {
			t.Errorf("%s: answer %d %s, want %d", path, a.status, a.body, status)
		}
	}
}

// X20 and its kin, on a route that has a label.
func TestClassification(t *testing.T) {
	t.Parallel()
	w := middleware(t, options(t))
	for limit, status := range map[string]int{"public": 403, "internal": 403, "confidential": 200, "restricted": 200} {
		token := sign(t, nil, claims().with("capabilities", []any{object{"action": "documents.read", "constraints": object{"data_classification_max": limit}}}))
		if a := w.get("/documents/7", token); a.status != status {
			t.Errorf("%s: answer %d %s, want %d", limit, a.status, a.body, status)
		}
	}
}

// X29: a route may say that it lives with constraints nobody enforces.
func TestX29UnknownConstraintsMayBeIgnored(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Routes[0].InsecureIgnoreUnknownConstraints = true
	var got *guard.Event
	o.Observe = func(_ context.Context, e *guard.Event) { got = e }
	w := middleware(t, o)
	w.wantAdmitted(t, w.get("/search", sign(t, nil, limited(object{"status": "draft_only"}))))
	if len(got.Ignored) != 1 || got.Ignored[0] != "status" {
		t.Errorf("the event ignores %q, want status", got.Ignored)
	}
	w.wantRefused(t, w.get("/search", sign(t, nil, limited(object{"status": "draft_only", "domains_allowed": []any{"example.org"}}))), 403, "aap_domain_not_allowed")
}

// Capabilities of one action are alternatives.
func TestAlternatives(t *testing.T) {
	t.Parallel()
	alternatives := func(constraints ...object) object {
		var list []any
		for _, c := range constraints {
			list = append(list, object{"action": "search.web", "constraints": c})
		}
		return claims().with("capabilities", list)
	}
	w := middleware(t, options(t))
	t.Run("takes the second when the first is used up", func(t *testing.T) {
		token := sign(t, nil, alternatives(object{"max_requests_per_hour": 1}, object{"max_requests_per_hour": 2}).with("jti", "alt-1"))
		for range 3 {
			w.wantAdmitted(t, w.get("/search", token))
		}
		a := w.get("/search", token)
		w.wantRefused(t, a, 429, "aap_constraint_violation")
	})
	t.Run("tells of the rate when that is all that hinders one of them", func(t *testing.T) {
		token := sign(t, nil, alternatives(object{"domains_allowed": []any{"example.org"}}, object{"max_requests_per_day": 1}).with("jti", "alt-2"))
		w.wantAdmitted(t, w.get("/search?url=https://example.org/", token))
		w.wantAdmitted(t, w.get("/search", token))
		a := w.get("/search", token)
		w.wantRefused(t, a, 429, "aap_constraint_violation")
		if got := a.header.Get("Retry-After"); got != "43200" { // noon to midnight
			t.Errorf("Retry-After %q, want 43200", got)
		}
	})
	t.Run("tells what hindered the first when no rate did", func(t *testing.T) {
		token := sign(t, nil, alternatives(object{"allowed_methods": []any{"POST"}}, object{"domains_allowed": []any{"example.org"}}).with("jti", "alt-3"))
		w.wantRefused(t, w.get("/search", token), 403, "aap_constraint_violation")
	})
	t.Run("counts a request that reached a capability and was refused", func(t *testing.T) {
		token := sign(t, nil, alternatives(object{"max_requests_per_hour": 2, "domains_allowed": []any{"example.org"}}).with("jti", "alt-4"))
		w.wantRefused(t, w.get("/search?url=https://evil.example/", token), 403, "aap_domain_not_allowed")
		w.wantAdmitted(t, w.get("/search?url=https://example.org/", token))
		w.wantRefused(t, w.get("/search?url=https://example.org/", token), 429, "aap_constraint_violation")
	})
	t.Run("does not count a request without a capability", func(t *testing.T) {
		token := sign(t, nil, alternatives(object{"max_requests_per_hour": 1}).with("jti", "alt-5"))
		w.wantRefused(t, w.get("/documents/7", token), 403, "aap_invalid_capability")
		w.wantAdmitted(t, w.get("/search", token))
	})
	t.Run("counts tokens apart", func(t *testing.T) {
		for _, jti := range []string{"alt-6", "alt-7"} {
			w.wantAdmitted(t, w.get("/search", sign(t, nil, alternatives(object{"max_requests_per_hour": 1}).with("jti", jti))))
		}
	})
}

// Oversight comes last: what waits for a human was admitted otherwise.
func TestOversight(t *testing.T) {
	t.Parallel()
	w := middleware(t, options(t))
	overseen := limited(object{"max_requests_per_hour": 1}).with("oversight", object{"level": "approval",
		"requires_human_approval_for": []any{"search.web"}, "approval_reference": "https://approve.example.com/ä,\""})
	token := sign(t, nil, overseen)
	a := w.get("/search", token)
	w.wantRefused(t, a, 403, "aap_approval_required")
	if a.field("approval_reference") != "https://approve.example.com/ä,\"" || a.header.Get(guard.HeaderApproval) != "https://approve.example.com/%C3%A4%2C%22" {
		t.Errorf("approval %q in the body, %q in the header", a.field("approval_reference"), a.header.Get(guard.HeaderApproval))
	}
	w.wantRefused(t, w.get("/search", token), 429, "aap_constraint_violation")

	o := options(t)
	var got *guard.Event
	o.Observe = func(_ context.Context, e *guard.Event) { got = e }
	w = middleware(t, o)
	w.wantAdmitted(t, w.get("/search", sign(t, nil, claims().with("oversight", object{"level": "notification", "notify_on": []any{"search.web"}}))))
	if !got.Notify {
		t.Error("the event does not ask to notify")
	}
}

// down is a store of counters and proofs that is away.
type down struct{}

func (down) Take(context.Context, string, []quota.Rule, time.Time) (quota.Decision, error) {
	return quota.Decision{}, errors.New("away")
}

func (down) Use(context.Context, string, time.Time) (bool, error) { return false, errors.New("away") }

func TestCountersAway(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Counters = down{}
	w := middleware(t, o)
	w.wantAdmitted(t, w.get("/search", sign(t, nil, claims())))
	token := sign(t, nil, limited(object{"max_requests_per_hour": 5}))
	a := w.get("/search", token)
	w.wantRefused(t, a, 503, "temporarily_unavailable")
	if a.header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
	o.InsecureAdmitUncounted = true
	var got *guard.Event
	o.Observe = func(_ context.Context, e *guard.Event) { got = e }
	w = middleware(t, o)
	w.wantAdmitted(t, w.get("/search", token))
	if !got.Uncounted {
		t.Error("the event does not say that nobody counted")
	}
}

// DP-18: a proof that may have been used before is refused.
func TestDP18ProofsAway(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Once = down{}
	w := middleware(t, o)
	token, key := bound(t, claims())
	r := w.request(http.MethodGet, "/search", nil)
	r.Header.Set("Authorization", "DPoP "+token)
	r.Header.Set("DPoP", w.prove(key, "GET", w.url+"/search", token))
	w.wantRefused(t, w.send(r), 503, "temporarily_unavailable")
}
