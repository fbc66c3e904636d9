package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	link   = regexp.MustCompile(`\]\(([^()\s]+)\)|^\[[^\]]+\]:\s+(\S+)`)
	anchor = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
	code   = regexp.MustCompile("`[^`]*`")
)

// Every relative link of every Markdown file leads to a file that exists, and
// its fragment to a heading there.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	files := markdown(t)
	if len(files) < 10 {
		t.Fatalf("found %d Markdown files, want more", len(files))
	}
	for _, file := range files {
		for n, line := range prose(t, file) {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if err := follow(t, file, m[1]+m[2]); err != nil {
					t.Errorf("%s:%d: %v", file, n, err)
				}
			}
		}
	}
}

// The checker itself refuses what it should.
func TestLinkCheckerFindsDeadLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	page := filepath.Join(dir, "page.md")
	if err := os.WriteFile(page, []byte("# One `two`, three\n\n```\n# not a heading\n```\n\n# One `two`, three\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, target string
		dead         bool
	}{
		{"follows a file", "page.md", false},
		{"follows a heading", "page.md#one-two-three", false},
		{"follows the second heading of a name", "#one-two-three-1", false},
		{"leaves other hosts alone", "https://example.org/nothing", false},
		{"refuses a missing file", "nothing.md", true},
		{"refuses a missing heading", "page.md#four", true},
		{"refuses what is a heading only in code", "#not-a-heading", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if err := follow(t, page, tc.target); (err != nil) != tc.dead {
				t.Errorf("follow(%q) = %v, want an error: %v", tc.target, err, tc.dead)
			}
		})
	}
}

func markdown(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "bin" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// prose gives the lines outside of code, by their number.
func prose(t *testing.T, path string) map[int]string {
	t.Helper()
	lines := map[int]string{}
	n, fenced := 0, false
	for line := range strings.Lines(read(t, path)) {
		n++
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			continue
		}
		if !fenced {
			lines[n] = code.ReplaceAllString(strings.TrimRight(line, "\n"), "")
		}
	}
	return lines
}

func follow(t *testing.T, from, target string) error {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return nil
	}
	path, fragment, _ := strings.Cut(target, "#")
	file := from
	if path != "" {
		file = filepath.Join(filepath.Dir(from), filepath.FromSlash(path))
	}
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("%s: there is no such file", target)
	}
	if fragment == "" || filepath.Ext(file) != ".md" {
		return nil
	}
	if !anchors(t, file)[fragment] {
		return fmt.Errorf("%s: there is no such heading", target)
	}
	return nil
}

// anchors are those that a page has by its headings, as forges make them, and
// those it writes itself.
func anchors(t *testing.T, path string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	count := map[string]int{}
	fenced := false
	for line := range strings.Lines(read(t, path)) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		if fenced {
			continue
		}
		for _, m := range anchor.FindAllStringSubmatch(line, -1) {
			out[m[1]] = true
		}
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		slug := slugOf(strings.TrimSpace(title))
		if n := count[slug]; n > 0 {
			out[fmt.Sprintf("%s-%d", slug, n)] = true
		} else {
			out[slug] = true
		}
		count[slug]++
	}
	return out
}

func slugOf(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}
