package main

import (
	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/cmd/comity/settings"
	"github.com/spf13/cobra"
)

func newConfigCommand(a *app) *cobra.Command {
	return group("config", "Show, start and describe the configuration of serve",
		"  comity config init > comity.yaml\n"+
			"  comity config show --origin\n"+
			"  comity config schema > config.schema.json",
		newConfigShowCommand(a), newConfigInitCommand(), newConfigSchemaCommand(),
		newValidateCommand(a), newConfigReferenceCommand())
}

func newConfigShowCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the configuration in force, without credentials",
		Example: "  comity config show --config comity.yaml\n" +
			"  comity config show --config comity.yaml --origin\n" +
			"  COMITY_LOG__LEVEL=debug comity config show --origin --json",
		Args: cobra.NoArgs,
	}
	flags := addConfigFlags(cmd)
	origin := cmd.Flags().Bool("origin", false, "say where each value came from")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, err := flags.load(cmd, a.env)
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

// values is the JSON form: a list with origins, or values by key.
func values(loaded *config.Loaded, origin bool) any {
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
			"  comity config init --domain globex.example --issuer http://127.0.0.1:8080 > comity.yaml",
		Args: cobra.NoArgs,
	}
	domain := cmd.Flags().String("domain", "", "the trust domain to write into it")
	issuer := cmd.Flags().String("issuer", "", "the issuer to write into it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return config.WriteInit(cmd.OutOrStdout(), map[string]string{"domain": *domain, "issuer": *issuer})
	}
	return cmd
}

func newConfigSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of the configuration file",
		Example: "  comity config schema > config.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return config.WriteSchema(cmd.OutOrStdout())
		},
	}
}

func newConfigReferenceCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "reference",
		Short:   "Print the reference of all keys in Markdown",
		Example: "  comity config reference > docs/reference/configuration.md",
		Args:    cobra.NoArgs,
		Hidden:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return config.WriteReference(cmd.OutOrStdout())
		},
	}
}
