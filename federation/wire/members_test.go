package wire_test

import (
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/wire"
	"github.com/google/go-cmp/cmp"
)

func parse(t testing.TB, doc string) map[string]any {
	t.Helper()
	m, err := wire.ParseObject([]byte(doc), wire.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestNumericDateAccepts(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{
		"0":                     0,
		"1800000000":            1800000000,
		"1800000000.5":          1800000000, // CL-03
		"1800000000.9999999999": 1800000000,
		"1.8e9":                 1800000000,
		"1.8E+09":               1800000000,
		"18000000005e-1":        1800000000,
		"0.5":                   0,
		"5e-9":                  0,
		"253402300799":          253402300799,
		"253402300799.9":        253402300799,
	} {
		got, present, err := wire.NumericDate(parse(t, `{"exp":`+in+`}`), "exp")
		if err != nil || !present || !got.Equal(time.Unix(want, 0)) {
			t.Errorf("%s: got %v, %t, error %v, want %d", in, got.Unix(), present, err, want)
		}
	}
}

func TestNumericDateRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{ // CL-02
		`"1800000000"`, `true`, `[]`, `{}`, `null`, `-1`, `-0`, `-0.5`, `1e400`, `1e-400`, `1e65`, `1e99999999999999999999`,
		`9007199254740993`, `9223372036854775808`, `18446744073709551616`, `1e20`, `253402300800`, `2534023008e2`,
	} {
		got, present, err := wire.NumericDate(parse(t, `{"exp":`+in+`}`), "exp")
		if !errors.Is(err, wire.ErrForm) || !present || !got.IsZero() {
			t.Errorf("%s: got %v, %t, error %v, want %v", in, got, present, err, wire.ErrForm)
		}
	}
}

func FuzzNumericDate(f *testing.F) {
	for _, seed := range []string{"0", "1800000000.5", "1.8e9", "1e400", "123e-2", "0.00012e7", "253402300799"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, n string) {
		m, err := wire.ParseObject([]byte(`{"a":`+n+`}`), wire.DefaultLimits())
		if err != nil {
			return
		}
		got, _, err := wire.NumericDate(m, "a")
		if err != nil {
			return
		}
		exact, ok := new(big.Rat).SetString(string(m["a"].(json.Number)))
		if !ok {
			t.Fatalf("%q is no number", n)
		}
		if floor := new(big.Int).Quo(exact.Num(), exact.Denom()); floor.Int64() != got.Unix() || !floor.IsInt64() {
			t.Errorf("%q: got %d, want %v", n, got.Unix(), floor)
		}
	})
}

func TestInt(t *testing.T) {
	t.Parallel()
	m := parse(t, `{"n":-9007199254740991,"zero":0,"big":9007199254740992,"frac":1.0,"exp":1e2,"text":"1","null":null}`)
	if n, present, err := wire.Int(m, "n"); n != -9007199254740991 || !present || err != nil {
		t.Errorf("got %d, %t, error %v", n, present, err)
	}
	if n, present, err := wire.Int(m, "zero"); n != 0 || !present || err != nil {
		t.Errorf("got %d, %t, error %v", n, present, err)
	}
	for _, name := range []string{"big", "frac", "exp", "text", "null"} {
		if _, present, err := wire.Int(m, name); !errors.Is(err, wire.ErrForm) || !present {
			t.Errorf("%s: got %t, error %v, want %v", name, present, err, wire.ErrForm)
		}
	}
}

func TestAudienceForms(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		want     []string
		present  bool
		ok       bool
	}{
		{"accepts a string", `{"aud":"a"}`, []string{"a"}, true, true},
		{"accepts an array", `{"aud":["a","b"]}`, []string{"a", "b"}, true, true},
		{"accepts absence", `{"AUD":"a"}`, nil, false, true},
		{"refuses an empty array", `{"aud":[]}`, nil, true, false},
		{"refuses a number", `{"aud":1}`, nil, true, false},
		{"refuses null", `{"aud":null}`, nil, true, false},
		{"refuses a mixed array", `{"aud":["a",1]}`, nil, true, false},
		{"refuses nested arrays", `{"aud":[["a"]]}`, nil, true, false},
		{"refuses an object", `{"aud":{"a":"b"}}`, nil, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, present, err := wire.StringOrStrings(parse(t, tt.in), "aud")
			if present != tt.present || (err == nil) != tt.ok || err != nil && !errors.Is(err, wire.ErrForm) {
				t.Errorf("got present %t, error %v, want %t, ok %t", present, err, tt.present, tt.ok)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAccessorsRequireTheirKind(t *testing.T) {
	t.Parallel()
	values := map[string]string{"string": `"x"`, "bool": `true`, "object": `{}`, "array": `["x"]`, "number": `1`, "null": `null`}
	accessors := map[string]func(map[string]any) (bool, error){
		"string": func(m map[string]any) (bool, error) { _, p, err := wire.String(m, "v"); return p, err },
		"bool":   func(m map[string]any) (bool, error) { _, p, err := wire.Bool(m, "v"); return p, err },
		"object": func(m map[string]any) (bool, error) { _, p, err := wire.Object(m, "v"); return p, err },
		"array":  func(m map[string]any) (bool, error) { _, p, err := wire.Strings(m, "v"); return p, err },
		"number": func(m map[string]any) (bool, error) { _, p, err := wire.Int(m, "v"); return p, err },
	}
	for want, read := range accessors {
		for kind, text := range values {
			present, err := read(parse(t, `{"v":`+text+`}`))
			if !present || (err == nil) != (kind == want) {
				t.Errorf("%s accessor on %s: got present %t, error %v", want, kind, present, err)
			}
			if err != nil && strings.Contains(err.Error(), "x") {
				t.Errorf("%s accessor on %s: error %v repeats the value", want, kind, err)
			}
		}
		if present, err := read(parse(t, `{"V":"x"}`)); present || err != nil {
			t.Errorf("%s accessor: got present %t, error %v for an absent member", want, present, err)
		}
	}
}
