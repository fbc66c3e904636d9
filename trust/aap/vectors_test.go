package aap_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/comity-auth/comity/trust/aap"
)

type vectorFile struct {
	Base   map[string]any            `json:"base"`
	Tokens map[string]map[string]any `json:"tokens"`
	Cases  []vectorCase              `json:"cases"`
}

type vectorCase struct {
	ID    string         `json:"id"`
	Token string         `json:"token"`
	Patch map[string]any `json:"patch"`
	Req   *vectorRequest `json:"req"`
	AS    *vectorAS      `json:"as"`
	Want  struct {
		Kind        string         `json:"kind"`
		Code        any            `json:"code"`
		CanDelegate *bool          `json:"can_delegate"`
		Index       *int           `json:"capability_index"`
		Token       map[string]any `json:"token"`
	} `json:"want"`
}

type vectorRequest struct {
	Action, URL, Method string
	TS                  string
	Length              int64
}

type vectorAS struct {
	Parent map[string]any
	Now    int64
	Actor  string
	Select []string
	Cross  bool `json:"cross_domain"`
}

// elsewhere lists the rows that turn on a clock, an audience or a counter,
// which this package does not have. Their claims are still read here.
func elsewhere() []string {
	return []string{
		"V02.3", "C01.1", "C01.2", "C01.3", "C01.4", "C01.5", // counters
		"I01.1", "I01.2", "I01.3", "E01.1", "E01.2", "E01.3", "E01.4", "E01.5", "E01.6", "E01.7", // exp, nbf
		"I02.1", "I02.2", // aud
	}
}

func loadVectors(t *testing.T) vectorFile {
	t.Helper()
	f, err := os.Open("../../fixtures/vectors/aap-draft01.json")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	d := json.NewDecoder(f)
	d.UseNumber()
	var v vectorFile
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	if len(v.Cases) != 74 {
		t.Fatalf("%d rows, want 74", len(v.Cases))
	}
	return v
}

func TestVectors(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	for _, c := range v.Cases {
		t.Run(c.ID, func(t *testing.T) {
			t.Parallel()
			token := map[string]any{}
			if c.Token != "" {
				token = v.Tokens[c.Token]
			}
			payload := merge(merge(v.Base, token), c.Patch)
			if c.Patch == nil {
				payload = merge(v.Base, token)
			}
			switch {
			case slices.Contains(elsewhere(), c.ID):
				if got, err := aap.Parse(payload.(map[string]any), aap.Options{}); got == nil || err != nil {
					t.Errorf("Parse = %v, %v; want claims", got, err)
				}
			case c.AS != nil:
				runAS(t, v.Base, c)
			default:
				runRS(t, payload.(map[string]any), c)
			}
		})
	}
}

// runRS answers a row as a resource server with neither clock skew nor
// counters would.
func runRS(t *testing.T, payload map[string]any, c vectorCase) {
	claims, err := aap.Parse(payload, aap.Options{})
	code, index := tokenCode(claims, err), -1
	if code == "" && c.Req != nil {
		code, index = decide(t, claims, *c.Req)
	}
	switch c.Want.Kind {
	case "allow", "accept":
		if code != "" {
			t.Fatalf("refused with %s (%v), want %s", code, err, c.Want.Kind)
		}
	default:
		if !wanted(c.Want.Code, code) {
			t.Fatalf("code = %q (%v), want %v", code, err, c.Want.Code)
		}
		return
	}
	if c.Want.Index != nil && index != *c.Want.Index {
		t.Errorf("capability %d decided, want %d", index, *c.Want.Index)
	}
	if c.Want.CanDelegate != nil && claims.Delegation.CanDelegate() != *c.Want.CanDelegate {
		t.Errorf("can delegate = %v, want %v", !*c.Want.CanDelegate, *c.Want.CanDelegate)
	}
}

func tokenCode(claims *aap.Claims, err error) string {
	switch {
	case errors.Is(err, aap.ErrDepth):
		return "aap_excessive_delegation"
	case errors.Is(err, aap.ErrDelegation):
		return "aap_invalid_delegation_chain"
	case err != nil || claims == nil:
		return "invalid_token"
	}
	return ""
}

func wanted(want any, got string) bool {
	if l, ok := want.([]any); ok {
		return slices.Contains(l, any(got))
	}
	return want == got
}

