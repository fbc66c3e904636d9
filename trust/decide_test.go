package trust_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/ident"
)

type edits []func(*trust.Ask)

// as makes the client bring a token of the peer that was issued to it.
func as(s *trust.Snapshot, client, peer string) func(*trust.Ask) {
	return func(a *trust.Ask) {
		a.Client, a.Peer = s.Client(client), s.Peer(peer)
		a.Subject.Peer = a.Peer
		a.Subject.Holder = client + "@" + peer
		if peer == trust.Self {
			a.Peer, a.Subject.Peer, a.Subject.Issuer, a.Subject.Holder = nil, nil, ownIssuer, client
		} else if a.Client != nil {
			a.Subject.Holder = a.Client.KnownAs[peer]
		}
	}
}

func to(targets ...string) func(*trust.Ask) {
	return func(a *trust.Ask) {
		a.Targets = nil
		for _, t := range targets {
			a.Targets = append(a.Targets, ident.MustAudience(t))
		}
	}
}

func claims(more ...any) func(*trust.Ask) {
	return func(a *trust.Ask) {
		a.Subject.Claims = map[string]any{}
		for i := 0; i < len(more); i += 2 {
			a.Subject.Claims[more[i].(string)] = more[i+1]
		}
	}
}

const reads = "scopes: [archive.read]"

func TestTargetAndMappingAreFound(t *testing.T) {
	t.Parallel()
	const other = "\n  - {name: second, peer: acme, clients: [acme-agent], resources: [https://archive.globex.example], scopes: [archive.list], when: 'subject.claims.b == 1'"
	both := research(reads, "when: subject.claims.a == 1")
	for _, row := range []struct {
		name, world string
		ask         edits
		want        error
		noted       string // in a check of the mapping
	}{
		{"accepts the one that matches", research(reads), nil, nil, ""},
		{"accepts the one whose condition holds", both + other[1:] + "}\n", edits{claims("a", json.Number("1"), "b", json.Number("2"))}, nil, ""},
		{"refuses no target", research(reads), edits{to()}, trust.ErrTarget, ""},
		{"refuses two targets (TE-19)", research(reads), edits{to(archive, "https://other.globex.example")}, trust.ErrTarget, ""},
		{"refuses an unknown target (TE-15)", research(reads), edits{to("https://ghost.example")}, trust.ErrNoMapping, ""},
		{"refuses a target without a mapping (TE-16)", research(reads), edits{to("https://other.globex.example")}, trust.ErrNoMapping, ""},
		{"refuses a target with a slash more", research(reads), edits{to(archive + "/")}, trust.ErrNoMapping, ""},
		{"refuses a suspended mapping (TE-16, CA-20)", research(reads, "status: suspended"), nil, trust.ErrNoMapping, "suspended"},
		{"refuses a shadow and says it would have matched", research(reads, "mode: shadow"), nil, trust.ErrNoMapping, "would have matched"},
		{"refuses when the condition is false", research(reads, "when: subject.sub == 'bob'"), nil, trust.ErrNoMapping, "condition is false"},
		{"refuses when a claim is absent, and says which", research(reads, "when: subject.claims.department == 'research'"), nil, trust.ErrNoMapping, "no department"},
		{"refuses when an absent claim is negated", research(reads, "when: \"!(subject.claims.banned == true)\""), nil, trust.ErrNoMapping, "no banned"},
		{"refuses when a claim differs in case (CL-23)", research(reads, "when: subject.claims.d == 'research'"), edits{claims("d", "Research")}, trust.ErrNoMapping, "condition is false"},
		{"refuses a result that is no truth", research(reads, "when: subject.claims.flag"), edits{claims("flag", "yes")}, trust.ErrNoMapping, "true or false"},
		{"refuses a claim of another type", research(reads, "when: subject.claims.n + 1 == 2"), edits{claims("n", "1")}, trust.ErrNoMapping, "another type"},
		{"refuses a condition above its cost", research(reads, "when: subject.scopes.all(a, subject.scopes.all(b, subject.scopes.all(c, a + b + c != '')))"),
			edits{scoped(strings.TrimSpace(many("s%d ", 60)))}, trust.ErrNoMapping, "more than its limit"},
		{"refuses a condition on an actor that is not there", research(reads, "when: actor.sub == 'x'"), nil, trust.ErrNoMapping, "condition is false"},
		{"refuses two that match", both + other[1:] + "}\n", edits{claims("a", json.Number("1"), "b", json.Number("1"))}, trust.ErrAmbiguous, ""},
		{"accepts one beside a shadow that matches", both + other[1:] + ", mode: shadow}\n", edits{claims("a", json.Number("1"), "b", json.Number("1"))}, nil, "would have matched"},
		{"refuses a client not on the list (TE-33)", research(reads), edits{func(a *trust.Ask) { a.Client = nil }}, trust.ErrNoMapping, ""},
		{"refuses another peer's mapping (TE-33)", strings.Replace(research(reads), "peer: acme\n", "peer: branch\n", 1), nil, trust.ErrNoMapping, ""},
		{"refuses a grant type that is not decided on", research(reads), edits{func(a *trust.Ask) { a.Grant = "password" }}, trust.ErrNoMapping, ""},
		{"refuses no grant type", research(reads), edits{func(a *trust.Ask) { a.Grant = "" }}, trust.ErrNoMapping, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, row.world)
			g, checks, err := decide(t, s, ask(t, s, append(edits{scoped("archive.read archive.list")}, row.ask...)...))
			wantErr(t, err, row.want)
			if row.want == nil && (g.Mapping == nil || g.Mapping.Name != "acme-research" || g.Resource.Audience.String() != archive) {
				t.Errorf("grant = %+v", g)
			}
			if row.noted != "" && !seen(checks, "mapping acme-research", row.noted) && !seen(checks, "mapping second", row.noted) {
				t.Errorf("no check says %q: %v", row.noted, checks)
			}
		})
	}
}

