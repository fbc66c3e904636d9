package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/comity-auth/comity/cmd/comity/client"
	"github.com/spf13/cobra"
)

// objectKind is one kind of registry object, as the commands speak of it.
type objectKind struct {
	noun, plural string
	key          string   // the member that names an object
	columns      []string // members that list shows, the key first
	defaults     map[string]string
	sample       string // a name, for examples
	change       string // a field and its value, for examples
}

func peerKind() objectKind {
	return objectKind{"peer", "peers", "name", []string{"name", "domain", "issuer", "status", "expires"},
		map[string]string{"status": "active"}, "acme", "status=suspended"}
}

func mappingKind() objectKind {
	return objectKind{"mapping", "mappings", "name", []string{"name", "peer", "authority", "mode", "status"},
		map[string]string{"status": "active", "mode": "enforce", "authority": "token"}, "acme-research", "ttl=600s"}
}

func clientKind() objectKind {
	return objectKind{"client", "clients", "id", []string{"id", "auth", "operator", "status", "expires"},
		map[string]string{"status": "active"}, "acme-agent", "status=suspended"}
}

func resourceKind() objectKind {
	return objectKind{"resource", "resources", "audience", []string{"audience", "name", "client", "peer"}, nil,
		"https://archive.globex.example", "name=Archive"}
}

func policyKind() objectKind {
	return objectKind{"policy", "policies", "name", []string{"name", "operator", "ttl", "status"},
		map[string]string{"status": "active"}, "globex-agents", "ttl=600s"}
}

func newMappingCommand(a *app) *cobra.Command  { return newObjectCommand(a, mappingKind()) }
func newResourceCommand(a *app) *cobra.Command { return newObjectCommand(a, resourceKind()) }
func newPolicyCommand(a *app) *cobra.Command   { return newObjectCommand(a, policyKind()) }

func newObjectCommand(a *app, k objectKind, more ...*cobra.Command) *cobra.Command {
	example := fmt.Sprintf("  comity %s list\n  comity %s show %s\n  comity %s set %s %s", k.noun, k.noun, k.sample, k.noun, k.sample, k.change)
	return group(k.noun, "Show and change the "+k.plural+" of the registry", example, append(objectCommands(a, k), more...)...)
}

// withObjectCommands adds the verbs to a noun that has others of its own.
func withObjectCommands(a *app, k objectKind, noun *cobra.Command) *cobra.Command {
	noun.AddCommand(objectCommands(a, k)...)
	return noun
}

// objectCommands are the verbs that every kind of object has.
func objectCommands(a *app, k objectKind) []*cobra.Command {
	return []*cobra.Command{newListCommand(a, k), newShowCommand(a, k), newAddCommand(a, k), newSetCommand(a, k), newRemoveCommand(a, k)}
}

func newListCommand(a *app, k objectKind) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the " + k.plural, Args: cobra.NoArgs,
		Example: fmt.Sprintf("  comity %s list\n  comity %s list --json", k.noun, k.noun),
	}
	r := addRemoteFlags(a, cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if r.printCurl {
			return r.print(cmd, client.ListObjects(k.plural, ""))
		}
		items, err := r.list(cmd, k.plural)
		if err != nil {
			return err
		}
		if a.json {
			return printJSON(cmd.OutOrStdout(), items)
		}
		return k.table(cmd.OutOrStdout(), items)
	}
	return cmd
}

// list reads all pages.
func (r *remote) list(cmd *cobra.Command, plural string) ([]json.RawMessage, error) {
	items, token := []json.RawMessage{}, ""
	for {
		var page client.Page
		if _, err := r.call(cmd.Context(), client.ListObjects(plural, token), &page); err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if token = page.NextPageToken; token == "" {
			return items, nil
		}
	}
}

func (k objectKind) table(w io.Writer, items []json.RawMessage) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.ToUpper(strings.Join(k.columns, "\t")))
	for _, item := range items {
		var members map[string]any
		if err := json.Unmarshal(item, &members); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		cells := make([]string, len(k.columns))
		for i, name := range k.columns {
			value, _ := members[name].(string)
			cells[i] = inert(firstOf(value, k.defaults[name], "-"))
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	return tw.Flush()
}

// names completes the name of an object from the registry, and says nothing
// when that cannot be reached.
func (r *remote) names(k objectKind) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		items, err := r.list(cmd, k.plural)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, item := range items {
			var members map[string]any
			if json.Unmarshal(item, &members) == nil {
				if name, ok := members[k.key].(string); ok {
					out = append(out, name)
				}
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

func newShowCommand(a *app, k objectKind) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show one " + k.noun + " as it stands in the trust file", Args: cobra.ExactArgs(1),
		Example: fmt.Sprintf("  comity %s show %s\n  comity %s show %s --json", k.noun, k.sample, k.noun, k.sample),
	}
	r := addRemoteFlags(a, cmd)
	cmd.ValidArgsFunction = r.names(k)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req := client.GetObject(k.plural, args[0], client.YAML)
		if a.json {
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
		if a.json {
			if body, err = indentJSON(body); err != nil {
				return err
			}
		}
		_, err = cmd.OutOrStdout().Write(body)
		return err
	}
	return cmd
}

// indentJSON lays an answer out for people, with its members as they came.
func indentJSON(body []byte) ([]byte, error) {
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, body, "", "  "); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return append(pretty.Bytes(), '\n'), nil
}

