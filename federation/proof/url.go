package proof

import "strings"

// target is the part of a URL that htu names (RFC 9449 section 4.2), after the
// normalisation of RFC 3986 sections 6.2.2.1 and 6.2.3. It is only compared
// with one of ours, so nothing else about it needs to hold.
type target struct {
	scheme, host, path string
}

func parseTarget(s string) (target, bool) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return target{}, false
	}
	scheme = strings.ToLower(scheme)
	if end := strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end]
	}
	host, path := rest, "/"
	if slash := strings.IndexByte(rest, '/'); slash >= 0 {
		host, path = rest[:slash], rest[slash:]
	}
	host = strings.ToLower(host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	default:
		return target{}, false
	}
	// An empty port is the default port (RFC 3986 section 3.2.3).
	host = strings.TrimSuffix(host, ":")
	return target{scheme, host, path}, host != ""
}

// sameURL reports whether htu names one of ours.
func sameURL(htu string, ours []string) bool {
	got, ok := parseTarget(htu)
	if !ok {
		return false
	}
	for _, u := range ours {
		if want, ok := parseTarget(u); ok && want == got {
			return true
		}
	}
	return false
}
