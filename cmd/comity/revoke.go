package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/comity-auth/comity/broker/admin"
	"github.com/comity-auth/comity/cmd/comity/client"
	"github.com/comity-auth/comity/trust"
	"github.com/spf13/cobra"
)

// width is one thing that a revocation can name: a flag, and the kind that the
// admin API knows it by.
type width struct {
	flag, usage string
	kind        trust.RevocationKind
}

func widths() []width {
	return []width{
		{"jti", "one token, and all that descends from it", trust.RevokeToken},
		{"subject", "tokens for a subject, as sub spells it", trust.RevokeSubject},
		{"agent", "tokens of an agent, by the id in the agent claim", trust.RevokeAgent},
		{"client", "tokens that a client got", trust.RevokeClient},
		{"operator", "tokens of an operator's agents", trust.RevokeOperator},
		{"mapping", "tokens that a mapping granted", trust.RevokeMapping},
		{"policy", "tokens that a policy granted", trust.RevokePolicy},
		{"peer", "a peer's tokens, and all issued for them", trust.RevokePeer},
		{"peer-key", "tokens signed by a peer's key, by its thumbprint, and all issued for them", trust.RevokePeerKey},
		{"kid", "tokens signed by a key of this broker", trust.RevokeKey},
	}
}

func newRevokeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke", Short: "Kill tokens that live, at any width", Args: cobra.NoArgs,
		Long: "Kill tokens that live, at any width.\n\n" +
			"What was issued before an instant, by default now, and carries or descends from what\n" +
			"is named is refused from then on. New tokens are still issued: to stop those too,\n" +
			"suspend the peer or the client first. Exactly one width is named.",
		Example: "  comity revoke --client acme-agent --comment \"stolen laptop\"\n" +
			"  comity revoke --peer-key 0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I --before 2026-11-21T12:00:00Z\n" +
			"  comity revoke --jti 4f2a --issuer https://as.acme.example --dry-run\n" +
			"  comity revoke --all --comment \"compromised host\"",
	}
	r := addRemoteFlags(a, cmd)
	flags := cmd.Flags()
	values := map[trust.RevocationKind]*string{}
	names := []string{"all"}
	for _, w := range widths() {
		values[w.kind] = flags.String(w.flag, "", w.usage)
		names = append(names, w.flag)
	}
	all := flags.Bool("all", false, "everything this broker issued; needs --comment")
	cmd.MarkFlagsMutuallyExclusive(names...)
	cmd.MarkFlagsOneRequired(names...)
	var in client.Revocation
	flags.StringVar(&in.Issuer, "issuer", "", "issuer of the token that --jti names; default this broker")
	flags.StringVar(&in.Before, "before", "", "spare what was issued since this instant (RFC 3339); default now")
	flags.StringVar(&in.Comment, "comment", "", "why, for the record")
	dry := flags.Bool("dry-run", false, "tell what would be revoked and change nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for _, w := range widths() {
			if cmd.Flags().Changed(w.flag) {
				in.Kind, in.Value = string(w.kind), *values[w.kind]
			}
		}
		if err := checkRevoke(&in, *all); err != nil {
			return err
		}
		return a.revoke(cmd, r, in, *dry)
	}
	return cmd
}

// checkRevoke finds wrong usage before anything is sent.
func checkRevoke(in *client.Revocation, all bool) error {
	if all {
		in.Kind = string(trust.RevokeAll)
	}
	switch {
	case in.Kind == "":
		return usageError("--all=false names nothing to revoke")
	case all && in.Comment == "":
		return usageError("--all needs --comment: say why, for the record")
	case !all && in.Value == "":
		return usageError("what is to be revoked is empty")
	case in.Issuer != "" && in.Kind != string(trust.RevokeToken):
		return usageError("--issuer goes with --jti")
	}
	if in.Before != "" {
		if _, err := time.Parse(time.RFC3339, in.Before); err != nil {
			return usageError("--before takes an instant such as 2026-11-21T12:00:00Z")
		}
	}
	return nil
}

func (a *app) revoke(cmd *cobra.Command, r *remote, in client.Revocation, dry bool) error {
	req, err := client.Revoke(in, dry)
	if err != nil {
		return err
	}
	if r.printCurl {
		return r.print(cmd, req)
	}
	var out admin.Revoked
	if _, err := r.call(cmd.Context(), req, &out); err != nil {
		return err
	}
	if out.Registered != nil && !*out.Registered {
		fmt.Fprintf(cmd.ErrOrStderr(), "comity: no %s of that name is registered; tokens of one that was removed are hit all the same\n", out.Kind)
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), out)
	}
	return printRevoked(cmd.OutOrStdout(), out)
}

func printRevoked(w io.Writer, r admin.Revoked) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	done := fmt.Sprintf("yes, as number %d", r.Head)
	if r.DryRun {
		done = "no: dry run"
	}
	fmt.Fprintf(tw, "revoked\t%s\n", done)
	fmt.Fprintf(tw, "handle\t%s (%s)\n", inert(r.Handle), inert(r.Kind))
	fmt.Fprintf(tw, "issued before\t%s\n", r.Before.Format(time.RFC3339))
	if !r.Since.IsZero() {
		fmt.Fprintf(tw, "revoked already\tissued before %s\n", r.Since.Format(time.RFC3339))
	}
	fmt.Fprintf(tw, "remembered until\t%s\n", r.Expires.Format(time.RFC3339))
	return tw.Flush()
}
