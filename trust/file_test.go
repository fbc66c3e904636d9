package trust_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/strictyaml"
)

// sample is the trust file of the contract without the values that this
// version refuses: two keys stand for those that it leaves to the reader.
func sample(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("testdata/sample.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSampleTrustFileParses(t *testing.T) {
	t.Parallel()
	f := parse(t, sample(t))
	if got := []int{len(f.Peers), len(f.Resources), len(f.Clients), len(f.Mappings), len(f.Policies)}; !cmp.Equal(got, []int{2, 2, 2, 2, 1}) {
		t.Errorf("objects by kind = %v", got)
	}
	if got := f.Clients[0].KnownAs["acme"]; got != "acme-agent" {
		t.Errorf("known_as.acme = %q", got)
	}
	s, err := newCompiler(t).Compile(nil, stateOf(t, f, 1))
	if err != nil || len(s.Faulty()) > 0 {
		t.Errorf("Compile = %v, faulty %v", err, s.Faulty())
	}
}

func TestEmptyAndOversizedFilesAreRefused(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		text []byte
		want string
	}{
		{"refuses zero length", nil, "empty"},
		{"refuses comments alone", []byte("# nothing\n"), "empty"},
		{"refuses 64 MiB and one byte", bytes.Repeat([]byte(" "), 64<<20+1), "larger"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			f, problems := newCompiler(t).ParseFile(row.text)
			if f != nil || len(problems) != 1 || !strings.Contains(problems[0].Message, row.want) {
				t.Errorf("ParseFile = %v, %v, want one problem with %q", f, problems, row.want)
			}
		})
	}
	if f := parse(t, "{}\n"); len(f.Peers) != 0 {
		t.Errorf("{} gives %v", f)
	}
	if f := parse(t, "peers:\nmappings: []\n"); len(f.Peers) != 0 {
		t.Errorf("bare headings give %v", f)
	}
}

// One run finds everything, so that nobody mends a file problem by problem.
func TestEveryProblemAtOnceWithItsLine(t *testing.T) {
	t.Parallel()
	_, problems := newCompiler(t).ParseFile([]byte(`peers:
  - name: acme
    domain: acme.example
    isuer: https://as.acme.example
    leeway: 301s
    single_use: "yes"
    expires: soon
  - name: acme
    name: again
    domain: Acme.example
    issuer: https://as.acme.example/
resources: {audience: x}
mappings:
  - name: m
    peer: nobody
    clients: [ghost]
    resources: [https://r.example]
    when: subject.claims.x == 1 &&
    scopes: [a]
    max_depth: many
`))
	got := map[string]string{}
	last := 0
	for _, p := range problems {
		if p.Line < last {
			t.Errorf("problems are out of order at %v", p)
		}
		last = p.Line
		got[fmt.Sprintf("%d %s", p.Line, p.Path)] = p.Message
	}
	for at, want := range map[string]string{
		"4 peers[0].isuer":            "did you mean issuer",
		"2 peers[0].issuer":           "",
		"5 peers[0].leeway":           "at most 300s",
		"6 peers[0].single_use":       "true or false",
		"7 peers[0].expires":          "2027-11-21T00:00:00Z",
		"8 peers[1].name":             "taken",
		"9 peers[1].name":             "repeated",
		"10 peers[1].domain":          "",
		"8 peers[1].expires":          "missing",
		"12 resources":                "want a list, not a mapping",
		"15 mappings[0].peer":         "no peer",
		"16 mappings[0].clients[0]":   "no client",
		"17 mappings[0].resources[0]": "no resource",
		"18 mappings[0].when":         "Syntax error",
		"20 mappings[0].max_depth":    "whole number",
	} {
		msg, ok := got[at]
		if at == "8 peers[1].name" && !ok { // the repeated key is known at the same path
			continue
		}
		if !ok || !strings.Contains(msg, want) {
			t.Errorf("%s: %q, want %q; all:\n%s", at, msg, want, problems.Error())
		}
	}
}

// edit changes the sample by replacing text that has to be there.
func edit(t testing.TB, text string, swaps ...string) string {
	t.Helper()
	for i := 0; i < len(swaps); i += 2 {
		if !strings.Contains(text, swaps[i]) {
			t.Fatalf("the text does not hold %q", swaps[i])
		}
		text = strings.Replace(text, swaps[i], swaps[i+1], 1)
	}
	return text
}

