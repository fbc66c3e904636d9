package guard_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/guard/route"
)

var publicRoute = route.Spec{Match: "GET /status", InsecurePublic: true}

// Steps 9 to 13: who, for what, how far from its origin, and where.
func TestClaims(t *testing.T) {
	t.Parallel()
	one := 1
	strict := func(o *guard.Options) {
		o.Agents, o.DeniedModels, o.NetworkZone, o.MaxDepth = []string{"agent-r1"}, []string{"acme/gpt"}, "inside", &one
	}
	agent := func(name string, v any) object {
		return claims().with("agent", object{"id": "agent-r1", "type": "llm-autonomous", "operator": "org:example"}.with(name, v))
	}
	task := func(name string, v any) object {
		return claims().with("task", object{"id": "t-1", "purpose": "test"}.with(name, v))
	}
	delegated := func(depth, limit int, chain ...any) object {
		return claims().with("delegation", object{"depth": depth, "max_depth": limit, "chain": chain, "parent_jti": "p"})
	}
	context := func(name string, v any) object { return claims().with("context", object{name: v}) }
	for _, tt := range []struct {
		name   string
		claims object
		tune   func(*guard.Options)
		status int
		code   string
	}{
		{"admits a listed agent", claims(), strict, 200, ""},
		{"X25: refuses an agent that is not listed", agent("id", "agent-r2"), strict, 403, "aap_agent_not_recognized"},
		{"tells agents apart by case", agent("id", "Agent-r1"), strict, 403, "aap_agent_not_recognized"},
		{"X25: refuses a model that is denied", agent("model", "acme/gpt@4"), strict, 403, "aap_agent_not_recognized"},
		{"X25: refuses a model that is denied, as an object", agent("model", object{"provider": "acme", "id": "GPT", "version": "4"}), strict, 403, "aap_agent_not_recognized"},
		{"admits another model", agent("model", "acme/other"), strict, 200, ""},
		{"refuses a runtime that is not attested where that is asked for", agent("runtime", object{"attested": false}), func(o *guard.Options) { o.RequireAttested = true }, 403, "aap_agent_not_recognized"},
		{"refuses no word on attestation where that is asked for", claims(), func(o *guard.Options) { o.RequireAttested = true }, 403, "aap_agent_not_recognized"},
		{"admits an attested runtime", agent("runtime", object{"attested": true}), func(o *guard.Options) { o.RequireAttested = true }, 200, ""},
		{"X09: refuses a purpose of 257 characters", task("purpose", strings.Repeat("p", 257)), nil, 401, "invalid_token"},
		{"refuses a task that has expired", task("expires_at", now.Unix()), nil, 403, "aap_task_mismatch"},
		{"admits a task that expires later", task("expires_at", now.Unix()+1), nil, 200, ""},
		{"refuses a task made in the future", task("created_at", now.Unix()+31), nil, 403, "aap_task_mismatch"},
		{"admits a task made within the leeway", task("created_at", now.Unix()+30), nil, 200, ""},
		{"X30: admits a token without delegation as an original", claims().with("delegation", nil), strict, 200, ""},
		{"refuses a depth beyond this resource's limit", delegated(2, 3, "a", "b", "c"), strict, 403, "aap_excessive_delegation"},
		{"admits a depth at this resource's limit", delegated(1, 3, "a", "b"), strict, 200, ""},
		{"refuses a depth beyond the token's limit", delegated(2, 1, "a", "b", "c"), nil, 403, "aap_excessive_delegation"},
		{"refuses a delegated token without a parent", claims().with("delegation", object{"depth": 1, "max_depth": 2, "chain": []any{"a", "b"}}), nil, 403, "aap_invalid_delegation_chain"},
		{"refuses an unlisted agent before its bad delegation", agent("id", "x").with("delegation", object{}), strict, 403, "aap_agent_not_recognized"},
		{"X26: refuses another zone", context("network_zone", "outside"), strict, 403, "aap_invalid_context"},
		{"refuses a zone where none is known here", context("network_zone", "inside"), nil, 403, "aap_invalid_context"},
		{"admits its own zone", context("network_zone", "inside"), strict, 200, ""},
		{"X26: refuses a window that is over", context("time_window", object{"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}), nil, 403, "aap_invalid_context"},
		{"refuses a session that is over", context("session", object{"id": "s", "expires_at": now.Unix()}), nil, 403, "aap_invalid_context"},
		{"refuses a region that is not told", context("geo_restriction", "DE"), nil, 403, "aap_invalid_context"},
		{"refuses the agent's region where it is not told", context("location", object{"region": "DE"}), nil, 403, "aap_invalid_context"},
		{"admits no geographic restriction", context("geo_restriction", "none"), nil, 200, ""},
		{"refuses a malformed lineage", claims().with("lineage", "x"), nil, 401, "invalid_token"},
		{"refuses a malformed actor", claims().with("act", object{"iss": "x"}), nil, 401, "invalid_token"},
		{"refuses an expired token before its agent", agent("id", "x").with("exp", now.Unix()-60), strict, 401, "invalid_token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			if tt.tune != nil {
				tt.tune(&o)
			}
			w := middleware(t, o)
			a := w.get("/search", sign(t, nil, tt.claims))
			if tt.status == 200 {
				w.wantAdmitted(t, a)
				return
			}
			w.wantRefused(t, a, tt.status, tt.code)
		})
	}
}

// The region of the context is held against what the route extracts.
func TestContextRegion(t *testing.T) {
	t.Parallel()
	w := middleware(t, options(t))
	token := sign(t, nil, claims().with("context", object{"location": object{"region": "DE"}, "geo_restriction": "de"}))
	for region, status := range map[string]int{"DE": 200, "de": 200, "FR": 403, "": 403, "DE, FR": 403} {
		r := w.request(http.MethodPost, "/search", strings.NewReader("{}"))
		r.Header.Set("Authorization", "Bearer "+token)
		if region != "" {
			r.Header.Set("X-Region", region)
		}
		if a := w.send(r); a.status != status {
			t.Errorf("region %q: answer %d %s, want %d", region, a.status, a.body, status)
		}
	}
}

// What a task may touch bounds what a route gives access to.
func TestDataSensitivity(t *testing.T) {
	t.Parallel()
	w := middleware(t, options(t))
	read := []any{object{"action": "documents.read"}}
	for sensitivity, status := range map[string]int{"public": 403, "internal": 403, "confidential": 200, "restricted": 200} {
		token := sign(t, nil, claims().with("capabilities", read).with("task", object{"id": "t", "purpose": "p", "data_sensitivity": sensitivity}))
		if a := w.get("/documents/7", token); a.status != status || status == 403 && a.field("error") != "aap_task_mismatch" {
			t.Errorf("%s: answer %d %s, want %d", sensitivity, a.status, a.body, status)
		}
	}
}

// The times of a token are held against the clock each time, remembered or not.
func TestRememberedTokensExpire(t *testing.T) {
	t.Parallel()
	o, at := options(t), now
	o.Now = func() time.Time { return at }
	w := middleware(t, o)
	token := sign(t, nil, claims())
	w.wantAdmitted(t, w.get("/search", token))
	at = now.Add(4*time.Minute + 30*time.Second)
	w.wantAdmitted(t, w.get("/search", token))
	at = at.Add(time.Second)
	w.wantRefused(t, w.get("/search", token), 401, "invalid_token")
	at = now
	w.wantAdmitted(t, w.get("/search", token))
}

// RV-17: what is remembered is the token, whole; nothing is decided by less.
func TestRV17TokensAreTakenWhole(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.MaxTokens = 4
	w := middleware(t, o)
	token := sign(t, nil, claims())
	w.wantAdmitted(t, w.get("/search", token))
	w.wantRefused(t, w.get("/documents/7", token), 403, "aap_invalid_capability")
	parts := strings.Split(token, ".")
	again := strings.Split(sign(t, nil, claims().with("capabilities", []any{object{"action": "documents.read"}})), ".")
	w.wantRefused(t, w.get("/documents/7", parts[0]+"."+again[1]+"."+parts[2]), 401, "invalid_token")
	w.wantRefused(t, w.get("/search", token[:len(token)-1]), 401, "invalid_token")
	for i := range 50 { // more tokens than are remembered
		w.wantAdmitted(t, w.get("/search", sign(t, nil, claims().with("jti", strconv.Itoa(i)))))
	}
	w.wantAdmitted(t, w.get("/search", token))
}
