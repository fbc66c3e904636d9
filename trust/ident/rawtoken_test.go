package ident_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/comity-auth/comity/trust/ident"
)

const secret = "s3cr3t-eyJhbGciOi"

// holder keeps a credential in every kind of field.
type holder struct {
	Public  ident.RawToken
	private ident.RawToken
	pointer *ident.RawToken
	list    []ident.RawToken
	table   map[string]ident.RawToken
	any     any
	Nested  struct{ inner ident.RawToken }
}

func held() holder {
	raw := ident.NewRawToken(secret)
	h := holder{Public: raw, private: raw, pointer: &raw, list: []ident.RawToken{raw},
		table: map[string]ident.RawToken{"k": raw}, any: raw}
	h.Nested.inner = raw
	return h
}

// shapes are the values somebody might print.
func shapes() map[string]any {
	raw, h := ident.NewRawToken(secret), held()
	return map[string]any{
		"itself": raw, "a pointer to it": &raw, "a list": []ident.RawToken{raw}, "an array": [1]ident.RawToken{raw},
		"a map": map[string]ident.RawToken{"k": raw}, "a map key": map[ident.RawToken]int{raw: 1},
		"a struct": h, "a pointer to a struct": &h, "structs": []holder{h},
		"any": []any{raw, h}, "an unnamed struct": struct{ t ident.RawToken }{raw},
		"an error": fmt.Errorf("use %v: %w", raw, errors.New("refused")),
	}
}

// refuse fails when the text holds the secret, plainly or in a fmt disguise.
func refuse(t *testing.T, what, text string) {
	t.Helper()
	low := strings.ToLower(text)
	for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("% x", secret), strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]")} {
		if strings.Contains(low, strings.ToLower(form)) {
			t.Errorf("%s prints the credential: %s", what, text)
		}
	}
}

func TestRawTokenNeverPrintsByAnyVerb(t *testing.T) {
	t.Parallel()
	for name, v := range shapes() {
		for verb := byte('A'); verb <= 'z'; verb++ {
			for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "40", ".64", "-40.64"} {
				refuse(t, name+" by %"+flags+string(verb), fmt.Sprintf("%"+flags+string(verb), v))
			}
		}
		refuse(t, name+" by Println", fmt.Sprintln(v))
	}
	if got := fmt.Sprintf("%s %v %+v %#v %q %x %d", raw7()...); strings.Count(got, "[redacted]") != 7 {
		t.Errorf("got %q, want seven fixed texts", got)
	}
}

func raw7() []any {
	out := make([]any, 7)
	for i := range out {
		out[i] = ident.NewRawToken(secret)
	}
	return out
}

func TestRawTokenNeverPrintsByAnEncoder(t *testing.T) {
	t.Parallel()
	for name, v := range shapes() {
		// What cannot be encoded is not printed either.
		if out, err := json.Marshal(v); err == nil {
			refuse(t, name+" as JSON", string(out))
		} else {
			refuse(t, name+" as a JSON error", err.Error())
		}
		if out, err := xml.Marshal(v); err == nil {
			refuse(t, name+" as XML", string(out))
		}
	}
	out, err := json.Marshal(struct{ Token ident.RawToken }{ident.NewRawToken(secret)})
	if err != nil || string(out) != `{"Token":"[redacted]"}` {
		t.Errorf("got %s, %v", out, err)
	}
}

func TestRawTokenNeverPrintsByALogger(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		for name, v := range shapes() {
			out.Reset()
			log := slog.New(h)
			log.Info("x", "v", v)
			log.With("v", v).WithGroup("g").Info("x", slog.Group("h", "v", v))
			refuse(t, name+" by slog", out.String())
		}
		out.Reset()
		slog.New(h).Info("x", "v", ident.NewRawToken(secret))
		if !strings.Contains(out.String(), "[redacted]") {
			t.Errorf("got %q, want the fixed text", out.String())
		}
	}
}

func TestRawTokenRevealsOnlyByName(t *testing.T) {
	t.Parallel()
	raw := ident.NewRawToken(secret)
	if raw.Reveal() != secret || raw.IsZero() {
		t.Errorf("got %q, zero %t", raw.Reveal(), raw.IsZero())
	}
	for _, zero := range []ident.RawToken{{}, ident.NewRawToken("")} {
		if zero.Reveal() != "" || !zero.IsZero() {
			t.Errorf("the zero credential reveals %q", zero.Reveal())
		}
		if got := fmt.Sprint(zero); got != "[redacted]" {
			t.Errorf("the zero credential prints %q: its absence shows", got)
		}
	}
	// Two credentials are never equal by ==: comparison is the business of
	// whoever can do it in constant time.
	if raw == ident.NewRawToken(secret) {
		t.Error("credentials compare by their text")
	}
}