func many(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// TE-16: whether a target exists must not show.
func TestUnknownTargetAndNoMappingAreOneRefusal(t *testing.T) {
	t.Parallel()
	s := compile(t, research(reads))
	for _, target := range []string{"https://ghost.example", "https://other.globex.example"} {
		_, _, err := decide(t, s, ask(t, s, scoped("archive.read"), to(target)))
		wantErr(t, err, trust.ErrNoMapping)
	}
}

func TestConditionMessagesHoldNoClaimValue(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-value"
	for _, when := range []string{"int(subject.claims.v) == 1", "subject.claims[subject.claims.v] == 1", "timestamp(subject.claims.v) < now",
		"duration(subject.claims.v) > duration('1s')", "bool(subject.claims.v)", "subject.claims.v.x == 1", "subject.claims.v > 5"} {
		s := compile(t, research(reads, fmt.Sprintf("when: %q", when)))
		_, checks, err := decide(t, s, ask(t, s, scoped("archive.read"), claims("v", secret)))
		wantErr(t, err, trust.ErrNoMapping)
		if text := fmt.Sprint(err, checks); strings.Contains(text, secret) {
			t.Errorf("%s: the value stands in %s", when, text)
		}
	}
}

func TestConditionsSeeTheRequest(t *testing.T) {
	t.Parallel()
	for _, when := range []string{
		"subject.iss == 'https://as.acme.example' && subject.sub == 'alice' && subject.client_id == 'agent@acme'",
		"'archive.read' in subject.scopes && size(subject.actions) == 0 && !actor.present",
		"client.id == 'acme-agent' && client.operator == 'org:acme' && client.agent == 'acme-agent-1'",
		"request.grant_type == 'token-exchange' && request.resources == ['https://archive.globex.example']",
		"request.scopes == ['archive.read'] && size(request.actions) == 0 && request.client_address == '192.0.2.7'",
		"now == timestamp('2026-11-21T12:00:00Z')",
		"subject.claims.level >= 3 && subject.claims.ratio > 0.4 && subject.claims.groups.exists(g, g == 'a') && subject.claims.deep.er == 9007199254740993",
		"has(subject.claims.level) && !has(subject.claims.absent)",
	} {
		s := compile(t, research(reads, fmt.Sprintf("when: %q", when)))
		a := ask(t, s, scoped("archive.read"), asking("archive.read"), claims("level", json.Number("3"), "ratio", json.Number("0.5"),
			"groups", []any{"b", "a"}, "deep", map[string]any{"er": json.Number("9007199254740993")}))
		a.From.Address = netip.MustParseAddr("192.0.2.7")
		if _, _, err := decide(t, s, a); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
}

func TestClientsOfAMapping(t *testing.T) {
	t.Parallel()
	anyone := strings.Replace(research(reads), "[acme-agent, lax, strict]", "['*']", 1)
	named := strings.Replace(research(reads), "[acme-agent, lax, strict]", "['*', open]", 1)
	for _, row := range []struct {
		name, world, client string
		want                error
	}{
		{"accepts a client on the list", research(reads), "lax", nil},
		{"refuses one that is not (TE-33)", research(reads), "open", trust.ErrNoMapping},
		{"refuses a resource's own client that is not", research(reads), "archive-api", trust.ErrNoMapping},
		{"accepts any that authenticates under *", anyone, "strict", nil},
		{"refuses one that does not under *", anyone, "open", trust.ErrNoMapping},
		{"accepts one that does not when it is named", named, "open", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, row.world)
			_, _, err := decide(t, s, ask(t, s, scoped("archive.read"), as(s, row.client, "acme")))
			wantErr(t, err, row.want)
		})
	}
}

func TestPresenter(t *testing.T) {
	t.Parallel()
	held := func(by string) func(*trust.Ask) { return func(a *trust.Ask) { a.Subject.Holder = by } }
	self := strings.Replace(research(reads), "peer: acme\n", "peer: self\n", 1)
	for _, row := range []struct {
		name, world, peer string
		ask               func(*trust.Ask)
		want              error
	}{
		{"accepts a token issued to the client as the peer knows it", research(reads), "acme", held("agent@acme"), nil},
		{"refuses one issued to another client (CA-23)", research(reads), "acme", held("lax@acme"), trust.ErrPresenter},
		{"refuses one issued to the client's name here", research(reads), "acme", held("acme-agent"), trust.ErrPresenter},
		{"refuses one issued to its name at another peer", research(reads), "acme", held("agent@branch"), trust.ErrPresenter},
		{"refuses one issued to a name that differs in case", research(reads), "acme", held("Agent@acme"), trust.ErrPresenter},
		{"refuses one issued to nobody", research(reads), "acme", held(""), trust.ErrPresenter},
		{"refuses a client unknown to the peer", strings.Replace(research(reads), "known_as: {acme: agent@acme, branch: agent@branch}", "known_as: {branch: x}", 1), "acme", held(""), trust.ErrPresenter},
		{"accepts another holder under any", research(reads, "presenter: any"), "acme", held("someone"), nil},
		{"accepts our own token issued to the client", self, trust.Self, held("acme-agent"), nil},
		{"refuses our own token issued to another", self, trust.Self, held("lax"), trust.ErrPresenter},
		{"refuses our own token held under a peer's name", self, trust.Self, held("agent@acme"), trust.ErrPresenter},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, row.world)
			_, _, err := decide(t, s, ask(t, s, scoped("archive.read"), as(s, "acme-agent", row.peer), row.ask))
			wantErr(t, err, row.want)
		})
	}
}

func TestAuthority(t *testing.T) {
	t.Parallel()
	const both = "scopes: [{scope: archive.read, from: ['docs:read']}, archive.list]"
	const whose = "when: subject.sub == 'alice'"
	for _, row := range []struct {
		name   string
		lines  []string
		ask    edits
		want   error
		scopes string
	}{
		{"translates a foreign scope", []string{both}, edits{scoped("docs:read")}, nil, "archive.read"},
		{"takes the same name when no from is written", []string{both}, edits{scoped("archive.list")}, nil, "archive.list"},
		{"does not take the local name when from is written", []string{both}, edits{scoped("archive.read")}, trust.ErrScope, ""},
		{"drops foreign scopes without a rule", []string{both}, edits{scoped("docs:read docs:write admin")}, nil, "archive.read"},
		{"keeps the order of the mapping", []string{both}, edits{scoped("archive.list docs:read")}, nil, "archive.read archive.list"},
		{"refuses a token without scopes", []string{both}, nil, trust.ErrScope, ""},
		{"compares scopes by case", []string{both}, edits{scoped("Docs:read")}, trust.ErrScope, ""},
		{"entitles by identity alone", []string{"scopes: [archive.read]", "authority: mapping", whose}, nil, nil, "archive.read"},
		{"refuses what a token carries beside its identity", []string{"scopes: [archive.read]", "authority: mapping", whose}, edits{scoped("x")}, trust.ErrCarried, ""},
		{"refuses carried capabilities", []string{"scopes: [archive.read]", "authority: mapping", whose}, edits{agent(can("a.b"))}, trust.ErrCarried, ""},
		{"ignores what is carried when told to", []string{"scopes: [archive.read]", "authority: mapping", whose, "carried: ignore"}, edits{scoped("x")}, nil, "archive.read"},
		{"refuses another identity", []string{"scopes: [archive.read]", "authority: mapping", "when: subject.sub == 'bob'"}, nil, trust.ErrNoMapping, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, research(row.lines...))
			g, _, err := decide(t, s, ask(t, s, row.ask...))
			wantErr(t, err, row.want)
			if got := g.Scopes.String(); got != row.scopes || g.Agent != nil {
				t.Errorf("scopes %q, agent %v, want %q and none", got, g.Agent, row.scopes)
			}
		})
	}
}

