package valkey

import (
	"context"
	_ "embed" // for the script
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/comity-auth/comity/federation/quota"
)

//go:embed take.lua
var takeSource string

// takeScript is the script of Counters. It is not changed once made.
var takeScript = redis.NewScript(takeSource)

// Counters counts events of all replicas against the rate constraints of the
// agent profile. It is safe for concurrent use.
type Counters struct{ store *Store }

const (
	// maxLimit is the largest limit that the script can reckon with exactly; a
	// larger one counts as this.
	maxLimit = 1 << 53
	// refused is how long to wait for something that waiting does not mend, and
	// away for a server that did not answer.
	refused = time.Hour
	away    = time.Second
)

// Take counts one event of key in the windows of all rules, or in none of them
// if any has no room, as [quota.Counters.Take] does, by the server's clock. A
// Decision's times are whole microseconds.
//
// The error wraps quota.ErrUnavailable, and quota.ErrFull if the server is there
// and has no memory left. The Decision is then not OK, with a time after which
// to try again. An event whose answer was lost may have been counted.
func (c *Counters) Take(ctx context.Context, key string, rules []quota.Rule, until time.Time) (quota.Decision, error) {
	return c.take(ctx, key, rules, until, "")
}

// take is Take at a time in Unix microseconds, or if empty at the server's.
func (c *Counters) take(ctx context.Context, key string, rules []quota.Rule, until time.Time, at string) (quota.Decision, error) {
	if len(rules) == 0 {
		return quota.Decision{RetryAfter: refused}, nil
	}
	state := name("comity:rate:", key)
	args := append(make([]any, 0, 2+2*len(rules)), at, micros(until))
	for _, r := range rules {
		args = append(args, int(r.Span), min(int64(r.Max), maxLimit))
	}
	reply, err := c.store.run(ctx, takeScript, []string{state, state + ":minute"}, args...).Int64Slice()
	if err != nil {
		err = refusal(err)
	} else if len(reply) != 3 {
		err = fmt.Errorf("%w: the script gave %d values", quota.ErrUnavailable, len(reply))
	}
	if err != nil {
		return quota.Decision{RetryAfter: away}, err
	}
	return quota.Decision{
		OK:         reply[0] == 1,
		RetryAfter: time.Duration(reply[1]) * time.Microsecond,
		Remaining:  int(reply[2]),
	}, nil
}
