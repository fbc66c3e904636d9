// Package federation meets other domains on the wire: it discovers an issuer's
// metadata (OpenID Connect Discovery 1.0, RFC 8414), keeps its key sets, and
// verifies the tokens it signed (RFC 7515, RFC 7519, RFC 8725). It knows
// nothing of policy: whom to trust and for what is said by the caller, in a
// [Peer] taken from one snapshot of the registry, and an issuer nobody
// registered causes no network traffic, since nothing here can be reached
// without a Peer.
package federation
