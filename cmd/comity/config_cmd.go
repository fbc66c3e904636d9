package main

import (
	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/cmd/comity/guardconf"
	"github.com/comity-auth/comity/cmd/comity/settings"
	"github.com/spf13/cobra"
)

func newConfigCommand(a *app) *cobra.Command {
	return group("config", "Show, start and describe the configuration of serve or guard",
		"  comity config init > comity.yaml\n"+
			"  comity config show --origin\n"+
			"  comity config schema --guard > guard.schema.json",
		newConfigShowCommand(a), newConfigInitCommand(), newConfigSchemaCommand(),
		newValidateCommand(a), newConfigReferenceCommand())
}

// ofGuard adds the flag that turns a command to the guard's configuration.
func ofGuard(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("guard", false, "the configuration of comity guard instead of serve's")
}

func newConfigShowCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the configuration in force, without credentials",
		Example: "  comity config show --config comity.yaml\n" +
			"  comity config show --config comity.yaml --origin\n" +
			"  comity config show --guard --config guard.yaml\n" +
			"  COMITY_LOG__LEVEL=debug comity config show --origin --json",
		Args: cobra.NoArgs,
	}
	flags := addConfigFlags(cmd)
	flags.add(cmd, guardconf.AllKeys())
	origin := cmd.Flags().Bool("origin", false, "say where each value came from")
	guard := ofGuard(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, err := story(flags, cmd, a.env, *guard)
		if err != nil {
			return err
		}
		if a.json {
			return printJSON(cmd.OutOrStdout(), values(loaded, *origin))
		}
		comments := settings.NoComments
		if *origin {
			comments = settings.WithOrigins
		}
		return loaded.WriteYAML(cmd.OutOrStdout(), comments)
	}
	return cmd
}

// story reads one configuration or the other.
func story(flags *configFlags, cmd *cobra.Command, env []string, guard bool) (*settings.Loaded, error) {
	if guard {
		loaded, err := flags.loadGuard(cmd, env)
		return loaded.Loaded, err
	}
	loaded, err := flags.load(cmd, env)
	return loaded.Loaded, err
}

// values is the JSON form: a list with origins, or values by key.
func values(loaded *settings.Loaded, origin bool) any {
	list := loaded.Settings()
	if origin {
		return list
	}
	out := make(map[string]any, len(list))
	for _, s := range list {
		out[s.Path] = s.Value
	}
	return out
}

func newConfigInitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Print a commented configuration file with every default",
		Example: "  comity config init > comity.yaml\n" +
			"  comity config init --domain globex.example --issuer http://127.0.0.1:8080 > comity.yaml\n" +
			"  comity config init --guard --audience https://archive.globex.example --issuer https://broker.globex.example > guard.yaml",
		Args: cobra.NoArgs,
	}
	domain := cmd.Flags().String("domain", "", "the trust domain to write into it")
	issuer := cmd.Flags().String("issuer", "", "the issuer to write into it")
	audience := cmd.Flags().String("audience", "", "the audience to write into a guard's")
	upstream := cmd.Flags().String("upstream", "", "the upstream to write into a guard's")
	guard := ofGuard(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *guard {
			return guardconf.WriteInit(cmd.OutOrStdout(), map[string]string{"audience": *audience, "issuers": *issuer, "upstream": *upstream})
		}
		return config.WriteInit(cmd.OutOrStdout(), map[string]string{"domain": *domain, "issuer": *issuer})
	}
	return cmd
}

func newConfigSchemaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration file",
		Example: "  comity config schema > config.schema.json\n" +
			"  comity config schema --guard > guard.schema.json",
		Args: cobra.NoArgs,
	}
	guard := ofGuard(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *guard {
			return guardconf.WriteSchema(cmd.OutOrStdout())
		}
		return config.WriteSchema(cmd.OutOrStdout())
	}
	return cmd
}

func newConfigReferenceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "reference",
		Short:   "Print the reference of all keys in Markdown",
		Example: "  comity config reference > docs/reference/configuration.md",
		Args:    cobra.NoArgs,
		Hidden:  true,
	}
	guard := ofGuard(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *guard {
			return guardconf.WriteReference(cmd.OutOrStdout())
		}
		return config.WriteReference(cmd.OutOrStdout())
	}
	return cmd
}
