package settings

import (
	"slices"
	"strings"
)

// Document describes a configuration.
type Document struct {
	// Keys are all settings, in the order of the file, bound to the struct that
	// Load fills.
	Keys     []Key
	Sections []Section
	Aliases  []Alias

	// Title and About head the JSON Schema, Preamble (lines of comment) the
	// printed file, Reference (Markdown) the reference, where Headings name the
	// top-level keys that a table begins with.
	Title, About, Preamble, Reference string
	Headings                          map[string]string
}

// Key is one row of the table: everything that is known about a setting.
type Key struct {
	Path    string   // dotted, as in the file
	Field   any      // pointer to the field it sets, or a List
	Default string   // in the textual form that the environment has
	Doc     string   // meaning; plain text, whole sentences
	Form    string   // how the reference calls its type; empty: from the Go type
	Enum    []string // the only values, when there are few
	Scheme  string   // what goes before a path
	Example []string // lines of the printed file that show the use

	IsPath   bool // relative to the folder of the file
	Secret   bool // may hold a credential: redacted, never quoted, no flag
	OnFlag   bool // has a flag although it may hold a credential
	EnvOnly  bool // refused in the file and as a flag
	Required bool // of an object in a list: must be there
	Unbuilt  bool // promised, not supported yet: refused when set
	Idle     bool // checked, and not acted on yet: a warning when set
}

// The words by which the reference calls the types.
const (
	FormAddress = "address"
	FormPath    = "path"
	FormURL     = "URL"
)

// Section describes a group of keys in the reference and in the printed file.
type Section struct{ Name, Doc string }

// Alias is a variable of other deployments that sets one of our keys.
type Alias struct {
	Name string // of the variable
	Path string // of the key; empty for one that is accepted and not needed
	Doc  string // what it says; for one that is not needed, why
	Port bool   // it holds the port alone of an address, which stays
}

// Env is the variable that sets the key.
func (k Key) Env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.Path, ".", "__"))
}

// Flag is the name of the flag that sets the key, without dashes; empty when
// a value on a command line, which every user of the machine can read, would
// give a credential away.
func (k Key) Flag() string {
	if k.EnvOnly || k.Secret && !k.OnFlag {
		return ""
	}
	return strings.NewReplacer(".", "-", "_", "-").Replace(k.Path)
}

// split returns the section ("" at the top) and the name inside it.
func (k Key) split() (group, name string) {
	group, name, nested := strings.Cut(k.Path, ".")
	if !nested {
		return "", group
	}
	return group, name
}

// find returns the key with a path.
func find(keys []Key, path string) (Key, bool) {
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Path == path })
	if i < 0 {
		return Key{}, false
	}
	return keys[i], true
}

// Info describes a setting to those who build flags or documents from the table.
type Info struct {
	Path    string // dotted, as in the file
	Type    string // as the reference calls it
	Default string // textual form
	Env     string // variable that sets it
	Flag    string // flag that sets it, without dashes; empty when there is none
	Doc     string // meaning
	Bool    bool   // the flag needs no value
}

// Infos lists every setting, in the order of the file.
func (d Document) Infos() []Info {
	out := make([]Info, len(d.Keys))
	for i, k := range d.Keys {
		out[i] = Info{Path: k.Path, Type: k.typeName(), Default: k.Default, Env: k.Env(), Flag: k.Flag(), Doc: k.Doc, Bool: k.isBool()}
	}
	return out
}
