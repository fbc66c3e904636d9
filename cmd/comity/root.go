package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/comity-auth/comity/cmd/comity/settings"
	"github.com/spf13/cobra"
)

// app is what the subcommands share: the surroundings of one run. Input and
// output are the cobra command's own (InOrStdin, OutOrStdout, ErrOrStderr).
type app struct {
	env     []string // "NAME=value"
	json    bool     // --json: results as JSON
	started bool     // a command began; errors before that are wrong usage
}

// commands lists the subcommands, each from the file of its name.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newServeCommand(a),
		newGuardCommand(a),
		newDemoCommand(a),
		newCheckConfigCommand(a),
		newConfigCommand(a),
		newApplyCommand(a),
		newDiffCommand(a),
		newExportCommand(a),
		newPeerCommand(a),
		newMappingCommand(a),
		newResourceCommand(a),
		newPolicyCommand(a),
		newTokenCommand(a),
		withObjectCommands(a, clientKind(), newClientCommand(a)),
		newKeysCommand(a),
		newRevokeCommand(a),
		newMigrateCommand(a),
		newVersionCommand(a),
		newCompletionCommand(a),
	}
}

// Run runs one command line and returns its exit code. Results go to stdout,
// everything else to stderr. It has more parameters than we like because they
// are exactly what a process is given.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	a := &app{env: env}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.started {
		err = withExit(exitUsage, err)
	}
	report(stderr, cmd, err)
	return exitCode(err)
}

// report says on stderr why a command failed.
func report(w io.Writer, cmd *cobra.Command, err error) {
	if err == nil || silent(err) {
		return
	}
	// Problems name file and line first, as editors and terminals expect.
	if ps, ok := errors.AsType[settings.Problems](err); ok {
		fmt.Fprintln(w, ps.Error())
		return
	}
	fmt.Fprintf(w, "comity: %v\n", err)
	if exitCode(err) == exitUsage {
		fmt.Fprintf(w, "Run '%s --help' for usage.\n", cmd.CommandPath())
	}
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "comity",
		Short: "Exchange tokens between trust domains",
		Long: "Exchange tokens between trust domains.\n\n" +
			"Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by a policy.",
		Example: "  comity config init --domain globex.example --issuer http://127.0.0.1:8080 > comity.yaml\n" +
			"  comity check-config --config comity.yaml\n" +
			"  comity version --json",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.DisableDefaultCmd = true // ours has examples
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print results as JSON")
	root.SetUsageTemplate(usageTemplate)
	root.AddCommand(commands(a)...)
	noteStart(a, root)
	return root
}

// noteStart makes every command note that it began, so that what fails before
// is known to be wrong usage: cobra gives its own errors no type.
func noteStart(a *app, cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(c *cobra.Command, args []string) error {
			a.started = true
			return run(c, args)
		}
	}
	for _, child := range cmd.Commands() {
		noteStart(a, child)
	}
}

// group is a command that only holds others. Cobra would answer an unknown one
// with help and success; a script must see the mistake.
func group(use, short, example string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			message := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				message += fmt.Sprintf("; did you mean %q?", near[0])
			}
			return usageError("%s", message)
		},
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(children...)
	return cmd
}

// printJSON writes a result as indented JSON.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// usageTemplate is cobra's, shortened, with the examples at the end, where
// the eye is when the text has scrolled past.
const usageTemplate = `Usage:{{if .Runnable}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} [command]

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Flags of every command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}
`
