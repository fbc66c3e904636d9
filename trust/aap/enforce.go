package aap

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The predicates a resource server asks. Each looks at one constraint only, is
// pure, and answers true when that constraint is absent. What the request does
// not say ("" or a zero value) does not satisfy a constraint that is there.

// AllowsHost asks for the host of the request's target URL; see HostAllowed.
func (c Constraints) AllowsHost(host string) bool {
	return HostAllowed(host, c.DomainsAllowed, c.DomainsBlocked)
}

// AllowsTime asks for the instant of the request.
func (c Constraints) AllowsTime(now time.Time) bool {
	return c.TimeWindow == nil || c.TimeWindow.Contains(now)
}

// AllowsMethod asks for the HTTP method, which is case-sensitive (RFC 9110
// section 9.1).
func (c Constraints) AllowsMethod(method string) bool {
	return c.AllowedMethods == nil || slices.Contains(c.AllowedMethods, method)
}

// AllowsIP asks for the address that the request is going to.
func (c Constraints) AllowsIP(addr netip.Addr) bool {
	if c.IPRangesAllowed == nil {
		return true
	}
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(c.IPRangesAllowed, func(p netip.Prefix) bool {
		return plainPrefix(p).Contains(addr)
	})
}

// AllowsRegion asks for an ISO 3166-1 alpha-2 code, in either case.
func (c Constraints) AllowsRegion(region string) bool {
	return c.AllowedRegions == nil || slices.ContainsFunc(c.AllowedRegions, func(r string) bool {
		return strings.EqualFold(r, region)
	})
}

// AllowsClassification asks for the label of the resource; a resource without
// one (zero) satisfies no limit.
func (c Constraints) AllowsClassification(label Classification) bool {
	if c.DataClassificationMax == 0 {
		return true
	}
	return label >= Public && label <= c.DataClassificationMax
}

// AllowsDepth asks for the delegation depth of the token.
func (c Constraints) AllowsDepth(depth int) bool {
	return c.MaxDepth == nil || depth >= 0 && depth <= *c.MaxDepth
}

// AllowsRequestSize asks for the size of the request in bytes; a negative size
// is unknown, as net/http has it.
func (c Constraints) AllowsRequestSize(size int64) bool {
	return c.MaxRequestSize == 0 || size >= 0 && size <= c.MaxRequestSize
}

// AllowsAmount asks for the amount at stake, which from the threshold on needs
// a human; so does an amount that is not known (zero).
func (c Constraints) AllowsAmount(amount Amount) bool {
	return c.RequireApprovalThreshold.IsZero() ||
		!amount.IsZero() && amount.Compare(c.RequireApprovalThreshold) < 0
}

// AllowsPlaintext reports whether the request may come without TLS.
func (c Constraints) AllowsPlaintext() bool { return !c.RequireEncryption }

// For returns the places of the capabilities with the action, in order. They
// are alternatives: the first that passes in full decides.
func (c *Claims) For(a Action) []int {
	var out []int
	for i, capability := range c.Capabilities {
		if !a.IsZero() && capability.Action == a {
			out = append(out, i)
		}
	}
	return out
}
