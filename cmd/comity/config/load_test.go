package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/cmd/comity/settings"
	"github.com/google/go-cmp/cmp"
)

const head = "domain: globex.example\nissuer: https://broker.globex.example\n"

// write puts a file with mode 0600 into a fresh folder.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load loads a file with this content and fails the test on any problem.
func load(t *testing.T, content string, env []string, flags map[string]string) *config.Loaded {
	t.Helper()
	l, err := config.Load(write(t, "comity.yaml", content), env, flags)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return l
}

// problems loads a file that must be refused, and returns its problems with
// the folder taken out of them.
func problems(t *testing.T, content string, env []string) []string {
	t.Helper()
	path := write(t, "comity.yaml", content)
	l, err := config.Load(path, env, nil)
	ps, ok := errors.AsType[settings.Problems](err)
	if !ok {
		t.Fatalf("Load error = %v (%T), want Problems", err, err)
	}
	if !l.Config.Domain.IsZero() || l.Config.Listen != "" {
		t.Errorf("Load gave a configuration together with problems: %+v", l.Config)
	}
	var out []string
	for _, p := range ps {
		out = append(out, strings.ReplaceAll(p.String(), filepath.Dir(path)+"/", ""))
	}
	return out
}

func TestOneProblem(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, yaml, want string }{
		{"LC-07 rejects an unknown key with its line", "lisen: x\n", `comity.yaml:3: lisen: unknown key; did you mean "listen"?`},
		{"LC-07 rejects an unknown key in a section", "tokens:\n  tll: 1s\n", `comity.yaml:4: tokens.tll: unknown key; did you mean "ttl"?`},
		{"names the section of a key that stands at the top", "token_file: x\n", `comity.yaml:3: token_file: unknown key; did you mean "admin.token_file"?`},
		{"does not guess when nothing is near", "zzzzzzzz: x\n", `comity.yaml:3: zzzzzzzz: unknown key`},
		{"rejects a repeated key", "store: sqlite:a\nstore: sqlite:b\n", `comity.yaml:4: store: is repeated; first given on line 3`},
		{"rejects a repeated section", "log: {level: info}\nlog: {format: text}\n", `comity.yaml:4: log: is repeated; first given on line 3`},
		{"rejects a repeated key inside a section", "log:\n  level: info\n  level: warn\n", `comity.yaml:5: log.level: is repeated; first given on line 4`},
		{"rejects a number where text belongs", "listen: 8080\n", `comity.yaml:3: listen: expected address, found a number (quote it to make it text)`},
		{"rejects text where a number belongs", "limits: {client_per_minute: many}\n", `comity.yaml:3: limits.client_per_minute: expected number, found text`},
		{"rejects text where a truth value belongs", "ops: {pprof: \"true\"}\n", `comity.yaml:3: ops.pprof: expected true or false, found text`},
		{"rejects text where a list belongs", "trusted_proxies: 10.0.0.0/8\n", `comity.yaml:3: trusted_proxies: expected list of networks, found text`},
		{"rejects a list where text belongs", "store: [a]\n", `comity.yaml:3: store: expected store URL, found a list`},
		{"rejects a section where text belongs", "store: {a: b}\n", `comity.yaml:3: store: expected store URL, found a section`},
		{"rejects text where a section belongs", "tls: cert.pem\n", `comity.yaml:3: tls: expected a section, found text`},
		{"rejects a number in a list of text", "admin:\n  hosts:\n    - a.example\n    - 7\n", `comity.yaml:6: admin.hosts: expected text as an item, found a number (quote it to make it text)`},
		{"rejects a key without a value", "store:\n", `comity.yaml:3: store: no value is given; leave the key out for its default`},
		{"rejects an alias", "store: &a sqlite:x\nstore_direct: *a\n", `comity.yaml:4: store_direct: aliases are not supported; write the value out`},
		{"rejects a merge key", "<<: {store: x}\n", `comity.yaml:3: <<: unknown key`},
		{"rejects a key that is not a word", "? [a]\n: b\n", `comity.yaml:3: a key must be a plain word`},
		{"rejects a second document", "---\nstore: x\n", `comity.yaml:3: must hold one YAML document, not several`},
		{"refuses the private key in the file", "keys: {inline: x}\n", `comity.yaml:3: keys.inline: is read from the environment only, as COMITY_KEYS__INLINE`},
		{"refuses a control character", "store: \"sqlite:\\x07\"\n", `comity.yaml:3: store: holds a control character`},

		{"rejects a duration without a unit", "tokens: {ttl: 5x}\n", `comity.yaml:3: tokens.ttl: "5x" must be a duration such as "300s" or "24h", or a number of seconds`},
		{"rejects a negative number of seconds", "tokens: {ttl: -5}\n", `comity.yaml:3: tokens.ttl: "-5" must be a duration such as "300s" or "24h", or a number of seconds`},
		{"rejects a negative duration", "tokens: {min_ttl: -5s}\n", `comity.yaml:3: tokens.min_ttl: must be at least 1s`},
		{"rejects an unknown algorithm", "keys: {algorithm: ES265}\n", `comity.yaml:3: keys.algorithm: "ES265" must be one of ES256, EdDSA, RS256; did you mean "ES256"?`},
		{"rejects an unknown log level", "log: {level: loud}\n", `comity.yaml:3: log.level: "loud" must be one of debug, info, warn, error`},
		{"rejects an unknown certificate header", "tls: {client_cert_header: X-Client-Cert}\n", `comity.yaml:3: tls.client_cert_header: "X-Client-Cert" must be one of none, Client-Cert, X-SSL-Client-Cert; did you mean "Client-Cert"?`},
		{"rejects an unknown log format", "log: {format: xml}\n", `comity.yaml:3: log.format: "xml" must be one of json, text`},
		{"rejects one address for a network", "trusted_proxies: [10.0.0.1]\n", `comity.yaml:3: trusted_proxies: "10.0.0.1" must be a network; one address is 10.0.0.1/32`},
		{"rejects a network with host bits", "egress: {allow: [10.0.0.1/8]}\n", `comity.yaml:3: egress.allow: "10.0.0.1/8" has host bits set; the network is 10.0.0.0/8`},
		{"rejects trusting every address as a proxy", "trusted_proxies: [0.0.0.0/0]\n", `comity.yaml:3: trusted_proxies: "0.0.0.0/0" covers every address`},
		{"rejects opening egress to every address", "egress: {allow: [\"::/0\"]}\n", `comity.yaml:3: egress.allow: "::/0" covers every address`},

		{"rejects a listen address without a port", "listen: 127.0.0.1\n", `comity.yaml:3: listen: must be an IP address and a port, such as 127.0.0.1:8080`},
		{"rejects a listen address by name", "listen: localhost:8080\n", `comity.yaml:3: listen: the host must be an IP address, such as 127.0.0.1, or empty for all`},
		{"rejects a port out of range", "listen: 127.0.0.1:70000\n", `comity.yaml:3: listen: the port must be a number up to 65535`},
		{"rejects public plain http off loopback", "listen: 0.0.0.0:8080\n", `comity.yaml:3: listen: off loopback the public listener needs tls, or trusted_proxies in front of it`},
		{"takes an empty host for every address", "listen: \":8080\"\n", `comity.yaml:3: listen: off loopback the public listener needs tls, or trusted_proxies in front of it`},
		{"rejects a plain admin listener off loopback", "trusted_proxies: [10.0.0.0/8]\nadmin: {listen: \"10.0.0.5:8090\"}\n", `comity.yaml:4: admin.listen: off loopback the admin listener needs tls`},
		{"rejects pprof off loopback", "ops: {listen: \"10.0.0.5:9090\", pprof: true}\n", `comity.yaml:3: ops.pprof: pprof shows memory, so it needs the operations listener on loopback`},
		{"rejects two listeners on one address", "admin: {listen: \"127.0.0.1:8080\"}\n", `comity.yaml:3: admin.listen: listen and admin.listen are the same address; the listeners are never mixed`},
		{"rejects a certificate without its key", "tls: {cert_file: comity.yaml}\n", `comity.yaml:3: tls.cert_file: cert_file and key_file go together`},
		{"rejects client certificates without TLS", "tls: {client_ca_file: comity.yaml}\n", `comity.yaml:3: tls.client_ca_file: needs cert_file: client certificates come with TLS`},
		{"rejects an admin host with a port", "admin: {hosts: [\"a.example:1\"]}\n", `comity.yaml:3: admin.hosts: "a.example:1" must be a host name in lower case, without a port`},
		{"rejects an unknown store", "store: mysql://u@h/d\n", `comity.yaml:3: store: must begin with sqlite: or postgres:`},
		{"rejects a store without a file", "store: \"sqlite:\"\n", `comity.yaml:3: store: names no file`},
		{"rejects a postgres store without a host", "store: postgres:db\n", `comity.yaml:3: store: must be a URL such as postgres://user@host/db`},
		{"rejects a direct store beside sqlite", "store_direct: postgres://u@h/d\n", `comity.yaml:3: store_direct: is for a store on postgres`},
		{"rejects a ttl below the minimum", "tokens: {ttl: 10s}\n", `comity.yaml:3: tokens.ttl: tokens.ttl (10s) must not be less than tokens.min_ttl (30s)`},
		{"names the key that was set when a default conflicts", "tokens: {max_ttl: 200s}\n", `comity.yaml:3: tokens.max_ttl: tokens.ttl (5m) must not be more than tokens.max_ttl (3m20s)`},
		{"rejects tokens of more than an hour", "tokens: {max_ttl: 3601s}\n", `comity.yaml:3: tokens.max_ttl: must be at most 3600 seconds`},
		{"rejects keys that vanish before their tokens", "keys: {overlap: 60s}\n", `comity.yaml:3: keys.overlap: keys.overlap (1m) must not be less than tokens.max_ttl (15m): tokens would outlive their key`},
		{"rejects an overlap as long as the rotation", "keys: {rotate_every: 24h}\n", `comity.yaml:3: keys.rotate_every: keys.overlap (24h) must be less than keys.rotate_every (24h)`},
		{"rejects a seal of another kind", "keys: {seal: secret}\n", `comity.yaml:3: keys.seal: must be file:PATH`},
		{"AD-19 rejects a limit of nothing", "limits: {client_per_minute: 0}\n", `comity.yaml:3: limits.client_per_minute: must be from 1 to 1000000`},
		{"rejects a retention below 90 days", "audit: {retention: 24h}\n", `comity.yaml:3: audit.retention: must be at least 2160h (90 days)`},
		{"rejects a snapshot that may be a day old", "registry: {max_stale: 24h}\n", `comity.yaml:3: registry.max_stale: must be from 2s to 1h`},
		{"refuses what is not built: kms", "keys: {kms: \"https://k.example\"}\n", `comity.yaml:3: keys.kms: this build does not support it yet; leave it out`},
		{"refuses what is not built: valkey", "valkey: redis://h:6379\n", `comity.yaml:3: valkey: this build does not support it yet; leave it out`},
		{"refuses what is not built: audit.export", "audit: {export: [\"https://s.example\"]}\n", `comity.yaml:3: audit.export: this build does not support it yet; leave it out`},
		{"refuses what is not built: telemetry", "telemetry: {otlp_endpoint: \"https://o.example\"}\n", `comity.yaml:3: telemetry.otlp_endpoint: this build does not support it yet; leave it out`},
		{"rejects a key file that is missing", "keys: {file: nokey.pem}\n", `comity.yaml:3: keys.file: nokey.pem: no such file or directory`},
		{"rejects a trust file that is missing", "trust: trust.yaml\n", `comity.yaml:3: trust: trust.yaml: no such file or directory`},
		{"rejects a policy folder that is a file", "policies: comity.yaml\n", `comity.yaml:3: policies: comity.yaml: is not a folder`},
		{"rejects a key file that is a folder", "keys: {file: ..}\n", `is a folder, not a file`},
		{"rejects an empty token file", "admin: {token_file: \"\"}\n", `comity.yaml:3: admin.token_file: must name a file`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := problems(t, head+tt.yaml, nil)
			if len(got) != 1 || !strings.HasSuffix(got[0], tt.want) {
				t.Errorf("problems = %q, want one: %q", got, tt.want)
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, domain, issuer, want string }{
		{"requires a domain", `""`, "https://b.example", "comity.yaml:1: domain: is required: the trust domain that this broker speaks for"},
		{"rejects a domain in upper case", "Globex.example", "https://b.example", `comity.yaml:1: domain: "Globex.example" is not a trust domain: byte 0 is 0x47`},
		{"requires an issuer", "b.example", `""`, "comity.yaml:2: issuer: is required: the URL that its tokens name as iss"},
		{"rejects an issuer with a path", "b.example", "https://b.example/t1", "comity.yaml:2: issuer: must have no path, not even a closing slash"},
		{"rejects an issuer with a closing slash", "b.example", "https://b.example/", "comity.yaml:2: issuer: must have no path, not even a closing slash"},
		{"rejects http off loopback", "b.example", "http://b.example", `comity.yaml:2: issuer: "http://b.example" is not an issuer identifier: http is for literal loopback addresses only`},
		{"rejects http on a name for loopback", "b.example", "http://localhost:8080", `comity.yaml:2: issuer: "http://localhost:8080" is not an issuer identifier: http is for literal loopback addresses only`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := problems(t, "domain: "+tt.domain+"\nissuer: "+tt.issuer+"\n", nil)
			if diff := cmp.Diff([]string{tt.want}, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReportsEveryProblemInOrderOfLines(t *testing.T) {
	t.Parallel()
	got := problems(t, `listen: 0.0.0.0:8080
issuer: https://broker.globex.example/
tokens:
  ttl: soon
  max_ttl: 2h
log: {level: loud, colour: true}
store: [sqlite]
`, []string{"COMITY_LOG__FORMAT=xml"})
	want := []string{
		`comity.yaml:1: listen: off loopback the public listener needs tls, or trusted_proxies in front of it`,
		`comity.yaml:2: issuer: must have no path, not even a closing slash`,
		`comity.yaml:4: tokens.ttl: "soon" must be a duration such as "300s" or "24h", or a number of seconds`,
		`comity.yaml:5: tokens.max_ttl: must be at most 3600 seconds`,
		`comity.yaml:6: log.level: "loud" must be one of debug, info, warn, error`,
		`comity.yaml:6: log.colour: unknown key`,
		`comity.yaml:7: store: expected store URL, found a list`,
		`COMITY_LOG__FORMAT: log.format: "xml" must be one of json, text`,
		`comity.yaml: domain: is required: the trust domain that this broker speaks for`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestFileThatIsNotYAML(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, content, want string }{
		{"names the line of a syntax error", "domain: a\nstore: [x\n", "comity.yaml:"},
		{"rejects a list", "- a\n", "comity.yaml:1: must be a mapping of keys to values"},
		{"rejects plain text", "hello\n", "comity.yaml:1: must be a mapping of keys to values"},
		{"rejects a file beyond the cap", strings.Repeat("#", 1<<20+1), "comity.yaml: is larger than 1048576 bytes"},
		{"takes comments for an empty file", "# nothing\n", "comity.yaml: domain: is required"},
		{"takes an empty file for defaults", "", "comity.yaml: domain: is required"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := problems(t, tt.content, nil); !strings.HasPrefix(got[0], tt.want) {
				t.Errorf("first problem = %q, want %q", got[0], tt.want)
			}
		})
	}
	_, err := config.Load(filepath.Join(t.TempDir(), "none.yaml"), nil, nil)
	if err == nil || !strings.Contains(err.Error(), "cannot be opened: no such file") {
		t.Errorf("Load of a missing file: %v", err)
	}
}

// A key file that users outside owner and group may touch is refused.
func TestExposedSecretFiles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, yaml string
		mode       os.FileMode
		refused    bool
	}{
		{"LC-07 refuses a signing key that everybody may read", "keys: {file: secret}\n", 0o644, true},
		{"LC-07 refuses a signing key that everybody may write", "keys: {file: secret}\n", 0o602, true},
		{"LC-07 refuses a seal that everybody may read", "keys: {seal: \"file:secret\"}\n", 0o644, true},
		{"LC-07 refuses an admin token that everybody may read", "admin: {token_file: secret}\n", 0o604, true},
		{"LC-07 refuses a TLS key that everybody may read", "tls: {cert_file: comity.yaml, key_file: secret}\n", 0o644, true},
		{"accepts a key that owner and group may read", "keys: {file: secret}\n", 0o640, false},
		{"accepts a key that the owner may read", "keys: {file: secret}\n", 0o600, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "comity.yaml", head+tt.yaml)
			secret := filepath.Join(filepath.Dir(path), "secret")
			if err := os.WriteFile(secret, []byte("s"), tt.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(secret, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := config.Load(path, nil, nil)
			if refused := err != nil && strings.Contains(err.Error(), "chmod 600 it"); refused != tt.refused {
				t.Errorf("Load error = %v, want refused %t", err, tt.refused)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	l, err := config.Load("", nil, map[string]string{"domain": "globex.example", "issuer": "http://127.0.0.1:8080"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	for _, s := range l.Settings() {
		got[s.Path] = s.Value
	}
	none := []string{}
	want := map[string]any{
		"domain": "globex.example", "issuer": "http://127.0.0.1:8080", "listen": "127.0.0.1:8080", "dpop.nonces": false,
		"admin.listen": "127.0.0.1:8090", "admin.token_file": "admin.token", "admin.hosts": none,
		"ops.listen": "127.0.0.1:9090", "ops.pprof": false,
		"store": "sqlite:comity.db", "store_direct": "", "trust": "", "policies": "",
		"registry.max_stale": "1m", "tls.cert_file": "", "tls.key_file": "", "tls.client_ca_file": "", "tls.client_cert_header": "none",
		"trusted_proxies": none, "valkey": "", "egress.allow": none, "egress.ca_file": "",
		"keys.algorithm": "ES256", "keys.file": "", "keys.inline": "", "keys.rotate_every": "2160h",
		"keys.overlap": "24h", "keys.seal": "file:comity.seal", "keys.kms": "",
		"tokens.ttl": "5m", "tokens.max_ttl": "15m", "tokens.min_ttl": "30s",
		"limits.client_per_minute": 100, "limits.global_per_second": 10000,
		"audit.retention": "8760h", "audit.export": none, "telemetry.otlp_endpoint": "",
		"log.level": "info", "log.format": "json",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func TestRelativePathsMeanTheFolderOfTheFile(t *testing.T) {
	t.Parallel()
	path := write(t, "comity.yaml", head+"store: sqlite:data.db\n")
	dir := filepath.Dir(path)
	l, err := config.Load(path, []string{"COMITY_KEYS__SEAL=file:here.seal"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := "sqlite:" + filepath.Join(dir, "data.db"); l.Store != want {
		t.Errorf("store of the file = %q, want %q", l.Store, want)
	}
	if want := filepath.Join(dir, "admin.token"); l.Admin.TokenFile != want {
		t.Errorf("default token_file = %q, want %q", l.Admin.TokenFile, want)
	}
	if want := "here.seal"; l.Keys.SealFile() != want {
		t.Errorf("seal of the environment = %q, want %q", l.Keys.SealFile(), want)
	}
	l = load(t, head+"store: postgres://u@h/d\n", nil, nil)
	if want := "postgres://u@h/d"; l.Store != want {
		t.Errorf("postgres store = %q, want %q", l.Store, want)
	}
	l = load(t, head+"store: sqlite:/var/lib/comity.db\n", nil, nil)
	if want := "sqlite:/var/lib/comity.db"; l.Store != want {
		t.Errorf("absolute store = %q, want %q", l.Store, want)
	}
}

func TestAccepts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, yaml string }{
		{"plain http off loopback behind a trusted proxy", "listen: 0.0.0.0:8080\ntrusted_proxies: [10.0.0.0/8]\n"},
		{"public and admin off loopback with TLS", "listen: \":8443\"\nadmin: {listen: \"10.0.0.5:8090\", hosts: [admin.example]}\ntls: {cert_file: comity.yaml, key_file: comity.yaml}\n"},
		{"loopback of either family", "listen: \"[::1]:8080\"\nadmin: {listen: \"127.9.9.9:8090\"}\n"},
		{"three listeners on any free port", "listen: 127.0.0.1:0\nadmin: {listen: \"127.0.0.1:0\"}\nops: {listen: \"127.0.0.1:0\"}\n"},
		{"the operations listener off loopback without pprof", "ops: {listen: \"0.0.0.0:9090\"}\n"},
		{"postgres with a direct connection beside a pooler", "store: postgres://u@pool/d\nstore_direct: postgresql://u@db/d\n"},
		{"a postgres socket", "store: postgres:///d?host=/run/postgresql\n"},
		{"one life for all tokens", "tokens: {ttl: 60s, min_ttl: 60s, max_ttl: 60s}\n"},
		{"tokens of exactly an hour", "tokens: {max_ttl: 3600}\n"},
		{"a section whose keys are all commented out", "tls:\n  # cert_file: x\n"},
		{"every key written out with its default", "listen: 127.0.0.1:8080\nadmin:\n  listen: 127.0.0.1:8090\n  token_file: admin.token\n" +
			"ops: {listen: \"127.0.0.1:9090\"}\nstore: sqlite:comity.db\nstore_direct: \"\"\nregistry: {max_stale: 60s}\n" +
			"tls: {cert_file: \"\", key_file: \"\", client_ca_file: \"\"}\ntrusted_proxies: []\nvalkey: \"\"\negress: {allow: [], ca_file: \"\"}\n" +
			"keys: {algorithm: ES256, file: \"\", rotate_every: 2160h, overlap: 24h, seal: \"file:comity.seal\", kms: \"\"}\n" +
			"tokens: {ttl: 300s, max_ttl: 900s, min_ttl: 30s}\nlimits: {client_per_minute: 100, global_per_second: 10000}\n" +
			"audit: {retention: 8760h, export: []}\ntelemetry: {otlp_endpoint: \"\"}\nlog: {level: info, format: json}\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := load(t, head+tt.yaml, nil, nil)
			if l.Domain.String() != "globex.example" {
				t.Errorf("domain = %s", l.Domain)
			}
		})
	}
}

func TestFlagProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, path, value, want string }{
		{"names the flag", "log.level", "loud", `--log-level: log.level: "loud" must be one of debug, info, warn, error`},
		{"refuses a credential on the command line", "keys.inline", "{}", "keys.inline: cannot be given as a flag"},
		{"refuses a key that does not exist", "nosuch", "x", "nosuch: cannot be given as a flag"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(write(t, "comity.yaml", head), nil, map[string]string{tt.path: tt.value})
			if err == nil || err.Error() != tt.want {
				t.Errorf("Load error = %v, want %s", err, tt.want)
			}
		})
	}
}

// A setting from which nothing comes yet is accepted with a word about it, but
// for its default: a file of "config init" warns of nothing.
func TestIdleSettingsWarn(t *testing.T) {
	t.Parallel()
	base := map[string]string{"domain": "globex.example", "issuer": "http://127.0.0.1:8080"}
	l, err := config.Load("", nil, base)
	if err != nil || len(l.Warnings) != 0 {
		t.Fatalf("defaults: %v, warnings %q, want none", err, l.Warnings)
	}
	l, err = config.Load("", []string{"COMITY_KEYS__ROTATE_EVERY=2160h", "COMITY_KEYS__OVERLAP=86400"}, base)
	if err != nil || len(l.Warnings) != 0 {
		t.Errorf("set to the defaults: %v, warnings %q, want none", err, l.Warnings)
	}
	l, err = config.Load("", []string{"COMITY_KEYS__ROTATE_EVERY=720h"}, base)
	if err != nil || len(l.Warnings) != 1 || !strings.HasPrefix(l.Warnings[0], "keys.rotate_every: ") {
		t.Errorf("set: %v, warnings %q, want one about keys.rotate_every", err, l.Warnings)
	}
}
