package settings

import (
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Sources are what a configuration is read from beside its defaults, from the
// weakest to the strongest.
type Sources struct {
	// File is the path of the YAML file; empty when there is none.
	File string
	// Env holds "NAME=value" strings as os.Environ returns them.
	Env []string
	// Flags maps a key's path to the value of its flag.
	Flags map[string]string
}

// Loaded is the story of how a configuration came about.
type Loaded struct {
	File     string            // the file that was read; empty when there was none
	Origins  map[string]Origin // by key, for every key
	Warnings []string          // remarks that do not prevent a start

	keys []Key
}

// Load fills the fields that the document's keys are bound to: default, file,
// environment, flag, the later the stronger. Relative paths in the file, and in
// defaults, mean the file's folder; those in environment and flags mean the
// working directory. check looks for what is wrong with values that are each well
// formed; it is left out when the file could not be read.
//
// The error is always a [Problems], holding everything that is wrong. The
// Loaded that comes with it has the warnings, since a variable that was misspelt
// is often what is missing; the fields are then for those who go on looking for
// problems, never to run with.
func Load(d Document, from Sources, check func(*Checker)) (*Loaded, error) {
	l := newLoader(d, from.File)
	readable := from.File == "" || l.readFile(from.File)
	vars := variables(from.Env)
	l.readAliases(vars)
	l.readEnv(vars)
	l.readFlags(from.Flags)
	l.resolvePaths()
	if readable {
		check(&Checker{l})
		l.refuseUnbuilt()
	}
	l.warnIdle()
	loaded := &Loaded{File: from.File, Origins: l.origins, Warnings: l.warnings, keys: d.Keys}
	if len(l.problems) > 0 {
		l.problems.sort()
		return loaded, l.problems
	}
	return loaded, nil
}

// refuseUnbuilt refuses what is promised but not there yet: to ignore a setting
// that somebody relies on would be worse than not to start.
func (l *loader) refuseUnbuilt() {
	c := &Checker{l}
	for _, k := range expand(l.doc.Keys) {
		if k.Unbuilt && k.isSet() {
			c.Fail([]string{k.Path}, "this build does not support it yet; leave it out")
		}
	}
}

// warnIdle says of which settings nothing comes yet. Those that say the default,
// as a file of "config init" does, promise no more than leaving them out.
func (l *loader) warnIdle() {
	for _, k := range l.doc.Keys {
		if k.Idle && !reflect.DeepEqual(k.plain(), l.idle[k.Path]) {
			l.warnings = append(l.warnings, k.Path+": this build does not act on it yet")
		}
	}
}

// loader lays one layer over another.
type loader struct {
	doc      Document
	file     string
	origins  map[string]Origin
	idle     map[string]any  // the defaults of settings that nothing comes of
	broken   map[string]bool // keys whose last value could not be understood
	problems Problems
	warnings []string
}

func newLoader(d Document, file string) *loader {
	l := &loader{doc: d, file: file, origins: map[string]Origin{}, idle: map[string]any{}, broken: map[string]bool{}}
	for _, k := range d.Keys {
		l.set(k, input{text: k.Default}, Origin{Kind: FromDefault})
		if k.Idle {
			l.idle[k.Path] = k.plain()
		}
	}
	return l
}

// set gives a key a value, or notes why it cannot have it.
func (l *loader) set(k Key, in input, from Origin) {
	in.quote = in.quote && !k.Secret
	l.origins[k.Path] = from
	delete(l.broken, k.Path)
	if from.Kind == FromDefault && in.text == "" {
		return // the zero value of its type
	}
	if list, ok := k.Field.(List); ok && in.tag == "" {
		l.setList(k, list, in.text, from)
		return
	}
	if err := k.assign(in); err != nil {
		l.broken[k.Path] = true
		l.problem(k.Path, from, err.Error())
	}
}

func (l *loader) problem(path string, at Origin, message string) {
	l.problems = append(l.problems, Problem{Path: path, Line: at.Line, Origin: at.Where, Message: message})
}

func (l *loader) warn(format string, args ...any) {
	l.warnings = append(l.warnings, fmt.Sprintf(format, args...))
}

func (l *loader) readFlags(flags map[string]string) {
	for _, path := range slices.Sorted(maps.Keys(flags)) {
		k, ok := find(l.doc.Keys, path)
		if !ok || k.Flag() == "" {
			l.problem(path, Origin{}, "cannot be given as a flag")
			continue
		}
		from := Origin{Kind: FromFlag, Where: "--" + k.Flag()}
		l.set(k, input{text: flags[path], quote: true}, from)
	}
}

// resolvePaths makes paths of the file relative to its folder. Defaults follow
// the same rule, so writing a default down never changes what it means.
func (l *loader) resolvePaths() {
	dir := filepath.Dir(l.file)
	if l.file == "" || dir == "." {
		return
	}
	for _, k := range expand(l.doc.Keys) {
		kind := l.origins[k.Path].Kind
		if p, ok := k.Field.(*string); ok && k.IsPath && (kind == FromFile || kind == FromDefault) {
			*p = resolvePath(dir, k.Scheme, *p)
		}
	}
}

func resolvePath(dir, scheme, value string) string {
	rest, ok := strings.CutPrefix(value, scheme)
	if !ok || rest == "" || strings.HasPrefix(rest, ":") || filepath.IsAbs(rest) {
		return value
	}
	return scheme + filepath.Join(dir, rest)
}
