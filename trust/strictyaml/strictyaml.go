// Package strictyaml reads a YAML document into Go structs and reports every
// problem at once, each with its line: unknown keys, repeated keys, values of
// the wrong type. It refuses what a reader cannot see through: aliases, merge
// keys, tags and a second document. Field names come from json tags, so the
// JSON form of a type and its YAML form are the same, numbers to the digit.
package strictyaml

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Problem is one thing that is wrong with a document.
type Problem struct {
	Line    int    `json:"line,omitempty"`
	Path    string `json:"path,omitempty"` // such as mappings[2].ttl
	Message string `json:"message"`
}

func (p Problem) String() string {
	text := p.Message
	if p.Path != "" {
		text = p.Path + ": " + text
	}
	if p.Line != 0 {
		text = fmt.Sprintf("line %d: %s", p.Line, text)
	}
	return text
}

// Problems are all that is wrong with a document, in the order of its lines.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Sort puts the problems in the order of their lines.
func (ps Problems) Sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int { return a.Line - b.Line })
}

// Lines tells where each path of a document stands.
type Lines map[string]int

// At gives the line of the path or of the nearest thing around it, 0 when
// there is none.
func (l Lines) At(path string) int {
	for path != "" {
		if n, ok := l[path]; ok {
			return n
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			break
		}
		path = path[:cut]
	}
	return l[""]
}

// Scalar is implemented by struct types that may also be written as one value.
type Scalar interface{ UnmarshalScalar(string) error }

// Decode reads text into the struct that into points to. It returns where each
// path stands, and all problems found; into holds what could be read. Lines is
// empty when the text holds no document.
func Decode(text []byte, into any) (Lines, Problems) {
	d := &decoder{lines: Lines{}}
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	var doc, more yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return d.lines, nil
	case err != nil:
		return d.lines, Problems{syntax(err)}
	}
	if err := dec.Decode(&more); err == nil {
		d.report(more.Line, "", "a second document follows; write one document")
	} else if !errors.Is(err, io.EOF) {
		d.problems = append(d.problems, syntax(err))
	}
	d.decode(doc.Content[0], reflect.ValueOf(into).Elem(), "")
	d.problems.Sort()
	return d.lines, d.problems
}

// syntax keeps the parser's message, which names the line and never the value.
func syntax(err error) Problem {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	var p Problem
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if n, tail, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(n); err == nil {
				p.Line, msg = line, tail
			}
		}
	}
	p.Path, p.Message = "document", msg
	return p
}

type decoder struct {
	lines    Lines
	problems Problems
}

func (d *decoder) report(line int, path, format string, args ...any) {
	d.problems = append(d.problems, Problem{Line: line, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (d *decoder) decode(n *yaml.Node, v reflect.Value, path string) {
	d.lines[path] = n.Line
	if !d.visible(n, path) {
		return
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		// At the top it is a heading that nothing stands under yet. Below, it is
		// a value that somebody meant to write.
		if strings.ContainsAny(path, ".[") {
			d.report(n.Line, path, "has no value; write one or leave the key out")
		}
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	if n.Kind == yaml.ScalarNode && d.scalar(n, v, path) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.object(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	case reflect.Map:
		d.entries(n, v, path)
	case reflect.Interface:
		if plain := d.plain(n, path); plain != nil {
			v.Set(reflect.ValueOf(plain))
		}
	default:
		d.report(n.Line, path, "want %s, not %s", typeName(v.Type()), kindName(n))
	}
}

// visible refuses what stands for something that is written elsewhere, or is
// read in another way than it looks.
func (d *decoder) visible(n *yaml.Node, path string) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.report(n.Line, path, "anchors and aliases are not allowed; write the value out")
		return false
	case n.Style&yaml.TaggedStyle != 0:
		d.report(n.Line, path, "tags are not allowed")
		return false
	}
	return true
}

// key gives the text of a mapping's key.
func (d *decoder) key(n *yaml.Node, path string) (string, bool) {
	if !d.visible(n, path) {
		return "", false
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		d.report(n.Line, path, "want text for a key; put it in quotes")
		return "", false
	}
	return n.Value, true
}

// scalar reads one value, and reports whether the type can be one.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) bool {
	if u, ok := v.Addr().Interface().(Scalar); ok {
		if n.Tag != "!!str" {
			d.report(n.Line, path, "want text; put it in quotes")
			return true
		}
		if err := u.UnmarshalScalar(n.Value); err != nil {
			d.report(n.Line, path, "%s", err)
		}
		return true
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(n.Value)); err != nil {
			d.report(n.Line, path, "%s", err)
		}
		return true
	}
	switch v.Kind() {
	case reflect.String:
		if n.Tag != "!!str" && n.Tag != "!!timestamp" {
			d.report(n.Line, path, "want text; put it in quotes")
			return true
		}
		v.SetString(n.Value)
	case reflect.Bool:
		b, err := strconv.ParseBool(n.Value)
		if n.Tag != "!!bool" || err != nil {
			d.report(n.Line, path, "want true or false")
			return true
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, 64)
		if n.Tag != "!!int" || err != nil {
			d.report(n.Line, path, "want a whole number")
			return true
		}
		v.SetInt(i)
	default:
		return false
	}
	return true
}

