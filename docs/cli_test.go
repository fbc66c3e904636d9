package docs_test

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the generated pages anew")

// The page of commands is what the binary says of itself.
func TestCommandsAreWhatTheBinarySays(t *testing.T) {
	t.Parallel()
	const page = "reference/cli.md"
	got := commandPage(t, build(t))
	if *update {
		if err := os.WriteFile(page, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(read(t, page), string(got)); diff != "" {
		t.Errorf("%s is stale; run go test ./docs -run Commands -update (-have +want):\n%s", page, diff)
	}
}

// build makes the binary anew: the page must say what this source does.
func build(t *testing.T) string {
	t.Helper()
	// The test cache looks at files that the test itself looks at.
	err := filepath.WalkDir("../cmd/comity", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			_, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "comity")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../cmd/comity")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

const commandPreamble = `# Commands

<!-- Made from what the binary says of itself; do not edit. Make it anew with: go test ./docs -run Commands -update -->

One binary, ` + "`comity`" + `. Results go to standard output and everything else to standard
error. ` + "`--help`" + ` works on every command, ` + "`--json`" + ` on every command that prints a result.

`

// commandPage writes a list of the commands and then the help of each, parents
// before children.
func commandPage(t *testing.T, binary string) []byte {
	t.Helper()
	var list, all bytes.Buffer
	var walk func(path []string)
	walk = func(path []string) {
		help := helpOf(t, binary, path)
		name := strings.Join(append([]string{"comity"}, path...), " ")
		purpose, _, _ := strings.Cut(help, "\n")
		fmt.Fprintf(&list, "| [%s](#%s) | %s |\n", name, strings.ReplaceAll(name, " ", "-"), strings.TrimSuffix(purpose, "."))
		fmt.Fprintf(&all, "## %s\n\n```text\n%s\n```\n\n", name, own(help))
		for _, child := range children(help) {
			walk(append(path[:len(path):len(path)], child))
		}
	}
	walk(nil)
	page := commandPreamble + "| Command | Does |\n|---|---|\n" + list.String() + "\n" + all.String()
	return []byte(strings.TrimRight(page, "\n") + "\n")
}

var (
	common    = regexp.MustCompile(`\nFlags of every command:\n(?:  .*\n)+`)
	helpFlag  = regexp.MustCompile(`(?m)^  -h, --help .*\n`)
	flagsNone = regexp.MustCompile(`\nFlags:\n(?:\n|$)`)
)

// own leaves out what the help of every command says.
func own(help string) string {
	help = helpFlag.ReplaceAllString(common.ReplaceAllString(help+"\n", ""), "")
	return strings.TrimSpace(flagsNone.ReplaceAllString(help, "\n"))
}

func helpOf(t *testing.T, binary string, path []string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append(path[:len(path):len(path)], "--help")...)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, stderr.Bytes())
	}
	return strings.TrimSpace(stdout.String())
}

var childLine = regexp.MustCompile(`^  ([a-z][a-z-]*) +\S`)

// children reads the names below "Commands:".
func children(help string) (names []string) {
	_, list, found := strings.Cut(help, "\nCommands:\n")
	if !found {
		return nil
	}
	for line := range strings.Lines(list) {
		m := childLine.FindStringSubmatch(line)
		if m == nil {
			return names
		}
		names = append(names, m[1])
	}
	return names
}
