// Package keys holds the secrets of one broker: the keys that sign its tokens
// and the master key of its keyed digests.
//
// A [Ring] signs compact JWS (RFC 7515 section 3.1) with ES256 or RS256 (RFC
// 7518 sections 3.4 and 3.3) or EdDSA (RFC 8037 section 3.1), publishes the
// public halves as a JWK Set (RFC 7517 section 5) under their RFC 7638
// thumbprints, and derives MAC keys by HKDF (RFC 5869). A [Seal] encrypts what
// the store keeps, so that no database, dump or backup ever holds a key in the
// clear. [IDs] turns the position of a record into the id that a client sees.
//
// The package verifies no tokens, fetches nothing, knows no claims and does not
// rotate: moving a key from one state to the next is the store's business, and
// the ring follows it on [Ring.Reload]. The seal authenticates a key's id, use
// and algorithm, but not its state: whoever can write to the database can make
// a retired key sign again, but cannot bring in a key of their own.
package keys
