// Package quota counts events and says when there were too many: a GCRA
// [Limiter] for the broker's own limits, and [Counters] of clock-aligned and
// sliding windows for the rate constraints of the agent profile
// (max_requests_per_minute, _hour and _day).
//
// State is in memory, bounded, and never evicted while it counts: a flood of
// keys makes new keys fail, not old limits forget. No goroutine is started;
// every call sweeps a little. Counts are of this process; it shares none with
// other replicas. When a question cannot be answered the answer is no.
package quota