// A mapping for two resources yields for each only what its vocabulary has.
func TestVocabularyOfTheResourceBounds(t *testing.T) {
	t.Parallel()
	text := mapping("name: wide", "peer: acme", "clients: [acme-agent]", "resources: [https://archive.globex.example, https://other.globex.example]",
		"scopes: [archive.read, other.read]", "capabilities: [archive.search, other.run]")
	s := compile(t, text)
	for target, want := range map[string]string{archive: "archive.read archive.search", "https://other.globex.example": "other.read other.run"} {
		g, _, err := decide(t, s, ask(t, s, to(target), scoped("archive.read other.read"), agent(can("archive.search"), can("other.run"))))
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Scopes.String() + " " + g.Agent.Capabilities[0].Action.String(); got != want || len(g.Agent.Capabilities) != 1 {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
	_, _, err := decide(t, s, ask(t, s, scoped("archive.read other.read"), asking("other.read")))
	wantErr(t, err, trust.ErrScope)
}

func TestCapabilitiesAreTranslated(t *testing.T) {
	t.Parallel()
	hourly := func(n int64) aap.Constraints { return aap.Constraints{MaxRequestsPerHour: n} }
	const ceiling = "capabilities: [{action: archive.search, from: [search.web, search.deep], constraints: {max_requests_per_hour: 50}}]"
	unknown := limits(t, map[string]any{"max_fun": json.Number("3")})
	for _, row := range []struct {
		name  string
		rule  string
		ask   edits
		want  error
		yield []aap.Capability
	}{
		{"takes the ceiling where it is tighter", ceiling, edits{agent(can("search.web", hourly(100)))}, nil, []aap.Capability{can("archive.search", hourly(50))}},
		{"takes the token's limit where it is tighter", ceiling, edits{agent(can("search.web", hourly(7)))}, nil, []aap.Capability{can("archive.search", hourly(7))}},
		{"takes the ceiling for a capability without limits", ceiling, edits{agent(can("search.web"))}, nil, []aap.Capability{can("archive.search", hourly(50))}},
		{"yields one for each that entitles", ceiling, edits{agent(can("search.web", hourly(7)), can("search.deep", hourly(8)))}, nil,
			[]aap.Capability{can("archive.search", hourly(7)), can("archive.search", hourly(8))}},
		{"collapses identical results", ceiling, edits{agent(can("search.web", hourly(70)), can("search.deep", hourly(80)))}, nil, []aap.Capability{can("archive.search", hourly(50))}},
		{"keeps the ones that translate beside one that does not", ceiling, edits{agent(can("search.web", unknown), can("search.deep"))}, nil, []aap.Capability{can("archive.search", hourly(50))}},
		{"yields nothing for an unknown constraint", ceiling, edits{agent(can("search.web", unknown))}, trust.ErrScope, nil},
		{"yields nothing for conditions", ceiling, edits{agent(aap.Capability{Action: aap.MustAction("search.web"), Conditions: map[string]any{"x": true}})}, trust.ErrScope, nil},
		{"yields nothing for resources of the other domain", ceiling, edits{agent(aap.Capability{Action: aap.MustAction("search.web"), Resources: []string{"https://x.example"}})}, trust.ErrScope, nil},
		{"yields nothing for limits that exclude each other (X40)", "capabilities: [{action: archive.search, constraints: {domains_allowed: [a.example]}}]",
			edits{agent(can("archive.search", aap.Constraints{DomainsAllowed: []string{"b.example"}}))}, trust.ErrScope, nil},
		{"yields nothing for the local name when from is written", ceiling, edits{agent(can("archive.search"))}, trust.ErrScope, nil},
		{"yields nothing for a name in another case", ceiling, edits{agent(can("Search.web"))}, trust.ErrScope, nil},
		{"drops the foreign description", "capabilities: [archive.search]", edits{agent(aap.Capability{Action: aap.MustAction("archive.search"), Description: "theirs"})}, nil, []aap.Capability{can("archive.search")}},
		{"refuses more than 16", "capabilities: [archive.search]", edits{agent(numbered(17)...)}, trust.ErrScope, nil},
		{"accepts 16", "capabilities: [archive.search]", edits{agent(numbered(16)...)}, nil, renamed(numbered(16))},
		{"entitles by a scope where there are no capabilities", "capabilities: [{action: archive.search, from: ['scope:docs:search']}]",
			edits{scoped("docs:search"), task("t-1", "reading")}, nil, []aap.Capability{can("archive.search")}},
		{"does not entitle by a scope beside capabilities (X23)", "capabilities: [{action: archive.search, from: ['scope:docs:search']}]",
			edits{scoped("docs:search"), agent(can("other"))}, trust.ErrScope, nil},
		{"does not entitle by a scope with the action's name", "capabilities: [archive.search]", edits{scoped("archive.search"), task("t-1", "x")}, trust.ErrScope, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, research(row.rule))
			g, _, err := decide(t, s, ask(t, s, row.ask...))
			wantErr(t, err, row.want)
			var got []aap.Capability
			if g.Agent != nil {
				got = g.Agent.Capabilities
			}
			if !slices.EqualFunc(got, row.yield, func(a, b aap.Capability) bool { return a.Equal(b) && a.Description == b.Description }) {
				t.Errorf("capabilities %v, want %v", got, row.yield)
			}
		})
	}
}

