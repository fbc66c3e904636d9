package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/comity-auth/comity/federation/wire"
	"github.com/google/go-cmp/cmp"
)

func TestParseObjectAccepts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		want     map[string]any
	}{
		{"accepts the empty object", `{}`, map[string]any{}},
		{"accepts white space around every token", " {\t\"a\" :\r\n[ 1 , 2 ] } \n", map[string]any{"a": []any{json.Number("1"), json.Number("2")}}},
		{"keeps numbers as they were written", `{"a":-0,"b":1.50,"c":1E+2}`, map[string]any{"a": json.Number("-0"), "b": json.Number("1.50"), "c": json.Number("1E+2")}},
		{"accepts literals", `{"a":true,"b":false,"c":null}`, map[string]any{"a": true, "b": false, "c": nil}},
		{"decodes every escape", `{"a":"\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00"}`, map[string]any{"a": "\"\\/\b\f\n\r\tAé😀"}},
		{"accepts escapes in names", `{"\u0061":1}`, map[string]any{"a": json.Number("1")}},
		{"accepts text beyond ASCII", `{"é":"😀"}`, map[string]any{"é": "😀"}},
		{"accepts an encoded replacement character", "{\"a\":\"\uFFFD\"}", map[string]any{"a": "\uFFFD"}},
		{"CL-16: keeps names that differ in case apart", `{"iss":"a","ISS":"b"}`, map[string]any{"iss": "a", "ISS": "b"}},
		{"accepts one name at two levels", `{"a":{"a":[{},[]]}}`, map[string]any{"a": map[string]any{"a": []any{map[string]any{}, []any{}}}}},
		{"accepts the empty name", `{"":""}`, map[string]any{"": ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := wire.ParseObject([]byte(tt.in), wire.DefaultLimits())
			if err != nil {
				t.Fatalf("got error %v, want none", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseObjectRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in string }{
		{"JO-37: refuses an empty document", ``},
		{"JO-37: refuses an array", `[]`},
		{"JO-37: refuses a string", `"a"`},
		{"JO-37: refuses a number", `1`},
		{"JO-37: refuses null", `null`},
		{"JO-37: refuses a second document", `{}{}`},
		{"JO-37: refuses trailing text", `{}x`},
		{"JO-37: refuses a trailing NUL", "{}\x00"},
		{"JO-17: refuses a repeated name", `{"alg":"RS256","alg":"none"}`},
		{"CL-15: refuses a repeated name with equal values", `{"iss":"a","iss":"a"}`},
		{"CL-15: refuses a name repeated by an escape", `{"iss":"a","\u0069ss":"b"}`},
		{"CL-15: refuses a repeated name in an inner object", `{"a":[{"b":1,"b":2}]}`},
		{"CL-18: refuses invalid UTF-8 in a value", "{\"sub\":\"\xff\"}"},
		{"CL-18: refuses invalid UTF-8 in a name", "{\"\xff\":1}"},
		{"CL-18: refuses overlong UTF-8", "{\"sub\":\"\xc0\x80\"}"},
		{"CL-18: refuses an encoded surrogate", "{\"sub\":\"\xed\xa0\x80\"}"},
		{"CL-18: refuses a lone high surrogate", `{"sub":"\ud83d"}`},
		{"CL-18: refuses a lone low surrogate", `{"sub":"\ude00"}`},
		{"CL-18: refuses two high surrogates", `{"sub":"\ud83d\ud83d"}`},
		{"CL-18: refuses a high surrogate before another escape", `{"sub":"\ud83d\n"}`},
		{"refuses a noncharacter", "{\"a\":\"\uFFFF\"}"},
		{"refuses an escaped noncharacter", `{"a":"\ufdd0"}`},
		{"refuses a noncharacter of another plane", `{"a":"\ud83f\udffe"}`},
		{"refuses a byte order mark", "\ufeff{}"},
		{"refuses a bare control character", "{\"a\":\"\n\"}"},
		{"refuses a bare control character behind an escape", "{\"a\":\"\\n\x01\"}"},
		{"refuses an unknown escape", `{"a":"\x41"}`},
		{"refuses a short unicode escape", `{"a":"\u41"}`},
		{"refuses a signed unicode escape", `{"a":"\u+041"}`},
		{"refuses a string without end", `{"a":"b`},
		{"refuses a string that ends in a backslash", `{"a":"b\`},
		{"refuses a trailing comma in an object", `{"a":1,}`},
		{"refuses a trailing comma in an array", `{"a":[1,]}`},
		{"refuses a leading comma", `{,"a":1}`},
		{"refuses a missing colon", `{"a" 1}`},
		{"refuses a missing value", `{"a":}`},
		{"refuses a missing comma", `{"a":1 "b":2}`},
		{"refuses a name without quotes", `{a:1}`},
		{"refuses single quotes", `{'a':1}`},
		{"refuses comments", `{"a":1/**/}`},
		{"refuses an object without end", `{"a":1`},
		{"refuses an array closed as an object", `{"a":[1}`},
		{"refuses a leading zero", `{"a":01}`},
		{"refuses a plus sign", `{"a":+1}`},
		{"refuses a number that begins with a dot", `{"a":.5}`},
		{"refuses a number that ends with a dot", `{"a":1.}`},
		{"refuses an exponent without digits", `{"a":1e+}`},
		{"refuses a lone minus", `{"a":-}`},
		{"refuses NaN", `{"a":NaN}`},
		{"refuses Infinity", `{"a":-Infinity}`},
		{"refuses hexadecimal numbers", `{"a":0x1}`},
		{"refuses literals in capitals", `{"a":True}`},
		{"refuses a longer literal", `{"a":nulls}`},
		{"refuses white space that JSON does not know", "{\"a\":\u00a01}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := wire.ParseObject([]byte(tt.in), wire.DefaultLimits())
			if !errors.Is(err, wire.ErrSyntax) || got != nil {
				t.Errorf("got %v, error %v, want error %v", got, err, wire.ErrSyntax)
			}
		})
	}
}

func TestParseObjectLimits(t *testing.T) {
	t.Parallel()
	members := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"m%d":0`, i)
		}
		return "{" + b.String()[1:] + "}"
	}
	nested := func(n int) string {
		return strings.Repeat(`{"a":`, n-1) + "{}" + strings.Repeat("}", n-1)
	}
	text := func(n int) string { return `{"a":"` + strings.Repeat("x", n) + `"}` }
	escaped := func(n int) string { return `{"a":"\n` + strings.Repeat("x", n-1) + `"}` }
	row := `[` + strings.Repeat("[],", 255) + `[]]`
	lim := wire.Limits{MaxBytes: 64 << 10, MaxDepth: 16, MaxMembers: 256, MaxString: 8 << 10, MaxValues: 4096}
	tests := []struct {
		name, in string
		ok       bool
	}{
		{"accepts 16 levels", nested(16), true},
		{"refuses 17 levels", nested(17), false},
		{"CL-25: refuses 10 000 nested arrays", `{"a":` + strings.Repeat("[", 10000), false},
		{"CL-25: refuses 10 000 nested objects", strings.Repeat(`{"":`, 10000), false},
		{"accepts 256 members", members(256), true},
		{"refuses 257 members", members(257), false},
		{"CL-26: refuses 5 000 members", members(5000), false},
		{"accepts 256 elements", `{"a":[` + strings.Repeat("0,", 255) + `0]}`, true},
		{"refuses 257 elements", `{"a":[` + strings.Repeat("0,", 256) + `0]}`, false},
		{"CL-26: refuses 10 000 empty arrays in 40 rows", `{"a":[` + strings.Repeat(row+",", 39) + row + `]}`, false},
		{"accepts a string of 8 KiB", text(8 << 10), true},
		{"refuses a string of 8 KiB and a byte", text(8<<10 + 1), false},
		{"accepts an escaped string of 8 KiB", escaped(8 << 10), true},
		{"refuses an escaped string of 8 KiB and a byte", escaped(8<<10 + 1), false},
		{"CL-26: refuses a string of 12 KiB", text(12 << 10), false},
		{"refuses a name of 12 KiB", `{"` + strings.Repeat("x", 12<<10) + `":1}`, false},
		{"refuses a number of 65 digits", `{"a":` + strings.Repeat("1", 65) + `}`, false},
		{"refuses 64 KiB and a byte", "{}" + strings.Repeat(" ", 64<<10-1), false},
		{"accepts 64 KiB", "{}" + strings.Repeat(" ", 64<<10-2), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := wire.ParseObject([]byte(tt.in), lim)
			if tt.ok && err != nil {
				t.Errorf("got error %v, want none", err)
			}
			if !tt.ok && !errors.Is(err, wire.ErrLimit) {
				t.Errorf("got error %v, want %v", err, wire.ErrLimit)
			}
		})
	}
}

func TestZeroLimitsRefuseEverything(t *testing.T) {
	t.Parallel()
	full := wire.Limits{MaxBytes: 100, MaxDepth: 100, MaxMembers: 100, MaxString: 100, MaxValues: 100}
	without := func(drop func(*wire.Limits)) wire.Limits { l := full; drop(&l); return l }
	for name, lim := range map[string]wire.Limits{
		"zero":           {},
		"without bytes":  without(func(l *wire.Limits) { l.MaxBytes = 0 }),
		"without depth":  without(func(l *wire.Limits) { l.MaxDepth = 0 }),
		"without values": without(func(l *wire.Limits) { l.MaxValues = 0 }),
	} {
		if _, err := wire.ParseObject([]byte(`{}`), lim); !errors.Is(err, wire.ErrLimit) {
			t.Errorf("%s: got error %v, want %v", name, err, wire.ErrLimit)
		}
	}
}

func TestErrorsRepeatNoInput(t *testing.T) {
	t.Parallel()
	const secret = "s3cret"
	for _, in := range []string{
		`{"` + secret + `":` + secret + `}`,
		`{"` + secret + `":1,"` + secret + `":2}`,
		`{"a":"` + secret + "\n\"}",
		secret,
	} {
		_, err := wire.ParseObject([]byte(in), wire.DefaultLimits())
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("got error %v, want one without the input", err)
		}
	}
}

// TestEveryByteInEveryPlace puts each byte at each place of a document and
// holds the result against the standard library.
func TestEveryByteInEveryPlace(t *testing.T) {
	t.Parallel()
	const doc = `{"a":[1,-2.5e+1,true],"b":{"c":"d\u0041\n"},"é":null}`
	for at := range len(doc) {
		for c := range 256 {
			in := []byte(doc)
			in[at] = byte(c)
			compare(t, in)
		}
		compare(t, []byte(doc[:at]))
	}
}

func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":[1,-2.5e+1,true,false,null],"b":{"c":"\ud83d\ude00"}}`, `{"a":1,"a":2}`, `{"a":"\ud83d"}`,
		"{\"a\":\"\xff\"}", `[`, `{"a":01}`, `{"a":1}x`, "{\"\uFFFF\":1}", `{"exp":1e400}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(compare)
}

// compare fails when a document is accepted that encoding/json refuses or
// reads otherwise.
func compare(t *testing.T, in []byte) {
	t.Helper()
	got, err := wire.ParseObject(in, wire.DefaultLimits())
	if err != nil {
		if got != nil {
			t.Errorf("%q: got a value beside error %v", in, err)
		}
		return
	}
	if !utf8.Valid(in) {
		t.Errorf("%q: accepted text that is not UTF-8", in)
	}
	var want map[string]any
	d := json.NewDecoder(bytes.NewReader(in))
	d.UseNumber()
	if err := d.Decode(&want); err != nil {
		t.Fatalf("%q: accepted, the standard library says %v", in, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%q: (-standard library +got):\n%s", in, diff)
	}
}

const claims = `{"iss":"https://as.acme.example","sub":"agent-7","aud":"https://broker.globex.example",` +
	`"exp":1800000300,"iat":1800000000,"nbf":1800000000,"jti":"7f6c2a5e-5b0f-4b7e-9d0c-0f1f6f1f7a55","client_id":"acme-agent",` +
	`"scope":"docs:read docs:search","azp":"acme-agent","sid":"5c1f","txn":"97053963","acr":"urn:acr:2","auth_time":1799999000,` +
	`"cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"},"agent":{"id":"acme-agent-1","type":"llm-autonomous","operator":"org:acme"},` +
	`"task":{"id":"t-1","purpose":"research"},"capabilities":[{"action":"archive.search"},{"action":"archive.fetch"}],"department":"research","level":3}`

func BenchmarkParseObject(b *testing.B) {
	in := []byte(claims)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.ParseObject(in, wire.DefaultLimits()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStandardLibrary(b *testing.B) {
	in := []byte(claims)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		var m map[string]any
		if err := json.Unmarshal(in, &m); err != nil {
			b.Fatal(err)
		}
	}
}
