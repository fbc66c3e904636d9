package ident

// The functions of this file panic; they are for constants and tests only.

// MustDomain parses a constant.
func MustDomain(s string) Domain { return must(ParseDomain(s)) }

// MustIssuer parses a constant.
func MustIssuer(s string) Issuer { return must(ParseIssuer(s)) }

// MustAudience parses a constant.
func MustAudience(s string) Audience { return must(ParseAudience(s)) }

// MustClientID parses a constant.
func MustClientID(s string) ClientID { return must(ParseClientID(s)) }

// MustName parses a constant.
func MustName(s string) Name { return must(ParseName(s)) }

// MustScopes parses a constant.
func MustScopes(s string) Scopes { return must(ParseScopes(s)) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
