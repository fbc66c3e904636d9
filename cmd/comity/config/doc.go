// Package config reads the configuration of a broker: it lays the environment
// and the flags over one YAML file and the defaults, and reports every problem
// at once, each with the line, variable or flag it came from.
//
// One table of keys (keys.go) is the source of the defaults, the reference,
// the JSON Schema (draft 2020-12), the commented file that `config init`
// prints, the environment names and the flags, so they cannot disagree.
//
// The package opens no listener and no store, reads no key material, and does
// not read the trust file; it only says whether the settings are well formed,
// do not contradict one another, and are safe to start with.
package config