func wantProblem(t testing.TB, text, path, words string) {
	t.Helper()
	f, problems := newCompiler(t).ParseFile([]byte(text))
	if f != nil {
		t.Error("the file is usable")
	}
	for _, p := range problems {
		if p.Path == path && strings.Contains(p.Message, words) {
			if p.Line == 0 {
				t.Errorf("%v has no line", p)
			}
			return
		}
	}
	t.Errorf("no problem at %s with %q among:\n%s", path, words, problems.Error())
}

func TestPeerRules(t *testing.T) {
	t.Parallel()
	const peer = "name: acme, domain: acme.example"
	for _, row := range []struct{ name, from, to, path, words string }{
		{"requires a name", "{name: acme,", "{", "peers[0].name", ""},
		{"refuses the name self", "name: acme,", "name: self,", "peers[0].name", "this broker"},
		{"refuses a name with a slash", "name: acme,", "name: a/b,", "peers[0].name", ""},
		{"refuses our own issuer", `issuer: "https://as.acme.example"`, `issuer: "` + ownIssuer + `"`, "peers[0].issuer", "peer: self"},
		{"refuses an http issuer", `issuer: "https://as.acme.example"`, `issuer: "http://as.acme.example"`, "peers[0].issuer", ""},
		{"refuses an issuer registered twice", `issuer: "https://as.branch.globex.example"`, `issuer: "https://as.acme.example"`, "peers[1].issuer", "registered already, for peer acme"},
		{"refuses a name given twice", "name: branch,", "name: acme,", "peers[1].name", "taken already"},
		{"refuses an upper-case domain", "domain: acme.example", "domain: Acme.example", "peers[0].domain", ""},
		{"requires expires", `"https://as.acme.example", expires: 2027-11-21T00:00:00Z`, `"https://as.acme.example"`, "peers[0].expires", "missing"},
		{"refuses an unknown kind", peer, peer + ", kind: saml", "peers[0].kind", "want one of"},
		{"refuses an unknown grant", peer, peer + ", grants: [password]", "peers[0].grants[0]", "want one of"},
		{"refuses an empty list of grants", peer, peer + ", grants: []", "peers[0].grants", "is empty"},
		{"refuses an empty list of algorithms", peer, peer + ", algorithms: []", "peers[0].algorithms", "is empty"},
		{"refuses an empty list of token types", peer, peer + ", token_types: []", "peers[0].token_types", "is empty"},
		{"refuses a symmetric algorithm", peer, peer + ", algorithms: [HS256]", "peers[0].algorithms[0]", "want one of"},
		{"refuses algorithm none", peer, peer + ", algorithms: [none]", "peers[0].algorithms[0]", "want one of"},
		{"refuses an unknown token type", peer, peer + ", token_types: [saml2]", "peers[0].token_types[0]", ""},
		{"refuses audience *", peer, peer + `, audiences: ["*"]`, "peers[0].audiences[0]", ""},
		{"refuses a leeway above 300s", peer, peer + ", leeway: 301s", "peers[0].leeway", "at most 300s"},
		{"refuses a leeway of zero, which would read as the default", peer, peer + ", leeway: 0s", "peers[0].leeway", "above zero"},
		{"refuses a negative age", peer, peer + ", max_token_age: -1h", "peers[0].max_token_age", "above zero"},
		{"refuses an age above a day", peer, peer + ", max_token_age: 25h", "peers[0].max_token_age", "24h"},
		{"refuses a bare number as duration", peer, peer + ", leeway: 30", "peers[0].leeway", "300s"},
		{"refuses a pin that is no thumbprint", peer, peer + ", pins: [abc]", "peers[0].pins[0]", "RFC 7638"},
		{"refuses a pin that ends before it begins", peer, peer + ", pins: [{thumbprint: NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs, not_before: 2027-01-02T00:00:00Z, not_after: 2027-01-01T00:00:00Z}]", "peers[0].pins[0]", "before it begins"},
		{"refuses jwks_uri without its discovery", peer, peer + ", jwks_uri: https://as.acme.example/jwks", "peers[0].jwks_uri", "only for"},
		{"refuses discovery jwks_uri without one", peer, peer + ", discovery: jwks_uri", "peers[0].jwks_uri", "https"},
		{"refuses an http jwks_uri", peer, peer + ", discovery: jwks_uri, jwks_uri: http://as.acme.example/jwks", "peers[0].jwks_uri", "https"},
		{"refuses a jwks_uri with a fragment", peer, peer + ", discovery: jwks_uri, jwks_uri: 'https://as.acme.example/jwks?a#b'", "peers[0].jwks_uri", "https"},
		{"refuses keys beside discovery jwks_uri", peer, peer + ", discovery: jwks_uri, jwks_uri: 'https://as.acme.example/jwks', jwks: {keys: [{kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo}]}", "peers[0].jwks", "only for discovery: static"},
		{"refuses static discovery without keys", peer, peer + ", discovery: static, jwks: {keys: []}", "peers[0].jwks", "at least one key"},
		{"refuses a private key", peer, peer + ", discovery: static, jwks: {keys: [{kty: OKP, crv: Ed25519, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo, d: nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A}]}", "peers[0].jwks.keys[0]", "private"},
		{"refuses a symmetric key", peer, peer + ", discovery: static, jwks: {keys: [{kty: oct, k: AAAA}]}", "peers[0].jwks.keys[0]", "symmetric"},
		{"refuses a key that is none", peer, peer + ", discovery: static, jwks: {keys: [{kty: EC}]}", "peers[0].jwks.keys[0]", "valid public JWK"},
		{"refuses an unknown status", peer, peer + ", status: enabled", "peers[0].status", "active, suspended"},
		{"refuses an unknown discovery", peer, peer + ", discovery: dns", "peers[0].discovery", "want one of"},
		{"refuses an unknown aap_names", peer, peer + ", aap_names: both", "peers[0].aap_names", "want one of"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wantProblem(t, edit(t, world, row.from, row.to), row.path, row.words)
		})
	}
}

