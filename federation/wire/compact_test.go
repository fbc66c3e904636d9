package wire_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/comity-auth/comity/federation/wire"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func token(header, payload string) string { return b64(header) + "." + b64(payload) + ".c2ln" }

func TestParseCompactAccepts(t *testing.T) {
	t.Parallel()
	raw := token(`{"alg":"ES256","typ":"Application/AT+jwt","kid":"k 1","jwk":{"kty":"EC"}}`, `{"iss":"a"}`)
	c, err := wire.ParseCompact(raw)
	if err != nil {
		t.Fatal(err)
	}
	if c.Raw != raw || c.SigningInput+".c2ln" != raw || string(c.Signature) != "sig" {
		t.Errorf("got raw %q, input %q, signature %q", c.Raw, c.SigningInput, c.Signature)
	}
	if c.Algorithm() != "ES256" || c.KeyID() != "k 1" || c.Type() != "at+jwt" {
		t.Errorf("got alg %q, kid %q, typ %q", c.Algorithm(), c.KeyID(), c.Type())
	}
	if _, ok := c.Header["jwk"].(map[string]any); !ok || c.Payload["iss"] != "a" {
		t.Errorf("got header %v, payload %v", c.Header, c.Payload)
	}
	bare, err := wire.ParseCompact(token(`{"alg":"ES256"}`, `{}`))
	if err != nil || bare.KeyID() != "" || bare.Type() != "" {
		t.Errorf("got kid %q, typ %q, error %v, want none of them", bare.KeyID(), bare.Type(), err)
	}
}

func TestParseCompactRefusesForm(t *testing.T) {
	t.Parallel()
	good := token(`{"alg":"ES256"}`, `{"iss":"a"}`)
	tests := []struct {
		name, in string
		want     error
	}{
		{"JO-26: refuses the empty string", "", wire.ErrSyntax},
		{"JO-26: refuses one part", "a", wire.ErrSyntax},
		{"JO-26: refuses two parts", "a.b", wire.ErrSyntax},
		{"JO-26: refuses four parts", "a.b.c.d", wire.ErrSyntax},
		{"JO-26: refuses six parts", "a.b.c.d.e.f", wire.ErrSyntax},
		{"JO-26: refuses dots alone", "..", wire.ErrSyntax},
		{"JO-26: refuses a detached payload", b64(`{"alg":"ES256"}`) + "..c2ln", wire.ErrSyntax},
		{"JO-26: refuses a million dots", strings.Repeat(".", 1_000_000), wire.ErrLimit},
		{"JO-05: refuses an empty signature", b64(`{"alg":"ES256"}`) + "." + b64(`{}`) + ".", wire.ErrSyntax},
		{"JO-21: refuses five parts as encrypted", b64(`{"alg":"RSA-OAEP","enc":"A128GCM"}`) + ".a.b.c.d", wire.ErrEncrypted},
		{"JO-19: refuses the flattened JSON serialization", `{"payload":"e30","protected":"e30","signature":"c2ln"}`, wire.ErrSyntax},
		{"JO-19: refuses JSON with two dots", `{"a":"b.c.d"}`, wire.ErrSyntax},
		{"JO-25: refuses padding", good + "=", wire.ErrSyntax},
		{"JO-25: refuses padding inside", strings.Replace(good, ".", "=.", 1), wire.ErrSyntax},
		{"JO-25: refuses the standard alphabet", b64(`{"alg":"ES256"}`) + "." + b64(`{}`) + ".+/+/", wire.ErrSyntax},
		{"JO-25: refuses trailing bits", b64(`{"alg":"ES256"}`) + "." + b64(`{}`) + ".AB", wire.ErrSyntax},
		{"JO-25: refuses a lone last character", b64(`{"alg":"ES256"}`) + "." + b64(`{}`) + ".AAAAA", wire.ErrSyntax},
		{"JO-25: refuses a question mark", good + "?", wire.ErrSyntax},
		{"JO-25: refuses a line end inside a part", good[:8] + "\n" + good[8:], wire.ErrSyntax},
		{"JO-25: refuses a carriage return inside a part", good[:8] + "\r" + good[8:], wire.ErrSyntax},
		{"JO-28: refuses a Bearer prefix", "Bearer " + good, wire.ErrSyntax},
		{"JO-28: refuses a blank in front", " " + good, wire.ErrSyntax},
		{"JO-28: refuses a blank behind", good + " ", wire.ErrSyntax},
		{"JO-28: refuses a trailing line end", good + "\n", wire.ErrSyntax},
		{"JO-37: refuses a payload that is an array", token(`{"alg":"ES256"}`, `[]`), wire.ErrSyntax},
		{"JO-37: refuses a payload with trailing data", token(`{"alg":"ES256"}`, `{}x`), wire.ErrSyntax},
		{"refuses a header that is not an object", token(`null`, `{}`), wire.ErrSyntax},
		{"JO-17: refuses alg twice, none last", token(`{"alg":"RS256","alg":"none"}`, `{}`), wire.ErrSyntax},
		{"JO-17: refuses alg twice, none first", token(`{"alg":"none","alg":"RS256"}`, `{}`), wire.ErrSyntax},
		{"refuses a header of 4 KiB and a byte", token(`{"alg":"ES256"}`+strings.Repeat(" ", 4<<10-14), `{}`), wire.ErrLimit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if c, err := wire.ParseCompact(tt.in); !errors.Is(err, tt.want) || c != nil {
				t.Errorf("got %v, error %v, want error %v", c, err, tt.want)
			}
		})
	}
}

