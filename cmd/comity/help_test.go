package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// The help of every command begins with its purpose in one line and ends with
// an example that names the command.
func TestEveryCommandHasPurposeAndExample(t *testing.T) {
	t.Parallel()
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		if cmd.Short == "" || strings.ContainsAny(cmd.Short, "\n") || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: purpose = %q, want one line without a full stop", path, cmd.Short)
		}
		if cmd.Long != "" && !strings.HasPrefix(cmd.Long, cmd.Short) {
			t.Errorf("%s: the long text does not begin with the purpose", path)
		}
		if !strings.Contains(cmd.Example, path) {
			t.Errorf("%s: no example of the command itself:\n%s", path, cmd.Example)
		}
		if cmd.RunE == nil && !cmd.HasSubCommands() || cmd.Run != nil {
			t.Errorf("%s: must run by RunE, so that its exit code is known", path)
		}
		for _, child := range cmd.Commands() {
			walk(child)
		}
	}
	walk(newRoot(&app{}))
}
