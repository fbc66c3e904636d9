package trust_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/audit"
	"github.com/comity-auth/comity/trust/ident"
)

var (
	now    = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	expiry = time.Date(2027, 11, 21, 0, 0, 0, 0, time.UTC)
)

const (
	ownIssuer = "https://broker.globex.example"
	archive   = "https://archive.globex.example"
	acmeIss   = "https://as.acme.example"
)

func settings() trust.Settings {
	return trust.Settings{Domain: ident.MustDomain("globex.example"), Issuer: ident.MustIssuer(ownIssuer),
		TTL: 5 * time.Minute, MaxTTL: 15 * time.Minute, MinTTL: 30 * time.Second}
}

func newCompiler(t testing.TB) *trust.Compiler {
	t.Helper()
	c, err := trust.NewCompiler(settings())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func parse(t testing.TB, text string) *trust.File {
	t.Helper()
	f, problems := newCompiler(t).ParseFile([]byte(text))
	if len(problems) > 0 {
		t.Fatalf("ParseFile found problems:\n%s", problems.Error())
	}
	return f
}

// stateOf is a whole state, as a store that was made equal to the file holds it.
func stateOf(t testing.TB, f *trust.File, rev trust.Revision) trust.State {
	t.Helper()
	change, _, err := trust.Plan(trust.State{}, f)
	if err != nil {
		t.Fatal(err)
	}
	return trust.State{Revision: rev, Objects: change.Put}
}

func compile(t testing.TB, text string) *trust.Snapshot {
	t.Helper()
	s, err := newCompiler(t).Compile(nil, stateOf(t, parse(t, text), 1))
	if err != nil {
		t.Fatal(err)
	}
	if faulty := s.Faulty(); len(faulty) > 0 {
		t.Fatalf("faulty objects: %v", faulty)
	}
	return s
}

// world is a registry in which each test changes what it is about.
const world = `
peers:
  - {name: acme, domain: acme.example, issuer: "https://as.acme.example", expires: 2027-11-21T00:00:00Z}
  - {name: branch, domain: globex.example, issuer: "https://as.branch.globex.example", expires: 2027-11-21T00:00:00Z}
resources:
  - audience: https://archive.globex.example
    scopes: [archive.read, archive.list]
    actions: [archive.search, archive.fetch, archive.delete]
    client: archive-api
  - {audience: "https://other.globex.example", scopes: [other.read], actions: [other.run]}
clients:
  - {id: archive-api, auth: client_secret_basic, secret_hash: "sha256:0000000000000000000000000000000000000000000000000000000000000000", proof: optional, expires: 2027-11-21T00:00:00Z}
  - id: acme-agent
    auth: private_key_jwt
    jwks_uri: https://as.acme.example/agent.jwks
    grants: [token-exchange, client_credentials]
    operator: org:acme
    agent: {id: acme-agent-1, type: llm-autonomous}
    known_as: {acme: agent@acme, branch: agent@branch}
    expires: 2027-11-21T00:00:00Z
  - {id: lax, auth: client_secret_post, secret_hash: "sha256:0000000000000000000000000000000000000000000000000000000000000000", proof: optional, known_as: {acme: lax@acme, branch: lax@branch}, expires: 2027-11-21T00:00:00Z}
  - {id: strict, auth: client_secret_post, secret_hash: "sha256:0000000000000000000000000000000000000000000000000000000000000000", proof: dpop, known_as: {acme: strict@acme}, expires: 2027-11-21T00:00:00Z}
  - {id: open, auth: none, known_as: {acme: open@acme}, expires: 2027-11-21T00:00:00Z}
`

// mapping is a world with one mapping, made of the lines given.
func mapping(lines ...string) string { return worldWith("mappings", lines...) }

func worldWith(list string, lines ...string) string {
	return world + list + ":\n  - " + strings.Join(lines, "\n    ") + "\n"
}

// research is a mapping that most rules can be shown on.
func research(more ...string) string {
	return mapping(append([]string{"name: acme-research", "peer: acme", "clients: [acme-agent, lax, strict]",
		"resources: [https://archive.globex.example]"}, more...)...)
}

func names(t testing.TB) aap.Pseudonymiser {
	t.Helper()
	p, err := aap.NewPseudonymiser([]byte(strings.Repeat("k", 32)), ident.MustDomain("acme.example"), ident.MustDomain("globex.example"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ask is a question that the given snapshot's mapping would allow.
func ask(t testing.TB, s *trust.Snapshot, edits ...func(*trust.Ask)) *trust.Ask {
	t.Helper()
	a := &trust.Ask{
		Now: now, Grant: trust.GrantTokenExchange, Client: s.Client("acme-agent"), Peer: s.Peer("acme"),
		Subject: trust.Party{Issuer: acmeIss, Subject: "alice", Holder: "agent@acme", Claims: map[string]any{"sub": "alice"},
			IssuedAt: now.Add(-time.Minute), Expires: now.Add(time.Hour)},
		Targets: []ident.Audience{ident.MustAudience(archive)}, DPoP: true, ParentID: "parent-digest", Names: names(t),
	}
	for _, e := range edits {
		e(a)
	}
	return a
}

func scoped(scopes string) func(*trust.Ask) {
	return func(a *trust.Ask) { a.Subject.Scopes = ident.MustScopes(scopes) }
}

func asking(scopes string, actions ...string) func(*trust.Ask) {
	return func(a *trust.Ask) {
		a.Scopes = ident.MustScopes(scopes)
		for _, name := range actions {
			a.Actions = append(a.Actions, aap.MustAction(name))
		}
	}
}

// agent gives the subject agent claims with the capabilities.
func agent(capabilities ...aap.Capability) func(*trust.Ask) {
	return func(a *trust.Ask) {
		a.Subject.Agent = &aap.Claims{
			Agent:        &aap.Agent{ID: "agent-7", Type: "llm", Operator: "org:acme"},
			Task:         &aap.Task{ID: "task-9", Purpose: "research"},
			Capabilities: capabilities,
			Delegation:   &aap.Delegation{Depth: 0, MaxDepth: 2, Chain: []string{"agent-7"}},
		}
	}
}

func can(action string, constraints ...aap.Constraints) aap.Capability {
	c := aap.Capability{Action: aap.MustAction(action)}
	if len(constraints) > 0 {
		c.Constraints = constraints[0]
	}
	return c
}

func limits(t testing.TB, text map[string]any) aap.Constraints {
	t.Helper()
	c, err := aap.ParseConstraints(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// decide answers and holds what is true of every answer.
func decide(t testing.TB, s *trust.Snapshot, a *trust.Ask) (trust.Grant, []audit.Check, error) {
	t.Helper()
	g, checks, err := s.Decide(a)
	failed := 0
	for _, c := range checks {
		if c.Result == audit.Fail {
			failed++
		}
	}
	switch {
	case err == nil && failed > 0:
		t.Errorf("a grant with %d failed checks: %v", failed, checks)
	case err != nil && failed != 1:
		t.Errorf("a refusal (%v) with %d failed checks, want 1: %v", err, failed, checks)
	case err != nil && (g.Resource != nil || g.Mapping != nil || g.Agent != nil || !g.Expires.IsZero() || g.Subject != ""):
		t.Errorf("a refusal that grants %+v", g)
	}
	if err != nil {
		kinds := 0
		for _, is := range refusals() {
			if errors.Is(err, is) {
				kinds++
			}
		}
		if kinds != 1 {
			t.Errorf("error %v wraps %d of the sentinels, want 1", err, kinds)
		}
	}
	return g, checks, err
}

func refusals() []error {
	return []error{trust.ErrTarget, trust.ErrNoMapping, trust.ErrAmbiguous, trust.ErrNoPolicy, trust.ErrPresenter, trust.ErrProof, trust.ErrCertificate,
		trust.ErrCarried, trust.ErrScope, trust.ErrSubject, trust.ErrTask, trust.ErrAgent, trust.ErrDepth, trust.ErrLifetime, trust.ErrBoundary,
		trust.ErrActor, trust.ErrChain}
}

func wantErr(t testing.TB, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error = %v, want %v", got, want)
	}
}

// seen tells whether a check of the name was noted with the words.
func seen(checks []audit.Check, name, words string) bool {
	for _, c := range checks {
		if c.Name == name && strings.Contains(c.Seen, words) {
			return true
		}
	}
	return false
}
