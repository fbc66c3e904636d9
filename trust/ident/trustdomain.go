package ident

// IssuerOf is the issuer that a SPIFFE trust domain is, by its SPIFFE ID (SPIFFE-ID
// section 2.1): it names no server, and ParseIssuer accepts none like it. The
// zero Domain gives the zero Issuer.
func IssuerOf(d Domain) Issuer {
	if d.IsZero() {
		return Issuer{}
	}
	return Issuer{uri: "spiffe://" + d.name}
}
