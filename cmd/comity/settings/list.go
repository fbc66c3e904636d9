package settings

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// List is the field of a key whose value is a list of objects, each with keys of
// its own.
type List interface {
	// fresh is an object with its defaults, and what adds it to the list.
	fresh() (keys []Key, keep func())
	// each gives the keys of the objects in the list.
	each() [][]Key
	clear()
	// bare is the key that a text in the place of an object stands for; empty when
	// there is none.
	bare() string
}

type listOf[T any] struct {
	at    *[]T
	keys  func(*T) []Key
	plain string
}

// ListOf is a list in a slice. The function binds the keys of one object. When
// bare names one of them, a text stands for an object with that key alone.
func ListOf[T any](at *[]T, keys func(*T) []Key, bare string) List {
	return listOf[T]{at, keys, bare}
}

func (l listOf[T]) bare() string { return l.plain }
func (l listOf[T]) clear()       { *l.at = nil }

func (l listOf[T]) fresh() ([]Key, func()) {
	one := new(T)
	keys := l.keys(one)
	for _, k := range keys {
		if k.Default != "" {
			_ = k.assign(input{text: k.Default}) // a default of the table, which its tests read
		}
	}
	return keys, func() { *l.at = append(*l.at, *one) }
}

func (l listOf[T]) each() [][]Key {
	out := make([][]Key, len(*l.at))
	for i := range *l.at {
		out[i] = l.keys(&(*l.at)[i])
	}
	return out
}

// place is the path of an object.
func place(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

// expand adds to the keys those of the objects in lists, with their place in
// their path.
func expand(keys []Key) []Key {
	var out []Key
	for _, k := range keys {
		out = append(out, k)
		list, ok := k.Field.(List)
		if !ok {
			continue
		}
		for i, object := range list.each() {
			for _, inner := range object {
				inner.Path = place(k.Path, i) + "." + inner.Path
				out = append(out, inner)
			}
		}
	}
	return out
}

// setList reads a list from a variable or a flag: in YAML's brackets, or as
// texts with commas between them, where those stand for objects.
func (l *loader) setList(k Key, list List, text string, from Origin) {
	l.forget(k.Path)
	list.clear()
	l.origins[k.Path] = from
	if !strings.HasPrefix(strings.TrimSpace(text), "[") {
		items := input{text: text}.items()
		if len(items) > 0 && list.bare() == "" {
			l.broken[k.Path] = true
			l.problem(k.Path, from, `must be a list in YAML's brackets, such as [{match: "GET /"}]`)
			return
		}
		for i, item := range items {
			l.addBare(k, list, i, input{text: item, quote: true}, from)
		}
		return
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.SequenceNode {
		l.broken[k.Path] = true
		l.problem(k.Path, from, "is not a list in YAML's brackets")
		return
	}
	l.readList(k, list, doc.Content[0].Content, func(int) Origin { return from })
}

// forget drops what is known of the objects of a list that is replaced.
func (l *loader) forget(path string) {
	delete(l.broken, path)
	for p := range l.origins {
		if strings.HasPrefix(p, path+"[") {
			delete(l.origins, p)
			delete(l.broken, p)
		}
	}
}

// readList reads the objects of a list; at tells where a line is.
func (l *loader) readList(k Key, list List, items []*yaml.Node, at func(line int) Origin) {
	list.clear()
	for i, item := range items {
		path, from := place(k.Path, i), at(item.Line)
		switch {
		case item.Kind == yaml.MappingNode:
			l.addObject(path, list, item, at)
			continue
		case item.Kind == yaml.AliasNode:
			l.problem(path, from, "aliases are not supported; write the value out")
		case list.bare() != "" && item.Kind == yaml.ScalarNode && item.ShortTag() == "!!str":
			l.addBare(k, list, i, input{text: item.Value, tag: "!!str", quote: true}, from)
			continue
		case list.bare() != "":
			l.problem(path, from, "expected text or an object, found "+tagName(item.ShortTag()))
		default:
			l.problem(path, from, "expected an object, found "+tagName(item.ShortTag()))
		}
		l.broken[k.Path] = true
		_, keep := list.fresh() // so that the places of the others stay
		l.origins[path], l.broken[path] = from, true
		keep()
	}
}

func (l *loader) addBare(k Key, list List, i int, in input, from Origin) {
	path := place(k.Path, i)
	l.origins[path] = from
	keys, keep := list.fresh()
	if inner, ok := find(keys, list.bare()); ok {
		inner.Path = path + "." + inner.Path
		l.set(inner, in, from)
	}
	keep()
}

func (l *loader) addObject(path string, list List, node *yaml.Node, at func(line int) Origin) {
	keys, keep := list.fresh()
	l.origins[path] = at(node.Line)
	var given []string
	l.pairs(node, path, at, func(full string, name, value *yaml.Node) {
		from := at(name.Line)
		inner, known := find(keys, name.Value)
		switch {
		case !known:
			l.broken[full] = true // what it was meant to be is not there
			l.problem(shorten(full), from, "unknown key"+didYouMean(name.Value, names(keys)))
			return
		case value.Kind == yaml.AliasNode:
			l.problem(full, from, "aliases are not supported; write the value out")
			return
		}
		given = append(given, name.Value)
		inner.Path = full
		l.readValue(inner, at, from, value)
	})
	for _, k := range keys {
		if k.Required && !slices.Contains(given, k.Path) {
			l.broken[path+"."+k.Path] = true
			l.problem(path+"."+k.Path, at(node.Line), "is required")
		}
	}
	keep()
}

func names(keys []Key) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = k.Path
	}
	return out
}

// said are the keys of an object that do not hold their default.
func said(list List, object []Key) []Key {
	bare, _ := list.fresh()
	var out []Key
	for i, k := range object {
		if !reflect.DeepEqual(k.plain(), bare[i].plain()) {
			out = append(out, k)
		}
	}
	return out
}

// objects is a list as JSON and YAML know values.
func objects(list List) []map[string]any {
	out := []map[string]any{}
	for _, object := range list.each() {
		one := map[string]any{}
		for _, k := range said(list, object) {
			one[k.Path] = k.plain()
		}
		out = append(out, one)
	}
	return out
}
