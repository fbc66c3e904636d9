// Package quota counts events and says when there were too many, and remembers
// what may be used once: a GCRA [Limiter] for the broker's own limits,
// [Counters] of clock-aligned and sliding windows for the rate constraints of
// the agent profile (max_requests_per_minute, _hour and _day), and [Once] for
// proofs of possession.
//
// State is in memory, bounded, and never evicted while it counts: a flood of
// keys makes new keys fail, not old ones forget. No goroutine is started; every
// call sweeps a little. Counts are of this process; it shares none with other
// replicas. Package quota/valkey has Counters and Once of the same methods that
// do. When a question cannot be answered the answer is no.
package quota