func decide(t *testing.T, claims *aap.Claims, req vectorRequest) (code string, index int) {
	action, err := aap.ParseAction(req.Action)
	if err != nil {
		t.Fatal(err)
	}
	first := "aap_invalid_capability"
	for n, i := range claims.For(action) {
		code := violation(t, claims.Capabilities[i].Constraints, req)
		if code == "" && claims.Oversight.Requires(action) {
			code = "aap_approval_required"
		}
		if code == "" {
			return "", i
		}
		if n == 0 {
			first = code
		}
	}
	return first, -1
}

func violation(t *testing.T, c aap.Constraints, req vectorRequest) string {
	u, err := url.Parse(req.URL)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1735686600, 0)
	if req.TS != "" {
		if now, err = time.Parse(time.RFC3339, req.TS); err != nil {
			t.Fatal(err)
		}
	}
	switch {
	case !c.AllowsHost(u.Host):
		return "aap_domain_not_allowed"
	case !c.AllowsTime(now):
		return "aap_capability_expired"
	case !c.AllowsMethod(req.Method):
		return "aap_constraint_violation"
	case !c.AllowsRequestSize(req.Length):
		return "request_too_large"
	}
	return ""
}

// runAS answers a row as the exchange would, with a mapping that narrows as
// the draft's worked example does.
func runAS(t *testing.T, base map[string]any, c vectorCase) {
	payload := merge(base, any(c.AS.Parent)).(map[string]any)
	if d := payload["delegation"].(map[string]any); d["depth"] != json.Number("0") && d["parent_jti"] == nil {
		d["parent_jti"] = "left out by the row" // without it no token of that depth is read at all
	}
	parent, err := aap.Parse(payload, aap.Options{})
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	iat, exp := instant(t, payload["iat"]), instant(t, payload["exp"])
	now := iat
	if c.AS.Now != 0 {
		now = time.Unix(c.AS.Now, 0)
	}
	end := aap.HalfLife(iat, exp, now)
	from := parent
	if c.AS.Cross {
		if from, err = parent.Cross(pseudonymiser(t, key('k'), "acme.example", "globex.example"), nil); err != nil {
			t.Fatal(err)
		}
	}
	child, err := aap.Derive(from, aap.DeriveInput{
		Holder: cmp.Or(c.AS.Actor, "tool"), ParentJTI: payload["jti"].(string), MaxDepth: 10,
		Capabilities: narrowed(t, parent, c.AS.Select), ParentLife: exp.Sub(iat), ChildLife: end.Sub(now),
	})
	if c.Want.Kind == "refuse" {
		if !errors.Is(err, aap.ErrDepth) {
			t.Errorf("Derive = %v, want ErrDepth", err)
		}
		return
	}
	if err != nil {
		t.Fatalf("Derive: %v", err)
	}
	checkIssued(t, c, child, end)
	if c.AS.Cross && (child.Task.CreatedBy != "" || child.Agent.ID == parent.Agent.ID || child.Task.ID == parent.Task.ID || child.Audit.TraceID != "") {
		t.Errorf("identifiers crossed: %+v %+v %+v", child.Agent, child.Task, child.Audit)
	}
}

func narrowed(t *testing.T, parent *aap.Claims, selected []string) []aap.Capability {
	ceiling := constraints(t, `{"domains_allowed": ["example.org"], "max_requests_per_hour": 50}`)
	var out []aap.Capability
	for _, c := range parent.Capabilities {
		if selected == nil {
			out = append(out, c)
		} else if slices.Contains(selected, c.Action.String()) {
			met, ok := aap.Meet(c.Constraints, ceiling)
			if !ok {
				t.Fatal("the meet is empty")
			}
			out = append(out, aap.Capability{Action: c.Action, Constraints: met})
		}
	}
	return out
}

// checkIssued compares the members that the row names.
func checkIssued(t *testing.T, c vectorCase, child *aap.Claims, end time.Time) {
	got := payload(t, strings.TrimSpace(marshal(t, child)))
	for name, want := range c.Want.Token {
		switch name {
		case "aud", "iat": // the exchange's own
		case "exp":
			if instant(t, want) != end {
				t.Errorf("exp = %d, want %v", end.Unix(), want)
			}
		case "capabilities":
			if diff := gocmp.Diff(want, got[name]); diff != "" {
				t.Errorf("capabilities (-want +got):\n%s", diff)
			}
		default:
			if diff := gocmp.Diff(want, only(got[name], want)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
	}
}

// only keeps the members of got that want has.
func only(got, want any) any {
	out := map[string]any{}
	for name := range want.(map[string]any) {
		out[name] = got.(map[string]any)[name]
	}
	return out
}

func instant(t *testing.T, v any) time.Time {
	n, err := v.(json.Number).Int64()
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(n, 0)
}
