package guardconf_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/comity-auth/comity/cmd/comity/guardconf"
	"github.com/comity-auth/comity/cmd/comity/settings"
)

// head is a sound configuration of five lines.
const head = `audience: https://archive.globex.example
issuers: [https://broker.globex.example]
upstream: http://127.0.0.1:9000
routes:
  - {match: "GET /search", action: archive.search}
`

// write puts a file with mode 0600 into a fresh folder.
func write(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "guard.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, content string, env []string, flags map[string]string) *guardconf.Loaded {
	t.Helper()
	l, err := guardconf.Load(write(t, content), env, flags)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return l
}

// problems loads a file that must be refused, and returns its problems with
// the folder taken out of them.
func problems(t testing.TB, content string, env []string) []string {
	t.Helper()
	path := write(t, content)
	l, err := guardconf.Load(path, env, nil)
	ps, ok := errors.AsType[settings.Problems](err)
	if !ok {
		t.Fatalf("Load error = %v (%T), want Problems", err, err)
	}
	if l.Config.Audience != "" || l.Config.Listen != "" {
		t.Errorf("Load gave a configuration together with problems: %+v", l.Config)
	}
	var out []string
	for _, p := range ps {
		out = append(out, strings.ReplaceAll(p.String(), filepath.Dir(path)+"/", ""))
	}
	return out
}

