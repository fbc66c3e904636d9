package spiffe

import (
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Scheme is how every SPIFFE ID begins.
const Scheme = "spiffe://"

// maxID bounds a SPIFFE ID in bytes (SPIFFE-ID section 2.3).
const maxID = 2048

// DomainOf is the trust domain of a workload's SPIFFE ID; empty when the text is
// none. A workload's ID has a path (X509-SVID section 4.1).
func DomainOf(id string) string {
	if len(id) > maxID || !strings.HasPrefix(id, Scheme) {
		return ""
	}
	parsed, err := spiffeid.FromString(id)
	if err != nil || parsed.Path() == "" {
		return ""
	}
	return parsed.TrustDomain().Name()
}