func (d *decoder) object(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.report(n.Line, path, "want a mapping, not %s", kindName(n))
		return
	}
	fields := Fields(v.Type())
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		name, ok := d.key(key, path)
		if !ok {
			continue
		}
		at := join(path, name)
		if first, dup := seen[name]; dup {
			d.report(key.Line, at, "the key is repeated; it stands at line %d already", first)
			continue
		}
		seen[name] = key.Line
		index, known := fields[name]
		if !known {
			d.report(key.Line, at, "unknown key%s", suggest(name, fields))
			continue
		}
		d.decode(val, v.Field(index), at)
		d.lines[at] = key.Line
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.report(n.Line, path, "want a list, not %s", kindName(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		d.decode(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

// entries reads a mapping whose keys are names.
func (d *decoder) entries(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.report(n.Line, path, "want a mapping, not %s", kindName(n))
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, ok := d.key(n.Content[i], path)
		if !ok {
			continue
		}
		at, value := join(path, name), reflect.New(v.Type().Elem()).Elem()
		if v.MapIndex(reflect.ValueOf(name)).IsValid() {
			d.report(n.Content[i].Line, at, "the key is repeated")
			continue
		}
		if value.Kind() == reflect.Interface {
			if plain := d.plain(n.Content[i+1], at); plain != nil {
				value.Set(reflect.ValueOf(plain))
			}
		} else {
			d.decode(n.Content[i+1], value, at)
		}
		v.SetMapIndex(reflect.ValueOf(name), value)
	}
}

// plain reads free-form content, such as a JWK, into JSON's types.
func (d *decoder) plain(n *yaml.Node, path string) any {
	if !d.visible(n, path) {
		return nil
	}
	switch {
	case n.Kind == yaml.MappingNode:
		m := map[string]any{}
		d.entries(n, reflect.ValueOf(&m).Elem(), path)
		return m
	case n.Kind == yaml.SequenceNode:
		l := make([]any, len(n.Content))
		for i, item := range n.Content {
			l[i] = d.plain(item, fmt.Sprintf("%s[%d]", path, i))
		}
		return l
	case n.Tag == "!!int" || n.Tag == "!!float":
		// A number keeps its digits; what JSON cannot write means different
		// things to different readers (010, 0x10, .inf).
		if !json.Valid([]byte(n.Value)) {
			d.report(n.Line, path, "want a decimal number, or text in quotes")
			return nil
		}
		return json.Number(n.Value)
	case n.Tag == "!!bool":
		return strings.EqualFold(n.Value, "true")
	case n.Tag == "!!null":
		return nil
	}
	return n.Value
}

// Fields maps the json names of a struct's fields to their indexes.
func Fields(t reflect.Type) map[string]int {
	out := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			out[name] = i
		}
	}
	return out
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func typeName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	}
	return "a " + t.Kind().String()
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}

// suggest names the known key nearest to an unknown one.
func suggest(key string, fields map[string]int) string {
	best, least := "", 3
	for name := range fields {
		if d := distance(key, name); d < least || d == least && name < best {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is the Levenshtein distance, for short words.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
