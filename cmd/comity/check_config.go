package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/cmd/comity/guardconf"
	"github.com/comity-auth/comity/cmd/comity/guardnode"
	"github.com/comity-auth/comity/cmd/comity/settings"
	"github.com/spf13/cobra"
)

// verdict is the result of check-config.
type verdict struct {
	OK       bool              `json:"ok"`
	File     string            `json:"file,omitempty"`
	Problems settings.Problems `json:"problems"`
	Warnings []string          `json:"warnings"`
}

func newCheckConfigCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check-config",
		Short: "Report everything that is wrong with a configuration",
		Long: "Report everything that is wrong with a configuration.\n\n" +
			"It reads what serve would read, in the same way, and starts nothing. Every key\n" +
			"can be given as a flag too: --tokens-max-ttl 600s. With --guard it reads what\n" +
			"guard would read instead.",
		Example: "  comity check-config --config comity.yaml\n" +
			"  comity check-config --config comity.yaml --trust trust.yaml\n" +
			"  comity check-config --config comity.yaml --json\n" +
			"  comity check-config --guard guard.yaml",
		Args: cobra.NoArgs,
	}
	flags := addConfigFlags(cmd)
	flags.add(cmd, guardconf.AllKeys())
	guard := cmd.Flags().String("guard", "", "configuration file of comity guard to check instead")
	_ = cmd.MarkFlagFilename("guard", "yaml", "yml") // fails only for a flag that does not exist
	cmd.MarkFlagsMutuallyExclusive("config", "guard")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		check := checkAll
		if *guard != "" {
			flags.file, check = *guard, checkGuard
		}
		return runCheckConfig(a, flags, cmd, check)
	}
	return cmd
}

// newValidateCommand is check-config under the name that other tools use.
func newValidateCommand(a *app) *cobra.Command {
	cmd := newCheckConfigCommand(a)
	cmd.Use = "validate"
	cmd.Short = "The same as check-config"
	cmd.Long = "The same as check-config."
	cmd.Example = "  comity config validate --config comity.yaml"
	return cmd
}

func runCheckConfig(a *app, flags *configFlags, cmd *cobra.Command, check func(*app, *configFlags, *cobra.Command) (*verdict, error)) error {
	v, err := check(a, flags, cmd)
	if err != nil {
		return err
	}
	if err := v.print(a, cmd.OutOrStdout()); err != nil {
		return err
	}
	if !v.OK {
		return withExit(exitFailure, nil)
	}
	return nil
}

// checkAll checks the configuration and the trust file that it names. The
// trust file is looked at even when the configuration is wrong, as far as it
// can be: its problems are wanted in the same answer.
func checkAll(a *app, flags *configFlags, cmd *cobra.Command) (*verdict, error) {
	file := flags.path(a.env)
	if file == "" && len(flags.values(cmd)) == 0 {
		return nil, usageError("no configuration file found; name one with --config")
	}
	loaded, err := flags.load(cmd, a.env)
	v := &verdict{File: file, Problems: settings.Problems{}, Warnings: append([]string{}, loaded.Warnings...)}
	if problems, ok := errors.AsType[settings.Problems](err); ok {
		v.Problems = append(v.Problems, problems...)
	} else if err != nil {
		return nil, err
	}
	for _, w := range v.addTrust(&loaded.Draft) {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", w)
	}
	v.OK = len(v.Problems) == 0
	return v, nil
}

// checkGuard checks the configuration of a guard, with the key files it names.
func checkGuard(a *app, flags *configFlags, cmd *cobra.Command) (*verdict, error) {
	loaded, err := flags.loadGuard(cmd, a.env)
	v := &verdict{File: flags.file, Problems: settings.Problems{}, Warnings: append([]string{}, loaded.Warnings...)}
	if problems, ok := errors.AsType[settings.Problems](err); ok {
		v.Problems = append(v.Problems, problems...)
	} else if err != nil {
		return nil, err
	} else if err := guardnode.Check(loaded.Config); err != nil {
		v.Problems = append(v.Problems, settings.Problem{Origin: flags.file, Message: err.Error()})
	}
	v.OK = len(v.Problems) == 0
	return v, nil
}

// addTrust adds what is wrong with the trust file, if there is one, and returns
// its warnings. That it is missing was already said with the configuration.
func (v *verdict) addTrust(cfg *config.Config) (warnings []string) {
	path := cfg.Trust
	if path == "" {
		return nil
	}
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	warnings, err := checkTrust(path, cfg, time.Now())
	v.Warnings = append(v.Warnings, warnings...)
	if problems, ok := errors.AsType[settings.Problems](err); ok {
		v.Problems = append(v.Problems, problems...)
	} else if err != nil {
		v.Problems = append(v.Problems, settings.Problem{Origin: path, Message: err.Error()})
	}
	return warnings
}

func (v *verdict) print(a *app, w io.Writer) error {
	if a.json {
		return printJSON(w, v)
	}
	text := "ok"
	if !v.OK {
		text = v.Problems.Error()
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
