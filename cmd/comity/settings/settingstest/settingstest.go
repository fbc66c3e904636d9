// Package settingstest holds the tests that every configuration passes. Only
// tests import it.
package settingstest

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/comity-auth/comity/cmd/comity/settings"
)

// Generated compares documents of docs/reference, by name, with what the table of
// keys says. With update it writes them.
func Generated(t *testing.T, reference string, update bool, documents map[string]func(io.Writer) error) {
	t.Helper()
	for name, write := range documents {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got bytes.Buffer
			if err := write(&got); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(reference, name)
			if update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s is stale; run go generate ./cmd/comity (-have +want):\n%s", path, diff)
			}
		})
	}
}

// UniqueNames fails when a name, in whatever form it is written, stands for two
// keys.
func UniqueNames(t *testing.T, keys []settings.Info) {
	t.Helper()
	seen := map[string]string{}
	for _, k := range keys {
		for _, name := range []string{k.Path, k.Env, k.Env + "_FILE", k.Flag} {
			if other, taken := seen[name]; taken && name != "" && other != k.Path {
				t.Errorf("%s stands for %s and %s", name, other, k.Path)
			}
			seen[name] = k.Path
		}
	}
}

// Values are the settings in force by path.
func Values(l *settings.Loaded) map[string]any {
	out := map[string]any{}
	for _, s := range l.Settings() {
		out[s.Path] = s.Value
	}
	return out
}

// RoundTrip writes data to a file and loads it: the answer is a configuration or
// problems, and what is accepted can be shown and accepted again.
func RoundTrip(t *testing.T, path string, data []byte, load func() (*settings.Loaded, error)) {
	t.Helper()
	write := func(text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(data)
	first, err := load()
	if err != nil {
		if err.Error() == "" {
			t.Error("refused without saying why")
		}
		return
	}
	var shown bytes.Buffer
	if err := first.WriteYAML(&shown, settings.NoComments); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(shown.String(), "[redacted]") {
		return // cannot be read back, by design
	}
	write(shown.Bytes())
	again, err := load()
	if err != nil {
		t.Fatalf("what was shown is refused: %v\n%s", err, shown.String())
	}
	if diff := cmp.Diff(Values(first), Values(again)); diff != "" {
		t.Errorf("values (-first +again):\n%s", diff)
	}
}
