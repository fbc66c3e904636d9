// Package wire reads JSON and compact JWS strictly, before any library sees
// them. JSON is RFC 8259 narrowed to I-JSON (RFC 7493): names are exact and
// never repeated, text is valid Unicode, nothing follows the document, and
// every dimension is bounded. Tokens are RFC 7515 section 7.1 compact
// serialization and nothing else, with base64url that has one spelling only
// (RFC 4648 section 3.5).
//
// The package proves nothing: it verifies no signature, chooses no key and
// judges no claim. It knows no JWE (RFC 7516), no JWS JSON serialization, no
// unencoded payload (RFC 7797) and no critical header extension.
//
// Errors say where the input is wrong and never repeat any of it.
package wire
