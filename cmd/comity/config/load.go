package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Loaded is a configuration and the story of how it came about.
type Loaded struct {
	Config
	File     string            // the file that was read; empty when there was none
	Origins  map[string]Origin // by key, for every key
	Warnings []string          // remarks that do not prevent a start

	// Draft is what was understood, also when Load failed: for those who go on
	// looking for problems, never to run with.
	Draft Config
}

// Load reads the file, if path is not empty, and lays environment and flags
// over it: default, file, environment, flag, the later the stronger. env holds
// "NAME=value" strings as os.Environ returns them; flags maps a key's path to
// the value of its flag. Relative paths in the file, and in defaults, mean the
// file's folder; those in environment and flags mean the working directory.
//
// The error is always a [Problems], holding everything that is wrong. The
// Loaded that comes with it has the warnings, since a variable that was misspelt
// is often what is missing, but a zero Config.
func Load(path string, env []string, flags map[string]string) (*Loaded, error) {
	l := newLoader(path)
	readable := path == "" || l.readFile(path)
	vars := variables(env)
	l.readAliases(vars)
	l.readEnv(vars)
	l.readFlags(flags)
	l.resolvePaths()
	if readable {
		l.problems = append(l.problems, validate(l)...)
	}
	l.warnIdle()
	loaded := &Loaded{File: path, Origins: l.origins, Warnings: l.warnings, Draft: l.cfg}
	if len(l.problems) > 0 {
		l.problems.sort()
		return loaded, l.problems
	}
	loaded.Config = l.cfg
	return loaded, nil
}

// warnIdle says of which settings nothing comes yet.
func (l *loader) warnIdle() {
	for _, k := range l.keys {
		if o, set := l.origins[k.path]; k.idle && set && o.Kind != FromDefault {
			l.warnings = append(l.warnings, k.path+": this build does not act on it yet")
		}
	}
}

// loader lays one layer over another.
type loader struct {
	keys     []key
	file     string
	cfg      Config
	origins  map[string]Origin
	broken   map[string]bool // keys whose last value could not be understood
	problems Problems
	warnings []string
}

func newLoader(file string) *loader {
	l := &loader{keys: table(), file: file, origins: map[string]Origin{}, broken: map[string]bool{}}
	for _, k := range l.keys {
		l.set(k, input{text: k.def}, Origin{Kind: FromDefault})
	}
	return l
}

// set gives a key a value, or notes why it cannot have it.
func (l *loader) set(k key, in input, from Origin) {
	in.quote = in.quote && !k.secret
	l.origins[k.path] = from
	delete(l.broken, k.path)
	if from.Kind == FromDefault && in.text == "" {
		return // the zero value of its type
	}
	if err := k.assign(&l.cfg, in); err != nil {
		l.broken[k.path] = true
		l.problem(k.path, from, err.Error())
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
		k, ok := find(l.keys, path)
		if !ok || k.flag() == "" {
			l.problem(path, Origin{}, "cannot be given as a flag")
			continue
		}
		from := Origin{Kind: FromFlag, Where: "--" + k.flag()}
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
	for _, k := range l.keys {
		if kind := l.origins[k.path].Kind; !k.isPath || kind != FromFile && kind != FromDefault {
			continue
		}
		if p, ok := k.at(&l.cfg).(*string); ok {
			*p = resolvePath(dir, k.path, *p)
		}
	}
}

// The prefixes of values that hold a path.
const (
	sqliteScheme = "sqlite:"
	sealScheme   = "file:"
)

func resolvePath(dir, key, value string) string {
	scheme := ""
	switch key {
	case "store":
		scheme = sqliteScheme
	case "keys.seal":
		scheme = sealScheme
	}
	rest, ok := strings.CutPrefix(value, scheme)
	if !ok || rest == "" || strings.HasPrefix(rest, ":") || filepath.IsAbs(rest) {
		return value
	}
	return scheme + filepath.Join(dir, rest)
}

func trimScheme(value, scheme string) string { return strings.TrimPrefix(value, scheme) }