func numbered(n int) (out []aap.Capability) {
	for i := range n {
		out = append(out, can("archive.search", aap.Constraints{MaxRequestsPerHour: int64(i + 1)}))
	}
	return out
}

func renamed(in []aap.Capability) []aap.Capability { return in }

func task(id, purpose string) func(*trust.Ask) {
	return func(a *trust.Ask) { a.Task = trust.Task{ID: id, Purpose: purpose} }
}

// A request is narrowed to what it names, or refused: never both.
func TestNarrowOrRefuse(t *testing.T) {
	t.Parallel()
	rules := []string{"scopes: [archive.read, archive.list]", "capabilities: [archive.search, archive.fetch]"}
	carried := edits{scoped("archive.read archive.list"), agent(can("archive.search"), can("archive.fetch"))}
	for _, row := range []struct {
		name, scopes string
		actions      []string
		want         error
		got          string
	}{
		{"asks for everything by naming nothing", "", nil, nil, "archive.read archive.list archive.search archive.fetch"},
		{"narrows to a scope", "archive.list", nil, nil, "archive.list"},
		{"narrows to an action", "", []string{"archive.fetch"}, nil, "archive.fetch"},
		{"narrows to both", "archive.read", []string{"archive.search"}, nil, "archive.read archive.search"},
		{"takes a scope with an action's name for the action", "archive.search", nil, nil, "archive.search"},
		{"counts an action named twice once", "archive.search", []string{"archive.search"}, nil, "archive.search"},
		{"refuses one scope too many (TE-21)", "archive.read archive.write", nil, trust.ErrScope, ""},
		{"refuses one action too many (X31)", "", []string{"archive.search", "archive.delete"}, trust.ErrScope, ""},
		{"refuses a scope named as an action", "", []string{"archive.read"}, trust.ErrScope, ""},
		{"refuses a scope in another case", "Archive.read", nil, trust.ErrScope, ""},
		{"refuses the beginning of a scope", "archive", nil, trust.ErrScope, ""},
		{"refuses a foreign scope", "aap:research", nil, trust.ErrScope, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, research(rules...))
			g, _, err := decide(t, s, ask(t, s, append(carried, asking(row.scopes, row.actions...))...))
			wantErr(t, err, row.want)
			got := g.Scopes.List()
			if g.Agent != nil {
				for _, c := range g.Agent.Capabilities {
					got = append(got, c.Action.String())
				}
			}
			if strings.Join(got, " ") != row.got {
				t.Errorf("granted %q, want %q", got, row.got)
			}
		})
	}
}

// Granted = requested ∩ entitled ∩ mapping ∩ vocabulary, or a refusal.
func TestGrantNeverExceedsWhatWasAskedOrEntitled(t *testing.T) {
	t.Parallel()
	s := compile(t, research("scopes: [archive.read, {scope: archive.list, from: [docs, archive.list]}]",
		"capabilities: [{action: archive.search, constraints: {max_requests_per_hour: 50}}, {action: archive.fetch, from: [get.a, get.b]}]"))
	scopes := []string{"archive.read", "archive.list", "docs", "archive.write", "archive.search"}
	actions := []string{"archive.search", "archive.fetch", "get.a", "get.b", "archive.delete"}
	rapid.Check(t, func(rt *rapid.T) {
		carried := rapid.SliceOfDistinct(rapid.SampledFrom(scopes), rapid.ID).Draw(rt, "carried")
		asked := rapid.SliceOfDistinct(rapid.SampledFrom(scopes), rapid.ID).Draw(rt, "asked")
		askedActions := rapid.SliceOfDistinct(rapid.SampledFrom(actions), rapid.ID).Draw(rt, "asked actions")
		var has []aap.Capability
		for _, name := range rapid.SliceOfN(rapid.SampledFrom(actions), 0, 4).Draw(rt, "capabilities") {
			has = append(has, can(name, aap.Constraints{MaxRequestsPerHour: rapid.Int64Range(1, 100).Draw(rt, "limit")}))
		}
		a := ask(t, s, scoped(strings.Join(carried, " ")), asking(strings.Join(asked, " "), askedActions...))
		if len(has) > 0 {
			agent(has...)(a)
		}
		g, _, err := s.Decide(a)
		if err != nil {
			if !errors.Is(err, trust.ErrScope) {
				rt.Fatalf("error = %v", err)
			}
			return
		}
		all := len(asked)+len(askedActions) == 0
		for _, sc := range g.Scopes.List() {
			from := slices.Contains(carried, sc) || sc == "archive.list" && slices.Contains(carried, "docs")
			if !from || !all && !slices.Contains(asked, sc) || sc == "archive.write" {
				rt.Fatalf("scope %s granted; carried %v, asked %v", sc, carried, asked)
			}
		}
		for _, want := range asked {
			if !g.Scopes.Has(want) && (g.Agent == nil || !slices.ContainsFunc(g.Agent.Capabilities, func(c aap.Capability) bool { return c.Action.String() == want })) {
				rt.Fatalf("%s was asked for and dropped", want)
			}
		}
		if g.Agent == nil {
			return
		}
		for _, c := range g.Agent.Capabilities {
			name := c.Action.String()
			if !all && !slices.Contains(askedActions, name) && !slices.Contains(asked, name) {
				rt.Fatalf("action %s granted unasked", name)
			}
			if !slices.ContainsFunc(has, func(h aap.Capability) bool {
				source := h.Action.String() == name && name == "archive.search" || name == "archive.fetch" && strings.HasPrefix(h.Action.String(), "get.")
				return source && aap.Within(c.Constraints, h.Constraints)
			}) {
				rt.Fatalf("capability %v is within none of %v", c, has)
			}
		}
	})
}

