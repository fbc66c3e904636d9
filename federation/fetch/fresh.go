package fetch

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxFresh keeps absurd max-age values away from arithmetic.
const maxFresh = 10 * 365 * 24 * time.Hour

// freshness computes what is left of a response's freshness lifetime (RFC 9111
// section 4.2) for a private cache. Of several values the least counts, and
// what cannot be parsed counts as zero (section 4.2.1).
func freshness(h http.Header) (left time.Duration, explicit bool) {
	life := time.Duration(math.MaxInt64)
	for _, line := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "no-store", "no-cache":
				life = 0
			case "max-age":
				life = min(life, seconds(value))
			}
		}
	}
	if life == math.MaxInt64 {
		return 0, false
	}
	var age time.Duration
	for _, line := range h.Values("Age") {
		age = max(age, seconds(line))
	}
	return max(life-age, 0), true
}

// seconds parses delta-seconds (RFC 9111 section 1.2.2): garbage is zero, and
// too large is large.
func seconds(s string) time.Duration {
	s = strings.Trim(strings.TrimSpace(s), `"`)
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > int64(maxFresh/time.Second) {
		return maxFresh
	}
	return time.Duration(n) * time.Second
}
