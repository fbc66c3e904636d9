// Package aap is the agent authorization profile: what a token says about the
// agent that carries it, its task, what it may do and within which limits.
//
// It implements draft-aap-oauth-profile-01 (claims, lengths, action grammar,
// constraints and how they combine, delegation rules, policy files) and what
// the draft asks of an exchange under RFC 8693. Where the draft, its schemas
// and its vectors contradict each other, the stricter reading is taken and the
// place says so. Short claim names are the only ones written; the aap_* names
// of the -00 draft are read when the caller asks for it.
//
// Claims are read from strictly parsed JSON, once, into types; after that they
// are never changed in place: every operation returns new values that may share
// what they did not change. A constraint that is not understood is kept by name
// and refuses to be written again, because a limit that nobody enforces is a
// wider grant.
//
// The package verifies no token, keeps no counters (rate limits are
// federation/quota's), knows no mapping or peer, draws no trace identifier and
// does no I/O.
package aap
