package traceid_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/comity-auth/comity/federation/traceid"
)

const (
	trace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	parent = "00f067aa0ba902b7"
	sample = "00-" + trace + "-" + parent + "-01"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   string
		ok   bool
	}{
		{"accepts the example of the standard", sample, true},
		{"accepts not sampled", "00-" + trace + "-" + parent + "-00", true},
		{"accepts unknown flags", "00-" + trace + "-" + parent + "-ff", true},
		{"accepts a higher version of the same length", "cc-" + trace + "-" + parent + "-01", true},
		{"accepts a higher version with more fields", "cc-" + trace + "-" + parent + "-01-what-next", true},
		{"rejects empty", "", false},
		{"rejects a blank before", " " + sample, false},
		{"rejects a blank behind", sample + " ", false},
		{"rejects version ff", "ff-" + trace + "-" + parent + "-01", false},
		{"rejects version in upper case", "CC-" + trace + "-" + parent + "-01", false},
		{"rejects version that is not hexadecimal", "0x-" + trace + "-" + parent + "-01", false},
		{"rejects version 00 with more fields", sample + "-00", false},
		{"rejects version 00 with a dash behind", sample + "-", false},
		{"rejects a higher version with text behind the flags", "cc-" + trace + "-" + parent + "-01.x", false},
		{"rejects a higher version beyond 512 bytes", "cc-" + trace + "-" + parent + "-01-" + strings.Repeat("a", 512), false},
		{"rejects trace id of zeros", "00-" + strings.Repeat("0", 32) + "-" + parent + "-01", false},
		{"rejects parent id of zeros", "00-" + trace + "-" + strings.Repeat("0", 16) + "-01", false},
		{"rejects trace id in upper case", "00-" + strings.ToUpper(trace) + "-" + parent + "-01", false},
		{"rejects parent id in upper case", "00-" + trace + "-" + strings.ToUpper(parent) + "-01", false},
		{"rejects flags in upper case", "00-" + trace + "-" + parent + "-0A", false},
		{"rejects flags that are not hexadecimal", "00-" + trace + "-" + parent + "-0g", false},
		{"rejects short trace id", "00-" + trace[1:] + "-" + parent + "-011", false},
		{"rejects long trace id", "00-" + trace + "a-" + parent[1:] + "-01", false},
		{"rejects underscores", strings.ReplaceAll(sample, "-", "_"), false},
		{"rejects truncated", sample[:54], false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, ok := traceid.Parse(tt.in)
			if ok != tt.ok {
				t.Fatalf("Parse(%q) ok = %v, want %v", tt.in, ok, tt.ok)
			}
			if ok && got.Trace().String() != trace {
				t.Errorf("Trace = %q, want %q", got.Trace(), trace)
			}
			if !ok && (!got.IsZero() || got.String() != "") {
				t.Errorf("a refused traceparent left %q", got)
			}
		})
	}
}

// Every single byte of a traceparent is checked: none may be replaced by
// something outside its grammar.
func TestParseRejectsEveryForeignByte(t *testing.T) {
	t.Parallel()
	for i := range len(sample) {
		for b := range 256 {
			s := sample[:i] + string([]byte{byte(b)}) + sample[i+1:]
			hex := b >= '0' && b <= '9' || b >= 'a' && b <= 'f'
			want := hex
			if sample[i] == '-' {
				want = b == '-'
			}
			if _, ok := traceid.Parse(s); ok != want {
				t.Fatalf("Parse(%q) ok = %v, want %v", s, ok, want)
			}
		}
	}
}

func TestNextKeepsTraceAndFlagsWithFreshParent(t *testing.T) {
	t.Parallel()
	c, ok := traceid.Parse(sample)
	if !ok {
		t.Fatal("the sample was refused")
	}
	next := c.Next().String()
	if !strings.HasPrefix(next, "00-"+trace+"-") || !strings.HasSuffix(next, "-01") {
		t.Errorf("Next = %q, want the same trace and flags", next)
	}
	if strings.Contains(next, parent) {
		t.Errorf("Next = %q keeps the parent id", next)
	}
	if _, ok := traceid.Parse(next); !ok {
		t.Errorf("Next = %q does not parse", next)
	}
	if c.String() != sample {
		t.Errorf("String = %q, want %q", c, sample)
	}
}

func TestNextClearsFlagsWithoutMeaning(t *testing.T) {
	t.Parallel()
	c, _ := traceid.Parse("00-" + trace + "-" + parent + "-ff")
	if got := c.Next().String(); !strings.HasSuffix(got, "-03") {
		t.Errorf("Next = %q, want flags 03", got)
	}
}

func TestNewIsRandomAndParses(t *testing.T) {
	t.Parallel()
	seen := make(map[traceid.ID]bool)
	for range 1000 {
		id := traceid.New()
		again, ok := traceid.ParseID(id.String())
		if !ok || again != id {
			t.Fatalf("New = %q does not parse to itself", id)
		}
		seen[id] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different ids, want 1000", len(seen))
	}
}

func TestStartIsNotSampled(t *testing.T) {
	t.Parallel()
	c := traceid.Start()
	if c.Sampled() {
		t.Error("a new trace is sampled")
	}
	back, ok := traceid.Parse(c.String())
	if !ok || back != c {
		t.Errorf("Parse(%q) = %v, %v", c, back, ok)
	}
}

func TestZeroContextStaysNothing(t *testing.T) {
	t.Parallel()
	var zero traceid.Context
	if got := zero.Next().String() + traceid.Within(traceid.ID{}).String(); got != "" {
		t.Errorf("zero context formats as %q", got)
	}
}

func TestParseID(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", trace[1:], trace + "0", strings.ToUpper(trace), strings.Repeat("0", 32), trace[:31] + "g"} {
		if id, ok := traceid.ParseID(s); ok || !id.IsZero() {
			t.Errorf("ParseID(%q) was accepted", s)
		}
	}
}

func TestFromHeaderWantsExactlyOne(t *testing.T) {
	t.Parallel()
	if _, ok := traceid.FromHeader(http.Header{}); ok {
		t.Error("no header was accepted")
	}
	if _, ok := traceid.FromHeader(http.Header{"Traceparent": {sample, sample}}); ok {
		t.Error("two headers were accepted")
	}
	if c, ok := traceid.FromHeader(http.Header{"Traceparent": {sample}}); !ok || c.String() != sample {
		t.Errorf("one header gave %q, %v", c, ok)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add("cc-" + trace + "-" + parent + "-01-what")
	f.Add("ff-" + trace + "-" + parent + "-01")
	f.Fuzz(func(t *testing.T, s string) {
		c, ok := traceid.Parse(s)
		if ok == c.IsZero() {
			t.Fatalf("Parse(%q) = %q, %v", s, c, ok)
		}
		if !ok {
			return
		}
		if again, ok := traceid.Parse(c.String()); !ok || again != c {
			t.Fatalf("%q does not parse to itself", c)
		}
	})
}
