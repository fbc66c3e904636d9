package guard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/guard/route"
)

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		tune func(*guard.Options)
		says string
	}{
		{"no audience", func(o *guard.Options) { o.Audience = "" }, "audience"},
		{"an audience that is a wildcard", func(o *guard.Options) { o.Audience = "*" }, "audience"},
		{"no issuers", func(o *guard.Options) { o.Issuers = nil }, "issuers"},
		{"an issuer twice", func(o *guard.Options) { o.Issuers = append(o.Issuers, o.Issuers[0]) }, "issuers[1]: is there twice"},
		{"an issuer that is none", func(o *guard.Options) { o.Issuers[0].Issuer = "as" }, "issuers[0]"},
		{"an issuer on loopback that egress does not name", func(o *guard.Options) {
			o.Issuers[0], o.Egress = guard.Issuer{Issuer: "http://127.0.0.1:8180"}, nil
		}, "issuer http://127.0.0.1:8180: feed: address not allowed; to allow it, name its network in egress"},
		{"an issuer by http", func(o *guard.Options) { o.Issuers[0].Issuer = "http://as.example.com" }, "issuers[0]"},
		{"a symmetric algorithm", func(o *guard.Options) { o.Issuers[0].Algorithms = []string{"HS256"} }, "HS256"},
		{"no algorithm at all", func(o *guard.Options) { o.Issuers[0].Algorithms = []string{"none"} }, "none"},
		{"keys at two places", func(o *guard.Options) { o.Issuers[0].JWKSURI = "https://as.example.com/keys" }, "both jwks and jwks_uri"},
		{"no routes", func(o *guard.Options) { o.Routes = nil }, "routes"},
		{"a leeway beyond the draft's", func(o *guard.Options) { o.Leeway = 301 * time.Second }, "leeway"},
		{"a negative leeway", func(o *guard.Options) { o.Leeway = -1 }, "leeway"},
		{"a public URL with a query", func(o *guard.Options) { o.PublicURL = "https://x?y" }, "public_url"},
		{"a public URL that is relative", func(o *guard.Options) { o.PublicURL = "/x" }, "public_url"},
		{"a feed that may be no age at all", func(o *guard.Options) { o.FeedMaxAge = time.Millisecond }, "max_age"},
		{"roots that are not there", func(o *guard.Options) { o.Roots = "/nowhere/ca.pem" }, "ca.pem"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			tt.tune(&o)
			if _, err := guard.New(o); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("New = %v, want it to say %q", err, tt.says)
			}
		})
	}
	if _, err := guard.New(guard.Options{}); err == nil {
		t.Error("the zero Options were accepted")
	}
}

// RFC 9728: the resource says where to get tokens for it.
func TestMetadata(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Audience = "https://api.example.com/v1/"
	w := middleware(t, o)
	a := w.send(w.request(http.MethodGet, "/.well-known/oauth-protected-resource/v1", nil))
	var got map[string]any
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("answer %d %v %s: %v", a.status, a.header, a.body, err)
	}
	if got["resource"] != o.Audience || got["authorization_servers"].([]any)[0] != asIssuer || got["bearer_methods_supported"].([]any)[0] != "header" {
		t.Errorf("metadata %v", got)
	}
	if scopes := got["scopes_supported"].([]any); !slices.Equal(scopes, []any{"docs.read", "reports.read"}) {
		t.Errorf("scopes %v", scopes)
	}
	challenge := w.send(w.request(http.MethodGet, "/search", nil)).header.Get("WWW-Authenticate")
	if want := `resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/v1"`; !strings.Contains(challenge, want) {
		t.Errorf("WWW-Authenticate %q, want %s", challenge, want)
	}
	if a := w.send(w.request(http.MethodPost, "/.well-known/oauth-protected-resource/v1", nil)); a.status == 200 {
		t.Error("POST of the metadata was answered")
	}

	o.Audience = "urn:example:api"
	w = middleware(t, o)
	if a := w.send(w.request(http.MethodGet, "/.well-known/oauth-protected-resource", nil)); a.status != 401 {
		t.Errorf("metadata of a resource that is no URL: %d, want 401", a.status)
	}
}

// One event per decision, without token, proof, or anything of the request but
// its method.
func TestEvents(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	o := options(t)
	o.Logger = slog.New(slog.NewJSONHandler(&log, nil))
	var events []*guard.Event
	o.Observe = func(_ context.Context, e *guard.Event) { events = append(events, e) }
	w := middleware(t, o)
	token := sign(t, nil, claims().with("sub", "secret-subject").with("act", object{"sub": "tool", "iss": asIssuer}))
	w.wantAdmitted(t, w.get("/search?url=https://secret.example/", token))
	r := w.request("BREW", "/secret-path\n"[:12], nil)
	r.Header.Set("Authorization", "Bearer "+token+"x")
	r.Header.Set("User-Agent", "secret-agent")
	w.send(r)
	if len(events) != 2 || !events[0].Admitted() || events[1].Admitted() {
		t.Fatalf("events %+v", events)
	}
	e := events[0]
	if e.AgentID != "agent-r1" || e.Operator != "org:example" || e.TaskID != "t-1" || e.TokenID != "j1" || e.Actor != "tool" ||
		e.Trace != "0af7651916cd43dd8448eb211c80319c" || e.Route != "GET /search" || e.Action != "search.web" || e.Capability != 0 || e.Status != 200 {
		t.Errorf("event %+v", e)
	}
	if e := events[1]; e.Method != "other" || e.Reason != "signature" && e.Reason != "token_malformed" || e.Status != 401 || e.AgentID != "" {
		t.Errorf("event %+v", e)
	}
	for _, secret := range []string{"secret", token, strings.Split(token, ".")[2]} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds %.20s: %s", secret, log.String())
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines in the log, want 2", n)
	}
}

func TestReasonsAreOneSet(t *testing.T) {
	t.Parallel()
	all := guard.Reasons()
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	if len(slices.Compact(sorted)) != len(all) {
		t.Errorf("a reason is there twice: %v", sorted)
	}
}

// An issuer whose keys cannot be had makes its tokens wait, not fail.
func TestKeysAway(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	o := options(t)
	o.Issuers[0].JWKS, o.Issuers[0].JWKSURI, o.Issuers[0].Issuer = nil, gone.URL+"/keys", gone.URL
	o.Egress = loopback
	w := middleware(t, o)
	a := w.get("/search", sign(t, nil, claims().with("iss", gone.URL)))
	w.wantRefused(t, a, 503, "temporarily_unavailable")
	if a.header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
}

// Before an issuer's revocations were read, a guard says so, and of no age.
func TestNotReadyBeforeRevocationsAreRead(t *testing.T) {
	t.Parallel()
	g, err := guard.New(guard.Options{
		Audience: "https://archive.globex.example", Issuers: []guard.Issuer{{Issuer: "http://127.0.0.1:8180"}},
		Routes: []route.Spec{{Match: "GET /search", Action: "archive.search"}},
		Egress: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Ready(); err == nil || err.Error() != "revocations of http://127.0.0.1:8180: not read yet" {
		t.Errorf("Ready = %v, want that they were not read", err)
	}
}
