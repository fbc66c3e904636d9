package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust/ident"
	"github.com/spf13/cobra"
)

func newTokenProofCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "proof URL",
		Short: "Make a proof of possession for one request",
		Long: `Make a proof of possession for one request (DPoP, RFC 9449).

A token that is bound to a key is of use only beside a proof by that key, for the
method and the URL of the request and for that token. A proof counts once and for
a minute. With --token it is for a resource, without for a token endpoint.`,
		Example: `  curl -H "Authorization: DPoP $(cat token.txt)" \
      -H "DPoP: $(comity token proof https://archive.globex.example/search --dpop-key dpop.pem --token token.txt)" \
      https://archive.globex.example/search
  comity token proof https://broker.globex.example/token --method POST --dpop-key dpop.pem
  comity token issue ... | comity token proof https://archive.globex.example/search --dpop-key dpop.pem --token -`,
		Args: cobra.ExactArgs(1),
	}
	var method, key, token, nonce string
	flags := cmd.Flags()
	flags.StringVar(&method, "method", http.MethodGet, "method of the request")
	flags.StringVar(&key, "dpop-key", "", "file with the key that the token is bound to")
	flags.StringVar(&token, "token", "", "where the token is that goes with the request: a file, - for stdin, or env:NAME")
	flags.StringVar(&nonce, "nonce", "", "nonce that the server asked for")
	for _, name := range []string{"dpop-key", "token"} {
		_ = cmd.MarkFlagFilename(name) // fails only for a flag that does not exist
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		u, err := url.Parse(args[0])
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
			return usageError("want the URL of the request, such as https://archive.globex.example/search")
		case key == "":
			return usageError("say which key the token is bound to: --dpop-key")
		case !slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, method):
			return usageError("--method is one of GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS, in capitals")
		}
		o := proof.Options{Nonce: nonce}
		if token != "" {
			text, err := readSource(cmd, a.env, token)
			if err != nil {
				return err
			}
			o.AccessToken = ident.NewRawToken(text)
		}
		private, _, err := openPrivate(key) // one that is made now is no token's
		if err != nil {
			return err
		}
		s, err := proof.NewSigner(private)
		if err != nil {
			return err
		}
		made, err := s.Proof(method, args[0], o)
		if err != nil {
			return err
		}
		if a.json {
			return printJSON(cmd.OutOrStdout(), map[string]string{"dpop": made, "jkt": s.JKT()})
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), made)
		return err
	}
	return cmd
}
