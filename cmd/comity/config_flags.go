package main

import (
	"fmt"
	"slices"

	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// configFlags are the flags of a command that works on the configuration of
// serve: the file, and one flag for each key that may stand on a command line.
type configFlags struct {
	file string
	keys map[string]string // flag name to key path
}

// addConfigFlags registers the flags. Only the common ones show in the help.
func addConfigFlags(cmd *cobra.Command) *configFlags {
	common := []string{"domain", "issuer", "listen", "store", "trust", "log-level", "log-format"}
	f := &configFlags{keys: map[string]string{}}
	cmd.Flags().StringVarP(&f.file, "config", "c", "", "configuration file (default: the first found of ./comity.yaml, ~/.config/comity/comity.yaml, /etc/comity/comity.yaml)")
	for _, k := range config.AllKeys() {
		if k.Flag == "" {
			continue
		}
		f.keys[k.Flag] = k.Path
		flag := cmd.Flags().VarPF(new(textValue), k.Flag, "", "overrides "+k.Path)
		flag.Hidden = !slices.Contains(common, k.Flag)
		if k.Bool {
			flag.NoOptDefVal = "true"
		}
	}
	_ = cmd.MarkFlagFilename("config", "yaml", "yml") // fails only for a flag that does not exist
	return f
}

// textValue is a flag whose value the configuration checks, not pflag.
type textValue string

func (v *textValue) String() string     { return string(*v) }
func (v *textValue) Set(s string) error { *v = textValue(s); return nil }
func (v *textValue) Type() string       { return "value" }

// values are the flags that were given, by key path.
func (f *configFlags) values(cmd *cobra.Command) map[string]string {
	out := map[string]string{}
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if path, ok := f.keys[flag.Name]; ok {
			out[path] = flag.Value.String()
		}
	})
	return out
}

// path is the file to read: the one named, else the first found, else none.
func (f *configFlags) path(env []string) string {
	if f.file != "" {
		return f.file
	}
	return config.Search(env)
}

// load reads the configuration and says its warnings on stderr. Its error
// holds every problem.
func (f *configFlags) load(cmd *cobra.Command, env []string) (*config.Loaded, error) {
	loaded, err := config.Load(f.path(env), env, f.values(cmd))
	for _, w := range loaded.Warnings {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", w)
	}
	return loaded, err
}
