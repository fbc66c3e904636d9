package valkey

import (
	"context"
	_ "embed" // for the script
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed use.lua
var useSource string

// useScript is the script of Once. It is not changed once made.
var useScript = redis.NewScript(useSource)

// Once remembers, for all replicas, what has been used. It is safe for
// concurrent use.
type Once struct{ store *Store }

// Use is true for the first call with key on any replica, and false for every
// later one before until, as [quota.Once.Use] is. From until on, by the server's
// clock, there is no first time; so a replica whose clock lags refuses, and none
// takes what the server has forgotten.
//
// The error wraps quota.ErrUnavailable, and quota.ErrFull if the server is there
// and has no memory left. A use whose answer was lost is used up.
func (o *Once) Use(ctx context.Context, key string, until time.Time) (fresh bool, err error) {
	n, err := o.store.run(ctx, useScript, []string{name("comity:once:", key)}, micros(until)).Int64()
	if err != nil {
		return false, refusal(err)
	}
	return n == 1, nil
}
