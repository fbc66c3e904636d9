// Package docs_test holds the pages to the code: what a page lists is what
// there is, and every link leads somewhere.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// read gives the text of a page.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// source parses the files of a package's folder, or one file.
func source(t *testing.T, path string) []*ast.File {
	t.Helper()
	names := []string{path}
	if filepath.Ext(path) != ".go" {
		var err error
		if names, err = filepath.Glob(filepath.Join(path, "*.go")); err != nil {
			t.Fatal(err)
		}
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		t.Fatalf("%s holds no Go files", path)
	}
	return files
}

// text unquotes a string literal.
func text(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

// section is a heading with the lines below it, up to the next heading of the
// same level or above.
type section struct{ title, body string }

// sections splits a page at its headings of one level.
func sections(page string, level int) []section {
	var out []section
	mark := strings.Repeat("#", level) + " "
	open, fenced := false, false
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		hashes := len(line) - len(strings.TrimLeft(line, "#"))
		switch {
		case !fenced && strings.HasPrefix(line, mark):
			out, open = append(out, section{title: strings.TrimSpace(line[len(mark):])}), true
		case !fenced && hashes > 0 && hashes < level:
			open = false
		case open:
			out[len(out)-1].body += line
		}
	}
	return out
}

// same compares what the page lists with what the code has.
func same(t *testing.T, page string, listed, have []string) {
	t.Helper()
	for _, name := range have {
		if !slices.Contains(listed, name) {
			t.Errorf("%s lacks %s", page, name)
		}
	}
	for i, name := range listed {
		if !slices.Contains(have, name) {
			t.Errorf("%s lists %s, which is not in the code", page, name)
		}
		if slices.Contains(listed[:i], name) {
			t.Errorf("%s lists %s twice", page, name)
		}
	}
}

// The page of errors has one section for each reason, with the code and the
// status that go with it.
func TestErrorsListEveryReason(t *testing.T) {
	t.Parallel()
	const page = "reference/errors.md"
	want := reasons(t)
	var listed []string
	for _, s := range sections(read(t, page), 3) {
		listed = append(listed, s.title)
		codes, known := want[s.title]
		first, _, _ := strings.Cut(strings.TrimSpace(s.body), "\n")
		for _, code := range codes {
			if known && !strings.Contains(first, "`"+code+"`") {
				t.Errorf("%s: %s: the first line is %q, want the code %s in it", page, s.title, first, code)
			}
			status := statuses[code]
			if s.title == "body_size" {
				status = "413" // by exception (RFC 9110 section 15.5.14)
			}
			if known && !strings.Contains(first, status) {
				t.Errorf("%s: %s: the first line is %q, want the status %s in it", page, s.title, first, status)
			}
		}
	}
	same(t, page, listed, slices.Collect(maps.Keys(want)))
}

// statuses are those of package broker.
var statuses = map[string]string{
	"invalid_request": "400", "invalid_client": "401", "unauthorized_client": "400", "unsupported_grant_type": "400",
	"invalid_target": "400", "invalid_scope": "400", "invalid_grant": "400", "invalid_dpop_proof": "400", "use_dpop_nonce": "400",
	"temporarily_unavailable": "503", "too_many_requests": "429", "server_error": "500",
}

// reasons maps the reasons of package exchange to the codes they go with: the
// rows of the table meanings, and what is written as a Fault elsewhere.
func reasons(t *testing.T) map[string][]string {
	t.Helper()
	const path = "../exchange/faults.go"
	codes := map[string]string{}
	found := map[string][]string{}
	add := func(reason, code string) {
		if !slices.Contains(found[reason], code) {
			found[reason] = append(found[reason], code)
		}
	}
	code := func(e ast.Expr) string {
		id, ok := e.(*ast.Ident)
		if !ok || codes[id.Name] == "" {
			t.Fatalf("%s: a code is not one of the constants", path)
		}
		return codes[id.Name]
	}
	for _, pass := range []func(ast.Node) bool{
		func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Names) == 1 && len(spec.Values) == 1 {
				if value, ok := text(spec.Values[0]); ok && regexp.MustCompile(`^[a-z_]+$`).MatchString(value) {
					codes[spec.Names[0].Name] = value
				}
			}
			return true
		},
		func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			if name, ok := lit.Type.(*ast.Ident); ok && name.Name == "Fault" {
				fields := map[string]ast.Expr{}
				for _, e := range lit.Elts {
					if kv, ok := e.(*ast.KeyValueExpr); ok {
						fields[kv.Key.(*ast.Ident).Name] = kv.Value
					}
				}
				if reason, ok := text(fields["reason"]); ok {
					add(reason, code(fields["Code"]))
				}
				return false
			}
			if list, ok := lit.Type.(*ast.ArrayType); !ok || list.Elt.(*ast.Ident).Name != "meaning" {
				return true
			}
			for _, row := range lit.Elts {
				cells := row.(*ast.CompositeLit).Elts
				reason, ok := text(cells[1])
				if !ok {
					t.Fatalf("%s: a row of meanings has no literal reason", path)
				}
				add(reason, code(cells[2]))
			}
			return false
		},
	} {
		for _, file := range source(t, path) {
			ast.Inspect(file, pass)
		}
	}
	if len(found) < 40 {
		t.Fatalf("found %d reasons in %s, want more: has the table moved?", len(found), path)
	}
	return found
}

