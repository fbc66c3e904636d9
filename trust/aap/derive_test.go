package aap_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/ident"
)

func input(capabilities ...aap.Capability) aap.DeriveInput {
	if len(capabilities) == 0 {
		capabilities = []aap.Capability{{Action: aap.MustAction("search.web")}}
	}
	return aap.DeriveInput{
		Subject: "agent-r1", Holder: "tool-2", ParentJTI: "j-1", MaxDepth: 5, Capabilities: capabilities,
		ParentLife: time.Hour, ChildLife: 30 * time.Minute,
	}
}

func TestDerive(t *testing.T) {
	t.Parallel()
	parent := parse(t, good)
	before := marshal(t, parent)
	in := input()
	in.Now = time.Unix(1735687000, 0)
	child, err := aap.Derive(parent, in)
	if err != nil {
		t.Fatalf("Derive: %v", err)
	}
	want := &aap.Delegation{
		Depth: 2, MaxDepth: 3, Chain: []string{"agent-r1", "tool", "tool-2"}, ParentJTI: "j-1",
		PrivilegeReduction: &aap.PrivilegeReduction{
			CapabilitiesRemoved: []aap.Action{aap.MustAction("cms.publish")}, ConstraintsAdded: []string{}, LifetimeReducedBy: 1800,
		},
		IssuedAtDepth: map[int]int64{0: 1735686000, 1: 1735686001, 2: 1735687000},
	}
	if diff := cmp.Diff(want, child.Delegation, cmp.Comparer(func(a, b aap.Action) bool { return a == b })); diff != "" {
		t.Errorf("delegation (-want +got):\n%s", diff)
	}
	if child.Agent != parent.Agent || child.Task != parent.Task {
		t.Error("agent or task of the origin changed")
	}
	if after := marshal(t, parent); after != before {
		t.Errorf("the parent became %s", after)
	}
	if err := child.CheckIssuable(); err != nil {
		t.Errorf("CheckIssuable: %v", err)
	}
}

func TestDeriveRefuses(t *testing.T) {
	t.Parallel()
	one := 1
	shallow := aap.Capability{Action: aap.MustAction("search.web"), Constraints: aap.Constraints{MaxDepth: &one}}
	for _, tt := range []struct {
		name   string
		parent string // merged into good
		change func(*aap.DeriveInput)
		want   error
	}{
		{"a parent at its limit", `{"delegation": {"max_depth": 1}}`, nil, aap.ErrDepth},
		{"a step beyond the caller's limit", `{}`, func(in *aap.DeriveInput) { in.MaxDepth = 1 }, aap.ErrDepth},
		{"a caller that states no limit", `{}`, func(in *aap.DeriveInput) { in.MaxDepth = 0 }, aap.ErrDepth},
		{"X30 no delegation and no default", `{"delegation": null}`, func(in *aap.DeriveInput) { in.MaxDepth = 0 }, aap.ErrDepth},
		{"a capability at its limit", `{}`, func(in *aap.DeriveInput) { in.Capabilities = []aap.Capability{shallow} }, aap.ErrDepth},
		{"an empty grant", `{}`, func(in *aap.DeriveInput) { in.Capabilities = nil }, aap.ErrShape},
		{"no holder", `{}`, func(in *aap.DeriveInput) { in.Holder = "" }, aap.ErrDelegation},
		{"a holder of 129", `{}`, func(in *aap.DeriveInput) { in.Holder = strings.Repeat("a", 129) }, aap.ErrDelegation},
		{"no parent to name", `{}`, func(in *aap.DeriveInput) { in.ParentJTI = "" }, aap.ErrDelegation},
		{"4.31 no delegation and no subject", `{"delegation": null}`, func(in *aap.DeriveInput) { in.Subject = "" }, aap.ErrDelegation},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			parent, err := aap.Parse(merge(payload(t, good), payload(t, tt.parent)).(map[string]any), aap.Options{})
			if err != nil {
				t.Fatal(err)
			}
			in := input()
			if tt.change != nil {
				tt.change(&in)
			}
			if child, err := aap.Derive(parent, in); !errors.Is(err, tt.want) || child != nil {
				t.Errorf("Derive = %v, %v; want %v", child, err, tt.want)
			}
		})
	}
	if _, err := aap.Derive(nil, input()); !errors.Is(err, aap.ErrShape) {
		t.Errorf("no parent: %v, want ErrShape", err)
	}
}