func TestSubjectsHaveTheirPeersName(t *testing.T) {
	t.Parallel()
	sub := func(v string) func(*trust.Ask) { return func(a *trust.Ask) { a.Subject.Subject = v } }
	branch := strings.Replace(research(reads), "peer: acme\n", "peer: branch\n", 1)
	self := strings.Replace(research(reads), "peer: acme\n", "peer: self\n", 1)
	for _, row := range []struct {
		name, world, peer string
		ask               func(*trust.Ask)
		want              error
		sub               string
	}{
		{"keeps a subject of our domain under its issuer's name", branch, "branch", nil, nil, "branch/alice"},
		{"keeps our own subject as it is", self, trust.Self, sub("acme/agent-x"), nil, "acme/agent-x"},
		{"takes the expression's text", research(reads, "subject: subject.sub + '!'"), "acme", nil, nil, "acme/alice!"},
		{"prefixes it whatever it is", research(reads, "subject: \"'branch/' + subject.sub\""), "acme", nil, nil, "acme/branch/alice"},
		{"prefixes an expression on our own token", strings.Replace(research(reads, "subject: subject.sub"), "peer: acme\n", "peer: self\n", 1), trust.Self, nil, nil, "self/alice"},
		{"lets the subject cross when the mapping keeps it", research(reads, "boundary: {keep: [sub]}"), "acme", nil, nil, "acme/alice"},
		{"refuses an absent claim", research(reads, "subject: subject.claims.mail"), "acme", nil, trust.ErrSubject, ""},
		{"refuses a claim that is no text", research(reads, "subject: subject.claims.n"), "acme", claims("n", json.Number("1")), trust.ErrSubject, ""},
		{"refuses an empty text", research(reads, "subject: subject.claims.e"), "acme", claims("e", ""), trust.ErrSubject, ""},
		{"refuses a newline (CL-19)", research(reads, "subject: subject.sub"), "acme", sub("a\nb"), trust.ErrSubject, ""},
		{"refuses NUL (CL-19)", research(reads, "subject: subject.sub"), "acme", sub("a\x00"), trust.ErrSubject, ""},
		{"refuses a control character above ASCII (CL-19)", research(reads, "subject: subject.sub"), "acme", sub("a\u0085"), trust.ErrSubject, ""},
		{"refuses a line separator", research(reads, "subject: subject.sub"), "acme", sub("a\u2028"), trust.ErrSubject, ""},
		{"refuses a mark that turns the text around", research(reads, "subject: subject.sub"), "acme", sub("a\u202eb"), trust.ErrSubject, ""},
		{"refuses what is not UTF-8 (CL-18)", research(reads, "subject: subject.sub"), "acme", sub("a\xff"), trust.ErrSubject, ""},
		{"accepts 190 bytes", research(reads, "subject: subject.sub"), "acme", sub(strings.Repeat("a", 190)), nil, "acme/" + strings.Repeat("a", 190)},
		{"refuses 191 bytes (CL-19)", research(reads, "subject: subject.sub"), "acme", sub(strings.Repeat("a", 191)), trust.ErrSubject, ""},
		{"refuses to cross without a key for pseudonyms", research(reads), "acme", func(a *trust.Ask) { a.Names = aap.Pseudonymiser{} }, trust.ErrSubject, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, row.world)
			a := ask(t, s, scoped("archive.read"), as(s, "acme-agent", row.peer))
			if row.ask != nil {
				row.ask(a)
			}
			g, _, err := decide(t, s, a)
			wantErr(t, err, row.want)
			if g.Subject != row.sub {
				t.Errorf("sub = %q, want %q", g.Subject, row.sub)
			}
		})
	}
}

func TestPseudonymsAreStableAndDifferPerDomainPair(t *testing.T) {
	t.Parallel()
	s := compile(t, research(reads))
	named := func(subject string, from, to string) string {
		p, err := aap.NewPseudonymiser([]byte(strings.Repeat("k", 32)), ident.MustDomain(from), ident.MustDomain(to))
		if err != nil {
			t.Fatal(err)
		}
		g, _, err := decide(t, s, ask(t, s, scoped("archive.read"), func(a *trust.Ask) { a.Subject.Subject, a.Names = subject, p }))
		if err != nil {
			t.Fatal(err)
		}
		return g.Subject
	}
	first := named("alice", "acme.example", "globex.example")
	if strings.Contains(first, "alice") || !strings.HasPrefix(first, "acme/agent-") {
		t.Errorf("sub = %q", first)
	}
	if again := named("alice", "acme.example", "globex.example"); again != first {
		t.Errorf("sub = %q, then %q", first, again)
	}
	distinct := map[string]bool{first: true}
	for _, other := range []string{named("Alice", "acme.example", "globex.example"), named("alice", "acme.example", "other.example"), named("alice", "other.example", "globex.example")} {
		if distinct[other] {
			t.Errorf("%q stands for two", other)
		}
		distinct[other] = true
	}
}