// The page of the guard has a row for each of its reasons, with status and code.
func TestGuardListsEveryReason(t *testing.T) {
	t.Parallel()
	const page, path = "reference/guard.md", "../federation/guard/refusal.go"
	codes, want := map[string]string{}, map[string]string{"internal": "500 `server_error`"}
	visit := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			if len(n.Values) == 1 {
				codes[n.Names[0].Name], _ = text(n.Values[0])
			}
		case *ast.CompositeLit:
			list, ok := n.Type.(*ast.ArrayType)
			if !ok {
				return true
			}
			if of, ok := list.Elt.(*ast.Ident); !ok || of.Name != "meaning" {
				return true
			}
			for _, row := range n.Elts {
				cells := row.(*ast.CompositeLit).Elts
				reason, _ := text(cells[0])
				code := "none"
				if name, ok := cells[2].(*ast.Ident); ok {
					code = "`" + codes[name.Name] + "`"
				}
				want[reason] = cells[1].(*ast.BasicLit).Value + " " + code
			}
		}
		return true
	}
	for _, file := range source(t, path) {
		ast.Inspect(file, visit)
	}
	if len(want) < 50 {
		t.Fatalf("found %d reasons in %s, want more: has the table moved?", len(want), path)
	}
	var listed []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([0-9]{3}) \\| (\\S+) \\|").FindAllStringSubmatch(read(t, page), -1) {
		listed = append(listed, m[1])
		if got := m[2] + " " + m[3]; want[m[1]] != "" && got != want[m[1]] {
			t.Errorf("%s: %s is answered with %s, the page says %s", page, m[1], want[m[1]], got)
		}
	}
	same(t, page, listed, slices.Collect(maps.Keys(want)))
}

// The page of the trust file has a row for every field of every type.
func TestTrustFileListsEveryField(t *testing.T) {
	t.Parallel()
	const page = "reference/trust-file.md"
	have := map[string][]string{}
	for _, file := range append(source(t, "../trust/spec.go"), source(t, "../trust/aap/constraints.go")...) {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			body, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, field := range body.Fields.List {
				if field.Tag == nil {
					continue
				}
				tag, err := strconv.Unquote(field.Tag.Value)
				if err != nil {
					t.Fatal(err)
				}
				name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
				have[spec.Name.Name] = append(have[spec.Name.Name], name)
			}
			return true
		})
	}
	titles := map[string]string{"File": "The document", "PeerSpec": "peers", "JWKSSpec": "jwks", "BundleSpec": "bundle", "PinSpec": "pins",
		"ResourceSpec": "resources", "ClientSpec": "clients", "TLSSpec": "tls", "FederatedSpec": "federated", "AgentSpec": "agent", "MappingSpec": "mappings",
		"ScopeRule": "scopes", "CapabilityRule": "capabilities", "Constraints": "constraints", "ActorRule": "actors", "BoundarySpec": "boundary", "PolicySpec": "policies"}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|")
	listed := map[string][]string{}
	for _, level := range []int{2, 3} {
		for _, s := range sections(read(t, page), level) {
			body, _, _ := strings.Cut(s.body, "\n### ")
			for _, m := range row.FindAllStringSubmatch(body, -1) {
				listed[s.title] = append(listed[s.title], m[1])
			}
		}
	}
	for name, fields := range have {
		if titles[name] == "" {
			t.Errorf("%s has no section for the type %s", page, name)
			continue
		}
		same(t, page+": "+titles[name], listed[titles[name]], fields)
	}
}