func TestResourceAndClientRules(t *testing.T) {
	t.Parallel()
	const client = "id: open, auth: none"
	for _, row := range []struct{ name, from, to, path, words string }{
		{"requires an audience", `{audience: "https://other.globex.example",`, "{", "resources[1].audience", ""},
		{"refuses audience * (AD-08)", `audience: "https://other.globex.example"`, `audience: "*"`, "resources[1].audience", ""},
		{"refuses an audience given twice", `audience: "https://other.globex.example"`, `audience: "https://archive.globex.example"`, "resources[1].audience", "taken already"},
		{"refuses a scope that is an action too", "actions: [other.run]", "actions: [other.read]", "resources[1].actions[0]", "overlap"},
		{"refuses an action given twice", "actions: [other.run]", "actions: [other.run, other.run]", "resources[1].actions[1]", "repeated"},
		{"refuses an action with a wildcard", "actions: [other.run]", "actions: ['other.*']", "resources[1].actions[0]", ""},
		{"refuses a scope with a blank", "scopes: [other.read]", "scopes: [other read]", "resources[1].scopes", ""},
		{"refuses a client that is not registered", "client: archive-api", "client: ghost", "resources[0].client", "no client"},
		{"refuses a peer that is not registered", "client: archive-api", "peer: ghost", "resources[0].peer", "no peer"},

		{"refuses an id with a slash", "id: open,", "id: a/b,", "clients[4].id", ""},
		{"refuses an id given twice", "id: open,", "id: lax,", "clients[4].id", "taken already"},
		{"requires auth", "id: open, auth: none", "id: open", "clients[4].auth", "want one of"},
		{"refuses tls_client_auth without tls", "auth: none", "auth: tls_client_auth", "clients[4].tls", "exactly one"},
		{"refuses tls_client_auth without an authority", "auth: none", "auth: tls_client_auth, tls: {san_dns: a.example}", "clients[4].tls.ca", "missing"},
		{"refuses self_signed_tls_client_auth without keys", "auth: none", "auth: self_signed_tls_client_auth", "clients[4].jwks", "needs the certificate's key"},
		{"refuses federated without a workload", "auth: none", "auth: federated", "clients[4].federated", "is missing"},
		{"refuses a workload for another method", client, client + ", federated: {peer: acme, subject: x}", "clients[4].federated", "only for auth: federated"},
		{"refuses tls for another method", client, client + ", tls: {san_dns: a.example}", "clients[4].tls", "only for tls_client_auth"},
		{"refuses an unknown proof", client, client + ", proof: none", "clients[4].proof", "want one of"},
		{"refuses an empty list of grants", client, client + ", grants: []", "clients[4].grants", "is empty"},
		{"refuses client_credentials without authentication", client, client + ", operator: o, agent: {id: a, type: t}, grants: [client_credentials]", "clients[4].grants", "does not authenticate"},
		{"refuses client_credentials without an agent", "id: lax,", "id: lax, grants: [client_credentials],", "clients[2].grants", "operator and agent"},
		{"refuses private_key_jwt without keys", "auth: none", "auth: private_key_jwt", "clients[4].jwks", "jwks_uri"},
		{"refuses keys for another method", client, client + ", jwks_uri: https://a.example/jwks", "clients[4].jwks", "only for private_key_jwt"},
		{"refuses a secret method without one", "auth: none", "auth: client_secret_basic", "clients[4].secret_hash", "missing"},
		{"refuses a secret for another method", client, client + `, secret_hash: "sha256:00"`, "clients[4].secret_hash", ""},
		{"refuses a secret in the clear", `secret_hash: "sha256:0000000000000000000000000000000000000000000000000000000000000000", proof: optional, expires`, `secret_hash: "hunter2", proof: optional, expires`, "clients[0].secret_hash", "sha256:"},
		{"refuses an agent without an operator", client, client + ", agent: {id: a, type: t}", "clients[4].operator", "missing"},
		{"refuses an agent without a type", "{id: acme-agent-1, type: llm-autonomous}", "{id: acme-agent-1}", "clients[1].agent.type", ""},
		{"refuses an agent that reads like a peer's subject", "id: acme-agent-1,", "id: acme/alice,", "clients[1].agent.id", "subject of a peer"},
		{"refuses an agent id with a newline", "id: acme-agent-1,", `id: "a\nb",`, "clients[1].agent.id", "visible"},
		{"refuses a name at a peer that is not registered", "known_as: {acme: open@acme}", "known_as: {ghost: open}", "clients[4].known_as.ghost", "no peer"},
		{"refuses an empty name at a peer", "known_as: {acme: open@acme}", `known_as: {acme: ""}`, "clients[4].known_as.acme", "empty"},
		{"requires expires", "known_as: {acme: open@acme}, expires: 2027-11-21T00:00:00Z", "known_as: {acme: open@acme}", "clients[4].expires", "missing"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wantProblem(t, edit(t, world, row.from, row.to), row.path, row.words)
		})
	}
}

