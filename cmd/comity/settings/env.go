package settings

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/comity-auth/comity/trust/ident"
)

const (
	envPrefix = "COMITY_"
	envFile   = "_FILE"
)

// maxEnvFile bounds a file that a variable points to, in bytes.
const maxEnvFile = 64 << 10

// foreign reports whether a COMITY_ variable belongs to something other than a
// configuration: the admin commands, or the tests.
func foreign(name string) bool {
	return name == "COMITY_SERVER" || name == "COMITY_TOKEN_FILE" || strings.HasPrefix(name, "COMITY_TEST_")
}

// variables turns "NAME=value" strings into a map; the last of a name counts.
func variables(env []string) map[string]string {
	out := make(map[string]string, len(env))
	for _, pair := range env {
		if name, value, ok := strings.Cut(pair, "="); ok && name != "" {
			out[name] = value
		}
	}
	return out
}

// readEnv lays the COMITY_ variables over what is there.
func (l *loader) readEnv(vars map[string]string) {
	known := map[string]bool{}
	for _, k := range l.doc.Keys {
		name := k.Env()
		known[name], known[name+envFile] = true, true
		value, direct := vars[name]
		file, byFile := vars[name+envFile]
		switch {
		case direct && byFile:
			l.problem(k.Path, Origin{Where: name}, "is given twice: also as "+name+envFile)
		case direct:
			l.set(k, input{text: inlineNewlines(k, value), quote: true}, Origin{Kind: FromEnv, Where: name})
		case byFile:
			l.readEnvFile(k, Origin{Kind: FromEnv, Where: name + envFile}, file)
		}
	}
	l.warnUnknown(vars, known)
}

// readEnvFile takes the value from a file. What the file holds is never
// repeated in a message: it is a place for secrets.
func (l *loader) readEnvFile(k Key, from Origin, file string) {
	data, err := readCapped(file, maxEnvFile)
	if err != nil {
		l.origins[k.Path], l.broken[k.Path] = from, true
		l.problem(k.Path, from, fmt.Sprintf("the file it names %s", err))
		return
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	l.set(k, input{text: text}, from)
}

func (l *loader) warnUnknown(vars map[string]string, known map[string]bool) {
	var names []string
	for _, k := range l.doc.Keys {
		names = append(names, k.Env())
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if strings.HasPrefix(name, envPrefix) && !known[name] && !foreign(name) {
			l.warn("%s: unknown variable, ignored%s", shorten(name), didYouMean(name, names))
		}
	}
}

// readAliases lays the AAP_ variables over the file. They are weaker than our
// own names, and an empty one counts as absent, as deployment templates leave
// empty what they do not use.
func (l *loader) readAliases(vars map[string]string) {
	for _, a := range l.doc.Aliases {
		value := vars[a.Name]
		if value != "" && a.Path == "" {
			l.warn("%s: not needed, ignored; %s", a.Name, a.Doc)
		}
		k, ok := find(l.doc.Keys, a.Path)
		if value == "" || !ok {
			continue
		}
		if own, by := ownName(vars, k); by {
			l.warn("%s: ignored, since %s is set", a.Name, own)
			continue
		}
		from := Origin{Kind: FromEnv, Where: a.Name}
		if a.Port {
			l.setPort(k, value, from)
			continue
		}
		l.set(k, input{text: inlineNewlines(k, value), quote: true}, from)
	}
}

func ownName(vars map[string]string, k Key) (string, bool) {
	for _, name := range []string{k.Env(), k.Env() + envFile} {
		if _, ok := vars[name]; ok {
			return name, true
		}
	}
	return "", false
}

// setPort changes the port of the listener and leaves its address.
func (l *loader) setPort(k Key, port string, from Origin) {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		l.problem(k.Path, from, "must be a port from 1 to 65535")
		return
	}
	address, ok := k.Field.(*string)
	if !ok {
		return
	}
	host, _, err := net.SplitHostPort(*address)
	if err != nil {
		return // the address itself is reported where it was given
	}
	l.set(k, input{text: net.JoinHostPort(host, port), quote: true}, from)
}

// inlineNewlines restores the line ends of a PEM key that was squeezed into
// one line, as variables often demand.
func inlineNewlines(k Key, value string) string {
	if _, token := k.Field.(*ident.RawToken); !token || strings.Contains(value, "\n") || !strings.HasPrefix(value, "-----BEGIN") {
		return value
	}
	return strings.ReplaceAll(value, `\n`, "\n")
}
