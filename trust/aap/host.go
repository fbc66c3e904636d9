package aap

import (
	"net/netip"
	"slices"
	"strings"
)

const (
	maxHost  = 253
	maxLabel = 63
)

// HostAllowed reports whether a request to host, as it stands in a URL (with or
// without port), is within the lists. A blocked entry wins over an allowed one.
// With either list set it fails closed: on no host, on a host that is not one,
// and on a blocked entry that cannot be understood. An allowed entry that is
// not a plain host name, such as "*.example.org", matches nothing.
func HostAllowed(host string, allowed, blocked []string) bool {
	if allowed == nil && len(blocked) == 0 {
		return true
	}
	name, ok := hostOf(host)
	if !ok {
		return false
	}
	for _, entry := range blocked {
		if e, ok := blockedEntry(entry); !ok || under(name, e) {
			return false
		}
	}
	return allowed == nil || slices.ContainsFunc(allowed, func(entry string) bool {
		e, ok := allowedEntry(entry)
		return ok && under(name, e)
	})
}

// under reports whether name is entry or lies below it, label by label. Both
// are in the form that is compared, in which an address lies below nothing.
func under(name, entry string) bool {
	rest, ok := strings.CutSuffix(name, entry)
	return ok && (rest == "" || rest[len(rest)-1] == '.')
}

func topLabel(s string) string { return s[strings.LastIndexByte(s, '.')+1:] }

// isNumber reports whether a top label makes an address of a name, or nothing:
// some read 0x7f.0x1 as one too (the URL Standard, inet_aton).
func isNumber(label string) bool { return digits(label) || strings.HasPrefix(label, "0x") }

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// hostOf takes the port and the root dot off a URL's host and lowers its case.
func hostOf(s string) (string, bool) {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		addr, after, closed := strings.Cut(rest, "]")
		a, err := netip.ParseAddr(addr)
		if !closed || err != nil || !a.Is6() || a.Zone() != "" || after != "" && !isPort(after) {
			return "", false
		}
		return a.Unmap().String(), true
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		if !isPort(s[i:]) {
			return "", false
		}
		s = s[:i]
	}
	return allowedEntry(s)
}

func isPort(s string) bool {
	return strings.HasPrefix(s, ":") && len(s) <= 6 && digits(s[1:])
}

// allowedEntry is an entry in the form that is compared; false if it is no
// host name and so matches nothing.
func allowedEntry(s string) (string, bool) {
	if strings.Contains(s, ":") {
		a, err := netip.ParseAddr(s)
		return a.String(), err == nil && a.Zone() == ""
	}
	s = strings.TrimSuffix(strings.ToLower(s), ".")
	return s, isHostname(s) && (!isNumber(topLabel(s)) || isAddress(s))
}

// blockedEntry reads "*.example.org" and ".example.org" as "example.org":
// to block too much is the safe mistake.
func blockedEntry(s string) (string, bool) {
	return allowedEntry(strings.TrimPrefix(strings.TrimPrefix(s, "*"), "."))
}

// isHostname accepts lower-case ASCII host names (RFC 1123 section 2.1, with
// the underscores that are found in practice).
func isHostname(s string) bool {
	if s == "" || len(s) > maxHost {
		return false
	}
	label := 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '.':
			if label == 0 || s[i-1] == '-' {
				return false
			}
			label = 0
			continue
		case c == '-' && label == 0:
			return false
		case !('a' <= c && c <= 'z') && !isDigit(c) && c != '-' && c != '_':
			return false
		}
		if label++; label > maxLabel {
			return false
		}
	}
	return label > 0 && s[len(s)-1] != '-'
}
