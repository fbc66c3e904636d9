package main

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"

	"github.com/comity-auth/comity/exchange/keys"
	jose "github.com/go-jose/go-jose/v4"
	"github.com/spf13/cobra"
)

func newKeysCommand(a *app) *cobra.Command {
	return group("keys", "Make and show signing keys", "  comity keys generate --out agent.pem --public > agent.jwks",
		newKeysGenerateCommand(a), newKeysPublicCommand(a))
}

// generated is a key that was made.
type generated struct {
	KeyID     string             `json:"kid"`
	Algorithm string             `json:"alg"`
	File      string             `json:"file,omitempty"`
	Private   string             `json:"private,omitempty"` // only without a file
	Public    jose.JSONWebKeySet `json:"public"`
}

func newKeysGenerateCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Make a private key",
		Long: `Make a private key.

It is written to stdout or, with --out, to a new file that only its owner can
read; an existing file is never replaced. With --public the public key goes to
stdout as a key set (RFC 7517), as trust files and jwks_uri want it.`,
		Example: "  comity keys generate --out agent.pem --public > agent.jwks\n" +
			"  comity keys generate --algorithm EdDSA --format jwk --out signing.jwk",
		Args: cobra.NoArgs,
	}
	algorithm := cmd.Flags().String("algorithm", keys.ES256, "ES256, EdDSA or RS256")
	out := cmd.Flags().String("out", "", "file to write the private key to")
	format := cmd.Flags().String("format", "pem", "pem (PKCS #8) or jwk")
	public := cmd.Flags().Bool("public", false, "print the public key set")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *public && *out == "" {
			return usageError("--public needs --out: otherwise the private key would be lost")
		}
		encode := map[string]func(crypto.Signer) ([]byte, error){"pem": keys.EncodePEM, "jwk": keys.EncodeJWK}[*format]
		if encode == nil {
			return usageError("--format is pem or jwk")
		}
		key, err := keys.Generate(*algorithm)
		if err != nil {
			return withExit(exitUsage, err)
		}
		private, err := encode(key)
		if err != nil {
			return err
		}
		g, err := describeKey(key)
		if err != nil {
			return err
		}
		return g.deliver(cmd, a, delivery{private, *out, *public})
	}
	return cmd
}

// delivery is where the halves of a key go.
type delivery struct {
	private []byte
	file    string // none: to stdout
	public  bool
}

func (g *generated) deliver(cmd *cobra.Command, a *app, d delivery) error {
	w := cmd.OutOrStdout()
	if d.private[len(d.private)-1] != '\n' {
		d.private = append(d.private, '\n')
	}
	if d.file == "" {
		if a.json {
			g.Private = string(d.private)
			return printJSON(w, g)
		}
		_, err := w.Write(d.private)
		return err
	}
	if err := writeSecret(d.file, d.private); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists; a key is never replaced", d.file)
		}
		return err
	}
	g.File = d.file
	switch {
	case a.json:
		return printJSON(w, g)
	case d.public:
		return printJSON(w, g.Public)
	}
	_, err := fmt.Fprintf(w, "%s: %s key %s\n", g.File, g.Algorithm, g.KeyID)
	return err
}

func newKeysPublicCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "public FILE",
		Short:   "Print the public half of a private key as a key set",
		Example: "  comity keys public agent.pem > agent.jwks",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, _, err := openPrivate(args[0])
			if err != nil {
				return err
			}
			g, err := describeKey(key)
			if err != nil {
				return err
			}
			if a.json {
				g.File = args[0]
				return printJSON(cmd.OutOrStdout(), g)
			}
			return printJSON(cmd.OutOrStdout(), g.Public)
		},
	}
}

func describeKey(key crypto.Signer) (*generated, error) {
	id, err := keys.Thumbprint(key.Public())
	if err != nil {
		return nil, err
	}
	alg := algorithmOf(key)
	public := jose.JSONWebKey{Key: key.Public(), KeyID: id, Algorithm: string(alg), Use: "sig"}
	if !public.IsPublic() {
		return nil, keys.ErrKey
	}
	return &generated{KeyID: id, Algorithm: string(alg), Public: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}}}, nil
}
