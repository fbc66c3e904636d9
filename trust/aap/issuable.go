package aap

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// CheckIssuable reports why the claims must not be written into a token: what
// Parse refuses, and beyond it what is tolerated from others only. It is the
// last look before signing. Errors wrap ErrNotIssuable and name the path.
func (c *Claims) CheckIssuable() error {
	if c == nil || c.Agent == nil || c.Task == nil || len(c.Capabilities) == 0 {
		return notIssuable("agent, task or capabilities", "is missing")
	}
	if len(c.Capabilities) > maxCapabilities {
		return notIssuable("capabilities", "has too many entries")
	}
	for _, l := range []struct {
		path, value string
		limit       int
	}{
		{"agent.id", c.Agent.ID, maxOrigin},
		{"agent.type", c.Agent.Type, maxType},
		{"agent.operator", c.Agent.Operator, maxOperator},
		{"task.id", c.Task.ID, maxOrigin},
		{"task.purpose", c.Task.Purpose, defaultPurpose},
	} {
		if l.value == "" || utf8.RuneCountInString(l.value) > l.limit {
			return notIssuable(l.path, "is missing or too long")
		}
	}
	for i, capability := range c.Capabilities {
		if err := capability.CheckIssuable(); err != nil {
			return fmt.Errorf("capabilities[%d]: %w", i, err)
		}
	}
	if o := c.Oversight; o != nil && o.ApprovalReference != "" && !isURI(o.ApprovalReference) {
		return notIssuable("oversight.approval_reference", "is not a URI")
	}
	if a := c.Audit; a != nil && (a.TraceID == "" || utf8.RuneCountInString(a.TraceID) > maxTrace) {
		return notIssuable("audit.trace_id", "is missing or too long")
	}
	return c.Delegation.checkIssuable()
}

func notIssuable(path, what string) error {
	return fmt.Errorf("%w: %s %s", ErrNotIssuable, path, what)
}

func (d *Delegation) checkIssuable() error {
	switch {
	case d == nil:
		return nil
	case d.Depth < 0 || d.MaxDepth > maxDepth || d.Depth > d.MaxDepth:
		return notIssuable("delegation.depth", "is out of range")
	case len(d.Chain) != d.Depth+1:
		return notIssuable("delegation.chain", "does not have depth+1 entries")
	case d.Depth > 0 && d.ParentJTI == "":
		return notIssuable("delegation.parent_jti", "is missing")
	}
	for _, holder := range d.Chain {
		if holder == "" || utf8.RuneCountInString(holder) > maxOrigin {
			return notIssuable("delegation.chain", "has an entry that is empty or too long")
		}
	}
	return nil
}

// CheckIssuable reports why the capability must not be written. Conditions are
// refused because no rule says what they mean.
func (c Capability) CheckIssuable() error {
	if c.Action.IsZero() {
		return notIssuable("action", "is missing")
	}
	if len(c.Conditions) > 0 {
		return notIssuable("conditions", "have no defined meaning")
	}
	for _, r := range c.Resources {
		if !isURI(strings.TrimSuffix(r, "/*")) || strings.Contains(strings.TrimSuffix(r, "/*"), "*") {
			return notIssuable("resources", "has an entry that is neither a URI nor one with a trailing /*")
		}
	}
	return c.Constraints.CheckIssuable()
}

// CheckIssuable reports why the constraints must not be written, nor accepted
// in configuration: unknown names, entries that match nothing, numbers out of
// range, a window without inside.
func (c Constraints) CheckIssuable() error {
	if len(c.unknown) > 0 {
		return notIssuable("constraints", "hold a name that is not known")
	}
	if err := c.checkNumbers(); err != nil {
		return err
	}
	if err := c.checkLists(); err != nil {
		return err
	}
	if w := c.TimeWindow; w != nil && !w.Start.Before(w.End) {
		return notIssuable("time_window", "does not end after it starts")
	}
	if !c.Satisfiable() {
		return notIssuable("constraints", "cannot be satisfied")
	}
	return nil
}

func (c Constraints) checkNumbers() error {
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"max_requests_per_minute", c.MaxRequestsPerMinute},
		{"max_requests_per_hour", c.MaxRequestsPerHour},
		{"max_requests_per_day", c.MaxRequestsPerDay},
		{"max_request_size", c.MaxRequestSize},
		{"max_response_size", c.MaxResponseSize},
	} {
		if n.value < 0 || n.value > maxInteger {
			return notIssuable(n.name, "is out of range")
		}
	}
	if c.MaxDepth != nil && (*c.MaxDepth < 0 || *c.MaxDepth > maxDepth) {
		return notIssuable("max_depth", "is out of range")
	}
	if c.DataClassificationMax > Restricted {
		return notIssuable("data_classification_max", "is out of range")
	}
	return nil
}

func (c Constraints) checkLists() error {
	badMethod := func(m string) bool { return !slices.Contains(knownMethods(), m) }
	badRange := func(p netip.Prefix) bool { return !p.IsValid() || p != plainPrefix(p) }
	switch {
	case c.emptyList():
		return notIssuable("constraints", "hold a list that allows nothing")
	case slices.ContainsFunc(c.DomainsAllowed, badDomain):
		return notIssuable("domains_allowed", "has an entry that is not a plain lower-case host name")
	case slices.ContainsFunc(c.DomainsBlocked, badDomain):
		return notIssuable("domains_blocked", "has an entry that is not a plain lower-case host name")
	case slices.ContainsFunc(c.IPRangesAllowed, badRange):
		return notIssuable("ip_ranges_allowed", "has an entry that is not a CIDR range")
	case slices.ContainsFunc(c.AllowedMethods, badMethod):
		return notIssuable("allowed_methods", "has an entry outside the set")
	case slices.ContainsFunc(c.AllowedRegions, badRegion):
		return notIssuable("allowed_regions", "has an entry that is not an ISO 3166-1 alpha-2 code")
	}
	return nil
}

// badDomain refuses wildcards, leading and trailing dots, capitals and numeric
// top labels, which are addresses or nothing.
func badDomain(s string) bool {
	return !isHostname(s) || digits(topLabel(s))
}

func badRegion(s string) bool {
	return len(s) != 2 || !strings.Contains(regions, " "+s+" ")
}

// isURI accepts an absolute URI (RFC 3986 section 4.3) of printable ASCII.
func isURI(s string) bool {
	if len(s) > maxURI || strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && u.IsAbs() && (u.Host != "" || u.Opaque != "" || u.Path != "")
}

// regions holds the officially assigned codes of ISO 3166-1 alpha-2.
const regions = " AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ" +
	" BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ" +
	" CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ" +
	" DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR" +
	" GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY" +
	" HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP" +
	" KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY" +
	" MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ" +
	" NA NC NE NF NG NI NL NO NP NR NU NZ OM" +
	" PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW" +
	" SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ" +
	" TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ" +
	" VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW "
