package valkey

import (
	"context"
	"strconv"
	"time"

	"github.com/comity-auth/comity/federation/quota"
)

// What the tests need beyond the exported surface: another time than the
// server's, and the pure parts.

// TakeAt is Take at a time of the test's.
func (c *Counters) TakeAt(ctx context.Context, now time.Time, key string, rules []quota.Rule, until time.Time) (quota.Decision, error) {
	return c.take(ctx, key, rules, until, strconv.FormatInt(now.UnixMicro(), 10))
}

// Fit is fit.
func Fit(info string) error { return fit(info) }

// ParseURL is parseURL; it gives what would be dialled.
func ParseURL(s string) (host string, err error) {
	a, err := parseURL(s)
	return a.host, err
}