func TestParseCompactRefusesHeader(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, header string }{
		{"JO-01: refuses a missing alg", `{"typ":"JWT"}`},
		{"JO-01: refuses an empty alg", `{"alg":""}`},
		{"refuses an alg that is no string", `{"alg":["ES256"]}`},
		{"refuses an alg that is null", `{"alg":null}`},
		{"CL-16: refuses ALG for alg", `{"ALG":"ES256"}`},
		{"JO-16: refuses crit with an unknown name", `{"alg":"ES256","crit":["x"],"x":1}`},
		{"JO-16: refuses an empty crit", `{"alg":"ES256","crit":[]}`},
		{"JO-16: refuses a crit that is no array", `{"alg":"ES256","crit":"b64"}`},
		{"JO-16: refuses a null crit", `{"alg":"ES256","crit":null}`},
		{"JO-16: refuses crit with b64", `{"alg":"ES256","crit":["b64"],"b64":false}`},
		{"JO-16: refuses crit with an absent name", `{"alg":"ES256","crit":["exp"]}`},
		{"JO-16: refuses b64 without crit", `{"alg":"ES256","b64":false}`},
		{"JO-23: refuses zip", `{"alg":"ES256","zip":"DEF"}`},
		{"JO-21: refuses enc", `{"alg":"ES256","enc":"A128GCM"}`},
		{"JO-12: refuses a kid with NUL", `{"alg":"ES256","kid":"a\u0000"}`},
		{"JO-12: refuses a kid with line ends", `{"alg":"ES256","kid":"a\r\nb"}`},
		{"JO-12: refuses a kid with bidi controls", `{"alg":"ES256","kid":"a\u202eb"}`},
		{"JO-12: refuses a kid of 257 bytes", `{"alg":"ES256","kid":"` + strings.Repeat("k", 257) + `"}`},
		{"JO-12: refuses an empty kid", `{"alg":"ES256","kid":""}`},
		{"JO-12: refuses a kid that is no string", `{"alg":"ES256","kid":7}`},
		{"refuses a typ that is no string", `{"alg":"ES256","typ":null}`},
		{"refuses an empty typ", `{"alg":"ES256","typ":""}`},
		{"refuses a typ that names no type", `{"alg":"ES256","typ":"application/"}`},
		{"refuses a typ with letters beyond ASCII", `{"alg":"ES256","typ":"\u212awt"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if c, err := wire.ParseCompact(token(tt.header, `{}`)); !errors.Is(err, wire.ErrForm) || c != nil {
				t.Errorf("got %v, error %v, want error %v", c, err, wire.ErrForm)
			}
		})
	}
}

func TestTypeStripsOnePrefix(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]string{
		"JWT": "jwt", "at+jwt": "at+jwt", "application/at+jwt": "at+jwt", "application/application/x": "application/x", "text/x": "text/x",
	} {
		c, err := wire.ParseCompact(token(`{"alg":"ES256","typ":"`+typ+`"}`, `{}`))
		if err != nil || c.Type() != want {
			t.Errorf("%s: got %q, error %v, want %q", typ, c.Type(), err, want)
		}
	}
}

func TestCompactNeverPrints(t *testing.T) {
	t.Parallel()
	raw := token(`{"alg":"ES256"}`, `{"sub":"s3cret"}`)
	c, err := wire.ParseCompact(raw)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{fmt.Sprintf("%v %+v %#v %s", c, *c, c, *c), c.LogValue().String(), string(asJSON)} {
		if strings.Contains(got, "s3cret") || strings.Contains(got, b64(`{"alg`)[:6]) {
			t.Errorf("got %q, want none of the token", got)
		}
	}
}