func TestMappingRules(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, from, to, path, words string }{
		{"requires clients", "clients: [acme-agent, lax, strict]", "ttl: 300s", "mappings[0].clients", "missing"},
		{"requires resources", "resources: [https://archive.globex.example]", "ttl: 300s", "mappings[0].resources", "missing"},
		{"requires a peer", "peer: acme", "ttl: 300s", "mappings[0].peer", "missing"},
		{"refuses a peer that is not registered", "peer: acme", "peer: ghost", "mappings[0].peer", "no peer"},
		{"refuses a client that is not registered", "[acme-agent, lax, strict]", "[acme-agent, ghost]", "mappings[0].clients[1]", "no client"},
		{"refuses a resource that is not registered", "[https://archive.globex.example]", "[https://ghost.example]", "mappings[0].resources[0]", "no resource"},
		{"refuses a resource given twice", "[https://archive.globex.example]", "[https://archive.globex.example, https://archive.globex.example]", "mappings[0].resources[1]", "repeated"},
		{"refuses a scope outside the vocabulary", "scopes: [archive.read]", "scopes: [other.read]", "mappings[0].scopes[0]", "vocabulary"},
		{"refuses an action outside the vocabulary", "scopes: [archive.read]", "capabilities: [other.run]", "mappings[0].capabilities[0].action", "vocabulary"},
		{"refuses a scope as capability", "scopes: [archive.read]", "capabilities: [archive.read]", "mappings[0].capabilities[0].action", "vocabulary"},
		{"refuses a mapping that grants nothing", "scopes: [archive.read]", "ttl: 300s", "mappings[0].scopes", "nothing"},
		{"refuses an empty from", "scopes: [archive.read]", "scopes: [{scope: archive.read, from: []}]", "mappings[0].scopes[0].from", "empty"},
		{"refuses an empty from of a capability", "scopes: [archive.read]", "capabilities: [{action: archive.search, from: []}]", "mappings[0].capabilities[0].from", "empty"},
		{"refuses a foreign action with a wildcard", "scopes: [archive.read]", "capabilities: [{action: archive.search, from: ['search.*']}]", "mappings[0].capabilities[0].from[0]", ""},
		{"refuses an unknown constraint", "scopes: [archive.read]", "capabilities: [{action: archive.search, constraints: {max_fun: 1}}]", "mappings[0].capabilities[0].constraints.max_fun", "no constraint of that name"},
		{"refuses a constraint out of range", "scopes: [archive.read]", "capabilities: [{action: archive.search, constraints: {max_requests_per_hour: 0}}]", "mappings[0].capabilities[0].constraints", ""},
		{"refuses an octal-looking constraint", "scopes: [archive.read]", "capabilities: [{action: archive.search, constraints: {max_requests_per_hour: 010}}]", "mappings[0].capabilities[0].constraints.max_requests_per_hour", "decimal"},
		{"refuses a number as scope", "scopes: [archive.read]", "scopes: [12]", "mappings[0].scopes[0]", "quotes"},
		{"refuses authority mapping without when", "scopes: [archive.read]", "scopes: [archive.read]\n    authority: mapping", "mappings[0].when", "missing"},
		{"refuses authority mapping with a blank when", "scopes: [archive.read]", "scopes: [archive.read]\n    authority: mapping\n    when: ' '", "mappings[0].when", "missing"},
		{"refuses a blank when, which would always hold", "scopes: [archive.read]", "scopes: [archive.read]\n    when: ' '", "mappings[0].when", "blank"},
		{"refuses a from that authority mapping ignores", "scopes: [archive.read]", "scopes: [{scope: archive.read, from: [x]}]\n    authority: mapping\n    when: subject.sub == 'a'", "mappings[0].scopes[0].from", "only for authority: token"},
		{"refuses carried with authority token", "scopes: [archive.read]", "scopes: [archive.read]\n    carried: ignore", "mappings[0].carried", "only for"},
		{"refuses an actor without issuer", "scopes: [archive.read]", "scopes: [archive.read]\n    actors: [{subject: b}]", "mappings[0].actors[0].issuer", "want an issuer"},
		{"refuses an actor without subject", "scopes: [archive.read]", "scopes: [archive.read]\n    actors: [{issuer: a}]", "mappings[0].actors[0].subject", "want a subject"},
		{"refuses an unknown proof", "scopes: [archive.read]", "scopes: [archive.read]\n    proof: tls", "mappings[0].proof", "want one of"},
		{"refuses a ttl above the most", "scopes: [archive.read]", "scopes: [archive.read]\n    ttl: 901s", "mappings[0].ttl", "max_ttl"},
		{"refuses a ttl below the least", "scopes: [archive.read]", "scopes: [archive.read]\n    ttl: 29s", "mappings[0].ttl", "min_ttl"},
		{"refuses a depth of 11", "scopes: [archive.read]", "scopes: [archive.read]\n    max_depth: 11", "mappings[0].max_depth", "0 to 10"},
		{"refuses a negative depth", "scopes: [archive.read]", "scopes: [archive.read]\n    max_depth: -1", "mappings[0].max_depth", "0 to 10"},
		{"refuses an identifier that may never cross", "scopes: [archive.read]", "scopes: [archive.read]\n    boundary: {keep: [jti]}", "mappings[0].boundary.keep[0]", "want one of"},
		{"refuses an unknown mode", "scopes: [archive.read]", "scopes: [archive.read]\n    mode: audit", "mappings[0].mode", "want one of"},
		{"refuses an unknown presenter", "scopes: [archive.read]", "scopes: [archive.read]\n    presenter: none", "mappings[0].presenter", "want one of"},
		{"refuses a value left out", "scopes: [archive.read]", "scopes: [archive.read]\n    proof:", "mappings[0].proof", "no value"},
		{"refuses an overlap with another mapping (AD-08)", "scopes: [archive.read]", "scopes: [archive.read]\n  - {name: second, peer: acme, clients: [lax], resources: [https://archive.globex.example], scopes: [archive.list]}", "mappings[1].resources[0]", "acme-research"},
		{"refuses an overlap through *", "scopes: [archive.read]", "scopes: [archive.read]\n  - {name: second, peer: acme, clients: ['*'], resources: [https://archive.globex.example], scopes: [archive.list]}", "mappings[1].resources[0]", "acme-research"},
		{"refuses an overlap of a condition with none", "scopes: [archive.read]", "scopes: [archive.read]\n  - {name: second, peer: acme, clients: [lax], when: 'subject.sub == \"a\"', resources: [https://archive.globex.example], scopes: [archive.list]}", "mappings[1].resources[0]", "acme-research"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wantProblem(t, edit(t, research("scopes: [archive.read]"), row.from, row.to), row.path, row.words)
		})
	}
}