func TestLifetimeIsTheLeastOfAllBounds(t *testing.T) {
	t.Parallel()
	minutes := func(n int) time.Time { return now.Add(time.Duration(n) * time.Minute) }
	until := func(at time.Time) func(*trust.Ask) { return func(a *trust.Ask) { a.Subject.Expires = at } }
	ttl := func(d time.Duration) func(*trust.Ask) { return func(a *trust.Ask) { a.TTL = d } }
	long := []string{reads, "capabilities: [archive.search]", "ttl: 15m"}
	for _, row := range []struct {
		name  string
		lines []string
		ask   edits
		want  error
		end   time.Time
		by    string
	}{
		{"the mapping", long[:1], nil, nil, minutes(5), "mapping"},
		{"max_ttl, with the mapping at its most", long, nil, nil, minutes(15), ""},
		{"the subject token", long, edits{until(minutes(3))}, nil, minutes(3), "subject_token"},
		{"requested_ttl below", long, edits{ttl(time.Minute)}, nil, minutes(1), "requested_ttl"},
		{"requested_ttl never gives more", long[:1], edits{ttl(time.Hour)}, nil, minutes(5), "mapping"},
		{"half of the parent's life, not of what is left", long, edits{until(minutes(5)), agent(can("archive.search")), func(a *trust.Ask) { a.Subject.IssuedAt = minutes(-5) }}, nil, minutes(5), ""},
		{"half of the parent's life", long, edits{until(minutes(9)), agent(can("archive.search")), func(a *trust.Ask) { a.Subject.IssuedAt = minutes(-1) }}, nil, minutes(5), "half_life"},
		{"half of what is left of a token without iat", long, edits{until(minutes(8)), agent(can("archive.search")), func(a *trust.Ask) { a.Subject.IssuedAt = time.Time{} }}, nil, minutes(4), "half_life"},
		{"half of the parent's life also for scopes alone", long, edits{until(minutes(9)), agent(can("x")), func(a *trust.Ask) { a.Subject.IssuedAt = minutes(-1) }}, nil, minutes(5), "half_life"},
		{"the task's end", long, edits{agent(can("archive.search")), ending(minutes(2))}, nil, minutes(2), "task"},
		{"the task's end also for scopes alone", long, edits{agent(can("x")), ending(minutes(2))}, nil, minutes(2), "task"},
		{"refuses a task that is over", long, edits{agent(can("archive.search")), ending(minutes(-1))}, trust.ErrLifetime, time.Time{}, ""},
		{"accepts min_ttl exactly", long, edits{until(now.Add(30 * time.Second))}, nil, now.Add(30 * time.Second), "subject_token"},
		{"refuses a second less (X32)", long, edits{until(now.Add(29 * time.Second))}, trust.ErrLifetime, time.Time{}, ""},
		{"refuses fractions of a second less", long, edits{until(now.Add(30*time.Second - time.Millisecond))}, trust.ErrLifetime, time.Time{}, ""},
		{"refuses a request below min_ttl", long, edits{ttl(29 * time.Second)}, trust.ErrLifetime, time.Time{}, ""},
		{"refuses an expired subject", long, edits{until(minutes(-1))}, trust.ErrLifetime, time.Time{}, ""},
		{"refuses a subject that never ends by saying nothing", long, edits{until(time.Time{})}, trust.ErrLifetime, time.Time{}, ""},
		{"the end of the peer and the client", long, edits{func(a *trust.Ask) {
			a.Now = expiry.Add(-2 * time.Minute)
			a.Subject.IssuedAt, a.Subject.Expires = a.Now, expiry.Add(time.Hour)
		}}, nil, expiry, ""},
		{"refuses past the end of the peer and the client", long, edits{func(a *trust.Ask) {
			a.Now = expiry.Add(time.Second)
			a.Subject.IssuedAt, a.Subject.Expires = a.Now, expiry.Add(time.Hour)
		}}, trust.ErrLifetime, time.Time{}, ""},
		{"ends at a whole second", long, edits{func(a *trust.Ask) { a.Now, a.TTL = now.Add(700*time.Millisecond), time.Minute }}, nil, minutes(1), "requested_ttl"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, research(row.lines...))
			g, checks, err := decide(t, s, ask(t, s, append(edits{scoped("archive.read")}, row.ask...)...))
			wantErr(t, err, row.want)
			if !g.Expires.Equal(row.end) {
				t.Errorf("expires = %v, want %v: %v", g.Expires, row.end, checks[len(checks)-1])
			}
			bounded := slices.ContainsFunc(checks, func(c auditCheck) bool {
				return c.Name == "lifetime" && strings.HasSuffix(c.Expected, "bounded by "+row.by)
			})
			if row.by != "" && !bounded {
				t.Errorf("no check says bounded by %s: %v", row.by, checks)
			}
		})
	}
}

// A peer and a client that end one after the other each bound.
func TestPeerAndClientEndsBoundByThemselves(t *testing.T) {
	t.Parallel()
	const soon = "2026-11-21T12:03:00Z"
	for name, from := range map[string]string{
		"peer":   `issuer: "https://as.acme.example", expires: 2027-11-21T00:00:00Z`,
		"client": "known_as: {acme: agent@acme, branch: agent@branch}\n    expires: 2027-11-21T00:00:00Z",
	} {
		s := compile(t, edit(t, research(reads), from, strings.Replace(from, "2027-11-21T00:00:00Z", soon, 1)))
		g, _, err := decide(t, s, ask(t, s, scoped("archive.read")))
		if err != nil || !g.Expires.Equal(now.Add(3*time.Minute)) {
			t.Errorf("%s: expires %v, %v", name, g.Expires, err)
		}
		if s.Peer("acme").Usable(expiry) || s.Client("acme-agent").Usable(expiry) {
			t.Errorf("%s: usable at its end", name)
		}
	}
}

// An actor without a name would stand for anybody.
func TestActorsDoNotCrossWithoutNames(t *testing.T) {
	t.Parallel()
	s := compile(t, research(reads, "boundary: {keep: [sub]}", `actors: [{issuer: "https://as.acme.example", subject: bot}]`))
	acted := func(a *trust.Ask) {
		a.Subject.Peer = a.Peer
		a.Subject.Act = []trust.Actor{{Issuer: acmeIss, Subject: "bot"}}
	}
	g, _, err := decide(t, s, ask(t, s, scoped("archive.read"), acted))
	if err != nil || len(g.Act) != 1 || !strings.HasPrefix(g.Act[0].Subject, "agent-") {
		t.Errorf("Decide = %+v, %v, want a pseudonym for the actor", g.Act, err)
	}
	_, _, err = decide(t, s, ask(t, s, scoped("archive.read"), acted, func(a *trust.Ask) { a.Names = aap.Pseudonymiser{} }))
	wantErr(t, err, trust.ErrBoundary)
}

// A broker without a least life still issues nothing that is over at once.
func TestNothingIsIssuedWithoutLife(t *testing.T) {
	t.Parallel()
	set := settings()
	set.MinTTL = 0
	c, err := trust.NewCompiler(set)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(nil, stateOf(t, parse(t, research(reads)), 1))
	if err != nil {
		t.Fatal(err)
	}
	for left, want := range map[time.Duration]error{time.Second: nil, 999 * time.Millisecond: trust.ErrLifetime, 0: trust.ErrLifetime} {
		_, _, err := decide(t, s, ask(t, s, scoped("archive.read"), func(a *trust.Ask) { a.Subject.Expires = now.Add(left) }))
		wantErr(t, err, want)
	}
}

func ending(at time.Time) func(*trust.Ask) {
	return func(a *trust.Ask) { a.Subject.Agent.Task.ExpiresAt = at.Unix() }
}

