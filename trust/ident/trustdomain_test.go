package ident_test

import (
	"testing"

	"github.com/comity-auth/comity/trust/ident"
)

// A trust domain is an issuer that no other kind of issuer can be.
func TestIssuerOf(t *testing.T) {
	t.Parallel()
	i := ident.IssuerOf(ident.MustDomain("acme.example"))
	if i.String() != "spiffe://acme.example" || i.IsZero() {
		t.Errorf("IssuerOf = %q", i)
	}
	if _, err := ident.ParseIssuer(i.String()); err == nil {
		t.Error("ParseIssuer accepts it too")
	}
	if !ident.IssuerOf(ident.Domain{}).IsZero() {
		t.Error("the zero domain is an issuer")
	}
}
