// Package settings reads configurations: it lays the environment and the flags
// over one YAML file and the defaults, and reports every problem at once, each
// with the line, variable or flag it came from.
//
// A [Document] is a table of keys, each bound to a field of a struct. It is the
// source of the defaults, the reference, the JSON Schema (draft 2020-12), the
// commented file that `config init` prints, the environment names and the
// flags, so they cannot disagree.
//
// The package knows no setting. It opens no listener and no store, and of the
// files that are named it looks at nothing but whether they are there and who
// may read them.
package settings