func newAddCommand(a *app, k objectKind) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "add", Short: "Add one " + k.noun, Args: cobra.NoArgs,
		Long: "Add one " + k.noun + ".\n\nThe file holds the " + k.noun + " alone, with the keys that it has in a trust file. One that\nis there already is left as it is.",
		Example: fmt.Sprintf("  comity %s add -f %s.yaml\n  comity %s show %s | comity %s add -f - --server https://other.example:8090",
			k.noun, k.noun, k.noun, k.sample, k.noun),
	}
	r := addRemoteFlags(a, cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "file with the "+k.noun+", or - for standard input")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return r.add(cmd, k, file) }
	return cmd
}

func (r *remote) add(cmd *cobra.Command, k objectKind, file string) error {
	source, err := readTrust(cmd, file)
	if err != nil {
		return err
	}
	if source.parts != nil {
		return usageError("name one file, not a folder")
	}
	name, err := k.nameIn(source)
	if err != nil {
		return err
	}
	if r.printCurl {
		return r.print(cmd, client.PutObject(k.plural, name, source.doc, revisionHere))
	}
	// The revision is read first: should somebody add the object between the
	// look and the change, the change is refused.
	head, err := r.call(cmd.Context(), client.ListObjects(k.plural, ""), nil)
	if err != nil {
		return err
	}
	_, err = r.call(cmd.Context(), client.GetObject(k.plural, name, client.JSON), nil)
	if err == nil {
		return fmt.Errorf("%s %s is there already; change it with set or apply", k.noun, name)
	}
	if !errors.Is(err, client.ErrNotFound) {
		return err
	}
	return source.explain(r.change(cmd, client.PutObject(k.plural, name, source.doc, head.ETag)))
}

// nameIn reads the name out of an object's document; the broker judges the rest.
func (k objectKind) nameIn(source *trustSource) (string, error) {
	values, err := decodeYAML(source.doc.Body)
	if err != nil {
		return "", fmt.Errorf("%s: %w", source.name, err)
	}
	name, _ := values[k.key].(string)
	if name == "" {
		return "", fmt.Errorf("%s: %s is missing", source.name, k.key)
	}
	return name, nil
}

// change sends a request that changes the registry and tells what it did.
func (r *remote) change(cmd *cobra.Command, req client.Request) error {
	var done client.Result
	if _, err := r.call(cmd.Context(), req, &done); err != nil {
		return err
	}
	if err := printResult(r.app, cmd.OutOrStdout(), &done); err != nil {
		return err
	}
	if done.Changed && !r.app.json {
		cmd.PrintErrf("applied as revision %d\n", done.Revision)
	}
	return nil
}

func newRemoveCommand(a *app, k objectKind) *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove NAME", Short: "Remove one " + k.noun, Args: cobra.ExactArgs(1),
		Long:    "Remove one " + k.noun + ".\n\nOne that others refer to stays, and they are named.",
		Example: fmt.Sprintf("  comity %s remove %s", k.noun, k.sample),
	}
	r := addRemoteFlags(a, cmd)
	cmd.ValidArgsFunction = r.names(k)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if r.printCurl {
			return r.print(cmd, client.DeleteObject(k.plural, args[0], revisionHere))
		}
		return r.retry(func() error {
			old, err := r.call(cmd.Context(), client.GetObject(k.plural, args[0], client.JSON), nil)
			if err != nil {
				return err
			}
			return r.change(cmd, client.DeleteObject(k.plural, args[0], old.ETag))
		})
	}
	return cmd
}

// attempts is how often a change of one object is tried while others change
// the registry.
const attempts = 5

// retry repeats what reads, decides and writes, when somebody wrote in between.
func (r *remote) retry(do func() error) error {
	for i := 1; ; i++ {
		if err := do(); !errors.Is(err, client.ErrStale) || i == attempts {
			return err
		}
	}
}
