package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/google/go-cmp/cmp"
)

func TestLayers(t *testing.T) {
	t.Parallel()
	l := load(t, head+"log: {level: warn, format: text}\ntokens: {ttl: 60, max_ttl: 10m}\n",
		[]string{"COMITY_LOG__FORMAT=json", "COMITY_TOKENS__MAX_TTL=700s", "COMITY_TRUSTED_PROXIES=10.0.0.0/8, 192.168.0.0/16"},
		map[string]string{"tokens.max_ttl": "800s"})
	file := l.File
	for _, tt := range []struct {
		name, path string
		value      any
		origin     string
	}{
		{"default when nobody says", "tokens.min_ttl", "30s", "default"},
		{"file over default", "log.level", "warn", "file " + file + ":3"},
		{"a plain number is seconds", "tokens.ttl", "1m", "file " + file + ":4"},
		{"environment over file", "log.format", "json", "environment COMITY_LOG__FORMAT"},
		{"commas separate a list", "trusted_proxies", []string{"10.0.0.0/8", "192.168.0.0/16"}, "environment COMITY_TRUSTED_PROXIES"},
		{"flag over environment", "tokens.max_ttl", "13m20s", "flag --tokens-max-ttl"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, s := range l.Settings() {
				if s.Path != tt.path {
					continue
				}
				if diff := cmp.Diff(tt.value, s.Value); diff != "" {
					t.Errorf("value (-want +got):\n%s", diff)
				}
				if s.Origin.String() != tt.origin {
					t.Errorf("origin = %q, want %q", s.Origin, tt.origin)
				}
			}
		})
	}
}

func TestFileVariables(t *testing.T) {
	t.Parallel()
	secret := write(t, "store", "postgres://u:hunter2@h/d\n")
	l := load(t, head, []string{"COMITY_STORE_FILE=" + secret}, nil)
	if want := "postgres://u:hunter2@h/d"; l.Store != want {
		t.Errorf("store = %q, want %q", l.Store, want)
	}
	if got := l.Origins["store"].String(); got != "environment COMITY_STORE_FILE" {
		t.Errorf("origin = %q", got)
	}
	l = load(t, head, []string{"COMITY_ADMIN__TOKEN_FILE=/run/x"}, nil)
	if l.Admin.TokenFile != "/run/x" {
		t.Errorf("a key that ends in _FILE was taken for a file variable: %q", l.Admin.TokenFile)
	}
}

func TestEnvironmentProblems(t *testing.T) {
	t.Parallel()
	wrong := write(t, "wrong", "hunter2\n")
	for _, tt := range []struct {
		name string
		env  []string
		want string
	}{
		{"rejects a value given twice", []string{"COMITY_STORE=sqlite:a", "COMITY_STORE_FILE=" + wrong}, "COMITY_STORE: store: is given twice: also as COMITY_STORE_FILE"},
		{"rejects a file variable whose file is missing", []string{"COMITY_STORE_FILE=/nonexistent/x"}, "COMITY_STORE_FILE: store: the file it names cannot be opened: no such file or directory"},
		{"never repeats what a file variable's file holds", []string{"COMITY_LOG__LEVEL_FILE=" + wrong}, "COMITY_LOG__LEVEL_FILE: log.level: must be one of debug, info, warn, error"},
		{"rejects a wrong type with the variable's name", []string{"COMITY_OPS__PPROF=perhaps"}, `COMITY_OPS__PPROF: ops.pprof: "perhaps" must be true or false`},
		{"never repeats a secret", []string{"COMITY_STORE=hunter2"}, "COMITY_STORE: store: must begin with sqlite: or postgres:"},
		{"rejects an inline key that is none", []string{"COMITY_KEYS__INLINE=hunter2"}, "COMITY_KEYS__INLINE: keys.inline: must be a PEM or JWK private key"},
		{"rejects a key given inline and as a file", []string{"COMITY_KEYS__INLINE={}", "COMITY_KEYS__FILE=" + wrong}, "COMITY_KEYS__INLINE: keys.inline: keys.file and keys.inline are both given"},
		{"rejects an AAP port that is none", []string{"AAP_AS_PORT=http"}, "AAP_AS_PORT: listen: must be a port from 1 to 65535"},
		{"rejects AAP_REDIS_URL while shared counters are not built", []string{"AAP_REDIS_URL=redis://h"}, "AAP_REDIS_URL: valkey: this build does not support it yet; leave it out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := problems(t, head, tt.env)
			if diff := cmp.Diff([]string{tt.want}, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if strings.Contains(strings.Join(got, ""), "hunter2") {
				t.Errorf("problems show a secret: %q", got)
			}
		})
	}
}

func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	l := load(t, head, []string{
		"COMITY_LOG_LEVEL=debug", "COMITY_ZZZZZZZZZZZZ=1", "COMITY_SERVER=x", "COMITY_TOKEN_FILE=x",
		"COMITY_TEST_DSN=x", "HOME=/root", "AAP_RS_PORT=1", "AAP_TRUSTED_ISSUERS=x",
	}, nil)
	want := []string{
		`COMITY_LOG_LEVEL: unknown variable, ignored; did you mean "COMITY_LOG__LEVEL"?`,
		`COMITY_ZZZZZZZZZZZZ: unknown variable, ignored`,
	}
	if diff := cmp.Diff(want, l.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestAAPNames(t *testing.T) {
	t.Parallel()
	key := write(t, "key.pem", "k")
	folder := t.TempDir()
	l := load(t, head+"listen: 127.0.0.2:8080\n", []string{
		"AAP_ISSUER=https://aap.globex.example", "AAP_AS_PORT=8181", "AAP_PRIVATE_KEY_PATH=" + key,
		"AAP_POLICY_PATH=" + folder, "AAP_PUBLIC_KEY_PATH=/x", "AAP_REDIS_URL=",
	}, nil)
	got := []string{l.Issuer.String(), l.Listen, l.Keys.File, l.Policies, l.Valkey}
	if diff := cmp.Diff([]string{"https://aap.globex.example", "127.0.0.2:8181", key, folder, ""}, got); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	if len(l.Warnings) != 1 || !strings.HasPrefix(l.Warnings[0], "AAP_PUBLIC_KEY_PATH: not needed") {
		t.Errorf("warnings = %q", l.Warnings)
	}

	l = load(t, head, []string{"AAP_ISSUER=https://aap.example", "COMITY_ISSUER=https://own.example"}, nil)
	if l.Issuer.String() != "https://own.example" {
		t.Errorf("issuer = %s, want our own name to win", l.Issuer)
	}
	if diff := cmp.Diff([]string{"AAP_ISSUER: ignored, since COMITY_ISSUER is set"}, l.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}

	l = load(t, head, []string{`AAP_PRIVATE_KEY=-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----`}, nil)
	if want := "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"; l.Keys.Inline.Reveal() != want {
		t.Errorf("inline key = %q, want its line ends restored", l.Keys.Inline.Reveal())
	}
}

func TestSearch(t *testing.T) {
	home := t.TempDir()
	t.Chdir(t.TempDir())
	if got := config.Search([]string{"HOME=" + home}); strings.HasPrefix(got, home) || got == "comity.yaml" {
		t.Errorf("Search = %q with no file there", got)
	}
	mine := filepath.Join(home, ".config", "comity", "comity.yaml")
	if err := os.MkdirAll(filepath.Dir(mine), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{mine, "comity.yaml"} {
		if err := os.WriteFile(f, []byte(head), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := config.Search([]string{"HOME=" + home}); got != f {
			t.Errorf("Search = %q, want %q", got, f)
		}
	}
}