func TestMappingsThatDoNotOverlap(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, second string }{
		{"accepts another client", "clients: [archive-api]"},
		{"accepts a shadow", "clients: [lax], mode: shadow"},
		{"accepts a suspended one", "clients: [lax], status: suspended"},
		{"accepts a client that * does not cover", "clients: [open]"},
		{"accepts another condition", "clients: [lax], when: 'subject.sub == \"b\"'"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			parse(t, research("scopes: [archive.read]", "when: subject.sub == 'a'")+
				"  - {name: second, peer: acme, resources: [https://archive.globex.example], scopes: [archive.list], "+row.second+"}\n")
		})
	}
}

func TestPolicyRules(t *testing.T) {
	t.Parallel()
	base := worldWith("policies", "name: own", "operator: org:acme", "resources: [https://archive.globex.example]", "capabilities: [archive.search]")
	parse(t, base)
	for _, row := range []struct{ name, from, to, path, words string }{
		{"requires an operator", "operator: org:acme\n    resources", "resources", "policies[0].operator", ""},
		{"requires resources", "resources: [https://archive.globex.example]", "ttl: 300s", "policies[0].resources", "missing"},
		{"requires capabilities", "capabilities: [archive.search]", "ttl: 300s", "policies[0].capabilities", "missing"},
		{"refuses from", "[archive.search]", "[{action: archive.search, from: [x]}]", "policies[0].capabilities[0].from", "translates nothing"},
		{"refuses more than 16 capabilities", "[archive.search]", "[" + strings.Repeat("archive.search,", 17) + "]", "policies[0].capabilities", "at most 16"},
		{"refuses an unknown level of oversight", "[archive.search]", "[archive.search]\n    oversight: {level: total}", "policies[0].oversight", ""},
		{"refuses identifiers in audit", "[archive.search]", "[archive.search]\n    audit: {trace_id: x}", "policies[0].audit", "itself"},
		{"refuses unknown members of audit", "[archive.search]", "[archive.search]\n    audit: {sink: x}", "policies[0].audit", "unknown field"},
		{"refuses an approval reference that could not be issued", "[archive.search]", "[archive.search]\n    oversight: {level: approval, approval_reference: not a uri}", "policies[0]", "approval_reference"},
		{"refuses a second policy for the same agents", "[archive.search]", "[archive.search]\n  - {name: more, operator: 'org:acme', agent_type: llm, resources: [https://archive.globex.example], capabilities: [archive.fetch]}", "policies[1].resources[0]", "policy own"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wantProblem(t, edit(t, base, row.from, row.to), row.path, row.words)
		})
	}
}