// LC-07: what is unknown, contradicts itself or is unsafe is refused, with its
// line.
func TestLC07Refuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, yaml, want string }{
		{"rejects an unknown key", "colour: red\n", `guard.yaml:6: colour: unknown key`},
		{"suggests the key that was meant", "leway: 3s\n", `guard.yaml:6: leway: unknown key; did you mean "leeway"?`},
		{"rejects a repeated key", "upstream: http://127.0.0.1:1\n", `guard.yaml:6: upstream: is repeated; first given on line 3`},
		{"rejects an unknown key of a section", "ops: {listen: \"127.0.0.1:9091\", colour: red}\n", `guard.yaml:6: ops.colour: unknown key`},
		{"rejects the public listener off loopback", "listen: 0.0.0.0:8081\n", `guard.yaml:6: listen: off loopback the public listener needs tls, or trusted_proxies in front of it`},
		{"rejects two listeners at one address", "ops: {listen: \"127.0.0.1:8081\"}\n", `guard.yaml:6: ops.listen: listen and ops.listen are the same address; the listeners are never mixed`},
		{"rejects profiles off loopback", "ops: {listen: \"0.0.0.0:9091\", pprof: true}\n", `guard.yaml:6: ops.pprof: pprof shows memory, so it needs the operations listener on loopback`},
		{"rejects a host name to listen on", "listen: localhost:8081\n", `guard.yaml:6: listen: the host must be an IP address, such as 127.0.0.1, or empty for all`},
		{"rejects a certificate without its key", "tls: {cert_file: guard.yaml}\n", `guard.yaml:6: tls.cert_file: cert_file and key_file go together`},
		{"rejects client certificates without TLS", "tls: {client_ca_file: guard.yaml}\n", `guard.yaml:6: tls.client_ca_file: needs cert_file: client certificates come with TLS`},
		{"rejects proxies that are everybody", "trusted_proxies: [0.0.0.0/0]\n", `guard.yaml:6: trusted_proxies: "0.0.0.0/0" covers every address`},
		{"rejects a leeway beyond the profile's", "leeway: 301s\n", `guard.yaml:6: leeway: must be from 0s to 5m`},
		{"rejects tokens without an age", "max_token_age: 0\n", `guard.yaml:6: max_token_age: must be from 1s to 8760h`},
		{"rejects a feed that may be a week old", "revocations: {max_age: 168h}\n", `guard.yaml:6: revocations.max_age: must be from 1s to 24h`},
		{"rejects a proof it does not know", "proof: none\n", `guard.yaml:6: proof: "none" must be one of as_token, required`},
		{"rejects a word for old feeds it does not know", "revocations: {stale: ignore}\n", `guard.yaml:6: revocations.stale: "ignore" must be one of refuse, admit`},
		{"rejects a negative depth", "max_depth: -2\n", `guard.yaml:6: max_depth: must be -1 or more`},
		{"rejects a public URL with a query", "public_url: https://api.example/?a\n", `guard.yaml:6: public_url: must be an http or https URL without user, query and fragment`},
		{"rejects a store of counts it does not know", "valkey: https://u:hunter2@h\n", `guard.yaml:6: valkey: must be a redis:// or rediss:// URL`},
		{"rejects authorities that are missing", "egress: {ca_file: none.pem}\n", `guard.yaml:6: egress.ca_file: none.pem: no such file or directory`},
		{"rejects a certificate header it does not know", "client_cert_header: X-Cert\n", `guard.yaml:6: client_cert_header: "X-Cert" must be one of none, Client-Cert, X-SSL-Client-Cert`},
		{"rejects a key file of no issuer's", "public_key_file: guard.yaml\nissuers2: []\n", `guard.yaml:7: issuers2: unknown key; did you mean "issuers"?`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff([]string{tt.want}, problems(t, head+tt.yaml, nil)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// What is wrong with one object of a list is said at its own line.
func TestObjects(t *testing.T) {
	t.Parallel()
	const top = "audience: a\nupstream: http://127.0.0.1:9000\nissuers: [https://b.example]\nroutes:\n"
	const routed = "audience: a\nupstream: http://127.0.0.1:9000\nroutes: [{match: \"GET /\", scope: x}]\nissuers:\n"
	for _, tt := range []struct {
		name, yaml string
		want       []string
	}{
		{"rejects a route without a pattern", top + "  - {action: a.b}\n", []string{`guard.yaml:5: routes[0].match: is required`}},
		{"rejects a route that asks for nothing", top + "  - match: GET /\n", []string{`guard.yaml:5: routes[0]: "GET /": names neither an action nor a scope`}},
		{"names the place and the line", top + "  - {match: GET /, action: a.b}\n  - {match: GET /x, action: Not OK}\n",
			[]string{`guard.yaml:6: routes[1]: "GET /x": action: agent claims are malformed: action name: byte 3 is not allowed`}},
		{"rejects a bad extractor", top + "  - {match: GET /, action: a.b, target: \"cookie:x\"}\n",
			[]string{`guard.yaml:5: routes[0]: "GET /": target: not an extractor: want header:NAME, query:NAME or json:NAME`}},
		{"rejects an unknown key of a route", top + "  - {match: GET /, action: a.b, colour: red}\n", []string{`guard.yaml:5: routes[0].colour: unknown key`}},
		{"suggests a key of a route", top + "  - {match: GET /, action: a.b, tarjet: \"query:x\"}\n", []string{`guard.yaml:5: routes[0].tarjet: unknown key; did you mean "target"?`}},
		{"rejects a repeated key of a route", top + "  - {match: GET /, action: a.b, action: a.c}\n", []string{`guard.yaml:5: routes[0].action: is repeated; first given on line 5`}},
		{"rejects a wrong type in a route", top + "  - match: GET /\n    action: 7\n", []string{`guard.yaml:6: routes[0].action: expected text, found a number (quote it to make it text)`}},
		{"rejects a route that is text", top + "  - GET /\n", []string{`guard.yaml:5: routes[0]: expected an object, found text`}},
		{"rejects a public route that asks for something", top + "  - {match: GET /, action: a.b, insecure_public: true}\n",
			[]string{`guard.yaml:5: routes[0]: "GET /": a public route asks for nothing else`}},
		{"refuses what is not built: revalidate", top + "  - {match: GET /, action: a.b, revalidate: true}\n",
			[]string{`guard.yaml:5: routes[0].revalidate: this build does not support it yet; leave it out`}},
		{"rejects a word it does not know", top + "  - {match: GET /, action: a.b, unknown_constraints: allow}\n",
			[]string{`guard.yaml:5: routes[0].unknown_constraints: "allow" must be one of deny, ignore`}},
		{"rejects routes that conflict, once each", top + "  - {match: \"GET /a/{x}\", action: a.b}\n  - {match: \"GET /{x}/b\", action: a.b}\n",
			[]string{`guard.yaml:6: routes[1]: "GET /{x}/b" matches requests that routes[0] "GET /a/{x}" matches too, and neither is more specific`}},
		{"rejects routes that are one", top + "  - {match: GET /a, action: a.b}\n  - {match: GET /a, action: a.c}\n",
			[]string{`guard.yaml:6: routes[1]: "GET /a" matches requests that routes[0] "GET /a" matches too, and neither is more specific`}},
		{"rejects no route", "audience: a\nupstream: http://127.0.0.1:9000\nissuers: [https://b.example]\nroutes: []\n",
			[]string{`guard.yaml:4: routes: is required: a request that no route matches is refused`}},
		{"rejects an alias for a route", top + "  - &r {match: GET /, action: a.b}\n  - *r\n", []string{`guard.yaml:6: routes[1]: aliases are not supported; write the value out`}},

		{"rejects an issuer that is none", routed + "  - http://b.example\n",
			[]string{`guard.yaml:5: issuers[0].issuer: not an issuer identifier: http is for literal loopback addresses only`}},
		{"rejects an issuer that is there twice", routed + "  - https://b.example\n  - {issuer: \"https://b.example\"}\n",
			[]string{`guard.yaml:6: issuers[1].issuer: is there twice: also as issuers[0]`}},
		{"rejects an issuer with two places of keys", routed + "  - {issuer: \"https://b.example\", jwks_uri: \"https://b.example/k\", jwks_file: guard.yaml}\n",
			[]string{`guard.yaml:5: issuers[0].jwks_file: jwks_uri and jwks_file are both given`}},
		{"rejects keys that are missing", routed + "  - issuer: https://b.example\n    jwks_file: none.json\n",
			[]string{`guard.yaml:6: issuers[0].jwks_file: none.json: no such file or directory`}},
		{"rejects an algorithm it does not know", routed + "  - {issuer: \"https://b.example\", algorithms: [HS256]}\n",
			[]string{`guard.yaml:5: issuers[0].algorithms: "HS256" is not one of ES256, EdDSA, Ed25519, ES384, ES512, PS256, PS384, PS512, RS256, RS384, RS512`}},
		{"rejects no algorithm", routed + "  - {issuer: \"https://b.example\", algorithms: []}\n", []string{`guard.yaml:5: issuers[0].algorithms: names none`}},
		{"rejects a feed beside none", routed + "  - {issuer: \"https://b.example\", feed: \"https://b.example/f\", insecure_no_revocations: true}\n",
			[]string{`guard.yaml:5: issuers[0].insecure_no_revocations: contradicts feed`}},
		{"rejects a number for an issuer", routed + "  - 7\n", []string{`guard.yaml:5: issuers[0]: expected text or an object, found a number (quote it to make it text)`}},
		{"rejects a text for all issuers", strings.Replace(routed, "issuers:", "issuers: https://b.example", 1), []string{`guard.yaml:4: issuers: expected list of issuers, found text`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := problems(t, tt.yaml, nil)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReportsEveryProblem(t *testing.T) {
	t.Parallel()
	got := problems(t, "listen: 0.0.0.0:8081\nleeway: 1h\nroutes:\n  - {match: GET /, tarjet: x}\nlog: {level: loud}\n", []string{"COMITY_PROOF=never"})
	want := []string{
		`guard.yaml:1: listen: off loopback the public listener needs tls, or trusted_proxies in front of it`,
		`guard.yaml:2: leeway: must be from 0s to 5m`,
		`guard.yaml:4: routes[0].tarjet: unknown key; did you mean "target"?`,
		`guard.yaml:5: log.level: "loud" must be one of debug, info, warn, error`,
		`COMITY_PROOF: proof: "never" must be one of as_token, required`,
		`guard.yaml: audience: is required: the identifier that tokens for this resource name as aud`,
		`guard.yaml: upstream: is required, or trusted_proxies for forward-auth: only trusted proxies are answered there`,
		`guard.yaml: issuers: is required: whose tokens are accepted`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

// A key file that users outside owner and group may touch is refused.
func TestLC07ExposedKey(t *testing.T) {
	t.Parallel()
	path := write(t, head+"tls: {cert_file: guard.yaml, key_file: key.pem}\n")
	key := filepath.Join(filepath.Dir(path), "key.pem")
	if err := errors.Join(os.WriteFile(key, []byte("x"), 0o600), os.Chmod(key, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := guardconf.Load(path, nil, nil); err == nil || !strings.Contains(err.Error(), "chmod 600 it") {
		t.Errorf("Load = %v, want a word about the mode", err)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	l := load(t, head, nil, nil)
	got := map[string]any{}
	for _, s := range l.Settings() {
		got[s.Path] = s.Value
	}
	none := []string{}
	want := map[string]any{
		"audience": "https://archive.globex.example", "issuers": []map[string]any{{"issuer": "https://broker.globex.example"}},
		"public_key_file": "", "upstream": "http://127.0.0.1:9000", "proxy.ca_file": "", "proxy.forward_credential": false,
		"proxy.preserve_host": false, "proxy.header_timeout": "1m",
		"routes": []map[string]any{{"match": "GET /search", "action": "archive.search"}},
		"agents": none, "denied_models": none, "require_attested": false, "network_zone": "", "max_depth": -1,
		"listen": "127.0.0.1:8081", "public_url": "", "trusted_proxies": none, "client_cert_header": "none", "valkey": "",
		"tls.cert_file": "", "tls.key_file": "", "tls.client_ca_file": "", "ops.listen": "127.0.0.1:9091", "ops.pprof": false,
		"leeway": "30s", "max_token_age": "1h", "proof": "as_token", "revocations.max_age": "30s", "revocations.stale": "refuse",
		"counters.unavailable": "deny", "egress.allow": none, "egress.ca_file": "", "log.level": "info", "log.format": "json",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if a := l.Issuers[0].Algorithms; !cmp.Equal(a, []string{"ES256", "EdDSA", "PS256", "RS256"}) {
		t.Errorf("algorithms %q", a)
	}
	if len(l.Warnings) > 0 {
		t.Errorf("warnings %q, want none", l.Warnings)
	}
}

// Lists of objects come from the environment and from flags too, whole.
func TestListsFromTheEnvironment(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		env     []string
		flags   map[string]string
		issuers []string
		match   string
		origin  string
	}{
		{"keeps those of the file", nil, nil, []string{"https://broker.globex.example"}, "GET /search", "file"},
		{"reads issuers with commas", []string{"COMITY_ISSUERS=https://a.example, https://b.example"}, nil, []string{"https://a.example", "https://b.example"}, "GET /search", "file"},
		{"reads issuers in brackets", []string{`COMITY_ISSUERS=[{issuer: "https://a.example", alias_names: true}, "https://b.example"]`}, nil, []string{"https://a.example", "https://b.example"}, "GET /search", "file"},
		{"reads routes in brackets", []string{`COMITY_ROUTES=[{match: "GET /x", action: a.b}]`}, nil, []string{"https://broker.globex.example"}, "GET /x", "environment COMITY_ROUTES"},
		{"prefers flags", []string{`COMITY_ROUTES=[{match: "GET /x", action: a.b}]`}, map[string]string{"routes": `[{match: "GET /y", action: a.b}]`},
			[]string{"https://broker.globex.example"}, "GET /y", "flag --routes"},
		{"knows the profile's name", []string{"AAP_TRUSTED_ISSUERS=https://a.example,https://b.example"}, nil, []string{"https://a.example", "https://b.example"}, "GET /search", "file"},
		{"prefers its own name", []string{"AAP_TRUSTED_ISSUERS=https://a.example", "COMITY_ISSUERS=https://b.example"}, nil, []string{"https://b.example"}, "GET /search", "file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := load(t, head, tt.env, tt.flags)
			var got []string
			for _, i := range l.Issuers {
				got = append(got, i.Issuer)
			}
			if diff := cmp.Diff(tt.issuers, got); diff != "" {
				t.Errorf("issuers (-want +got):\n%s", diff)
			}
			if len(l.Routes) != 1 || l.Routes[0].Match != tt.match || !strings.HasPrefix(l.Origins["routes"].String(), tt.origin) {
				t.Errorf("routes %+v of %s, want %s of %s", l.Routes, l.Origins["routes"], tt.match, tt.origin)
			}
		})
	}
}

func TestListsFromTheEnvironmentAreChecked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, env, want string }{
		{"rejects a plain text", "COMITY_ROUTES=GET /", `COMITY_ROUTES: routes: must be a list in YAML's brackets, such as [{match: "GET /"}]`},
		{"rejects brackets that do not close", "COMITY_ROUTES=[{match: x}", `COMITY_ROUTES: routes: is not a list in YAML's brackets`},
		{"names the variable and the place", `COMITY_ROUTES=[{match: "GET /"}]`, `COMITY_ROUTES: routes[0]: "GET /": names neither an action nor a scope`},
		{"checks issuers", "COMITY_ISSUERS=nobody", `COMITY_ISSUERS: issuers[0].issuer: not an issuer identifier: the scheme must be https`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff([]string{tt.want}, problems(t, head, []string{tt.env})); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// The names of the profile's own deployments are enough to start with.
func TestProfileNames(t *testing.T) {
	t.Parallel()
	path := write(t, "upstream: http://127.0.0.1:9000\nroutes: [{match: \"GET /\", action: a.b}]\n")
	l, err := guardconf.Load(path, []string{"AAP_RS_AUDIENCE=https://api.example", "AAP_RS_PORT=9443", "AAP_TRUSTED_ISSUERS=https://as.example",
		"AAP_REDIS_URL=redis://127.0.0.1:6379", "AAP_PUBLIC_KEY_PATH=" + path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l.Audience != "https://api.example" || l.Listen != "127.0.0.1:9443" || l.Issuers[0].Issuer != "https://as.example" ||
		l.Valkey != "redis://127.0.0.1:6379" || l.PublicKeyFile != path {
		t.Errorf("got %+v", l.Config)
	}
}

// Every protection that is switched off has its warning.
func TestInsecureSettingsWarn(t *testing.T) {
	t.Parallel()
	l := load(t, `audience: a
trusted_proxies: [127.0.0.0/8]
issuers: [{issuer: "https://b.example", insecure_no_revocations: true}]
routes:
  - {match: "GET /health", insecure_public: true}
  - {match: "GET /x", action: a.b, unknown_constraints: ignore, response_size: ignore}
revocations: {stale: admit}
counters: {unavailable: admit}
`, nil, nil)
	for _, path := range []string{"issuers[0].insecure_no_revocations", "routes[0].insecure_public", "routes[1].unknown_constraints",
		"routes[1].response_size", "revocations.stale", "counters.unavailable"} {
		found := 0
		for _, w := range l.Warnings {
			if strings.HasPrefix(w, path+": ") {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%d warnings about %s, want 1: %q", found, path, l.Warnings)
		}
	}
	if len(l.Warnings) != 6 || !cmp.Equal(l.Insecure(), l.Warnings) {
		t.Errorf("warnings %q, want those of Insecure: %q", l.Warnings, l.Insecure())
	}
}

func TestRelativePathsMeanTheFolderOfTheFile(t *testing.T) {
	t.Parallel()
	path := write(t, strings.Replace(head, "[https://broker.globex.example]", `[{issuer: "https://b.example", jwks_file: guard.yaml}]`, 1))
	l, err := guardconf.Load(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Issuers[0].JWKSFile; got != path {
		t.Errorf("jwks_file = %q, want %q", got, path)
	}
}
