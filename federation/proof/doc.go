// Package proof ties a token to a key that its holder must prove to have. It
// checks and makes DPoP proofs (RFC 9449), names keys and certificates by
// their thumbprints (RFC 7638, RFC 8705 section 3.1), and reads, writes and
// compares the cnf claim (RFC 7800).
//
// It remembers nothing: that a proof is presented only once is for the caller
// to see to, with [Proof.OnceKey] kept until [Proof.Expires]. It trusts no
// certificate, since whom a certificate names is not its business.
package proof