// CL-20, AD-08: a pattern that is anchored in part reads as if it were anchored
// as a whole.
func TestConditionsAreCheckedBeforeTheyRun(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, field, expr, words string }{
		{"refuses a pattern without anchors", "when", `subject.sub.matches("repo:org/app")`, "anchored"},
		{"refuses a pattern anchored in front", "when", `subject.sub.matches("^repo:org/app")`, "anchored"},
		{"refuses a pattern anchored behind", "when", `subject.sub.matches("repo:org/app$")`, "anchored"},
		{"refuses alternatives anchored in part", "when", `subject.sub.matches("^a|b$")`, "anchored"},
		{"refuses anchors of lines", "when", `subject.sub.matches("(?m)^a$")`, "anchored"},
		{"refuses a pattern made of a claim", "when", `subject.sub.matches("^" + subject.sub + "$")`, "anchored"},
		{"refuses it in the form of a function", "when", `matches(subject.sub, "app")`, "anchored"},
		{"refuses it inside a macro", "when", `subject.scopes.exists(s, s.matches("app"))`, "anchored"},
		{"refuses it in subject", "subject", `subject.sub.matches("app") ? subject.sub : "x"`, "anchored"},
		{"refuses a pattern above 1 KiB", "when", `subject.sub.matches("^` + strings.Repeat("a", 1024) + `$")`, "longer than 1024"},
		{"refuses an expression above 4 KiB", "when", `subject.sub == "` + strings.Repeat("a", 4096) + `"`, "longer than 4096"},
		{"refuses a pattern that is none", "when", `subject.sub.matches("^(a$")`, ""},
		{"refuses a name that is not there, with a caret", "when", `subject.subb == "a"`, "^"},
		{"refuses a comparison of types, with a caret", "when", `subject.sub == 1`, "^"},
		{"refuses a condition that gives text", "when", `subject.sub`, "gives string, want bool"},
		{"refuses a subject that gives a truth", "subject", `subject.sub == "a"`, "gives bool, want string"},
		{"refuses a subject that is the same for all", "subject", `"everybody"`, "all would be one"},
		{"refuses a subject made of the issuer alone", "subject", `subject.iss + "x"`, "all would be one"},
		{"refuses a broken literal of time", "when", `timestamp("soon") < now`, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			text := research("scopes: [archive.read]", fmt.Sprintf("%s: %q", row.field, row.expr))
			wantProblem(t, text, "mappings[0]."+row.field, row.words)
		})
	}
	for _, expr := range []string{`subject.sub.matches("^(?:a|b)$")`, `subject.sub.matches("^repo:org/app$") && actor.present == false`,
		`subject.claims.level >= 3`, `subject.claims.flag`, `now < timestamp("2030-01-01T00:00:00Z")`, `"a" in request.scopes`} {
		parse(t, research("scopes: [archive.read]", fmt.Sprintf("when: %q", expr)))
	}
}

