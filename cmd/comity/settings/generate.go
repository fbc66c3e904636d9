package settings

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// WriteInit writes a commented file that says every default. values, by path,
// take the place of defaults.
func (d Document) WriteInit(w io.Writer, values map[string]string) error {
	var b strings.Builder
	b.WriteString(d.Preamble)
	group := ""
	for _, k := range d.Keys {
		if k.EnvOnly {
			continue
		}
		g, name := k.split()
		if g != group && g != "" {
			fmt.Fprintf(&b, "\n%s%s:\n", wrapComment(d.section(g), ""), g)
		} else if g == "" {
			b.WriteString("\n")
		}
		group = g
		text := k.Default
		if v, ok := values[k.Path]; ok {
			text = v
		}
		doc := k.fullDoc()
		if k.Enum != nil {
			doc += " One of " + strings.Join(k.Enum, ", ") + "."
		}
		b.WriteString(wrapComment(doc+" ["+k.Env()+"]", indent(g)))
		fmt.Fprintf(&b, "%s%s: %s\n", indent(g), name, k.literal(text))
		for _, line := range k.Example {
			fmt.Fprintf(&b, "%s# %s\n", indent(g), line)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// literal writes the key's textual form as YAML.
func (k Key) literal(text string) string {
	switch k.schemaType() {
	case "array":
		return literal(input{text: text}.items())
	case "string":
		return quoteText(text)
	}
	return text
}

func (k Key) fullDoc() string {
	doc := k.Doc
	if k.Unbuilt {
		doc += " Not supported by this build yet: refused when set."
	}
	if k.Idle {
		doc += " Checked, but not acted on by this build yet."
	}
	return doc
}

func (d Document) section(name string) string {
	for _, s := range d.Sections {
		if s.Name == name {
			return s.Doc
		}
	}
	return ""
}

// wrapComment breaks text into comment lines of about 78 columns.
func wrapComment(text, indent string) string {
	var b strings.Builder
	line := indent + "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > 78 && line != indent+"#" {
			b.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	return b.String() + line + "\n"
}

// WriteReference writes the reference of all keys in Markdown.
func (d Document) WriteReference(w io.Writer) error {
	var b strings.Builder
	b.WriteString(d.Reference)
	group := "-"
	for _, k := range d.Keys {
		if g, _ := k.split(); g != group || d.Headings[k.Path] != "" {
			group = g
			if g == "" {
				b.WriteString("\n## " + d.Headings[k.Path] + "\n\n")
			} else {
				fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", g, d.section(g))
			}
			b.WriteString("| Key | Type | Default | Environment | Meaning |\n|---|---|---|---|---|\n")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s |\n", k.Path, k.typeName(), code(k.defaultText()), k.Env(), k.note())
	}
	for _, k := range d.Keys {
		if list, ok := k.Field.(List); ok {
			writeListReference(&b, k.Path, list)
		}
	}
	b.WriteString(referenceAliases)
	for _, a := range d.Aliases {
		path, doc := "`"+a.Path+"`", strings.ReplaceAll(a.Doc, `\n`, "`\\n`")
		if a.Path == "" {
			path, doc = "none", "Accepted and not needed: "+a.Doc+"."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", a.Name, path, doc)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeListReference(b *strings.Builder, path string, list List) {
	fmt.Fprintf(b, "\n## An object of %s\n\n", path)
	if bare := list.bare(); bare != "" {
		fmt.Fprintf(b, "A text stands for an object with `%s` alone.\n\n", bare)
	}
	b.WriteString("| Key | Type | Default | Meaning |\n|---|---|---|---|\n")
	keys, _ := list.fresh()
	for _, k := range keys {
		def := code(k.defaultText())
		if k.Required {
			def = "required"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", k.Path, k.typeName(), def, k.note())
	}
}

const referenceAliases = `
## Names of the Agent Authorization Profile

| Variable | Key | Sets |
|---|---|---|
`

func (k Key) defaultText() string {
	switch {
	case k.Default != "":
		return k.Default
	case k.schemaType() == "array":
		return "[]"
	}
	return ""
}

func (k Key) note() string {
	doc := k.fullDoc()
	if k.EnvOnly {
		doc += " Refused in the file."
	}
	return strings.ReplaceAll(doc, "|", `\|`)
}

func code(s string) string {
	if s == "" {
		return "none"
	}
	return "`" + s + "`"
}

// WriteSchema writes the JSON Schema (draft 2020-12) of the file.
func (d Document) WriteSchema(w io.Writer) error {
	top := map[string]any{}
	for _, k := range d.Keys {
		if k.EnvOnly {
			continue
		}
		g, name := k.split()
		if g == "" {
			top[name] = k.schema()
			continue
		}
		s, ok := top[g].(map[string]any)
		if !ok {
			s = map[string]any{"type": []string{"object", "null"}, "description": d.section(g),
				"additionalProperties": false, "properties": map[string]any{}}
			top[g] = s
		}
		if properties, ok := s["properties"].(map[string]any); ok {
			properties[name] = k.schema()
		}
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(map[string]any{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       d.Title,
		"description": d.About,
		"type":        "object", "additionalProperties": false, "properties": top,
	})
}

func (k Key) schema() map[string]any {
	s := map[string]any{"type": k.schemaType(), "description": k.fullDoc()}
	if k.isDuration() {
		s["type"] = []string{"string", "integer"}
		s["pattern"] = `^([0-9]+|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
		s["minimum"] = 0
	}
	if k.Enum != nil {
		s["enum"] = k.Enum
	}
	if list, ok := k.Field.(List); ok {
		s["items"] = objectSchema(list)
		return s
	}
	switch s["type"] {
	case "array":
		s["items"] = map[string]any{"type": "string"}
		s["default"] = append([]string{}, input{text: k.Default}.items()...)
	case "boolean":
		s["default"] = k.Default == "true"
	case "integer":
		if n, err := strconv.Atoi(k.Default); err == nil {
			s["default"] = n
		}
	default:
		s["default"] = k.Default
	}
	return s
}

func objectSchema(list List) map[string]any {
	properties, required := map[string]any{}, []string{}
	keys, _ := list.fresh()
	for _, k := range keys {
		properties[k.Path] = k.schema()
		if k.Required {
			required = append(required, k.Path)
		}
	}
	s := map[string]any{"type": "object", "additionalProperties": false, "properties": properties, "required": required}
	if list.bare() != "" {
		s["type"] = []string{"string", "object"}
	}
	return s
}

func (k Key) schemaType() string {
	switch k.Field.(type) {
	case *bool:
		return "boolean"
	case *int:
		return "integer"
	case *[]string, *[]netip.Prefix, List:
		return "array"
	}
	return "string"
}

func (k Key) isDuration() bool {
	_, ok := k.Field.(*time.Duration)
	return ok
}