func TestX42MaxDepthIsTheLeast(t *testing.T) {
	t.Parallel()
	in := input()
	in.MaxDepth = 2
	child, err := aap.Derive(parse(t, good), in)
	if err != nil || child.Delegation.MaxDepth != 2 {
		t.Fatalf("Derive = %+v, %v; want max_depth 2", child, err)
	}
	if child.Delegation.CanDelegate() || (*aap.Delegation)(nil).CanDelegate() {
		t.Error("a token at its limit, or without delegation, can be delegated")
	}
	if _, err := aap.Derive(child, in); !errors.Is(err, aap.ErrDepth) {
		t.Errorf("next step: %v, want ErrDepth", err)
	}
}

func TestX30DeriveWithoutDelegation(t *testing.T) {
	t.Parallel()
	parent := parse(t, good)
	parent.Delegation = nil
	in := input()
	in.MaxDepth = 1
	child, err := aap.Derive(parent, in)
	if err != nil {
		t.Fatalf("Derive: %v", err)
	}
	d := child.Delegation
	if d.Depth != 1 || d.MaxDepth != 1 || !cmp.Equal(d.Chain, []string{"agent-r1", "tool-2"}) {
		t.Errorf("delegation = %+v, want depth 1 of 1 from the subject", d)
	}
}

// A chain that was derived twice from one parent must not share memory.
func TestDeriveTwiceFromOneParent(t *testing.T) {
	t.Parallel()
	parent := parse(t, good)
	parent.Delegation.Chain = append(make([]string, 0, 8), parent.Delegation.Chain...)
	first, _ := aap.Derive(parent, input())
	in := input()
	in.Holder = "another"
	if _, err := aap.Derive(parent, in); err != nil || first.Delegation.Chain[2] != "tool-2" {
		t.Errorf("chain = %v, %v; want the first holder", first.Delegation.Chain, err)
	}
}

func TestPrivilegeReductionAcrossVocabularies(t *testing.T) {
	t.Parallel()
	read, local := aap.MustAction("search.web"), aap.MustAction("archive.search")
	in := input(aap.Capability{Action: local, Constraints: constraints(t, `{"max_requests_per_hour": 5, "max_depth": 3}`)})
	in.From = map[aap.Action][]aap.Action{local: {read}}
	parent := parse(t, good)
	parent.Capabilities[0].Constraints = constraints(t, `{"max_requests_per_hour": 100}`)
	child, err := aap.Derive(parent, in)
	if err != nil {
		t.Fatal(err)
	}
	got := marshal(t, child.Delegation.PrivilegeReduction)
	want := `{"capabilities_removed":["cms.publish"],"constraints_added":["max_depth"],"lifetime_reduced_by":1800}`
	if got != want {
		t.Errorf("privilege_reduction = %s, want %s", got, want)
	}
}

func TestDeriveDropsAReferenceThatIsNoURI(t *testing.T) {
	t.Parallel()
	parent := parse(t, good)
	parent.Oversight.ApprovalReference = "policy-7"
	child, err := aap.Derive(parent, input())
	if err != nil || child.Oversight.ApprovalReference != "" || !child.Oversight.Requires(aap.MustAction("cms.publish")) {
		t.Errorf("oversight = %+v, %v; want the list without the reference", child.Oversight, err)
	}
	if parent.Oversight.ApprovalReference != "policy-7" {
		t.Error("the parent changed")
	}
}

func TestHalfLife(t *testing.T) {
	t.Parallel()
	at := func(n int64) time.Time { return time.Unix(n, 0) }
	for _, tt := range []struct {
		name                string
		iat, exp, now, want int64
	}{
		{"4.25 half of an hour from now", 1704063600, 1704067200, 1704063600, 1704065400},
		{"4.25 half of the whole life, not of the rest", 0, 3600, 3000, 4800},
		{"an odd life is rounded down", 0, 61, 100, 130},
		{"a life that never was", 100, 50, 200, 200},
	} {
		if got := aap.HalfLife(at(tt.iat), at(tt.exp), at(tt.now)); got.Unix() != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got.Unix(), tt.want)
		}
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	c := parse(t, good)
	if at, ok := c.Expiry(); !ok || at.Unix() != 1735689000 {
		t.Errorf("Expiry = %v, %v; want that of the session", at, ok)
	}
	c.Context = nil
	if at, ok := c.Expiry(); !ok || at.Unix() != 1735690000 {
		t.Errorf("Expiry = %v, %v; want that of the task", at, ok)
	}
	c.Task.ExpiresAt = 0
	if at, ok := c.Expiry(); ok {
		t.Errorf("Expiry = %v, want none", at)
	}
}