func TestCaretPointsAtTheFault(t *testing.T) {
	t.Parallel()
	_, problems := newCompiler(t).ParseFile([]byte(research("scopes: [archive.read]", "when: subject.subb == 'a'")))
	if len(problems) != 1 {
		t.Fatalf("problems = %v, want 1", problems)
	}
	lines := strings.Split(problems[0].Message, "\n")
	if len(lines) < 3 || !strings.Contains(lines[1], "subject.subb") || strings.TrimLeft(lines[2], " |.") != "^" {
		t.Errorf("message = %q, want the expression and a caret under it", problems[0].Message)
	}
}

func TestStrictYAML(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, text, path, words string }{
		{"refuses a second document", "peers: []\n---\npeers: []\n", "", "second document"},
		{"refuses an alias", "peers: &p []\nmappings: *p\n", "peers", "aliases"},
		{"refuses an alias as key", "peers: []\n? *x\n: []\n", "document", "anchor"},
		{"refuses a merge key", "peers:\n  - <<: {name: a}\n", "peers[0]", "key"},
		{"refuses a merge key in free content", "peers:\n  - jwks: {keys: [{<<: {kty: EC}}]}\n", "peers[0].jwks.keys[0]", "key"},
		{"refuses a tag", "peers:\n  - name: !!str acme\n", "peers[0].name", "tags"},
		{"refuses a custom tag", "peers: !x []\n", "peers", "tags"},
		{"refuses a tag in free content", "peers:\n  - jwks: {keys: [!!map {kty: EC}]}\n", "peers[0].jwks.keys[0]", "tags"},
		{"refuses a number as a key", "1: []\n", "", "quotes"},
		{"refuses a mapping as a key", "{a: b}: []\n", "", "key"},
		{"refuses a repeated key in free content", "peers:\n  - jwks: {keys: [{kty: EC, kty: RSA}]}\n", "peers[0].jwks.keys[0].kty", "repeated"},
		{"refuses a repeated key of names", "clients:\n  - known_as: {a: x, a: y}\n", "clients[0].known_as.a", "repeated"},
		{"refuses a list for a mapping", "clients:\n  - known_as: [a]\n", "clients[0].known_as", "want a mapping, not a list"},
		{"refuses a number for a name", "clients:\n  - known_as: {a: 1}\n", "clients[0].known_as.a", "quotes"},
		{"refuses a mapping for text", "peers:\n  - name: {a: b}\n", "peers[0].name", "want text, not a mapping"},
		{"refuses text at the top", "hello\n", "", "want a mapping"},
		{"refuses infinity", "policies:\n  - audit: {retention_period: .inf}\n", "policies[0].audit.retention_period", "decimal"},
		{"refuses hexadecimal", "mappings:\n  - max_depth: 0x1\n", "mappings[0].max_depth", "whole number"},
		{"refuses a truth in words", "peers:\n  - single_use: yes\n", "peers[0].single_use", "true or false"},
		{"refuses a time without a zone", "peers:\n  - expires: 2027-11-21\n", "peers[0].expires", "Z"},
		{"refuses broken YAML", "peers: [\n", "document", ""},
		{"refuses what is not UTF-8", "peers: \xff\n", "document", ""},
		{"names the nearest key", "peer: []\n", "peer", "did you mean peers?"},
		{"names none for a key far off", "frobnicate: []\n", "frobnicate", "unknown key"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, problems := newCompiler(t).ParseFile([]byte(row.text))
			for _, p := range problems {
				if p.Path == row.path && strings.Contains(p.Message, row.words) && (p.Line > 0 || p.Path == "document") {
					return
				}
			}
			t.Errorf("no problem at %q with %q among:\n%s", row.path, row.words, problems.Error())
		})
	}
}

