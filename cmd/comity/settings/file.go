package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds the configuration file, in bytes.
const maxFile = 1 << 20

// readFile lays the file over the defaults. It reports whether the file could
// be read as YAML, so that what it holds is known.
func (l *loader) readFile(path string) bool {
	data, err := readCapped(path, maxFile)
	if err != nil {
		l.problem("", Origin{Where: path}, err.Error())
		return false
	}
	return l.readYAML(data)
}

// readCapped reads a file of at most limit bytes. The error does not repeat
// the path.
func readCapped(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be opened: %w", pathCause(err))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", pathCause(err))
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("is larger than %d bytes", limit)
	}
	return data, nil
}

// pathCause is the reason of a file error without operation and path.
func pathCause(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err
	}
	return err
}

func (l *loader) readYAML(data []byte) bool {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return true // nothing but blanks and comments
		}
		l.syntax(err)
		return false
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		l.problem("", l.fileAt(second.Line), "must hold one YAML document, not several")
		return false
	case !errors.Is(err, io.EOF):
		l.syntax(err)
		return false
	}
	root := doc.Content[0]
	if isNull(root) {
		return true
	}
	if root.Kind != yaml.MappingNode {
		l.problem("", l.fileAt(root.Line), "must be a mapping of keys to values")
		return false
	}
	l.readMap(root, "")
	return true
}

// syntax reports what the YAML parser says, with its line where it names one.
func (l *loader) syntax(err error) {
	message, line := strings.TrimPrefix(err.Error(), "yaml: "), 0
	if m := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits only, and a line number of a capped file
		message = message[len(m[0]):]
	}
	l.problem("", l.fileAt(line), "not YAML: "+message)
}

func (l *loader) fileAt(line int) Origin {
	return Origin{Kind: FromFile, Where: l.file, Line: line}
}

// readMap reads the keys of one level; group is "" at the top. Every key is
// looked at, whatever was wrong with those before it.
func (l *loader) readMap(node *yaml.Node, group string) {
	l.pairs(node, group, l.fileAt, l.readPair)
}

// pairs hands over the keys and values of a mapping, each key once.
func (l *loader) pairs(node *yaml.Node, group string, at func(line int) Origin, each func(path string, name, value *yaml.Node)) {
	seen := map[string]int{}
	for pair := range slices.Chunk(node.Content, 2) {
		name, value := pair[0], pair[1]
		path := strings.TrimPrefix(group+"."+name.Value, ".")
		if name.Kind != yaml.ScalarNode {
			l.problem(group, at(name.Line), "a key must be a plain word")
			continue
		}
		if first, again := seen[name.Value]; again {
			l.problem(path, at(name.Line), fmt.Sprintf("is repeated; first given on line %d", first))
			continue
		}
		seen[name.Value] = name.Line
		each(path, name, value)
	}
}

func (l *loader) readPair(path string, name, value *yaml.Node) {
	at := l.fileAt(name.Line)
	k, isKey := find(l.doc.Keys, path)
	isSection := slices.ContainsFunc(l.doc.Sections, func(s Section) bool { return s.Name == path })
	switch {
	case !isKey && !isSection:
		l.problem(shorten(path), at, "unknown key"+l.suggest(path))
	case value.Kind == yaml.AliasNode:
		l.problem(path, at, "aliases are not supported; write the value out")
	case isSection && isNull(value): // all its keys are commented out
	case isSection && value.Kind != yaml.MappingNode:
		l.problem(path, at, "expected a section, found "+tagName(value.ShortTag()))
	case isSection:
		l.readMap(value, path)
	case k.EnvOnly:
		l.problem(path, at, "is read from the environment only, as "+k.Env())
	default:
		l.readValue(k, l.fileAt, at, value)
	}
}

// readValue reads the value of a key, which stands at from.
func (l *loader) readValue(k Key, at func(line int) Origin, from Origin, value *yaml.Node) {
	in := input{text: value.Value, tag: value.ShortTag(), quote: true}
	if value.Kind != yaml.SequenceNode {
		l.set(k, in, from)
		return
	}
	if list, ok := k.Field.(List); ok {
		l.origins[k.Path] = from
		l.readList(k, list, value.Content, at)
		return
	}
	in.text = ""
	for _, item := range value.Content {
		if item.Kind != yaml.ScalarNode || item.ShortTag() != "!!str" {
			l.problem(k.Path, at(item.Line), "expected text as an item, found "+tagName(item.ShortTag()))
			continue
		}
		in.list = append(in.list, item.Value)
	}
	l.set(k, in, from)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// suggest looks among the neighbours of an unknown key, then for its name in
// other sections.
func (l *loader) suggest(path string) string {
	group, name, nested := strings.Cut(path, ".")
	if !nested {
		group, name = "", group
	}
	var neighbours []string
	for _, k := range l.doc.Keys {
		switch g, n := k.split(); {
		case g == group && !k.EnvOnly:
			neighbours = append(neighbours, n)
		case group == "" && !slices.Contains(neighbours, g):
			neighbours = append(neighbours, g)
		}
	}
	if s := didYouMean(name, neighbours); s != "" {
		return s
	}
	for _, k := range l.doc.Keys {
		if _, n := k.split(); n == name && !k.EnvOnly {
			return fmt.Sprintf("; did you mean %q?", k.Path)
		}
	}
	return ""
}

// shorten keeps an unknown name presentable in a message.
func shorten(s string) string {
	q := strconv.QuoteToASCII(s)
	q = q[1 : len(q)-1]
	if len(q) > maxShown {
		return q[:maxShown] + "..."
	}
	return q
}

// Search returns the file of that name to use when none is named: the first that
// exists in the working directory, in the folder comity of the user's
// configuration folder (XDG base directories) and in the system's; empty when
// there is none.
func Search(name string, env []string) string {
	vars := variables(env)
	candidates := []string{name}
	if dir := vars["XDG_CONFIG_HOME"]; filepath.IsAbs(dir) {
		candidates = append(candidates, filepath.Join(dir, "comity", name))
	} else if home := vars["HOME"]; filepath.IsAbs(home) {
		candidates = append(candidates, filepath.Join(home, ".config", "comity", name))
	}
	candidates = append(candidates, "/etc/comity/"+name)
	for _, c := range candidates {
		if info, err := os.Stat(c); err == nil && info.Mode().IsRegular() {
			return c
		}
	}
	return ""
}
