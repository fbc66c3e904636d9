package guardconf

import (
	"io"

	"github.com/comity-auth/comity/cmd/comity/settings"
)

// Loaded is a configuration and the story of how it came about.
type Loaded struct {
	Config
	*settings.Loaded
}

// Load reads the file, if path is not empty, and lays environment and flags
// over it, as [settings.Load] does. The error is always a [settings.Problems];
// the Loaded that comes with it has the warnings, but a zero Config.
func Load(path string, env []string, flags map[string]string) (*Loaded, error) {
	cfg := new(Config)
	story, err := settings.Load(document(cfg), settings.Sources{File: path, Env: env, Flags: flags},
		func(c *settings.Checker) { validate(cfg, c) })
	loaded := &Loaded{Loaded: story}
	if err == nil {
		loaded.Config = *cfg
	}
	return loaded, err
}

// Search returns the configuration file to use when none is named.
func Search(env []string) string { return settings.Search("comity-guard.yaml", env) }

// AllKeys lists every setting, in the order of the file.
func AllKeys() []settings.Info { return document(new(Config)).Infos() }

// WriteInit writes a commented file that says every default. values, by path,
// take the place of defaults.
func WriteInit(w io.Writer, values map[string]string) error {
	return document(new(Config)).WriteInit(w, values)
}

// WriteReference writes the reference of all keys in Markdown.
func WriteReference(w io.Writer) error { return document(new(Config)).WriteReference(w) }

// WriteSchema writes the JSON Schema (draft 2020-12) of the file.
func WriteSchema(w io.Writer) error { return document(new(Config)).WriteSchema(w) }
