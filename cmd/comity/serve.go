package main

import (
	"context"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/cmd/comity/node"
)

func newServeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a domain's broker",
		Long: `Run a domain's broker.

It listens on three addresses: the public one for agents and resource servers,
the admin one for the registry, and the operations one for metrics and health.
SIGTERM drains and stops it, SIGHUP reloads trust file, keys and certificates.`,
		Example: `  comity serve --config comity.yaml
  COMITY_STORE=postgres://comity@db/comity comity serve --config comity.yaml
  comity serve --config comity.yaml --log-format text`,
		Args: cobra.NoArgs,
	}
	flags := addConfigFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		loaded, err := flags.load(cmd, a.env)
		if err != nil {
			return err
		}
		relaxGC(a.env)
		return serve(cmd.Context(), loaded.Config, newLogger(cmd.ErrOrStderr(), loaded.Log.Level, loaded.Log.Format))
	}
	return cmd
}

func serve(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	return node.Run(ctx, cfg, node.Options{Logger: log, Version: thisBuild().Version})
}

// relaxGC collects garbage less often, unless the environment says how often. The
// heap is small and garbage is most of it: collecting half as often costs a few
// megabytes and saves a tenth of the processor.
func relaxGC(env []string) {
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "GOGC=") }) {
		debug.SetGCPercent(200)
	}
}

// newLogger makes the process's log, one event a line. Level and format are as
// configurations have them.
func newLogger(w io.Writer, level, format string) *slog.Logger {
	least := slog.LevelInfo
	// The level was checked when the configuration was loaded.
	_ = least.UnmarshalText([]byte(level))
	opts := &slog.HandlerOptions{Level: least}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}
