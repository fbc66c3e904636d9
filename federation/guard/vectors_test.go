package guard_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/guard/route"
	"github.com/comity-auth/comity/federation/quota"
	"github.com/comity-auth/comity/trust/aap"
)

// The draft's own test cases. The rows of an authorization server are package
// exchange's and package aap's.

type vectorFile struct {
	DefaultNow  int64                     `json:"default_now"`
	DefaultSkew int64                     `json:"default_skew"`
	Base        map[string]any            `json:"base"`
	Tokens      map[string]map[string]any `json:"tokens"`
	Cases       []vector                  `json:"cases"`
}

type vector struct {
	ID       string         `json:"id"`
	Token    string         `json:"token"`
	Patch    map[string]any `json:"patch"`
	Now      int64          `json:"now"`
	Skew     *int64         `json:"skew"`
	Audience string         `json:"rs_audience"`
	Prior    struct {
		Hour   int
		Bucket int64 `json:"hour_bucket"`
		Stamps []int64
	} `json:"prior"`
	Req *struct {
		Action, URL, Method, TS string
		Length                  int64
	} `json:"req"`
	AS   any `json:"as"`
	Want struct {
		Kind        string         `json:"kind"`
		HTTP        int            `json:"http"`
		Code        any            `json:"code"`
		Says        string         `json:"says"`
		RetryAfter  []int          `json:"retry_after"`
		Body        map[string]any `json:"body"`
		CanDelegate *bool          `json:"can_delegate"`
		Index       *int           `json:"capability_index"`
	} `json:"want"`
}

func loadVectors(t *testing.T) vectorFile {
	t.Helper()
	text, err := os.ReadFile("../../fixtures/vectors/aap-draft01.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectorFile
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Cases) != 74 {
		t.Fatalf("%d rows, want 74", len(v.Cases))
	}
	return v
}

// merge is RFC 7396.
func merge(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out := map[string]any{}
	if t, ok := target.(map[string]any); ok {
		for k, v := range t {
			out[k] = v
		}
	}
	for k, v := range p {
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = merge(out[k], v)
	}
	return out
}

func TestVectors(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	modes := map[string]func(testing.TB, guard.Options) *world{"middleware": middleware, "proxy": proxied, "forward-auth": asked}
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ran := 0
			for _, c := range v.Cases {
				if c.AS != nil {
					continue
				}
				ran++
				t.Run(c.ID, func(t *testing.T) { runVector(t, v, c, mode) })
			}
			if ran != 69 {
				t.Errorf("%d rows of a resource server, want 69", ran)
			}
		})
	}
}

// runVector brings a row's token and request before a guard whose clock, skew and
// counts are the row's.
func runVector(t *testing.T, v vectorFile, c vector, mode func(testing.TB, guard.Options) *world) {
	payload := merge(merge(v.Base, map[string]any(v.Tokens[c.Token])), map[string]any(c.Patch)).(map[string]any)
	at, skew := v.DefaultNow, v.DefaultSkew
	if c.Now != 0 {
		at = c.Now
	}
	if c.Skew != nil {
		skew = *c.Skew
	}
	if c.Req != nil && c.Req.TS != "" {
		// The row's clock is for the window alone: the token moves along.
		ts, err := time.Parse(time.RFC3339, c.Req.TS)
		if err != nil {
			t.Fatal(err)
		}
		shift := float64(ts.Unix() - at)
		payload["iat"], payload["exp"] = payload["iat"].(float64)+shift, payload["exp"].(float64)+shift
		at = ts.Unix()
	}
	clock := at
	o := options(t)
	o.Now = func() time.Time { return time.Unix(clock, 0).UTC() }
	o.Leeway, o.MaxTokenAge = time.Duration(skew)*time.Second, 24*time.Hour
	if c.Audience != "" {
		o.Audience = c.Audience
	}
	var got *guard.Event // written before the answer is sent, read after it came
	o.Observe = func(_ context.Context, e *guard.Event) { got = e }
	counters := quota.NewCounters(quota.Options{MaxKeys: 1024, Now: o.Now})
	o.Counters = counters
	o.Routes = nil
	for _, action := range actionsOf(payload, c) {
		for _, m := range []string{"GET", "POST", "PUT"} {
			o.Routes = append(o.Routes, route.Spec{Match: m + " /do/" + action, Action: action, Target: "query:url"})
		}
	}
	prior(t, c, counters, payload, &clock)
	clock = at

	w := mode(t, o)
	w.resource.answer = func(_ http.ResponseWriter, r *http.Request) {
		grant, ok := guard.FromContext(r.Context())
		if c.Want.CanDelegate != nil && ok && grant.Agent.Delegation.CanDelegate() != *c.Want.CanDelegate {
			t.Errorf("can delegate = %v, want %v", !*c.Want.CanDelegate, *c.Want.CanDelegate)
		}
	}
	checkVector(t, w, c, askVector(t, w, payload, c))
	switch {
	case got == nil:
		t.Error("there was no event")
	case c.Want.Index != nil && got.Capability != *c.Want.Index:
		t.Errorf("capability %d decided, want %d", got.Capability, *c.Want.Index)
	}
}

