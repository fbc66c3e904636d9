package ident_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/comity-auth/comity/trust/ident"
)

func TestScopes(t *testing.T) {
	t.Parallel()
	many := make([]string, 257)
	for i := range many {
		many[i] = fmt.Sprint("s", i)
	}
	for _, tc := range []struct {
		name string
		in   string
		want []string
		ok   bool
	}{
		{"takes the empty string for the empty set", "", nil, true},
		{"keeps the order in which scopes were named", "b a c", []string{"b", "a", "c"}, true},
		{"drops repetitions", "a b a a", []string{"a", "b"}, true},
		{"keeps case apart", "a A", []string{"a", "A"}, true},
		{"accepts 256 of them", strings.Join(many[:256], " "), many[:256], true},
		{"rejects 257 of them", strings.Join(many, " "), nil, false},
		{"rejects 257 of them, all alike", strings.TrimSpace(strings.Repeat("a ", 257)), nil, false},
		{"accepts a scope of 256 bytes", strings.Repeat("a", 256), []string{strings.Repeat("a", 256)}, true},
		{"rejects a scope of 257 bytes (TE-22)", strings.Repeat("a", 257), nil, false},
		{"rejects a scope of 4 KiB (TE-22)", strings.Repeat("a", 4096), nil, false},
		{"rejects a blank alone", " ", nil, false},
		{"rejects a leading blank", " a", nil, false},
		{"rejects a trailing blank", "a ", nil, false},
		{"rejects two blanks in a row", "a  b", nil, false},
		{"rejects a tab", "a\tb", nil, false},
		{"rejects a quote (TE-22)", `a"`, nil, false},
		{"rejects a backslash (TE-22)", `a\`, nil, false},
		{"rejects a control character (TE-22)", "a\x00", nil, false},
		{"rejects letters outside ASCII (TE-22)", "ä", nil, false},
	} {
		got, err := ident.ParseScopes(tc.in)
		if ok := err == nil; ok != tc.ok || !ok && !errors.Is(err, ident.ErrScope) {
			t.Errorf("%s: error %v", tc.name, err)
		}
		if diff := cmp.Diff(tc.want, got.List()); tc.ok && diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tc.name, diff)
		}
		if !tc.ok && (!got.IsZero() || got.Len() != 0) {
			t.Errorf("%s: a refusal entitles to %q", tc.name, got)
		}
	}
}

func TestScopesAreImmutableAndEntitleExactly(t *testing.T) {
	t.Parallel()
	in := []string{"docs.read", "search"}
	s, err := ident.NewScopes(in)
	if err != nil {
		t.Fatal(err)
	}
	in[0] = "admin"
	s.List()[1] = "admin"
	if got := s.String(); got != "docs.read search" {
		t.Errorf("got %q after writing to the input and to the copy", got)
	}
	for _, scope := range []string{"admin", "docs", "docs.read ", "Docs.read", "docs.read search", ""} {
		if s.Has(scope) {
			t.Errorf("the set entitles to %q", scope)
		}
	}
	if !s.Has("search") || s.Len() != 2 || s.IsZero() {
		t.Errorf("got %q, %d of them", s, s.Len())
	}
	kept := s.Filter(func(scope string) bool { return scope == "search" })
	if got, _ := kept.MarshalText(); string(got) != "search" || s.Len() != 2 {
		t.Errorf("filter gives %q and leaves %q", got, s)
	}
	if none := s.Filter(func(string) bool { return false }); !none.IsZero() {
		t.Errorf("keeping nothing gives %q", none)
	}
	if (ident.Scopes{}).Has("") || !(ident.Scopes{}).IsZero() {
		t.Error("the zero set entitles to something")
	}
}
