package proof_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/federation/wire"
)

const (
	thumbA = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	thumbB = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
)

func TestParseConfirmation(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, claims string
		want         proof.Confirmation
		ok           bool
	}{
		{"no cnf is a bearer token", `{}`, proof.Confirmation{}, true},
		{"accepts a key", `{"cnf":{"jkt":"` + thumbA + `"}}`, proof.Confirmation{JKT: thumbA}, true},
		{"accepts a certificate", `{"cnf":{"x5t#S256":"` + thumbA + `"}}`, proof.Confirmation{X5TS256: thumbA}, true},
		{"accepts both", `{"cnf":{"jkt":"` + thumbA + `","x5t#S256":"` + thumbB + `"}}`, proof.Confirmation{JKT: thumbA, X5TS256: thumbB}, true},
		{"rejects empty", `{"cnf":{}}`, proof.Confirmation{}, false},
		{"rejects null", `{"cnf":null}`, proof.Confirmation{}, false},
		{"rejects a string", `{"cnf":"` + thumbA + `"}`, proof.Confirmation{}, false},
		{"rejects a list", `{"cnf":[]}`, proof.Confirmation{}, false},
		{"rejects jwk", `{"cnf":{"jwk":{"kty":"EC"}}}`, proof.Confirmation{}, false},
		{"rejects kid", `{"cnf":{"kid":"a"}}`, proof.Confirmation{}, false},
		{"rejects a known member beside an unknown one", `{"cnf":{"jkt":"` + thumbA + `","kid":"a"}}`, proof.Confirmation{}, false},
		{"rejects JKT in capitals", `{"cnf":{"JKT":"` + thumbA + `"}}`, proof.Confirmation{}, false},
		{"rejects x5t", `{"cnf":{"x5t":"` + thumbA + `"}}`, proof.Confirmation{}, false},
		{"rejects a number", `{"cnf":{"jkt":7}}`, proof.Confirmation{}, false},
		{"rejects an empty thumbprint", `{"cnf":{"jkt":""}}`, proof.Confirmation{}, false},
		{"rejects an empty one beside a good one", `{"cnf":{"jkt":"` + thumbA + `","x5t#S256":""}}`, proof.Confirmation{}, false},
		{"rejects hexadecimal", `{"cnf":{"jkt":"` + strings.Repeat("ab", 32) + `"}}`, proof.Confirmation{}, false},
		{"rejects a padded thumbprint", `{"cnf":{"jkt":"` + thumbA + `="}}`, proof.Confirmation{}, false},
		{"rejects trailing bits", `{"cnf":{"jkt":"` + bump(thumbA) + `"}}`, proof.Confirmation{}, false},
		{"rejects a shorter digest", `{"cnf":{"jkt":"` + thumbA[:27] + `"}}`, proof.Confirmation{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, err := wire.ParseObject([]byte(tt.claims), wire.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			got, err := proof.ParseConfirmation(m)
			if got != tt.want || (err == nil) != tt.ok || err != nil && !errors.Is(err, proof.ErrConfirmation) {
				t.Fatalf("got %+v, error %v; want %+v, ok %v", got, err, tt.want, tt.ok)
			}
			if got.IsZero() {
				return
			}
			text, err := json.Marshal(object{"cnf": got})
			if err != nil || string(text) != tt.claims {
				t.Errorf("Marshal = %s, error %v, want %s", text, err, tt.claims)
			}
		})
	}
}

func TestCL35BothMembersMustBeSatisfied(t *testing.T) {
	t.Parallel()
	both := proof.Confirmation{JKT: thumbA, X5TS256: thumbB}
	tests := []struct {
		name      string
		bound, by proof.Confirmation
		ok        bool
	}{
		{"both by both", both, both, true},
		{"key by key", proof.Confirmation{JKT: thumbA}, proof.Confirmation{JKT: thumbA}, true},
		{"key by both", proof.Confirmation{JKT: thumbA}, both, true},
		{"certificate by both", proof.Confirmation{X5TS256: thumbB}, both, true},
		{"both by key only", both, proof.Confirmation{JKT: thumbA}, false},
		{"both by certificate only", both, proof.Confirmation{X5TS256: thumbB}, false},
		{"both by key and another certificate", both, proof.Confirmation{JKT: thumbA, X5TS256: thumbA}, false},
		{"both by certificate and another key", both, proof.Confirmation{JKT: thumbB, X5TS256: thumbB}, false},
		{"both by members swapped", both, proof.Confirmation{JKT: thumbB, X5TS256: thumbA}, false},
		{"both by nothing", both, proof.Confirmation{}, false},
		{"CL-33: key by nothing", proof.Confirmation{JKT: thumbA}, proof.Confirmation{}, false},
		{"key by another key", proof.Confirmation{JKT: thumbA}, proof.Confirmation{JKT: thumbB}, false},
		{"key by a certificate of that digest", proof.Confirmation{JKT: thumbA}, proof.Confirmation{X5TS256: thumbA}, false},
		{"nothing by nothing", proof.Confirmation{}, proof.Confirmation{}, false},
		{"nothing by both", proof.Confirmation{}, both, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.bound.Satisfied(tt.by); got != tt.ok {
				t.Errorf("Satisfied = %v, want %v", got, tt.ok)
			}
		})
	}
}

func TestConfirmationMarshal(t *testing.T) {
	t.Parallel()
	for _, c := range []proof.Confirmation{{}, {JKT: `"}`}, {JKT: thumbA, X5TS256: "x"}} {
		if text, err := json.Marshal(c); !errors.Is(err, proof.ErrConfirmation) {
			t.Errorf("Marshal of %+v = %s, error %v, want ErrConfirmation", c, text, err)
		}
	}
	text, err := json.Marshal(struct {
		CNF proof.Confirmation `json:"cnf,omitzero"`
	}{})
	if err != nil || string(text) != "{}" {
		t.Errorf("zero with omitzero: %s, error %v", text, err)
	}
}

func TestOfCertificate(t *testing.T) {
	t.Parallel()
	raw := []byte("certificate")
	sum := sha256.Sum256(raw)
	if got := proof.OfCertificate(&x509.Certificate{Raw: raw}); got != (proof.Confirmation{X5TS256: b64(sum[:])}) {
		t.Errorf("got %+v", got)
	}
	for _, cert := range []*x509.Certificate{nil, {}} {
		if got := proof.OfCertificate(cert); !got.IsZero() {
			t.Errorf("without a certificate: %+v", got)
		}
	}
}
