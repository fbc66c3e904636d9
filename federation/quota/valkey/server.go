package valkey

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrUnfit means that a server answers, and is not one to keep counts on.
var ErrUnfit = errors.New("valkey: server is not fit for counters")

// fit looks at the answer to INFO. A server that may evict keys would forget
// counts that are in force, and proofs that could be replayed; one older than
// Redis 6.2 lacks commands; one that does not say is not used.
func fit(info string) error {
	major, minor, ok := version(cmp.Or(infoField(info, "redis_version"), infoField(info, "valkey_version")))
	if !ok || infoField(info, "maxmemory_policy") == "" || infoField(info, "maxmemory") == "" {
		return fmt.Errorf("%w: INFO does not tell redis_version, maxmemory and maxmemory_policy", ErrUnfit)
	}
	if major < 6 || major == 6 && minor < 2 {
		return fmt.Errorf("%w: it is older than Redis 6.2", ErrUnfit)
	}
	if infoField(info, "maxmemory") != "0" && infoField(info, "maxmemory_policy") != "noeviction" {
		return fmt.Errorf("%w: it evicts keys; set maxmemory-policy to noeviction", ErrUnfit)
	}
	if infoField(info, "role") == "slave" {
		return fmt.Errorf("%w: it is a replica", ErrUnfit)
	}
	return nil
}

// infoField is the value of one line, empty if there is none.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func version(s string) (major, minor int, ok bool) {
	parts := strings.SplitN(s, ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return 0, 0, false
	}
	minor, err = strconv.Atoi(parts[1])
	return major, minor, err == nil
}
