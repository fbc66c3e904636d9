package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/comity-auth/comity/cmd/comity/demo"
)

func newDemoCommand(a *app) *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Walk the cross-domain story on loopback and check every step",
		Long: `Walk the cross-domain story on loopback and check every step.

It runs two trust domains as two real brokers, an agent and a guarded resource in
one process, sends every request over HTTP, and exits 0 only if all steps held.`,
		Example: `  comity demo
  comity demo --json
  comity demo --keep
  comity demo --store postgres://user@localhost/db`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !a.json {
				o.Out = cmd.OutOrStdout()
			}
			report, err := demo.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			if a.json {
				if err := printJSON(cmd.OutOrStdout(), report); err != nil {
					return err
				}
			}
			if !report.OK {
				return withExit(exitFailure, errors.New("some steps did not hold"))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "leave everything running afterwards and print curl lines that work")
	cmd.Flags().StringVar(&o.Store, "store", "", "postgres:// URL to keep both domains in, a schema each, dropped afterwards")
	return cmd
}
