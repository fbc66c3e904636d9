package settings

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with the configuration.
type Problem struct {
	Path    string `json:"path,omitempty"`   // key, such as "tokens.ttl"; empty when no key is concerned
	Line    int    `json:"line,omitempty"`   // line in the file; 0 when it has none
	Origin  string `json:"origin,omitempty"` // file, variable or flag that the value came from
	Message string `json:"message"`          // what is wrong, in a sentence
}

// String is the form "file:line: path: message" with the unknown parts left out.
func (p Problem) String() string {
	var b strings.Builder
	if p.Origin != "" {
		b.WriteString(p.Origin)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	return b.String() + p.Message
}

// Problems is the error of [Load]: everything that is wrong, those of the file
// first and in its order.
type Problems []Problem

// Error lists the problems, one on a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// sort puts the problems with a line first, by line, and keeps the order of
// the others.
func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if (a.Line > 0) != (b.Line > 0) {
			return cmp.Compare(b.Line, a.Line)
		}
		return cmp.Compare(a.Line, b.Line)
	})
}

// Kind says which layer a value came from.
type Kind string

// The layers, from the weakest to the strongest.
const (
	FromDefault Kind = "default"
	FromFile    Kind = "file"
	FromEnv     Kind = "environment"
	FromFlag    Kind = "flag"
)

// Origin says where a value came from.
type Origin struct {
	Kind  Kind   `json:"kind"`
	Where string `json:"where,omitempty"` // file, variable or flag
	Line  int    `json:"line,omitempty"`  // line in the file
}

// String is the form that `config show --origin` prints.
func (o Origin) String() string {
	switch {
	case o.Where == "":
		return string(o.Kind)
	case o.Line > 0:
		return fmt.Sprintf("%s %s:%d", o.Kind, o.Where, o.Line)
	}
	return string(o.Kind) + " " + o.Where
}
