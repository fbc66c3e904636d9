package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/trust/postgres"
	"github.com/comity-auth/comity/trust/sqlite"
	"github.com/spf13/cobra"
)

// schema is what a store's schema is, whichever store it is.
type schema struct {
	Store   string `json:"store"`
	Version int64  `json:"version"` // 0: empty
	Oldest  int64  `json:"oldest_binary"`
	Binary  int64  `json:"binary"`
	Usable  bool   `json:"usable"`

	check error
}

func newMigrateCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the store's schema up to date",
		Long: `Bring the store's schema up to date.

It may run while brokers of this version and the one before are serving. With
--status it changes nothing, and exit code 1 says that this binary cannot use
the schema as it is.`,
		Example: "  comity migrate --config comity.yaml\n  comity migrate --config comity.yaml --status --json",
		Args:    cobra.NoArgs,
	}
	flags := addConfigFlags(cmd)
	status := cmd.Flags().Bool("status", false, "tell the versions and change nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, err := flags.load(cmd, a.env)
		if err != nil {
			return err
		}
		s, err := migrate(cmd.Context(), &loaded.Config, *status)
		if err != nil {
			return err
		}
		if a.json {
			err = printJSON(cmd.OutOrStdout(), s)
		} else {
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: schema version %d, this binary is for version %d\n", s.Store, s.Version, s.Binary)
		}
		if err == nil && s.check != nil {
			err = s.check
		}
		return err
	}
	return cmd
}

// migrate brings the configured store up to date, or only looks at it.
func migrate(ctx context.Context, cfg *config.Config, look bool) (*schema, error) {
	domain := cfg.Domain.String()
	if path, ok := strings.CutPrefix(cfg.Store, "sqlite:"); ok {
		do := sqlite.Migrate
		if look {
			do = sqlite.Status
		}
		s, err := do(ctx, sqlite.Options{Path: path, Domain: domain})
		if err != nil {
			return nil, err
		}
		return (&schema{Store: "sqlite", Version: s.Version, Oldest: s.Oldest, Binary: s.Binary}).checked(s.Check()), nil
	}
	do := postgres.Migrate
	if look {
		do = postgres.Status
	}
	// The connection string may hold a password, so it is not shown.
	s, err := do(ctx, postgres.Options{DSN: cfg.Store, DirectDSN: cfg.StoreDirect, Domain: domain})
	if err != nil {
		return nil, err
	}
	return (&schema{Store: "postgres", Version: s.Version, Oldest: s.Oldest, Binary: s.Binary}).checked(s.Check()), nil
}

func (s *schema) checked(err error) *schema {
	s.Usable, s.check = err == nil, err
	return s
}