func key(b byte) []byte { return []byte(strings.Repeat(string(rune(b)), 32)) }

func pseudonymiser(t testing.TB, k []byte, from, to string) aap.Pseudonymiser {
	t.Helper()
	p, err := aap.NewPseudonymiser(k, ident.MustDomain(from), ident.MustDomain(to))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPseudonyms(t *testing.T) {
	t.Parallel()
	p := pseudonymiser(t, key('k'), "acme.example", "globex.example")
	name := p.Pseudonym(aap.KindAgent, "agent-r1")
	if name != pseudonymiser(t, key('k'), "acme.example", "globex.example").Pseudonym(aap.KindAgent, "agent-r1") {
		t.Error("the same value got two names")
	}
	rest, ok := strings.CutPrefix(name, "agent-")
	if !ok || len(rest) != 26 || strings.ToLower(rest) != rest || strings.Contains(name, "r1") {
		t.Errorf("name = %q, want the kind and 128 bits", name)
	}
	others := map[string]string{
		"another value":      p.Pseudonym(aap.KindAgent, "agent-r2"),
		"another kind":       p.Pseudonym(aap.KindTask, "agent-r1"),
		"another key":        pseudonymiser(t, key('l'), "acme.example", "globex.example").Pseudonym(aap.KindAgent, "agent-r1"),
		"another target":     pseudonymiser(t, key('k'), "acme.example", "other.example").Pseudonym(aap.KindAgent, "agent-r1"),
		"the other way":      pseudonymiser(t, key('k'), "globex.example", "acme.example").Pseudonym(aap.KindAgent, "agent-r1"),
		"domains regrouped":  pseudonymiser(t, key('k'), "acme.exampleg", "lobex.example").Pseudonym(aap.KindAgent, "agent-r1"),
		"a value and its by": p.Pseudonym("agentagent", "-r1"),
	}
	for what, other := range others {
		if _, id, _ := strings.Cut(other, "-"); id == rest {
			t.Errorf("%s got the same name", what)
		}
	}
	for what, k := range map[string][]byte{"no key": nil, "a key of 31 bytes": key('k')[:31]} {
		if _, err := aap.NewPseudonymiser(k, ident.MustDomain("a"), ident.MustDomain("b")); !errors.Is(err, aap.ErrKey) {
			t.Errorf("%s: %v, want ErrKey", what, err)
		}
	}
	if _, err := aap.NewPseudonymiser(key('k'), ident.Domain{}, ident.MustDomain("b")); !errors.Is(err, aap.ErrKey) {
		t.Errorf("no domain: %v, want ErrKey", err)
	}
}

func TestPseudonymiserNeverPrints(t *testing.T) {
	t.Parallel()
	p := pseudonymiser(t, key('k'), "a.example", "b.example")
	type holder struct{ p aap.Pseudonymiser }
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "p", p)
	for _, s := range []string{fmt.Sprint(p), fmt.Sprintf("%+v %#v %x", p, p, p), log.String()} {
		if !strings.Contains(s, "redacted") {
			t.Errorf("printed %q", s)
		}
	}
	if s := fmt.Sprintf("%v", holder{p}); len(s) > 30 {
		t.Errorf("printed %q through an unexported field", s)
	}
}