// JO-39: a token of 16 KiB passes, one byte more does not.
func TestTokenSizeLimit(t *testing.T) {
	t.Parallel()
	sized := func(n int) string {
		head := b64(`{"alg":"ES256"}`) + "."
		// 4 characters carry 3 bytes: pad the payload, then the signature.
		payload := b64(`{"a":"` + strings.Repeat("x", 7000) + `"}`)
		rest := n - len(head) - len(payload) - 1
		return head + payload + "." + strings.Repeat("A", rest)
	}
	for n, want := range map[int]error{16384: nil, 16385: wire.ErrLimit} {
		if _, err := wire.ParseCompact(sized(n)); !errors.Is(err, want) {
			t.Errorf("%d bytes: got error %v, want %v", n, err, want)
		}
	}
}

// JO-26: dots cost no memory beyond the error, however many there are.
func TestDotsAllocateNothing(t *testing.T) {
	for _, n := range []int{16 << 10, 1_000_000} {
		in := strings.Repeat(".", n)
		allocs := testing.AllocsPerRun(100, func() {
			if _, err := wire.ParseCompact(in); err == nil {
				t.Error("accepted dots")
			}
		})
		if allocs > 5 {
			t.Errorf("%d dots: got %v allocations, want those of an error only", n, allocs)
		}
	}
}

// TestBase64Sweep tries every string of up to two bytes and every last
// character, and holds them against the definition: one spelling per value.
func TestBase64Sweep(t *testing.T) {
	t.Parallel()
	check := func(s string) {
		t.Helper()
		got, err := wire.DecodeBase64URL(s)
		want, refErr := base64.RawURLEncoding.DecodeString(s)
		canonical := refErr == nil && base64.RawURLEncoding.EncodeToString(want) == s
		if (err == nil) != canonical || err == nil && string(got) != string(want) {
			t.Errorf("%q: got %x, error %v, want canonical %t", s, got, err, canonical)
		}
	}
	check("")
	for a := range 256 {
		check(string([]byte{byte(a)}))
		for b := range 256 {
			check(string([]byte{byte(a), byte(b)}))
			check("AA" + string([]byte{byte(a), byte(b)}))
			check("AAAAAAAAAAAA" + string([]byte{'A', byte(a), byte(b)}))
		}
		for at := range 24 { // the library decodes eight characters at once
			s := []byte(strings.Repeat("A", 24))
			s[at] = byte(a)
			check(string(s))
			check(string(slices.Insert([]byte(strings.Repeat("A", 24)), at, byte(a))))
		}
	}
}

func FuzzParseCompact(f *testing.F) {
	f.Add(token(`{"alg":"ES256","kid":"k"}`, claims))
	f.Add("..")
	f.Add("a.b.c.d.e")
	f.Add(token(`{"alg":"ES256","crit":[]}`, `{}`))
	f.Fuzz(func(t *testing.T, in string) {
		c, err := wire.ParseCompact(in)
		if err != nil {
			if c != nil {
				t.Errorf("%q: got a token beside error %v", in, err)
			}
			return
		}
		if len(in) > wire.MaxToken || c.Raw != in || c.Algorithm() == "" {
			t.Errorf("%q: got %+v", in, c)
		}
		if spelled := c.SigningInput + "." + base64.RawURLEncoding.EncodeToString(c.Signature); spelled != in {
			t.Errorf("%q has a second spelling %q", in, spelled)
		}
		for _, part := range strings.Split(in, ".") {
			if b, err := base64.RawURLEncoding.DecodeString(part); err != nil || b64(string(b)) != part {
				t.Errorf("%q: part %q is not canonical", in, part)
			}
		}
	})
}

func BenchmarkParseCompact(b *testing.B) {
	raw := token(`{"alg":"ES256","typ":"at+jwt","kid":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`, claims)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.ParseCompact(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseCompactDots(b *testing.B) {
	raw := strings.Repeat(".", 16<<10)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.ParseCompact(raw); err == nil {
			b.Fatal("accepted")
		}
	}
}
