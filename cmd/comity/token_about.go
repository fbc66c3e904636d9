package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/comity-auth/comity/trust/ident"
	"github.com/spf13/cobra"
)

// aboutFlags are those of a question about a token to the broker that issued it.
type aboutFlags struct {
	tokenFlags
	member string // of the metadata, which names the endpoint
}

func newTokenIntrospectCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "introspect FILE",
		Short: "Ask the issuer whether a token counts, and what it says",
		Long: `Ask the issuer whether a token counts, and what it says (RFC 7662).

FILE is - for stdin, or env:NAME. Who asks authenticates like any client, and is
told about tokens for resources that it is the client of, and its own. A token
that does not count, or is none of the asker's business, makes the exit code 1.`,
		Example: `  comity token introspect token.txt --issuer https://broker.globex.example \
      --client-id archive-api --client-secret-file secret.txt
  comity token issue ... | comity token introspect - --issuer https://as.acme.example \
      --client-id acme-agent --client-key agent.pem --json
  comity token introspect env:TOKEN --endpoint http://127.0.0.1:8080/introspect \
      --client-id archive-api --client-secret-file secret.txt`,
		Args: cobra.ExactArgs(1),
	}
	f := addAboutFlags(a, cmd, "introspection_endpoint")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		answer, err := f.ask(cmd, args[0])
		if err != nil {
			return err
		}
		return f.printActive(cmd, answer)
	}
	return cmd
}

func newTokenRevokeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke FILE",
		Short: "Tell the issuer that a token is no longer to count",
		Long: `Tell the issuer that a token is no longer to count (RFC 7009).

FILE is - for stdin, or env:NAME. A client can revoke the tokens that were issued
to it, and with them whatever was issued from them. A token that does not count
anyway needs no revoking: that is no failure. Administrators revoke at any width
with "comity revoke".`,
		Example: `  comity token revoke token.txt --issuer https://broker.globex.example \
      --client-id acme-agent --client-key agent.pem
  comity token revoke - --issuer https://broker.globex.example \
      --client-id acme-agent --client-secret-file secret.txt < token.txt
  comity token revoke token.txt --endpoint http://127.0.0.1:8080/revoke \
      --client-id acme-agent --client-secret-file secret.txt`,
		Args: cobra.ExactArgs(1),
	}
	f := addAboutFlags(a, cmd, "revocation_endpoint")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if _, err := f.ask(cmd, args[0]); err != nil {
			return err
		}
		if a.json {
			return printJSON(cmd.OutOrStdout(), map[string]bool{"revoked": true})
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "revoked")
		return err
	}
	return cmd
}

func addAboutFlags(a *app, cmd *cobra.Command, member string) *aboutFlags {
	f := &aboutFlags{tokenFlags{app: a}, member}
	flags := cmd.Flags()
	flags.StringVar(&f.issuer, "issuer", "", "issuer whose metadata names the endpoint")
	flags.StringVar(&f.tokenURL, "endpoint", "", "the endpoint itself")
	flags.StringVar(&f.caFile, "ca-file", "", "PEM certificates to trust besides the system's")
	_ = cmd.MarkFlagFilename("ca-file") // fails only for a flag that does not exist
	f.addClientFlags(cmd)
	return f
}

func (f *aboutFlags) check(source string) error {
	switch {
	case f.issuer == "" && f.tokenURL == "":
		return usageError("say where to ask: --issuer or --endpoint")
	case f.clientID == "" && f.assertion == "":
		return usageError("say who asks: --client-id")
	case source == fromStdin && (f.secret == fromStdin || f.assertion == fromStdin):
		return usageError("only one of the credential and the token can be read from stdin")
	}
	if f.issuer != "" {
		if _, err := ident.ParseIssuer(f.issuer); err != nil {
			return usageError("--issuer: %v", err)
		}
	}
	if f.tokenURL != "" {
		if err := checkURL(f.tokenURL); err != nil {
			return usageError("--endpoint: %v", err)
		}
	}
	return f.checkCredential()
}

// ask sends the token to the endpoint, as the client that the flags name.
func (f *aboutFlags) ask(cmd *cobra.Command, source string) (*answered, error) {
	if err := f.check(source); err != nil {
		return nil, err
	}
	text, err := readSource(cmd, f.app.env, source)
	if err != nil {
		return nil, err
	}
	web, err := f.open()
	if err != nil {
		return nil, err
	}
	defer web.close()
	c, err := f.credential(cmd)
	if err != nil {
		return nil, err
	}
	endpoint := f.tokenURL
	if endpoint == "" {
		about, err := web.discover(cmd.Context(), f.issuer)
		if err != nil {
			return nil, err
		}
		if endpoint, err = about.endpoint(web, f.member); err != nil {
			return nil, err
		}
	}
	a, err := web.post(cmd.Context(), endpoint, url.Values{"token": {text}}, c, "")
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		refused := parseTokenError(a)
		return nil, withExit(refused.exitCode(), refused)
	}
	return a, nil
}

var errInactive = errors.New("the token does not count, or is none of the asker's business")

// printActive says what the issuer knows of the token.
func (f *aboutFlags) printActive(cmd *cobra.Command, a *answered) error {
	var members object
	if err := json.Unmarshal(a.body, &members); err != nil {
		return errors.New("the answer of the introspection endpoint is no JSON object")
	}
	active, _ := members["active"].(bool)
	var err error
	if f.app.json {
		err = printJSON(cmd.OutOrStdout(), json.RawMessage(a.body))
	} else {
		err = printMembers(cmd.OutOrStdout(), members, time.Now())
	}
	if err == nil && !active {
		return withExit(exitFailure, errInactive)
	}
	return err
}
