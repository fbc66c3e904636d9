package main

import (
	"github.com/spf13/cobra"

	"github.com/comity-auth/comity/cmd/comity/guardconf"
	"github.com/comity-auth/comity/cmd/comity/guardnode"
	"github.com/comity-auth/comity/federation/quota/valkey"
)

func newGuardCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "guard",
		Short: "Run the guard of a resource server",
		Long: `Run the guard of a resource server.

With an upstream it is a reverse proxy: only requests whose token says so get
there. Without one it answers proxies that ask it (forward-auth). It listens on
two addresses: the public one, and the operations one for metrics and health.
SIGTERM drains and stops it, SIGHUP reads the configuration again.`,
		Example: `  comity guard --config guard.yaml
  COMITY_VALKEY_FILE=/run/secrets/valkey comity guard --config guard.yaml
  comity guard --config guard.yaml --log-format text`,
		Args: cobra.NoArgs,
	}
	flags := addGuardFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, err := flags.loadGuard(cmd, a.env)
		if err != nil {
			return err
		}
		relaxGC(a.env)
		valkey.DiscardLibraryLog() // what it would say is in our own log
		return guardnode.Run(cmd.Context(), loaded.Config, guardnode.Options{
			Logger: newLogger(cmd.ErrOrStderr(), loaded.Log.Level, loaded.Log.Format), Version: thisBuild().Version,
			Load: func() (guardconf.Config, error) {
				again, err := guardconf.Load(loaded.File, a.env, flags.values(cmd))
				return again.Config, err
			},
		})
	}
	return cmd
}
