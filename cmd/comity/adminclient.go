package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/comity-auth/comity/cmd/comity/client"
	"github.com/spf13/cobra"
)

// remote is where an admin command finds the broker, and whether it calls it
// or only prints the call.
type remote struct {
	app       *app
	server    string
	tokenFile string
	printCurl bool
}

// addRemoteFlags gives a command the flags of those that call the admin API.
func addRemoteFlags(a *app, cmd *cobra.Command) *remote {
	r := &remote{app: a}
	flags := cmd.Flags()
	flags.StringVar(&r.server, "server", "", "URL of the admin listener (COMITY_SERVER; default http://127.0.0.1:8090)")
	flags.StringVar(&r.tokenFile, "token-file", "", "file with the admin token (COMITY_TOKEN_FILE; default admin.token)")
	flags.BoolVar(&r.printCurl, "print-curl", false, "print the request as a curl command and send nothing")
	return r
}

// lookup gives the last value of a name in an environment.
func lookup(env []string, name string) string {
	value := ""
	for _, entry := range env {
		if v, found := strings.CutPrefix(entry, name+"="); found {
			value = v
		}
	}
	return value
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func (r *remote) client() (*client.Client, error) {
	c, err := client.New(client.Options{
		Server:    firstOf(r.server, lookup(r.app.env, "COMITY_SERVER"), "http://127.0.0.1:8090"),
		TokenFile: firstOf(r.tokenFile, lookup(r.app.env, "COMITY_TOKEN_FILE"), "admin.token"),
	})
	if err != nil {
		return nil, withExit(exitUsage, err)
	}
	return c, nil
}

// print prints requests as curl commands. A line that begins with # tells what
// the reader has to put in.
func (r *remote) print(cmd *cobra.Command, requests ...client.Request) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	for _, req := range requests {
		if req.IfMatch == revisionHere {
			fmt.Fprintln(cmd.OutOrStdout(), "# put the revision here, from the ETag of what you read")
		}
		fmt.Fprintln(cmd.OutOrStdout(), c.Curl(req))
	}
	return nil
}

// revisionHere stands in printed requests for a revision that is not known yet.
const revisionHere = `"REVISION"`

// call sends a request and decodes its JSON answer into the result, unless
// that is nil.
func (r *remote) call(ctx context.Context, req client.Request, into any) (*client.Answer, error) {
	c, err := r.client()
	if err != nil {
		return nil, err
	}
	answer, err := c.Do(ctx, req)
	if err != nil || into == nil {
		return answer, err
	}
	if err := json.Unmarshal(answer.Body, into); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return answer, nil
}
