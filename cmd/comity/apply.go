package main

import (
	"errors"

	"github.com/comity-auth/comity/cmd/comity/client"
	"github.com/spf13/cobra"
)

func newApplyCommand(a *app) *cobra.Command {
	var file, comment string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Make the registry equal to a trust file",
		Long: "Make the registry equal to a trust file.\n\n" +
			"It prints the difference, then applies it. What the file does not name is removed.\n" +
			"When somebody changed the registry between the two, nothing is applied.\n\n" +
			"With --dry-run it ends with 0 when nothing differs, 1 when something does and 4\n" +
			"when it failed.",
		Example: "  comity apply -f trust.yaml\n" +
			"  comity apply -f trust.d/ --dry-run\n" +
			"  git show HEAD~1:trust.yaml | comity apply -f - --comment 'back to what it was'",
		Args: noTrustArgs,
	}
	r := addRemoteFlags(a, cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "trust file, folder of trust files, or - for standard input")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the difference and change nothing")
	cmd.Flags().StringVar(&comment, "comment", "", "why, for the record")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if dryRun {
			return runDiff(r, cmd, file)
		}
		return runApply(r, cmd, file, comment)
	}
	return cmd
}

func runApply(r *remote, cmd *cobra.Command, file, comment string) error {
	source, err := readTrust(cmd, file)
	if err != nil {
		return err
	}
	if r.printCurl {
		return r.print(cmd, client.DiffRegistry(source.doc), client.PutRegistry(source.doc, revisionHere, comment))
	}
	plan, err := source.diff(r, cmd)
	if err != nil {
		return err
	}
	// The difference comes first, whatever becomes of it. With --json there is
	// one result, the one of the change.
	if !r.app.json || !plan.Changed {
		if err := printResult(r.app, cmd.OutOrStdout(), plan); err != nil || !plan.Changed {
			return err
		}
	}
	var done client.Result
	_, err = r.call(cmd.Context(), client.PutRegistry(source.doc, client.ETag(plan.Revision), comment), &done)
	if errors.Is(err, client.ErrStale) {
		return errors.New("the registry was changed meanwhile; nothing was applied. Run apply again to see the new difference")
	}
	if err != nil {
		return source.explain(err)
	}
	if r.app.json {
		return printResult(r.app, cmd.OutOrStdout(), &done)
	}
	cmd.PrintErrf("applied as revision %d\n", done.Revision)
	return nil
}

// diff asks the server for the difference.
func (s *trustSource) diff(r *remote, cmd *cobra.Command) (*client.Result, error) {
	var plan client.Result
	if _, err := r.call(cmd.Context(), client.DiffRegistry(s.doc), &plan); err != nil {
		return nil, s.explain(err)
	}
	return &plan, nil
}
