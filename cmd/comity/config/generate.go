package config

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
func WriteInit(w io.Writer, values map[string]string) error {
	keys := table()
	var b strings.Builder
	b.WriteString("# Configuration of a Comity broker. Every key stands here with its default:\n" +
		"# leave out what you do not change. Only domain and issuer must be filled in.\n" +
		"# Any key can be given by environment too, as the name in brackets; the same\n" +
		"# name with _FILE behind it reads the value from a file.\n" +
		"# Relative paths mean the folder of this file.\n")
	group := ""
	for _, k := range keys {
		if k.envOnly {
			continue
		}
		g, name := k.split()
		if g != group && g != "" {
			fmt.Fprintf(&b, "\n%s%s:\n", wrapComment(sectionDoc(g), ""), g)
		} else if g == "" {
			b.WriteString("\n")
		}
		group = g
		text := k.def
		if v, ok := values[k.path]; ok {
			text = v
		}
		doc := k.fullDoc()
		if k.enum != nil {
			doc += " One of " + strings.Join(k.enum, ", ") + "."
		}
		b.WriteString(wrapComment(doc+" ["+k.env()+"]", indent(g)))
		fmt.Fprintf(&b, "%s%s: %s\n", indent(g), name, k.literal(text))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// literal writes the key's textual form as YAML.
func (k key) literal(text string) string {
	switch k.schemaType() {
	case "array":
		return literal(input{text: text}.items())
	case "string":
		return quoteText(text)
	}
	return text
}

func (k key) fullDoc() string {
	doc := k.doc
	if k.unbuilt {
		doc += " Not supported by this build yet: refused when set."
	}
	if k.idle {
		doc += " Checked, but not acted on by this build yet."
	}
	return doc
}

func sectionDoc(name string) string {
	for _, s := range sections() {
		if s.name == name {
			return s.doc
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
func WriteReference(w io.Writer) error {
	var b strings.Builder
	b.WriteString(referenceHead)
	group, keys := "-", table()
	for _, k := range keys {
		if g, _ := k.split(); g != group {
			group = g
			if g == "" {
				b.WriteString("\n## " + topTitle(k.path) + "\n\n")
			} else {
				fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", g, sectionDoc(g))
			}
			b.WriteString("| Key | Type | Default | Environment | Meaning |\n|---|---|---|---|---|\n")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s |\n", k.path, k.typeName(), code(k.defaultText()), k.env(), k.note())
	}
	b.WriteString(referenceAliases)
	for _, a := range aliases() {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", a.name, a.path, strings.ReplaceAll(a.doc, `\n`, "`\\n`"))
	}
	fmt.Fprintf(&b, "| `%s` | none | Accepted and not needed: the public key is derived from the private one. |\n", publicKeyAlias)
	_, err := io.WriteString(w, b.String())
	return err
}

const referenceHead = `# Configuration of serve

<!-- Generated from the table of keys; do not edit. Regenerate with: go generate ./cmd/comity -->

One YAML file, read strictly: an unknown or repeated key is an error with its line, and ` + "`comity check-config`" + ` reports everything that is wrong at once.

The file is the one that ` + "`--config`" + ` names, otherwise the first that exists of ` + "`./comity.yaml`" + `, ` + "`$XDG_CONFIG_HOME/comity/comity.yaml`" + ` (` + "`~/.config`" + ` when unset) and ` + "`/etc/comity/comity.yaml`" + `.

Values come from, each stronger than the one before: the default, the file, the ` + "`AAP_*`" + ` names below, the environment, the flags. ` + "`comity config show --origin`" + ` says where each came from.

- **Environment.** The name in the table. The same name with ` + "`_FILE`" + ` behind it reads the value from a file, less one line end; giving both is an error. An unknown ` + "`COMITY_*`" + ` is a warning.
- **Flags.** The key with dashes: ` + "`--tokens-max-ttl 600s`" + `. Keys that may hold a credential have none (but for ` + "`--store`" + `), since every user of a machine can read its command lines.
- **Durations** are written as in Go (` + "`300s`, `24h`, `1h30m`" + `); a plain number is seconds.
- **Lists** are YAML lists in the file, and separated by commas in environment and flags.
- **Paths** that are relative mean the folder of the file (defaults too), and in environment and flags the working directory.
- **Secrets.** A file that holds one is refused when users outside its owner and group may reach it. Passwords in URLs are never printed.
`

const referenceAliases = `
## Names of the Agent Authorization Profile

| Variable | Key | Sets |
|---|---|---|
`

func topTitle(path string) string {
	switch path {
	case "domain":
		return "Identity and public listener"
	case "store":
		return "Store and trust"
	}
	return "Proxies and shared counters"
}

func (k key) defaultText() string {
	switch {
	case k.def != "":
		return k.def
	case k.schemaType() == "array":
		return "[]"
	}
	return ""
}

func (k key) note() string {
	doc := k.fullDoc()
	if k.envOnly {
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
func WriteSchema(w io.Writer) error {
	top := map[string]any{}
	for _, k := range table() {
		if k.envOnly {
			continue
		}
		g, name := k.split()
		if g == "" {
			top[name] = k.schema()
			continue
		}
		s, ok := top[g].(map[string]any)
		if !ok {
			s = map[string]any{"type": []string{"object", "null"}, "description": sectionDoc(g),
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
		"title":       "Configuration of comity serve",
		"description": "What the file may hold. The environment and flags can give any key too, so none is required here.",
		"type":        "object", "additionalProperties": false, "properties": top,
	})
}

func (k key) schema() map[string]any {
	s := map[string]any{"type": k.schemaType(), "description": k.fullDoc()}
	if k.isDuration() {
		s["type"] = []string{"string", "integer"}
		s["pattern"] = `^([0-9]+|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
		s["minimum"] = 0
	}
	if k.enum != nil {
		s["enum"] = k.enum
	}
	switch s["type"] {
	case "array":
		s["items"] = map[string]any{"type": "string"}
		s["default"] = []string{}
	case "boolean":
		s["default"] = k.def == "true"
	case "integer":
		if n, err := strconv.Atoi(k.def); err == nil {
			s["default"] = n
		}
	default:
		s["default"] = k.def
	}
	return s
}

func (k key) schemaType() string {
	switch k.at(new(Config)).(type) {
	case *bool:
		return "boolean"
	case *int:
		return "integer"
	case *[]string, *[]netip.Prefix:
		return "array"
	}
	return "string"
}

func (k key) isDuration() bool {
	_, ok := k.at(new(Config)).(*time.Duration)
	return ok
}