func TestX48Cross(t *testing.T) {
	t.Parallel()
	c := parse(t, good)
	before := marshal(t, c)
	p := pseudonymiser(t, key('k'), "acme.example", "globex.example")
	out, err := c.Cross(p, nil)
	if err != nil {
		t.Fatalf("Cross: %v", err)
	}
	text := marshal(t, out.WithTrace("4bf92f3577b34da6a3ce929d0e0e4736", "domain"))
	for _, secret := range []string{
		`"agent-r1"`, `"t-1"`, `"tool"`, "user:u9", "user:u1", "T-9", "j-0", "Archie", "1.2", "0af7651916cd", "s-1", "r-1", "r-0",
		"i-1", "fra1", "192.0.2.1", "log.acme", "notify.acme", "cms.delete", "1735686000", "1735686001",
	} {
		if strings.Contains(text, secret) {
			t.Errorf("%s crossed: %s", secret, text)
		}
	}
	agent := p.Pseudonym(aap.KindAgent, "agent-r1")
	if out.Agent.ID != agent || out.Delegation.Chain[0] != agent || len(out.Delegation.Chain) != 2 {
		t.Errorf("agent %q and chain %v do not agree", out.Agent.ID, out.Delegation.Chain)
	}
	if out.Task.ID != p.Pseudonym(aap.KindTask, "t-1") || out.Delegation.ParentJTI != p.Pseudonym(aap.KindToken, "j-0") {
		t.Error("task id or parent is not its pseudonym")
	}
	if out.Audit.TraceID != "" || out.Audit.TraceIDScope != "domain" {
		t.Errorf("X37 audit = %+v, want no trace and scope domain", out.Audit)
	}
	for _, kept := range []string{"org:acme", "research", "maker/large@3", "public-internet-only", "1735690000", "cms.publish", "https://approve.acme.example/a"} {
		if !strings.Contains(text, kept) {
			t.Errorf("%s was lost: %s", kept, text)
		}
	}
	if after := marshal(t, c); after != before {
		t.Errorf("the claims themselves became %s", after)
	}
}

func TestCrossKeepsOnlyWhatIsNamed(t *testing.T) {
	t.Parallel()
	p := pseudonymiser(t, key('k'), "acme.example", "globex.example")
	kept := map[string]string{
		aap.KeepAgentID: `"id":"agent-r1"`, aap.KeepTaskID: `"id":"t-1"`, aap.KeepTaskCreatedBy: `"created_by":"user:u9"`,
		aap.KeepTaskMetadata: `"ticket":"T-9"`, aap.KeepSupervisor: `"supervisor":"user:u1"`,
		aap.KeepNotificationEndpoint: `notify.acme.example`, aap.KeepLocation: `"datacenter":"fra1"`,
		aap.KeepChain: `"chain":["agent-r1","tool"]`, aap.KeepSubject: "",
	}
	if len(kept) != len(aap.Keepable()) {
		t.Errorf("Keepable lists %d names, want %d", len(aap.Keepable()), len(kept))
	}
	for _, name := range aap.Keepable() {
		out, err := parse(t, good).Cross(p, map[string]bool{name: true})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		text := marshal(t, out)
		for other, part := range kept {
			if part != "" && strings.Contains(text, part) != (other == name) {
				t.Errorf("keeping %s: %s crossed = %v", name, other, other != name)
			}
		}
	}
}

func TestCrossRefuses(t *testing.T) {
	t.Parallel()
	c := parse(t, good)
	if out, err := c.Cross(aap.Pseudonymiser{}, nil); !errors.Is(err, aap.ErrKey) || out != nil {
		t.Errorf("without a key: %v, %v; want ErrKey", out, err)
	}
	p := pseudonymiser(t, key('k'), "acme.example", "globex.example")
	for _, name := range []string{"audit.trace_id", "jti", "txn", "sid", "trace", "", "Agent.ID", "delegation.parent_jti", "audit.session_id"} {
		if out, err := c.Cross(p, map[string]bool{name: true}); !errors.Is(err, aap.ErrKeep) || out != nil {
			t.Errorf("keep %q: %v, %v; want ErrKeep", name, out, err)
		}
	}
}

func TestCrossOfTheLeastClaims(t *testing.T) {
	t.Parallel()
	c := parse(t, `{"agent": {"id": "a", "type": "b", "operator": "c"}, "task": {"id": "t", "purpose": "p"},
		"capabilities": [{"action": "a"}], "context": {"session": {"id": "s"}}}`)
	out, err := c.Cross(pseudonymiser(t, key('k'), "a.example", "b.example"), nil)
	if err != nil || out.Oversight != nil || out.Delegation != nil || out.Context != nil || out.Audit == nil {
		t.Errorf("Cross = %+v, %v; want no claim that was not there, the audit scope aside", out, err)
	}
}