func TestDelegation(t *testing.T) {
	t.Parallel()
	depth := func(d, most int) func(*trust.Ask) {
		return func(a *trust.Ask) {
			chain := []string{"o"}
			for i := range d {
				chain = append(chain, fmt.Sprint("h", i))
			}
			a.Subject.Agent.Delegation = &aap.Delegation{Depth: d, MaxDepth: most, Chain: chain, ParentJTI: "p"}
		}
	}
	const rule = "capabilities: [archive.search]"
	zero := 0
	for _, row := range []struct {
		name        string
		lines       []string
		ask         edits
		want        error
		depth, most int
	}{
		{"goes one deeper", []string{rule, "max_depth: 3"}, edits{depth(1, 3)}, nil, 2, 3},
		{"takes the least of what parent and mapping allow (X42)", []string{rule, "max_depth: 2"}, edits{depth(1, 5)}, nil, 2, 2},
		{"starts at the mapping's depth without a delegation claim (X30)", []string{rule}, edits{func(a *trust.Ask) { a.Subject.Agent.Delegation = nil }}, nil, 1, 1},
		{"refuses at the parent's depth", []string{rule, "max_depth: 9"}, edits{depth(2, 2)}, trust.ErrDepth, 0, 0},
		{"refuses a parent that may not be delegated", []string{rule, "max_depth: 9"}, edits{depth(0, 0)}, trust.ErrDepth, 0, 0},
		{"refuses beyond the mapping's depth", []string{rule}, edits{depth(1, 5)}, trust.ErrDepth, 0, 0},
		{"refuses under a mapping of depth 0", []string{rule, "max_depth: 0"}, nil, trust.ErrDepth, 0, 0},
		{"refuses to shed agent claims at the end of their depth", []string{"scopes: [archive.read]", "max_depth: 9"}, edits{scoped("archive.read"), depth(2, 2)}, trust.ErrDepth, 0, 0},
		{"refuses a capability that may not go so deep", []string{rule, "max_depth: 9"}, edits{agent(can("archive.search", aap.Constraints{MaxDepth: &zero}))}, trust.ErrDepth, 0, 0},
		{"refuses a chain that does not fit its depth", []string{rule, "max_depth: 9"}, edits{func(a *trust.Ask) {
			a.Subject.Agent.Delegation = &aap.Delegation{Depth: 1, MaxDepth: 3, Chain: []string{"o"}, ParentJTI: "p"}
		}}, trust.ErrDepth, 0, 0},
		{"refuses without a parent to name", []string{rule}, edits{func(a *trust.Ask) { a.ParentID = "" }}, trust.ErrDepth, 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, research(row.lines...))
			g, _, err := decide(t, s, ask(t, s, append(edits{agent(can("archive.search"))}, row.ask...)...))
			wantErr(t, err, row.want)
			if err != nil {
				return
			}
			d := g.Agent.Delegation
			if d.Depth != row.depth || d.MaxDepth != row.most || len(d.Chain) != d.Depth+1 || d.ParentJTI != "parent-digest" {
				t.Errorf("delegation = %+v, want depth %d of %d", d, row.depth, row.most)
			}
			if last := d.Chain[len(d.Chain)-1]; last != "archive-api" {
				t.Errorf("holder = %q, want the resource's own client", last)
			}
		})
	}
}

func TestAgentClaimsCrossUnderOtherNames(t *testing.T) {
	t.Parallel()
	s := compile(t, research("capabilities: [{action: archive.search, from: [search.web]}]", "max_depth: 2"))
	a := ask(t, s, agent(can("search.web")), func(a *trust.Ask) {
		a.Subject.Agent.Task.CreatedBy = "alice@acme"
		a.Subject.Agent.Audit = &aap.Audit{TraceID: "trace-of-acme", SessionID: "session-of-acme"}
	})
	before, _ := json.Marshal(a.Subject.Agent)
	g, _, err := decide(t, s, a)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(g.Agent)
	if err != nil {
		t.Fatal(err)
	}
	for _, theirs := range []string{"agent-7", "task-9", "alice", "trace-of-acme", "session-of-acme", "search.web"} {
		if strings.Contains(string(text), theirs) {
			t.Errorf("%s crossed in %s", theirs, text)
		}
	}
	if g.Agent.Agent.Operator != "org:acme" || g.Agent.Task.Purpose != "research" || !g.Crosses {
		t.Errorf("claims = %s", text)
	}
	if after, _ := json.Marshal(a.Subject.Agent); string(after) != string(before) {
		t.Error("the subject's claims were changed")
	}
}

func TestAgentAndTaskOfAPlainToken(t *testing.T) {
	t.Parallel()
	const rule = "capabilities: [{action: archive.search, from: ['scope:s']}]"
	for _, row := range []struct {
		name, client, task, purpose string
		want                        error
	}{
		{"accepts a registered agent with a task", "acme-agent", "t", "reading", nil},
		{"refuses a client without an agent", "lax", "t", "reading", trust.ErrAgent},
		{"refuses no task", "acme-agent", "", "reading", trust.ErrTask},
		{"refuses no purpose", "acme-agent", "t", "", trust.ErrTask},
		{"refuses a purpose of 257 characters (X09)", "acme-agent", "t", strings.Repeat("p", 257), trust.ErrTask},
		{"refuses a task id of 129 characters", "acme-agent", strings.Repeat("t", 129), "p", trust.ErrTask},
		{"refuses a task id with a newline", "acme-agent", "a\nb", "p", trust.ErrTask},
		{"refuses a purpose with a control character", "acme-agent", "t", "p\x1b[1m", trust.ErrTask},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, research(rule))
			g, _, err := decide(t, s, ask(t, s, scoped("s"), as(s, row.client, "acme"), task(row.task, row.purpose)))
			wantErr(t, err, row.want)
			if err != nil {
				return
			}
			want := &aap.Agent{ID: "acme-agent-1", Type: "llm-autonomous", Operator: "org:acme"}
			if diff := cmp.Diff(want, g.Agent.Agent, cmp.AllowUnexported(aap.Model{})); diff != "" {
				t.Errorf("agent (-want +got):\n%s", diff)
			}
			if !cmp.Equal(g.Agent.Delegation.Chain, []string{g.Subject, "archive-api"}) {
				t.Errorf("chain = %v", g.Agent.Delegation.Chain)
			}
		})
	}
}

func TestLongSubjectsCannotBeginAChain(t *testing.T) {
	t.Parallel()
	s := compile(t, research("capabilities: [{action: archive.search, from: ['scope:s']}]", "subject: subject.sub"))
	_, _, err := decide(t, s, ask(t, s, scoped("s"), task("t", "p"), func(a *trust.Ask) { a.Subject.Subject = strings.Repeat("a", 150) }))
	wantErr(t, err, trust.ErrSubject)
}

