package quota

import (
	"strconv"
	"strings"
)

// Key makes one key of several parts, such as an issuer, a token's id and the
// index of a capability. Different parts make different keys, whatever bytes
// they hold.
func Key(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(strconv.Itoa(len(p)))
		b.WriteByte(':')
		b.WriteString(p)
	}
	return b.String()
}
