// Package broker speaks HTTP for a domain's broker: the token endpoint
// (RFC 6749 section 3.2, RFC 8693), authorization server metadata (RFC 8414 and
// OpenID Connect Discovery 1.0, the same values under both names), the key set
// (RFC 7517) and health. It turns requests into calls and results or faults
// into responses, and decides nothing.
package broker
