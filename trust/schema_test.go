package trust_test

import (
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/comity-auth/comity/trust"
)

var update = flag.Bool("update", false, "write golden files anew")

const schemaFile = "../docs/reference/trust.schema.json"

func TestSchemaFileIsWhatTheTypesSay(t *testing.T) {
	t.Parallel()
	got := trust.TrustSchema()
	if *update {
		if err := os.WriteFile(schemaFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("docs/reference/trust.schema.json is out of date; run go test ./trust -run Schema -update")
	}
}

type node struct {
	Description string          `json:"description"`
	Type        string          `json:"type"`
	Properties  map[string]node `json:"properties"`
	Items       *node           `json:"items"`
	AnyOf       []node          `json:"anyOf"`
	Required    []string        `json:"required"`
	Additional  any             `json:"additionalProperties"`
}

func (n node) object() node {
	switch {
	case n.Items != nil:
		return n.Items.object()
	case len(n.AnyOf) > 0:
		return n.AnyOf[len(n.AnyOf)-1].object()
	}
	return n
}

func TestSchemaDescribesEveryField(t *testing.T) {
	t.Parallel()
	var root node
	if err := json.Unmarshal(trust.TrustSchema(), &root); err != nil {
		t.Fatal(err)
	}
	var walk func(reflect.Type, node, string)
	walk = func(typ reflect.Type, n node, path string) {
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[trust.Time]() {
			return
		}
		if n.Additional != false {
			t.Errorf("%s: unknown keys are allowed", path)
		}
		if len(n.Properties) != typ.NumField() {
			t.Errorf("%s: %d properties, want %d", path, len(n.Properties), typ.NumField())
		}
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			p, ok := n.Properties[name]
			if !ok || p.Description == "" {
				t.Errorf("%s.%s: no description", path, name)
			}
			walk(typ.Field(i).Type, p.object(), path+"."+name)
		}
	}
	walk(reflect.TypeFor[trust.File](), root, "")
}

// What the schema requires, the parser refuses to miss, and the other way round.
func TestSchemaRequiresWhatTheParserRequires(t *testing.T) {
	t.Parallel()
	var root node
	if err := json.Unmarshal(trust.TrustSchema(), &root); err != nil {
		t.Fatal(err)
	}
	for _, list := range []string{"peers", "resources", "clients", "mappings", "policies"} {
		_, problems := newCompiler(t).ParseFile([]byte(list + ":\n  - {}\n"))
		missed := map[string]bool{}
		for _, p := range problems {
			name, ok := strings.CutPrefix(p.Path, list+"[0].")
			if ok && (strings.Contains(p.Message, "missing") || list != "mappings" || name != "scopes") {
				missed[name] = true
			}
		}
		for _, name := range root.Properties[list].object().Required {
			if !missed[name] {
				t.Errorf("%s.%s is required by the schema and not by the parser", list, name)
			}
			delete(missed, name)
		}
		for name := range missed {
			if list == "peers" && name == "issuer" {
				continue // of kind oidc, the default, alone
			}
			t.Errorf("%s.%s is required by the parser and not by the schema", list, name)
		}
	}
}
