// Package trust is what a domain believes and what it remembers: the registry
// of peers, resources, clients, mappings and policies, compiled into one
// immutable [Snapshot]; the decision, a pure function of a snapshot and an
// [Ask]; and the ledger that makes a decision, the one-time identifiers it used
// up and its record durable in a single commit.
//
// The registry is read on every request and changed now and then, so a store
// hands out its whole [State] and takes in one [Change]; nothing is queried
// from it on the way to a decision. The package speaks neither HTTP nor any
// token format, and it never imports package federation.
package trust