// The page of metrics lists every name that a broker and a guard give.
func TestMetricsListsEveryName(t *testing.T) {
	t.Parallel()
	const page = "reference/metrics.md"
	name := regexp.MustCompile(`^(?:aap|comity)_[a-z0-9_]+$`)
	var have []string
	for _, file := range append(source(t, "../broker/telemetry"), source(t, "../federation/guard/metrics")...) {
		ast.Inspect(file, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok {
				if s, ok := text(e); ok && name.MatchString(s) && !slices.Contains(have, s) {
					have = append(have, s)
				}
			}
			return true
		})
	}
	var listed []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|").FindAllStringSubmatch(read(t, page), -1) {
		listed = append(listed, m[1])
	}
	same(t, page, listed, have)
}

// The page of endpoints names every path that is served.
func TestEndpointsListsEveryPath(t *testing.T) {
	t.Parallel()
	const page = "reference/endpoints.md"
	all := read(t, page)
	for _, folder := range []struct{ path, prefix string }{{"../broker", ""}, {"../broker/admin", "/admin/v1"}} {
		found := 0
		for _, file := range source(t, folder.path) {
			ast.Inspect(file, func(n ast.Node) bool {
				for _, path := range served(n) {
					found++
					if !strings.Contains(all, "`"+folder.prefix+path+"`") {
						t.Errorf("%s lacks %s", page, folder.prefix+path)
					}
				}
				return true
			})
		}
		if found < 4 {
			t.Errorf("found %d paths in %s, want more: has the table moved?", found, folder.path)
		}
	}
}

// served finds paths: the value of a field or constant named path, and
// patterns such as "GET /healthz".
func served(n ast.Node) (paths []string) {
	add := func(e ast.Expr) {
		if s, ok := text(e); ok && strings.HasPrefix(s, "/") {
			paths = append(paths, s)
		}
	}
	switch n := n.(type) {
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && key.Name == "path" {
			add(n.Value)
		}
	case *ast.ValueSpec:
		for i, name := range n.Names {
			if strings.HasPrefix(name.Name, "path") && i < len(n.Values) {
				add(n.Values[i])
			}
		}
	case *ast.BasicLit:
		if s, ok := text(n); ok {
			if _, path, found := strings.Cut(s, " /"); found && regexp.MustCompile(`^(?:GET|POST|PUT|DELETE) /`).MatchString(s) {
				paths = append(paths, strings.ReplaceAll("/"+path, "{$}", ""))
			}
		}
	}
	return paths
}

// Every case that a page names is one that a test carries.
func TestNamedCasesHaveTests(t *testing.T) {
	t.Parallel()
	id := regexp.MustCompile(`\b[A-Z]{2}-[0-9]{2}\b`)
	tested := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range id.FindAllString(string(text), -1) {
			tested[name] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("*/*.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, page := range pages {
		for _, name := range id.FindAllString(read(t, page), -1) {
			if named++; !tested[name] {
				t.Errorf("%s names %s, which no test carries", page, name)
			}
		}
	}
	if named == 0 {
		t.Error("no page names a case: has the threat model moved?")
	}
}

// The page of standards names files and tests that exist, and for each
// requirement both.
func TestProtocolNamesWhatThereIs(t *testing.T) {
	t.Parallel()
	const page = "protocol.md"
	file, name := regexp.MustCompile("`([a-z0-9_./]+\\.go)`"), regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	have := declared(t)
	rows := 0
	for line := range strings.Lines(read(t, page)) {
		files, tests := file.FindAllStringSubmatch(line, -1), name.FindAllStringSubmatch(line, -1)
		for _, m := range files {
			if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s names %s, which is not there", page, m[1])
			}
		}
		for _, m := range tests {
			if !have[m[1]] {
				t.Errorf("%s names %s, which is no test", page, m[1])
			}
		}
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| Requirement") {
			continue
		}
		if rows++; len(files) == 0 || len(tests) == 0 {
			t.Errorf("%s: a requirement lacks its file or its test: %s", page, line)
		}
	}
	if rows < 40 {
		t.Errorf("%s has %d requirements, want more: has its form changed?", page, rows)
	}
}

// declared are the names of all tests and fuzz targets.
func declared(t *testing.T) map[string]bool {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	out := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			out[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
