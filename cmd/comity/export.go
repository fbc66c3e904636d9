package main

import (
	"os"
	"path/filepath"

	"github.com/comity-auth/comity/cmd/comity/client"
	"github.com/spf13/cobra"
)

func newExportCommand(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print the registry as a trust file",
		Long: "Print the registry as a trust file.\n\n" +
			"Apply accepts it unchanged. It holds no private keys and no secrets, but hashes of\n" +
			"generated client secrets.",
		Example: "  comity export > trust.yaml\n" +
			"  comity export -o trust.yaml\n" +
			"  comity export --json | jq '.peers[].name'",
		Args: cobra.NoArgs,
	}
	r := addRemoteFlags(a, cmd)
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write instead of standard output; replaced in one step")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runExport(r, cmd, out) }
	return cmd
}

func runExport(r *remote, cmd *cobra.Command, out string) error {
	req := client.GetRegistry(client.YAML)
	if r.app.json {
		req.Accept = client.JSON
	}
	if r.printCurl {
		return r.print(cmd, req)
	}
	answer, err := r.call(cmd.Context(), req, nil)
	if err != nil {
		return err
	}
	body := answer.Body
	if r.app.json {
		if body, err = indentJSON(body); err != nil {
			return err
		}
	}
	if out != "" {
		return replaceFile(out, body)
	}
	_, err = cmd.OutOrStdout().Write(body)
	return err
}

// replaceFile writes beside the file and renames, so that a failure leaves the
// old content whole.
func replaceFile(name string, body []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(body); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
