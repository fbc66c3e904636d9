// Package ident holds the identifiers that the rest of Comity speaks of:
// trust domains, issuers, audiences, scopes, token types, client identifiers
// and raw credentials. Each can be had only by parsing, so a value of one of
// these types is known to be well formed and is compared byte for byte, as
// RFC 8414 section 3.3 and RFC 7519 section 4.1.1 ask. The package normalises
// nothing: two spellings are two identifiers.
package ident
