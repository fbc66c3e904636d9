package main

import (
	"github.com/comity-auth/comity/exchange"
	"github.com/spf13/cobra"
)

func newTokenIssueCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "issue",
		Short: "Get a token for an agent of this domain",
		Long: `Get a token for an agent of this domain.

It asks a token endpoint by client_credentials (RFC 6749 section 4.4) and prints
the token, or with --json the whole answer. Secrets come from files, from stdin
(-) or from the environment (env:NAME), never from the command line.`,
		Example: `  comity token issue --issuer https://as.acme.example --client-id acme-agent \
      --client-key agent.pem --dpop-key dpop.pem --audience https://broker.globex.example \
      --task-id t-17 --task-purpose "search the archive" > token.txt
  comity token issue --token-url http://127.0.0.1:8080/token --client-id agent \
      --client-secret-file secret.txt --audience https://archive.globex.example --json
  comity token issue --issuer https://as.acme.example --client-id acme-agent \
      --client-cert agent.crt --client-cert-key agent.key --audience https://broker.globex.example`,
		Args: cobra.NoArgs,
	}
	f := addTokenFlags(a, cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(); err != nil {
			return err
		}
		form := f.form(exchange.GrantClientCredentials)
		if f.printCurl {
			return f.curl(cmd.OutOrStdout(), form, "")
		}
		return f.ask(cmd, form)
	}
	return cmd
}
