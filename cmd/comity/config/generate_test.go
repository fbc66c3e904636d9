package config_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/cmd/comity/settings"
	"github.com/comity-auth/comity/cmd/comity/settings/settingstest"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the generated documents")

// The documents in docs/reference are what the table of keys says.
func TestGenerated(t *testing.T) {
	t.Parallel()
	settingstest.Generated(t, filepath.Join("..", "..", "..", "docs", "reference"), *update, map[string]func(io.Writer) error{
		"configuration.md": config.WriteReference, "config.schema.json": config.WriteSchema,
	})
}

// The printed file says the defaults and nothing else.
func TestInitParsesBackToTheDefaults(t *testing.T) {
	t.Parallel()
	identity := map[string]string{"domain": "globex.example", "issuer": "http://127.0.0.1:8080"}
	var file bytes.Buffer
	if err := config.WriteInit(&file, identity); err != nil {
		t.Fatal(err)
	}
	path := write(t, "comity.yaml", file.String())
	fromFile, err := config.Load(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(fromFile.Warnings) > 0 {
		t.Errorf("the printed file warns: %q", fromFile.Warnings)
	}
	fromDefaults, err := config.Load(write(t, "comity.yaml", ""), nil, identity)
	if err != nil {
		t.Fatal(err)
	}
	values := func(l *config.Loaded) map[string]any {
		out := map[string]any{}
		for _, s := range l.Settings() {
			out[s.Path] = s.Value
			if text, ok := s.Value.(string); ok {
				out[s.Path] = strings.ReplaceAll(text, filepath.Dir(l.File), "DIR")
			}
			if s.Origin.Kind != settings.FromFile && l == fromFile && s.Path != "keys.inline" {
				t.Errorf("%s is not in the printed file", s.Path)
			}
		}
		return out
	}
	if diff := cmp.Diff(values(fromDefaults), values(fromFile)); diff != "" {
		t.Errorf("values (-default +printed):\n%s", diff)
	}
}

func TestShowHidesCredentials(t *testing.T) {
	t.Parallel()
	l := load(t, head+"store: postgres://u:hunter2@h/d?sslpassword=hunter3&sslmode=require\nstore_direct: postgres://u@h/d\n",
		[]string{"COMITY_KEYS__INLINE={\"d\":\"hunter4\"}"}, nil)
	var yaml bytes.Buffer
	if err := l.WriteYAML(&yaml, settings.WithOrigins); err != nil {
		t.Fatal(err)
	}
	settings, err := json.Marshal(l.Settings())
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{yaml.String(), string(settings)} {
		if strings.Contains(out, "hunter") {
			t.Errorf("a credential is shown:\n%s", out)
		}
	}
	if want := `store: "postgres://u:[redacted]@h/d?sslmode=require&sslpassword=[redacted]"`; !strings.Contains(yaml.String(), want) {
		t.Errorf("output lacks %s:\n%s", want, yaml.String())
	}
	if !strings.Contains(yaml.String(), `inline: "[redacted]"  # environment COMITY_KEYS__INLINE`) {
		t.Errorf("output does not say that there is an inline key:\n%s", yaml.String())
	}
}

// No name may stand for two keys, in whatever form it is written.
func TestNamesAreUnique(t *testing.T) {
	t.Parallel()
	settingstest.UniqueNames(t, config.AllKeys())
}

func TestSchemaKnowsEveryKeyOfTheFile(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := config.WriteSchema(&out); err != nil {
		t.Fatal(err)
	}
	type node struct {
		Properties map[string]node `json:"properties"`
		Extra      *bool           `json:"additionalProperties"`
	}
	var schema node
	if err := json.Unmarshal(out.Bytes(), &schema); err != nil {
		t.Fatal(err)
	}
	for _, k := range config.AllKeys() {
		at, ok := schema, true
		for name := range strings.SplitSeq(k.Path, ".") {
			if at.Extra == nil || *at.Extra {
				t.Errorf("the schema allows unknown keys beside %s", k.Path)
			}
			at, ok = at.Properties[name]
		}
		if ok == (k.Path == "keys.inline") {
			t.Errorf("%s in the schema: %t", k.Path, ok)
		}
	}
}

// Whatever the file holds, Load answers with a configuration or with problems,
// and what it accepts it can show and accept again.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(head))
	f.Add([]byte(head + "tokens: {ttl: 60, max_ttl: 10m}\ntrusted_proxies: [10.0.0.0/8]\n"))
	f.Add([]byte(head + "store: &a [x]\nlog: *a\n"))
	f.Add([]byte("a: b: c\n---\n..."))
	f.Add([]byte("? {a: b}\n: !!binary x\n<<: [1, ~]\n"))
	f.Add([]byte("domain: \"\\u0000\"\nlisten: '[::1]:8080'\n"))
	var initial bytes.Buffer
	if err := config.WriteInit(&initial, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(initial.Bytes())
	path := filepath.Join(f.TempDir(), "comity.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		settingstest.RoundTrip(t, path, data, func() (*settings.Loaded, error) {
			l, err := config.Load(path, nil, nil)
			return l.Loaded, err
		})
	})
}