func TestLinesFallBackToWhatIsAround(t *testing.T) {
	t.Parallel()
	lines := strictyaml.Lines{"": 1, "a": 2, "a[0]": 3}
	for path, want := range map[string]int{"a[0].b.c": 3, "a[1]": 2, "a": 2, "x.y": 1, "": 1} {
		if got := lines.At(path); got != want {
			t.Errorf("At(%q) = %d, want %d", path, got, want)
		}
	}
	if got := strictyaml.Lines(nil).At("a.b"); got != 0 {
		t.Errorf("At of no lines = %d", got)
	}
}

func TestProblemsPrintWhereTheyAre(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]strictyaml.Problem{
		"line 3: a.b: is bad": {Line: 3, Path: "a.b", Message: "is bad"},
		"a.b: is bad":         {Path: "a.b", Message: "is bad"},
		"line 3: is bad":      {Line: 3, Message: "is bad"},
		"is bad":              {Message: "is bad"},
	} {
		if got := p.String(); got != want {
			t.Errorf("String = %q, want %q", got, want)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add([]byte(sample(f)))
	f.Add([]byte(world))
	f.Add([]byte(research("scopes: [archive.read]", "when: subject.claims.a == 'b'")))
	for _, s := range []string{"", "{}", "peers: [", "a: &a [*a]", "--- \n---\n", "peers:\n  - <<: {}\n", "peers:\n - pins: [x, {thumbprint: y}]", "\xff\xfe"} {
		f.Add([]byte(s))
	}
	c := newCompiler(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		file, problems := c.ParseFile(text)
		if (file == nil) == (len(problems) == 0) {
			t.Fatalf("file %v with %d problems", file, len(problems))
		}
		if file == nil {
			return
		}
		out, err := file.YAML()
		if err != nil {
			t.Fatalf("YAML: %v", err)
		}
		again, problems := c.ParseFile(out)
		if len(problems) > 0 {
			t.Fatalf("an exported file has problems:\n%s\n%s", problems.Error(), out)
		}
		if diff := planned(t, file, again); diff != "" {
			t.Fatalf("export changed the content: %s\n%s", diff, out)
		}
	})
}

// planned tells the change from one file to the other, empty when there is none.
func planned(t testing.TB, from, to *trust.File) string {
	t.Helper()
	change, diffs, err := trust.Plan(stateOf(t, from, 1), to)
	if err != nil {
		t.Fatal(err)
	}
	if change.IsEmpty() && len(diffs) == 0 {
		return ""
	}
	return fmt.Sprintf("%+v", diffs)
}
