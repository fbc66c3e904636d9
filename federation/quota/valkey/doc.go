// Package valkey shares the state of package quota between replicas, in one
// Valkey or Redis server: [Counters] of the rate constraints of the agent
// profile and [Once] for proofs of possession. Their methods are those of
// [quota.Counters] and [quota.Once], and the arithmetic is the same.
//
// Every call is one script, so it is one round trip and happens as a whole or
// not at all. Time is the server's. Keys are digests, hash-tagged, and expire
// with what they count. When the server is away, slow, full or not fit, the
// error wraps [quota.ErrUnavailable], and whoever asked must refuse.
//
// What the server must be, and what is lost with it, is in
// docs/explanation/rate-counters.md. Cluster and sentinel clients are not built.
package valkey
