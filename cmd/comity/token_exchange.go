package main

import (
	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/trust/ident"
	"github.com/spf13/cobra"
)

func newTokenExchangeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exchange",
		Short: "Exchange a token for one of another domain",
		Long: `Exchange a token for one of another domain.

It asks a token endpoint by token exchange (RFC 8693) and prints the token, or
with --json the whole answer. Tokens and secrets come from files, from stdin (-)
or from the environment (env:NAME), never from the command line.

With --via chaining it crosses in two legs instead: it asks the home broker
(--issuer) for a grant for the broker named by --audience, and redeems the grant
there (RFC 7523), as the client that the flags beginning with --to name. The
proof key is the same on both legs, and so is the certificate unless
--to-client-cert names another: a grant that is bound to one is redeemed with it.

Exit code 3 says that a rule refused, and 1 that the client did not authenticate or
that something failed. The decision ID is what the domain's administrators explain
a refusal by.`,
		Example: `  comity token exchange --issuer https://broker.globex.example --client-id acme-agent \
      --client-key agent.pem --dpop-key dpop.pem --subject-token token.txt \
      --audience https://archive.globex.example
  comity token issue ... | comity token exchange --issuer https://broker.globex.example \
      --client-id acme-agent --client-key agent.pem --subject-token - \
      --resource https://archive.globex.example --scope archive.read
  comity token exchange --via chaining --issuer https://as.acme.example --client-id acme-agent \
      --client-key agent.pem --audience https://broker.globex.example --to-client-key globex.pem \
      --dpop-key dpop.pem --subject-token token.txt --resource https://archive.globex.example
  comity token exchange --issuer https://broker.globex.example \
      --client-assertion-file /var/run/secrets/tokens/globex --subject-token token.txt \
      --audience https://archive.globex.example`,
		Args: cobra.NoArgs,
	}
	f := &exchangeFlags{tokenFlags: addTokenFlags(a, cmd)}
	flags := cmd.Flags()
	flags.StringVar(&f.subject, "subject-token", "", "where the token to exchange is: a file, - for stdin, or env:NAME")
	flags.StringVar(&f.kind, "subject-token-type", "access_token", "what it is: access_token, jwt or id_token")
	flags.StringVar(&f.via, "via", "direct", "direct, or chaining: by a grant of the home broker")
	f.chain = addChainFlags(f.tokenFlags, cmd)
	_ = cmd.MarkFlagFilename("subject-token") // fails only for a flag that does not exist
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return f.run(cmd) }
	return cmd
}

// exchangeFlags are those of an exchange, in one leg or in two.
type exchangeFlags struct {
	*tokenFlags
	chain              *chainFlags
	subject, kind, via string
}

func (f *exchangeFlags) run(cmd *cobra.Command) error {
	subjectType, err := f.check()
	if err != nil {
		return err
	}
	ask, curl := f.ask, f.curl
	switch f.via {
	case "direct":
		err = f.chain.unused(cmd)
	case "chaining":
		err = f.chain.complete(f.subject)
		ask, curl = f.chain.ask, f.chain.curl
	default:
		err = usageError("--via is direct or chaining")
	}
	if err != nil {
		return err
	}
	form := f.form(exchange.GrantTokenExchange)
	form.Set("subject_token_type", subjectType.String())
	if f.printCurl {
		return curl(cmd.OutOrStdout(), form, f.subject)
	}
	token, err := readSource(cmd, f.app.env, f.subject)
	if err != nil {
		return err
	}
	form.Set("subject_token", token)
	return ask(cmd, form)
}

// check finds what is wrong with the flags before anything is read or sent.
func (f *exchangeFlags) check() (ident.TokenType, error) {
	if f.subject == "" {
		return ident.TokenType{}, usageError("say where the token to exchange is: --subject-token")
	}
	if f.subject == fromStdin && f.assertion == fromStdin {
		return ident.TokenType{}, usageError("--subject-token and --client-assertion-file cannot both be read from stdin")
	}
	if f.subject == fromStdin && f.secret == fromStdin {
		return ident.TokenType{}, usageError("--subject-token and --client-secret-file cannot both be read from stdin")
	}
	if err := f.tokenFlags.check(); err != nil {
		return ident.TokenType{}, err
	}
	subjectType, err := parseTokenType(f.kind)
	if err != nil {
		return subjectType, usageError("--subject-token-type: %v", err)
	}
	return subjectType, nil
}

// parseTokenType accepts the short name and the URI.
func parseTokenType(s string) (ident.TokenType, error) {
	if t, err := ident.ParseTokenTypeName(s); err == nil {
		return t, nil
	}
	return ident.ParseTokenType(s)
}
