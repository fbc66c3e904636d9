package strictyaml_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/comity-auth/comity/trust/strictyaml"
)

type document struct {
	Name  string         `json:"name"`
	Count int            `json:"count"`
	On    bool           `json:"on"`
	Parts []part         `json:"parts"`
	Free  map[string]any `json:"free"`
	Deep  *part          `json:"deep"`
	Even  even           `json:"even"`
}

type part struct {
	Label string `json:"label"`
}

// UnmarshalScalar reads the short form.
func (p *part) UnmarshalScalar(s string) error { p.Label = s; return nil }

// even is a text of even length.
type even string

// UnmarshalText refuses an odd one.
func (e *even) UnmarshalText(b []byte) error {
	if len(b)%2 != 0 {
		return errors.New("want an even number of characters")
	}
	*e = even(b)
	return nil
}

func TestDecodeReadsWhatItShould(t *testing.T) {
	t.Parallel()
	var d document
	lines, problems := strictyaml.Decode([]byte("name: x\ncount: 7\non: true\nparts:\n  - label: a\n  - b\nfree: {n: 1, list: [true, text]}\ndeep: {label: c}\neven: ab\n"), &d)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if d.Name != "x" || d.Count != 7 || !d.On || len(d.Parts) != 2 || d.Parts[1].Label != "b" || d.Deep.Label != "c" || d.Even != "ab" || d.Free["n"] == nil {
		t.Errorf("got %+v", d)
	}
	if lines.At("parts[1].label") != 6 || lines.At("free.n") != 7 || lines.At("nowhere") == 0 {
		t.Errorf("lines = %v", lines)
	}
}

func TestDecodeReportsEveryProblemWithItsLine(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, text, want string }{
		{"rejects an unknown key and names its neighbour", "nmae: x\n", "line 1: nmae: unknown key; did you mean name?"},
		{"rejects a repeated key", "name: x\nname: y\n", "line 2: name: the key is repeated"},
		{"rejects a number for a text", "name: 7\n", "line 1: name: want text"},
		{"rejects a text for a number", "count: many\n", "line 1: count: want a whole number"},
		{"rejects a text for a switch", "on: 'true'\n", "line 1: on: want true or false"},
		{"rejects a mapping for a list", "parts: {a: b}\n", "line 1: parts: want a list"},
		{"rejects a list for a mapping", "deep: [a]\n", "line 1: deep: want a mapping"},
		{"rejects what a type refuses", "even: abc\n", "line 1: even: want an even number"},
		{"rejects an anchor", "name: &a x\n", "anchors and aliases"},
		{"rejects a second document", "name: x\n---\nname: y\n", "a second document follows"},
		{"rejects what is not YAML, with its line", "name: x\n\tcount: 7\n", "line 2"},
		{"rejects a list for a document", "- name\n", "want a mapping"},
	} {
		var d document
		_, problems := strictyaml.Decode([]byte(row.text), &d)
		if len(problems) == 0 || !strings.Contains(problems.Error(), row.want) {
			t.Errorf("%s: got %q, want %q in it", row.name, problems, row.want)
		}
	}
	var d document
	_, problems := strictyaml.Decode([]byte("name: 7\ncount: x\nfoo: 1\n"), &d)
	if len(problems) != 3 || problems[0].Line != 1 || problems[1].Line != 2 || problems[2].Line != 3 {
		t.Errorf("got %q, want all three in the order of their lines", problems)
	}
}
