package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/comity-auth/comity/cmd/comity/client"
	"github.com/comity-auth/comity/trust"
	"github.com/spf13/cobra"
)

func newDiffCommand(a *app) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Show how the registry differs from a trust file",
		Long: "Show how the registry differs from a trust file.\n\n" +
			"It ends with 0 when nothing differs, 1 when something does and 4 when it failed.",
		Example: "  comity diff -f trust.yaml\n" +
			"  comity diff -f trust.d/ --json\n" +
			"  comity diff -f trust.yaml --print-curl",
		Args: noTrustArgs,
	}
	r := addRemoteFlags(a, cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "trust file, folder of trust files, or - for standard input")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runDiff(r, cmd, file) }
	return cmd
}

// runDiff keeps the exit codes of diff apart: 1 means that something differs,
// so a failure must not end with it.
func runDiff(r *remote, cmd *cobra.Command, file string) error {
	differs, err := showDiff(r, cmd, file)
	if e, ok := errors.AsType[*exitError](err); ok && e.code == exitUsage {
		return err
	}
	if err != nil {
		return withExit(exitTrouble, err)
	}
	if differs {
		return withExit(exitFailure, nil)
	}
	return nil
}

func showDiff(r *remote, cmd *cobra.Command, file string) (differs bool, err error) {
	source, err := readTrust(cmd, file)
	if err != nil {
		return false, err
	}
	if r.printCurl {
		return false, r.print(cmd, client.DiffRegistry(source.doc))
	}
	plan, err := source.diff(r, cmd)
	if err != nil {
		return false, err
	}
	return plan.Changed, printResult(r.app, cmd.OutOrStdout(), plan)
}

func printResult(a *app, w io.Writer, result *client.Result) error {
	if a.json {
		return printJSON(w, result)
	}
	_, err := io.WriteString(w, describeResult(result))
	return err
}

// describeResult lists the differences, a line each, and counts them.
func describeResult(result *client.Result) string {
	if !result.Changed {
		return fmt.Sprintf("no difference (revision %d)\n", result.Revision)
	}
	var out strings.Builder
	count := map[string]int{}
	for _, d := range result.Differences {
		count[d.Op]++
		switch d.Op {
		case "add":
			fmt.Fprintf(&out, "+ %s\n", d.Object)
		case "move":
			fmt.Fprintf(&out, "~ %s  moves to another place in its list\n", d.Object)
		case "remove":
			fmt.Fprintf(&out, "- %s\n", d.Object)
		default:
			describeFields(&out, d)
		}
	}
	fmt.Fprintf(&out, "%d to add, %d to change, %d to remove", count["add"], count["change"], count["remove"])
	if count["move"] > 0 {
		fmt.Fprintf(&out, ", %d to move", count["move"])
	}
	fmt.Fprintf(&out, " (revision %d)\n", result.Revision)
	return out.String()
}

func describeFields(out *strings.Builder, d trust.Difference) {
	if len(d.Fields) == 0 {
		fmt.Fprintf(out, "~ %s\n", d.Object)
	}
	for _, f := range d.Fields {
		fmt.Fprintf(out, "~ %s  %s: %s → %s\n", d.Object, f.Path, firstOf(f.Before, "(unset)"), firstOf(f.After, "(unset)"))
	}
}
