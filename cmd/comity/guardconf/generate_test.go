package guardconf_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/comity-auth/comity/cmd/comity/guardconf"
	"github.com/comity-auth/comity/cmd/comity/settings"
	"github.com/comity-auth/comity/cmd/comity/settings/settingstest"
)

var update = flag.Bool("update", false, "rewrite the generated documents")

// The documents in docs/reference are what the table of keys says.
func TestGenerated(t *testing.T) {
	t.Parallel()
	settingstest.Generated(t, filepath.Join("..", "..", "..", "docs", "reference"), *update, map[string]func(io.Writer) error{
		"guard-configuration.md": guardconf.WriteReference, "guard.schema.json": guardconf.WriteSchema,
	})
}

// The printed file says the defaults and nothing else.
func TestInitParsesBackToTheDefaults(t *testing.T) {
	t.Parallel()
	needed := map[string]string{"audience": "https://archive.globex.example", "issuers": "https://broker.globex.example",
		"upstream": "http://127.0.0.1:9000", "routes": `[{match: "GET /search", action: archive.search}]`}
	var file bytes.Buffer
	if err := guardconf.WriteInit(&file, map[string]string{"audience": needed["audience"], "issuers": needed["issuers"], "upstream": needed["upstream"]}); err != nil {
		t.Fatal(err)
	}
	fromFile, err := guardconf.Load(write(t, file.String()), nil, map[string]string{"routes": needed["routes"]})
	if err != nil {
		t.Fatal(err)
	}
	fromDefaults, err := guardconf.Load("", nil, needed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(settingstest.Values(fromDefaults.Loaded), settingstest.Values(fromFile.Loaded)); diff != "" {
		t.Errorf("values (-default +printed):\n%s", diff)
	}
	for path, origin := range fromFile.Origins {
		if origin.Kind != settings.FromFile && !strings.HasPrefix(path, "routes") {
			t.Errorf("%s is not in the printed file", path)
		}
	}
}

func TestShowHidesThePassword(t *testing.T) {
	t.Parallel()
	l := load(t, head+"valkey: rediss://u:hunter2@h:6380/1\n", nil, nil)
	var yaml bytes.Buffer
	if err := l.WriteYAML(&yaml, settings.WithOrigins); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(l.Settings())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(yaml.String()+string(text), "hunter2") {
		t.Errorf("a password is shown:\n%s\n%s", yaml.String(), text)
	}
	if want := "routes:  # file " + l.File + ":4\n  - match: \"GET /search\"\n    action: archive.search\n"; !strings.Contains(yaml.String(), want) {
		t.Errorf("output lacks %s:\n%s", want, yaml.String())
	}
}

// No name may stand for two keys, in whatever form it is written.
func TestNamesAreUnique(t *testing.T) {
	t.Parallel()
	settingstest.UniqueNames(t, guardconf.AllKeys())
}

func TestSchemaKnowsEveryKeyOfTheFile(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := guardconf.WriteSchema(&out); err != nil {
		t.Fatal(err)
	}
	type node struct {
		Properties map[string]node `json:"properties"`
		Items      *node           `json:"items"`
		Required   []string        `json:"required"`
		Extra      *bool           `json:"additionalProperties"`
	}
	var schema node
	if err := json.Unmarshal(out.Bytes(), &schema); err != nil {
		t.Fatal(err)
	}
	for _, k := range guardconf.AllKeys() {
		at, ok := schema, true
		for name := range strings.SplitSeq(k.Path, ".") {
			if at.Extra == nil || *at.Extra {
				t.Errorf("the schema allows unknown keys beside %s", k.Path)
			}
			at, ok = at.Properties[name]
		}
		if !ok {
			t.Errorf("the schema lacks %s", k.Path)
		}
	}
	for list, required := range map[string]string{"issuers": "issuer", "routes": "match"} {
		items := schema.Properties[list].Items
		if items == nil || items.Extra == nil || *items.Extra || !cmp.Equal(items.Required, []string{required}) || len(items.Properties) < 8 {
			t.Errorf("the schema of an object of %s is %+v", list, items)
		}
	}
}

// Whatever the file holds, Load answers with a configuration or with problems,
// and what it accepts it can show and accept again.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(head))
	f.Add([]byte(head + "leeway: 10\ntrusted_proxies: [10.0.0.0/8]\nmax_depth: 3\nagents: [a, \"7\"]\n"))
	f.Add([]byte("audience: a\ntrusted_proxies: [127.0.0.0/8]\nissuers: [{issuer: \"https://a.example\", algorithms: [ES256], alias_names: true}]\n" +
		"routes: [{match: \"GET /a\", scope: \"x y\"}, {match: \"POST /a/{b...}\", action: a.b, amount: \"json:/a/b\", response_size: ignore}]\n"))
	f.Add([]byte("routes: [7, {}, ~, [x], {match: {a: b}}, {? {a: b} : c}]\nissuers: [~, {issuer: 7}]\n"))
	f.Add([]byte("routes: &r [{match: GET /}]\nissuers: *r\n"))
	f.Add([]byte("a: b: c\n---\n..."))
	var initial bytes.Buffer
	if err := guardconf.WriteInit(&initial, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(initial.Bytes())
	path := filepath.Join(f.TempDir(), "guard.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		settingstest.RoundTrip(t, path, data, func() (*settings.Loaded, error) {
			l, err := guardconf.Load(path, nil, nil)
			return l.Loaded, err
		})
	})
}
