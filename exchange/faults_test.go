package exchange_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/comity-auth/comity/exchange"
)

// sentinel is an exported error variable of a package.
type sentinel struct {
	name  string // such as trust.ErrScope
	wraps string // the sentinel it refines, if it is made by fmt.Errorf("%w", ...)
}

// parse reads the files of a package that are not tests.
func parse(t *testing.T, dir string) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %v: %v", dir, fs.ErrNotExist, err)
	}
	var out []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, file)
	}
	return out
}

// sentinels are the exported errors of a package.
func sentinels(t *testing.T, dir string) []sentinel {
	t.Helper()
	var out []sentinel
	for _, file := range parse(t, dir) {
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for i, name := range v.Names {
					if strings.HasPrefix(name.Name, "Err") {
						out = append(out, sentinel{file.Name.Name + "." + name.Name, wrapped(file.Name.Name, v, i)})
					}
				}
			}
		}
	}
	return out
}

// wrapped names the base of fmt.Errorf("%w...", Base).
func wrapped(pkg string, v *ast.ValueSpec, i int) string {
	if i >= len(v.Values) {
		return ""
	}
	call, ok := v.Values[i].(*ast.CallExpr)
	if !ok || len(call.Args) < 2 {
		return ""
	}
	return qualified(pkg, call.Args[1])
}

func qualified(pkg string, e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return pkg + "." + e.Name
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok {
			return x.Name + "." + e.Sel.Name
		}
	}
	return ""
}

// inTable are the sentinels that rows of the table begin with.
func inTable(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, file := range parse(t, ".") {
		ast.Inspect(file, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || len(v.Names) != 1 || v.Names[0].Name != "meanings" || len(v.Values) != 1 {
				return true
			}
			for _, row := range v.Values[0].(*ast.CompositeLit).Elts {
				out[qualified("exchange", row.(*ast.CompositeLit).Elts[0])] = true
			}
			return false
		})
	}
	return out
}

// elsewhere are the sentinels that no token request can end in, each with why.
func elsewhere() map[string]string {
	return map[string]string{
		"trust.ErrConflict":   "is for changes of the registry",
		"trust.ErrNotFound":   "is for reading records",
		"trust.ErrSchema":     "refuses the start",
		"trust.ErrRevocation": "is for making revocations",
		"proof.ErrKey":        "is for making proofs, not for checking them",
		"aap.ErrDepth":        "is for Derive, whose errors Decide turns into trust.ErrDepth",
		"aap.ErrNotIssuable":  "is for CheckIssuable, whose errors mint turns into ErrUnissuable",
		"aap.ErrKey":          "is for making pseudonymisers, which decide turns into trust.ErrBoundary",
		"aap.ErrKeep":         "is for reading trust files",
		"aap.ErrPolicyFile":   "is for reading policy files",
		"keys.ErrPermissions": "is for reading key files",
		"keys.ErrKey":         "is for reading keys",
		"keys.ErrAlgorithm":   "is for opening the ring",
		"keys.ErrSeal":        "is for opening the ring",
		"keys.ErrRecord":      "is for opening the ring",
		"keys.ErrType":        "would be our own mistake: server_error",
		"keys.ErrClaims":      "would be our own mistake: server_error",
		"keys.ErrSignature":   "would be our own mistake: server_error",
	}
}

// Every exported sentinel of the packages below has a meaning, by itself or by
// what it refines, or a reason for having none.
func TestEverySentinelHasAMeaning(t *testing.T) {
	t.Parallel()
	table, excused := inTable(t), elsewhere()
	if len(table) < 50 || len(table) != len(exchange.Meanings()) {
		t.Fatalf("read %d rows of a table of %d", len(table), len(exchange.Meanings()))
	}
	var all []sentinel
	for dir, least := range map[string]int{".": 3, "keys": 3, "../trust": 3, "../trust/aap": 3, "../federation": 3, "../federation/proof": 3,
		"../federation/clientcert": 1} {
		found := sentinels(t, dir)
		if len(found) < least {
			t.Errorf("%s: read %d sentinels", dir, len(found))
		}
		all = append(all, found...)
	}
	base := map[string]string{}
	for _, s := range all {
		base[s.name] = s.wraps
	}
	for _, s := range all {
		name := s.name
		for name != "" && !table[name] {
			name = base[name]
		}
		_, why := excused[s.name]
		switch {
		case name == "" && !why:
			t.Errorf("%s has no meaning: give it a row in the table, or say here why no request ends in it", s.name)
		case name != "" && why:
			t.Errorf("%s has a meaning by %s and is excused all the same", s.name, name)
		}
	}
	for name := range excused {
		if _, ok := base[name]; !ok {
			t.Errorf("%s is excused and does not exist", name)
		}
	}
	for name := range table {
		if _, ok := base[name]; !ok {
			t.Errorf("the table has %s, which no package of the list exports", name)
		}
	}
}

// Each row is what its sentinel, and what wraps it, comes out as: no earlier
// row takes its place.
func TestEveryMeaningIsReached(t *testing.T) {
	t.Parallel()
	for _, m := range exchange.Meanings() {
		for _, err := range []error{m.Is, fmt.Errorf("deep down: %w", m.Is)} {
			if got := exchange.MeaningOf(err); got.Reason != m.Reason || got.Code != m.Code || got.Public != m.Public {
				t.Errorf("%v: got %s %s, want %s %s", m.Is, got.Code, got.Reason, m.Code, m.Reason)
			}
		}
	}
}

// TE-35: fixed sentences of the characters of RFC 6749 section 5.2, and codes
// of a closed set.
func TestPublicSentences(t *testing.T) {
	t.Parallel()
	sentence := regexp.MustCompile(`^[A-Z][\x20\x21\x23-\x5b\x5d-\x7e]{5,118}\.$`)
	reason := regexp.MustCompile(`^[a-z][a-z_]{2,40}$`)
	codes := []string{exchange.InvalidRequest, exchange.InvalidClient, exchange.UnauthorizedClient, exchange.UnsupportedGrantType,
		exchange.InvalidTarget, exchange.InvalidScope, exchange.InvalidDPoPProof, exchange.Unavailable, exchange.TooManyRequests, exchange.ServerError, exchange.UseDPoPNonce, "invalid_grant"}
	byCode := map[string]string{}
	for _, m := range append(exchange.Meanings(), exchange.MeaningOf(errors.New("c4nary"))) {
		if !sentence.MatchString(m.Public) || !reason.MatchString(m.Reason) || !slices.Contains(codes, m.Code) {
			t.Errorf("%v: got %q, %q, %q", m.Is, m.Code, m.Reason, m.Public)
		}
		// What tells causes apart is for the record: these codes say one thing.
		if slices.Contains([]string{exchange.InvalidTarget, exchange.InvalidClient, exchange.InvalidScope}, m.Code) {
			if said, ok := byCode[m.Code]; ok && said != m.Public {
				t.Errorf("%s says both %q and %q", m.Code, said, m.Public)
			}
			byCode[m.Code] = m.Public
		}
	}
	if got := exchange.MeaningOf(errors.New("c4nary")); got.Code != exchange.ServerError || strings.Contains(got.Public, "c4nary") {
		t.Errorf("got %+v for an unknown error, want server_error and silence", got)
	}
}