func TestOversightIsTranslatedAndNeverShrinks(t *testing.T) {
	t.Parallel()
	actions := func(names ...string) (out []aap.Action) {
		for _, n := range names {
			out = append(out, aap.MustAction(n))
		}
		return out
	}
	overseen := func(a *trust.Ask) {
		a.Subject.Agent.Oversight = &aap.Oversight{Level: aap.LevelApproval, ApprovalTimeout: 60,
			RequiresHumanApprovalFor: actions("search.web", "their.other"), NotifyOn: actions("get.doc")}
	}
	rules := []string{"capabilities: [{action: archive.search, from: [search.web]}, {action: archive.fetch, from: [search.web, get.doc]}]"}
	for _, row := range []struct {
		name, peer      string
		approve, notify []aap.Action
	}{
		{"across a boundary into the local names", "acme", actions("archive.search", "archive.fetch"), actions("archive.fetch")},
		{"inside the domain beside the names they have", "branch", actions("search.web", "their.other", "archive.search", "archive.fetch"), actions("get.doc", "archive.fetch")},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, strings.Replace(research(rules...), "peer: acme\n", "peer: "+row.peer+"\n", 1))
			g, _, err := decide(t, s, ask(t, s, as(s, "acme-agent", row.peer), agent(can("search.web")), overseen))
			if err != nil {
				t.Fatal(err)
			}
			o := g.Agent.Oversight
			if !slices.Equal(o.RequiresHumanApprovalFor, row.approve) || !slices.Equal(o.NotifyOn, row.notify) || o.Level != aap.LevelApproval || o.ApprovalTimeout != 60 {
				t.Errorf("oversight = %+v, want %v and %v", o, row.approve, row.notify)
			}
		})
	}
}

func TestPoliciesForOwnAgents(t *testing.T) {
	t.Parallel()
	base := worldWith("policies", "name: own", "operator: org:acme", "resources: [https://archive.globex.example]",
		"capabilities: [{action: archive.search, constraints: {max_requests_per_hour: 9}}, archive.fetch]", "max_depth: 2", "ttl: 10m",
		"oversight: {level: approval, requires_human_approval_for: [archive.delete]}")
	broker := edit(t, base, `{audience: "https://other.globex.example", scopes: [other.read], actions: [other.run]}`,
		`{audience: "https://as.acme.example", actions: [archive.search], peer: acme}`, "[https://archive.globex.example]", "[https://archive.globex.example, https://as.acme.example]")
	issue := func(a *trust.Ask) {
		a.Grant, a.Peer, a.Subject, a.Task = trust.GrantClientCredentials, nil, trust.Party{}, trust.Task{ID: "t", Purpose: "p"}
	}
	for _, row := range []struct {
		name, world string
		ask         edits
		want        error
		got         string
	}{
		{"issues all of the policy", base, nil, nil, "archive.search archive.fetch"},
		{"narrows to an action", base, edits{asking("", "archive.fetch")}, nil, "archive.fetch"},
		{"narrows to an action named as a scope", base, edits{asking("archive.fetch")}, nil, "archive.fetch"},
		{"issues for another domain's broker what its vocabulary has", broker, edits{to("https://as.acme.example")}, nil, "archive.search"},
		{"refuses no target", base, edits{to()}, trust.ErrTarget, ""},
		{"refuses a target the policy does not reach", base, edits{to("https://other.globex.example")}, trust.ErrNoPolicy, ""},
		{"refuses an unknown target", base, edits{to("https://ghost.example")}, trust.ErrNoMapping, ""},
		{"refuses an action beyond the policy", base, edits{asking("", "archive.delete")}, trust.ErrScope, ""},
		{"refuses a scope", base, edits{asking("archive.read")}, trust.ErrScope, ""},
		{"refuses another operator's client", strings.Replace(base, "operator: org:acme\n    resources", "operator: org:other\n    resources", 1), nil, trust.ErrNoPolicy, ""},
		{"refuses a suspended policy", base + "    status: suspended\n", nil, trust.ErrNoPolicy, ""},
		{"refuses an agent of another type", base + "    agent_type: rpa-bot\n", nil, trust.ErrNoPolicy, ""},
		{"accepts an agent of the type", base + "    agent_type: llm-autonomous\n", nil, nil, "archive.search archive.fetch"},
		{"refuses a client without an agent", base, edits{func(a *trust.Ask) { a.Client = nil }}, trust.ErrNoMapping, ""},
		{"refuses no task", base, edits{task("", "")}, trust.ErrTask, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, row.world)
			g, _, err := decide(t, s, ask(t, s, append(edits{issue}, row.ask...)...))
			wantErr(t, err, row.want)
			if err != nil {
				return
			}
			var got []string
			for _, c := range g.Agent.Capabilities {
				got = append(got, c.Action.String())
			}
			if strings.Join(got, " ") != row.got || g.Subject != "acme-agent-1" || g.Mapping != nil || g.Policy.Name != "own" || !g.Expires.Equal(now.Add(10*time.Minute)) {
				t.Errorf("granted %v to %s until %v", got, g.Subject, g.Expires)
			}
			want := &aap.Delegation{MaxDepth: 2, Chain: []string{"acme-agent-1"}}
			if diff := cmp.Diff(want, g.Agent.Delegation); diff != "" || !g.Agent.Oversight.Requires(aap.MustAction("archive.delete")) {
				t.Errorf("delegation (-want +got):\n%s\noversight %+v", diff, g.Agent.Oversight)
			}
		})
	}
	s := compile(t, base)
	_, _, err := decide(t, s, ask(t, s, issue, func(a *trust.Ask) { a.Client = s.Client("lax") }))
	wantErr(t, err, trust.ErrAgent)
}

// Decide is pure: the same question gets the same answer, from many at once.
func TestDecideIsPure(t *testing.T) {
	t.Parallel()
	s := compile(t, research("capabilities: [{action: archive.search, from: [search.web]}]", "when: subject.claims.level >= 3", reads))
	a := ask(t, s, scoped("archive.read"), agent(can("search.web")), claims("level", json.Number("4")))
	first, firstChecks, err := s.Decide(a)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		g, checks, err := s.Decide(a)
		if err != nil || g.Subject != first.Subject || !g.Expires.Equal(first.Expires) || !cmp.Equal(checks, firstChecks) {
			t.Errorf("answer = %+v, %v, %v; first %+v, %v", g, checks, err, first, firstChecks)
		}
	}
	if _, still := a.Subject.Claims["level"].(json.Number); !still {
		t.Error("the claims were changed")
	}
}