// actionsOf lists the actions that get routes: the row's request's, and the
// token's where it names any that is one.
func actionsOf(payload map[string]any, c vector) []string {
	out := []string{"test.action"}
	if c.Req != nil {
		out = append(out, c.Req.Action)
	}
	list, _ := payload["capabilities"].([]any)
	for _, one := range list {
		name, _ := one.(map[string]any)["action"].(string)
		if _, err := aap.ParseAction(name); err == nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// prior brings the counts that a row begins with. Where the row names the hour by
// its number, they are of that hour.
func prior(t *testing.T, c vector, counters *quota.Counters, payload map[string]any, clock *int64) {
	t.Helper()
	issuer, _ := payload["iss"].(string)
	id, _ := payload["jti"].(string)
	take := func(span quota.Span) {
		until := time.Unix(*clock, 0).Add(48 * time.Hour)
		if d, err := counters.Take(t.Context(), guard.RateKey(issuer, id, 0), []quota.Rule{{Span: span, Max: 1000}}, until); err != nil || !d.OK {
			t.Fatalf("Take = %+v, %v", d, err)
		}
	}
	for _, stamp := range c.Prior.Stamps {
		*clock = stamp
		take(quota.Minute)
	}
	if c.Prior.Bucket != 0 {
		*clock = c.Prior.Bucket * 3600
	} else if len(c.Prior.Stamps) == 0 && c.Now != 0 {
		*clock = c.Now
	}
	for range c.Prior.Hour {
		take(quota.Hour)
	}
}

// askVector sends the row's request, or where it has none one for the token's
// first action.
func askVector(t *testing.T, w *world, payload map[string]any, c vector) answer {
	t.Helper()
	method, path, length := http.MethodGet, "/do/"+actionsOf(payload, c)[0], int64(0)
	if list, _ := payload["capabilities"].([]any); len(list) > 0 {
		if a, err := aap.ParseAction(list[0].(map[string]any)["action"].(string)); err == nil {
			path = "/do/" + a.String()
		}
	}
	if c.Req == nil {
		path += "?url=" + url.QueryEscape("https://example.org/") // of tokens only, whatever they limit
	} else {
		path, length = "/do/"+c.Req.Action, c.Req.Length
		if c.Req.Method != "" {
			method = c.Req.Method
		}
		if c.Req.URL != "" {
			path += "?url=" + url.QueryEscape(c.Req.URL)
		}
	}
	r := w.request(method, path, nil)
	if length > 0 {
		r.Body, r.ContentLength = io.NopCloser(io.LimitReader(zeros{}, length)), length
		r.Header.Set("Expect", "100-continue")
	}
	r.Header.Set("Authorization", "Bearer "+sign(t, nil, payload))
	return w.send(r)
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func checkVector(t *testing.T, w *world, c vector, a answer) {
	t.Helper()
	if c.Want.Kind == "allow" || c.Want.Kind == "accept" {
		w.wantAdmitted(t, a)
		return
	}
	codes, many := c.Want.Code.([]any)
	if !many {
		codes = []any{c.Want.Code}
	}
	if a.status != c.Want.HTTP || !slices.Contains(codes, any(a.field("error"))) {
		t.Fatalf("answer %d %s, want %d %v", a.status, a.body, c.Want.HTTP, codes)
	}
	if w.resource.take() != nil {
		t.Error("the request reached the resource")
	}
	if !strings.Contains(strings.ToLower(a.field("error_description")), c.Want.Says) {
		t.Errorf("error_description %q, want it to say %q", a.field("error_description"), c.Want.Says)
	}
	for name, want := range c.Want.Body {
		if a.field(name) != want {
			t.Errorf("%s = %q, want %q", name, a.field(name), want)
		}
	}
	if len(c.Want.RetryAfter) == 2 {
		n, err := strconv.Atoi(a.header.Get("Retry-After"))
		if err != nil || n < c.Want.RetryAfter[0] || n > c.Want.RetryAfter[1] {
			t.Errorf("Retry-After %q, want %v", a.header.Get("Retry-After"), c.Want.RetryAfter)
		}
	}
	if a.status == http.StatusUnauthorized && !strings.Contains(a.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("WWW-Authenticate %q, want invalid_token", a.header.Get("WWW-Authenticate"))
	}
	if a.field("error_correlation_id") == "" || a.field("error_correlation_id") != a.header.Get(guard.HeaderDecision) {
		t.Errorf("correlation id %q in the body, %q in the header", a.field("error_correlation_id"), a.header.Get(guard.HeaderDecision))
	}
}
