package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/comity-auth/comity/broker/admin"
	"github.com/comity-auth/comity/cmd/comity/client"
	"github.com/spf13/cobra"
)

func newPeerCommand(a *app) *cobra.Command {
	return newObjectCommand(a, peerKind(), newPeerProbeCommand(a), newPeerRefreshCommand(a))
}

func newPeerProbeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "probe ISSUER", Short: "Show what an issuer looks like from the broker", Args: cobra.ExactArgs(1),
		Long: "Show what an issuer looks like from the broker.\n\n" +
			"It asks for metadata and keys and registers nothing. It ends with 1 when the issuer\n" +
			"could not be registered as it is. With --trust-domain it is the bundle endpoint of that\n" +
			"SPIFFE trust domain that is asked (profile https_web).",
		Example: "  comity peer probe https://as.acme.example\n" +
			"  comity peer probe https://as.acme.example --json\n" +
			"  comity peer probe https://spire.acme.example/bundle --trust-domain acme.example",
	}
	r := addRemoteFlags(a, cmd)
	domain := cmd.Flags().String("trust-domain", "", "the SPIFFE trust domain whose bundle endpoint this is")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !strings.Contains(args[0], "://") {
			return usageError("%q is not an issuer; the keys of a registered peer are fetched with comity peer refresh %[1]s", args[0])
		}
		req, err := client.ProbePeer(args[0])
		if *domain != "" {
			req, err = client.ProbeBundle(*domain, args[0])
		}
		if err != nil {
			return err
		}
		if r.printCurl {
			return r.print(cmd, req)
		}
		var report admin.Probe
		if _, err := r.call(cmd.Context(), req, &report); err != nil {
			return err
		}
		if a.json {
			err = printJSON(cmd.OutOrStdout(), report)
		} else {
			err = printProbe(cmd.OutOrStdout(), report)
		}
		if err == nil && len(report.Problems) > 0 {
			err = withExit(exitFailure, nil)
		}
		return err
	}
	return cmd
}

// printProbe prints the report. Much of it is the issuer's own text.
func printProbe(w io.Writer, p admin.Probe) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells ...string) {
		for i := range cells {
			cells[i] = inert(cells[i])
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	line("issuer", p.Issuer)
	for _, d := range p.Documents {
		line("metadata", d.URL, d.Result, d.Error)
	}
	if p.JWKSURI != "" {
		line("keys at", p.JWKSURI)
	}
	if len(p.Algorithms) > 0 {
		line("algorithms", strings.Join(p.Algorithms, " "))
	}
	if p.ClockAheadSeconds != nil {
		line("clock", clockText(*p.ClockAheadSeconds))
	}
	if p.TLS != "" {
		line("connection", p.TLS)
	}
	printPeerKeys(line, p.Keys)
	for _, problem := range p.Problems {
		line("problem", problem)
	}
	return tw.Flush()
}

func printPeerKeys(line func(...string), list []admin.PeerKey) {
	for _, k := range list {
		line("key", "kid "+firstOf(k.ID, "-"), "thumbprint "+k.Thumbprint, firstOf(k.Algorithm, k.Use, "-"))
	}
}

func clockText(ahead float64) string {
	switch {
	case ahead > 0:
		return fmt.Sprintf("%.0f s ahead of the broker's", ahead)
	case ahead < 0:
		return fmt.Sprintf("%.0f s behind the broker's", -ahead)
	}
	return "in step with the broker's"
}

func newPeerRefreshCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "refresh NAME", Short: "Fetch a peer's keys now", Args: cobra.ExactArgs(1),
		Example: "  comity peer refresh acme",
	}
	r := addRemoteFlags(a, cmd)
	cmd.ValidArgsFunction = r.names(peerKind())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req := client.RefreshPeer(args[0])
		if r.printCurl {
			return r.print(cmd, req)
		}
		var health admin.PeerHealth
		if _, err := r.call(cmd.Context(), req, &health); err != nil {
			return err
		}
		if a.json {
			return printJSON(cmd.OutOrStdout(), health)
		}
		return printHealth(cmd.OutOrStdout(), health)
	}
	return cmd
}

func printHealth(w io.Writer, h admin.PeerHealth) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells ...string) {
		for i := range cells {
			cells[i] = inert(cells[i])
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	line("peer", h.Name)
	line("issuer", h.Issuer)
	line("key set", h.Keys)
	printPeerKeys(line, h.KeySet)
	for _, problem := range h.Problems {
		line("problem", problem)
	}
	return tw.Flush()
}
