package telemetry

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

const (
	none  = "none"  // no name applies
	other = "other" // a value that should not occur, or one too many
)

// The closed sets. They repeat what lower layers define, because those layers
// are not this package's to import; a test holds the two together.
var (
	outcomes = []string{"allow", "deny", "error"}
	codes    = []string{"invalid_request", "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_target",
		"invalid_scope", "invalid_grant", "invalid_dpop_proof", "use_dpop_nonce", "temporarily_unavailable", "too_many_requests",
		"server_error"}
	scopes  = []string{"address", "client", "global"}
	results = []string{"ok", "not_modified", "unreachable", "address", "breaker_open", "status", "malformed", "misconfigured"}
)

// known gives back a member of a closed set.
func known(value string, set []string) string {
	if slices.Contains(set, value) {
		return value
	}
	return other
}

const (
	// maxNames bounds the operators and the peers that get a series of their
	// own. Registered names are few, but they come and go for as long as the
	// process lives, and a series once made stays.
	maxNames  = 10_000
	maxRoutes = 200
	maxLabel  = 128
)

// names admits names to labels as long as there is room. It is safe for
// concurrent use, and reading takes no lock.
type names struct {
	max  int64
	room atomic.Int64
	seen sync.Map // string to string: as registered, to label
}

func newNames(limit int64) *names {
	n := &names{max: limit}
	n.room.Store(limit)
	return n
}

func (n *names) of(name string) string {
	if name == "" {
		return none
	}
	if have, ok := n.seen.Load(name); ok {
		return have.(string)
	}
	if n.room.Add(-1) < 0 {
		n.room.Add(1)
		return other
	}
	// A slice of a larger text would keep all of it.
	name = strings.Clone(name)
	have, raced := n.seen.LoadOrStore(name, label(name))
	if raced {
		n.room.Add(1)
	}
	return have.(string)
}

// label makes a label value: valid UTF-8, without which the client library
// panics, and of bounded length.
func label(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxLabel {
		return s
	}
	cut := maxLabel
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

func statusLabel(status int) string {
	if status < 100 || status > 599 {
		return other
	}
	return strconv.Itoa(status)
}
