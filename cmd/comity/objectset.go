package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/comity-auth/comity/cmd/comity/client"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

func newSetCommand(a *app, k objectKind) *cobra.Command {
	cmd := &cobra.Command{
		Use: "set NAME FIELD=VALUE...", Short: "Change fields of one " + k.noun, Args: cobra.MinimumNArgs(2),
		Long: "Change fields of one " + k.noun + ".\n\n" +
			"Values are written as in a trust file: text, 600s, [a, b]. Members of members are\n" +
			"named with dots. An empty value takes the field back to its default.",
		Example: fmt.Sprintf("  comity %s set %s %s", k.noun, k.sample, k.change),
	}
	r := addRemoteFlags(a, cmd)
	cmd.ValidArgsFunction = r.names(k)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return r.set(cmd, k, args[0], args[1:]) }
	return cmd
}

// set reads the object, changes the fields and writes it back, so that fields
// which others change at the same time keep their change.
func (r *remote) set(cmd *cobra.Command, k objectKind, name string, assignments []string) error {
	fields, err := parseAssignments(assignments)
	if err != nil {
		return err
	}
	if r.printCurl {
		document := client.Document{MediaType: client.JSON, File: k.noun + ".json"}
		fmt.Fprintf(cmd.OutOrStdout(), "# save the answer as %s, change it, and send it back\n", document.File)
		return r.print(cmd, client.GetObject(k.plural, name, client.JSON), client.PutObject(k.plural, name, document, revisionHere))
	}
	return unplaced(r.retry(func() error {
		var members map[string]any
		old, err := r.call(cmd.Context(), client.GetObject(k.plural, name, client.JSON), &members)
		if err != nil {
			return err
		}
		for _, f := range fields {
			if err := f.assign(members); err != nil {
				return err
			}
		}
		body, err := json.Marshal(members)
		if err != nil {
			return fmt.Errorf("write the %s: %w", k.noun, err)
		}
		return r.change(cmd, client.PutObject(k.plural, name, client.Document{Body: body, MediaType: client.JSON}, old.ETag))
	}))
}

// unplaced takes the lines out of what the broker says about a document that
// nobody wrote.
func unplaced(err error) error {
	problem, ok := errors.AsType[*client.Error](err)
	if !ok || len(problem.Problems) == 0 {
		return err
	}
	found := slices.Clone(problem.Problems)
	for i := range found {
		found[i].Line = 0
	}
	return located("", found)
}

// assignment gives a field a value; none takes the field away.
type assignment struct {
	path  []string
	value any
	none  bool
}

func parseAssignments(args []string) ([]assignment, error) {
	var out []assignment
	for _, arg := range args {
		path, text, found := strings.Cut(arg, "=")
		if !found || path == "" {
			return nil, usageError("%q is not FIELD=VALUE", arg)
		}
		a := assignment{path: strings.Split(path, "."), none: text == ""}
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
			return nil, usageError("the value of %s is not written as in a trust file", path)
		}
		if len(doc.Content) > 0 {
			value, err := plainValue(doc.Content[0])
			if err != nil {
				return nil, usageError("the value of %s: %s", path, err)
			}
			a.value = value
		}
		out = append(out, a)
	}
	return out, nil
}

func (a assignment) assign(members map[string]any) error {
	for _, name := range a.path[:len(a.path)-1] {
		next, there := members[name]
		if !there {
			next = map[string]any{}
			members[name] = next
		}
		inner, ok := next.(map[string]any)
		if !ok {
			return usageError("%s has no members", name)
		}
		members = inner
	}
	last := a.path[len(a.path)-1]
	if a.none {
		delete(members, last)
		return nil
	}
	members[last] = a.value
	return nil
}

// plainValue reads a node into JSON's types. Times stay the text they are.
func plainValue(n *yaml.Node) (any, error) {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return nil, errors.New("anchors and aliases are not allowed")
	case n.Kind == yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			value, err := plainValue(item)
			if err != nil {
				return nil, err
			}
			list[i] = value
		}
		return list, nil
	case n.Kind == yaml.MappingNode:
		members := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			value, err := plainValue(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			members[n.Content[i].Value] = value
		}
		return members, nil
	case n.Tag == "!!int" || n.Tag == "!!float" || n.Tag == "!!bool":
		var value any
		err := n.Decode(&value)
		return value, err
	}
	return n.Value, nil
}

// decodeYAML reads a document that is a mapping.
func decodeYAML(text []byte) (map[string]any, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return nil, errors.New("the document is empty")
	}
	value, err := plainValue(doc.Content[0])
	if err != nil {
		return nil, err
	}
	members, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("want a mapping")
	}
	return members, nil
}

// inert makes text of others safe for a terminal: what does not print is
// escaped.
func inert(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strings.Trim(fmt.Sprintf("%q", s), `"`)
	}
	return s
}
