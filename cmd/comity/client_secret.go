package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/spf13/cobra"
)

// clientSecret is a secret with what the registry keeps of it.
type clientSecret struct {
	Secret string `json:"secret"`
	Hash   string `json:"secret_hash"`
}

func newClientSecretCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "secret",
		Short: "Make a secret for a client",
		Long: `Make a secret for a client.

The secret has 256 random bits and holds only characters that no encoding
changes. It goes to the client and is kept nowhere; its hash goes into the trust
file, as the client's secret_hash.`,
		Example: "  comity client secret\n  comity client secret --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := makeClientSecret()
			if a.json {
				return printJSON(cmd.OutOrStdout(), s)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "secret: %s\nsecret_hash: %s\n", s.Secret, s.Hash)
			return err
		},
	}
}

func makeClientSecret() clientSecret {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	secret := base64.RawURLEncoding.EncodeToString(b[:])
	return clientSecret{secret, fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(secret)))}
}

func newClientCommand(a *app) *cobra.Command {
	return group("client", "Prepare the clients of this broker", "  comity client secret", newClientSecretCommand(a))
}
