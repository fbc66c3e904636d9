package main

import (
	"fmt"
	"slices"

	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/cmd/comity/guardconf"
	"github.com/comity-auth/comity/cmd/comity/settings"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// configFlags are the flags of a command that works on a configuration: the file,
// and one flag for each key that may stand on a command line.
type configFlags struct {
	file string
	keys map[string]string // flag name to key path
}

// addConfigFlags registers the flags of serve's configuration, addGuardFlags those
// of the guard's.
func addConfigFlags(cmd *cobra.Command) *configFlags {
	return newConfigFlags(cmd, "comity.yaml", config.AllKeys(), "domain", "issuer", "listen", "store", "trust", "log-level", "log-format")
}

func addGuardFlags(cmd *cobra.Command) *configFlags {
	return newConfigFlags(cmd, "comity-guard.yaml", guardconf.AllKeys(), "audience", "issuers", "upstream", "listen", "log-level", "log-format")
}

// newConfigFlags registers the flags. Only the common ones show in the help.
func newConfigFlags(cmd *cobra.Command, name string, keys []settings.Info, common ...string) *configFlags {
	f := &configFlags{keys: map[string]string{}}
	cmd.Flags().StringVarP(&f.file, "config", "c", "",
		fmt.Sprintf("configuration file (default: the first found of ./%[1]s, ~/.config/comity/%[1]s, /etc/comity/%[1]s)", name))
	f.add(cmd, keys, common...)
	_ = cmd.MarkFlagFilename("config", "yaml", "yml") // fails only for a flag that does not exist
	return f
}

// add registers a flag for each key that has none yet.
func (f *configFlags) add(cmd *cobra.Command, keys []settings.Info, common ...string) {
	for _, k := range keys {
		if k.Flag == "" || f.keys[k.Flag] != "" {
			continue
		}
		f.keys[k.Flag] = k.Path
		flag := cmd.Flags().VarPF(new(textValue), k.Flag, "", "overrides "+k.Path)
		flag.Hidden = !slices.Contains(common, k.Flag)
		if k.Bool {
			flag.NoOptDefVal = "true"
		}
	}
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

// load reads serve's configuration and says its warnings on stderr. Its error
// holds every problem.
func (f *configFlags) load(cmd *cobra.Command, env []string) (*config.Loaded, error) {
	loaded, err := config.Load(f.path(env), env, f.values(cmd))
	warn(cmd, loaded.Loaded)
	return loaded, err
}

// loadGuard does for the guard's configuration what load does for serve's.
func (f *configFlags) loadGuard(cmd *cobra.Command, env []string) (*guardconf.Loaded, error) {
	loaded, err := guardconf.Load(f.guardPath(env), env, f.values(cmd))
	warn(cmd, loaded.Loaded)
	return loaded, err
}

func (f *configFlags) guardPath(env []string) string {
	if f.file != "" {
		return f.file
	}
	return guardconf.Search(env)
}

func warn(cmd *cobra.Command, loaded *settings.Loaded) {
	for _, w := range loaded.Warnings {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", w)
	}
}
