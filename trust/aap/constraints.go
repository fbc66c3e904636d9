package aap

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Constraints limits one capability. All that are set hold together; the zero
// Constraints limits nothing, as the draft says of {} and of absence.
//
// A nil list is absent. A list that is there and empty allows nothing: it comes
// of combining lists with nothing in common, and is never written.
type Constraints struct {
	MaxRequestsPerMinute int64 `json:"max_requests_per_minute,omitempty"` // sliding; 0 is absent
	MaxRequestsPerHour   int64 `json:"max_requests_per_hour,omitempty"`   // by the UTC clock hour; 0 is absent
	MaxRequestsPerDay    int64 `json:"max_requests_per_day,omitempty"`    // by the UTC day; 0 is absent

	DomainsAllowed  []string       `json:"domains_allowed,omitempty"` // a host equal to or under an entry
	DomainsBlocked  []string       `json:"domains_blocked,omitempty"` // checked first, wins
	IPRangesAllowed []netip.Prefix `json:"ip_ranges_allowed,omitempty"`
	TimeWindow      *TimeWindow    `json:"time_window,omitempty"`
	MaxDepth        *int           `json:"max_depth,omitempty"` // 0 to 10; 0 may not be delegated

	MaxRequestSize        int64          `json:"max_request_size,omitempty"`  // bytes; 0 is absent
	MaxResponseSize       int64          `json:"max_response_size,omitempty"` // bytes; 0 is absent
	DataClassificationMax Classification `json:"data_classification_max,omitzero"`
	AllowedMethods        []string       `json:"allowed_methods,omitempty"`
	AllowedRegions        []string       `json:"allowed_regions,omitempty"` // ISO 3166-1 alpha-2, upper case

	RequireApprovalThreshold Amount `json:"require_approval_threshold,omitzero"`
	RequireEncryption        bool   `json:"require_encryption,omitempty"`

	unknown []string // sorted names of constraints this package does not know
}

const maxDepth = 10

// Unknown lists the names of constraints that are not understood. Whoever
// enforces or translates must refuse them or say why not; the names are the
// sender's choosing.
func (c Constraints) Unknown() []string { return slices.Clone(c.unknown) }

// Names lists the constraints that are set, sorted, unknown ones included.
func (c Constraints) Names() []string {
	set := []struct {
		name string
		is   bool
	}{
		{"allowed_methods", c.AllowedMethods != nil},
		{"allowed_regions", c.AllowedRegions != nil},
		{"data_classification_max", c.DataClassificationMax != 0},
		{"domains_allowed", c.DomainsAllowed != nil},
		{"domains_blocked", len(c.DomainsBlocked) > 0},
		{"ip_ranges_allowed", c.IPRangesAllowed != nil},
		{"max_depth", c.MaxDepth != nil},
		{"max_request_size", c.MaxRequestSize != 0},
		{"max_requests_per_day", c.MaxRequestsPerDay != 0},
		{"max_requests_per_hour", c.MaxRequestsPerHour != 0},
		{"max_requests_per_minute", c.MaxRequestsPerMinute != 0},
		{"max_response_size", c.MaxResponseSize != 0},
		{"require_approval_threshold", !c.RequireApprovalThreshold.IsZero()},
		{"require_encryption", c.RequireEncryption},
		{"time_window", c.TimeWindow != nil},
	}
	names := slices.Clone(c.unknown)
	for _, s := range set {
		if s.is {
			names = append(names, s.name)
		}
	}
	slices.Sort(names)
	return names
}

// IsZero reports whether nothing is limited.
func (c Constraints) IsZero() bool { return len(c.Names()) == 0 }

// HasRate reports whether any of the constraints counts requests.
func (c Constraints) HasRate() bool {
	return c.MaxRequestsPerMinute != 0 || c.MaxRequestsPerHour != 0 || c.MaxRequestsPerDay != 0
}

// Equal reports whether both limit exactly alike.
func (c Constraints) Equal(o Constraints) bool { return c.key() == o.key() }

// MarshalJSON writes the claim. It refuses what the claim could not say: an
// unknown constraint, or a list that allows nothing and would read as absent.
func (c Constraints) MarshalJSON() ([]byte, error) {
	if len(c.unknown) > 0 {
		return nil, fmt.Errorf("%w: an unknown constraint", ErrNotIssuable)
	}
	if c.emptyList() {
		return nil, fmt.Errorf("%w: a list that allows nothing", ErrNotIssuable)
	}
	type plain Constraints
	return json.Marshal(plain(c))
}

// emptyList reports whether some list is there and empty.
func (c Constraints) emptyList() bool {
	return c.DomainsAllowed != nil && len(c.DomainsAllowed) == 0 ||
		c.IPRangesAllowed != nil && len(c.IPRangesAllowed) == 0 ||
		c.AllowedMethods != nil && len(c.AllowedMethods) == 0 ||
		c.AllowedRegions != nil && len(c.AllowedRegions) == 0
}

// UnmarshalJSON reads one constraints object as ParseConstraints does.
func (c *Constraints) UnmarshalJSON(b []byte) error {
	m, err := decodeStrict(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConstraint, err)
	}
	*c, err = ParseConstraints(m)
	return err
}

// ParseConstraints reads one constraints object with json.Number numbers.
// Errors wrap ErrConstraint; unknown names are kept, see Unknown.
func ParseConstraints(m map[string]any) (Constraints, error) {
	o := newObject(m)
	o.name, o.as = "constraints", ErrConstraint
	c := o.constraints()
	if o.faults.first != nil {
		return Constraints{}, o.faults.first
	}
	return c, nil
}

func (o *object) constraints() Constraints {
	var c Constraints
	for name := range o.m {
		if !o.constraint(&c, name) {
			c.unknown = append(c.unknown, name)
		}
	}
	slices.Sort(c.unknown)
	return c
}

// constraint reads the one of that name; it reports whether it is known.
func (o *object) constraint(c *Constraints, name string) bool {
	switch name {
	case "max_requests_per_minute":
		c.MaxRequestsPerMinute, _ = o.integer(name, 1, maxInteger)
	case "max_requests_per_hour":
		c.MaxRequestsPerHour, _ = o.integer(name, 1, maxInteger)
	case "max_requests_per_day":
		c.MaxRequestsPerDay, _ = o.integer(name, 1, maxInteger)
	case "max_request_size":
		c.MaxRequestSize, _ = o.integer(name, 1, maxInteger)
	case "max_response_size":
		c.MaxResponseSize, _ = o.integer(name, 1, maxInteger)
	case "max_depth":
		if n, ok := o.integer(name, 0, maxDepth); ok {
			depth := int(n)
			c.MaxDepth = &depth
		}
	case "domains_allowed":
		c.DomainsAllowed = o.domains(name)
		o.notEmpty(name, len(c.DomainsAllowed))
	case "domains_blocked":
		c.DomainsBlocked = o.domains(name)
	case "ip_ranges_allowed":
		c.IPRangesAllowed = o.prefixes(name)
		o.notEmpty(name, len(c.IPRangesAllowed))
	case "allowed_methods":
		c.AllowedMethods = o.methods(name)
		o.notEmpty(name, len(c.AllowedMethods))
	case "allowed_regions":
		c.AllowedRegions = upper(o.ids(name, maxLabel))
		o.notEmpty(name, len(c.AllowedRegions))
	case "time_window":
		c.TimeWindow = o.window(name)
	case "data_classification_max":
		c.DataClassificationMax = o.classification(name)
	case "require_approval_threshold":
		c.RequireApprovalThreshold = o.amount(name)
	case "require_encryption":
		c.RequireEncryption = o.boolean(name)
	default:
		return false
	}
	return true
}

// notEmpty refuses an empty allow list: it could be meant as "nothing" or as
// "no limit", and half the readers would guess wrong.
func (o *object) notEmpty(name string, n int) {
	if n == 0 {
		o.fail(ErrConstraint, name, "is empty")
	}
}

func (o *object) domains(name string) []string {
	l := o.ids(name, maxHost)
	for i, d := range l {
		l[i] = strings.ToLower(d)
	}
	return l
}

func upper(l []string) []string {
	for i, s := range l {
		l[i] = strings.ToUpper(s)
	}
	return l
}

func (o *object) methods(name string) []string {
	l := o.ids(name, maxLabel)
	for _, m := range l {
		if !slices.Contains(knownMethods(), m) {
			o.fail(ErrConstraint, name, "names a method outside the set")
		}
	}
	return l
}

func knownMethods() []string {
	return []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
}

func (o *object) prefixes(name string) []netip.Prefix {
	l := o.ids(name, maxLabel)
	if l == nil {
		return nil
	}
	out := make([]netip.Prefix, 0, len(l))
	for _, s := range l {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			o.fail(ErrConstraint, name, "has an entry that is not a CIDR range")
			continue
		}
		out = append(out, plainPrefix(p))
	}
	return out
}

// plainPrefix clears the host bits and writes an IPv4 range that came in IPv6
// clothes as IPv4, because that is how addresses are compared.
func plainPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

func (o *object) classification(name string) Classification {
	c, err := ParseClassification(o.text(name, maxLabel))
	if err != nil {
		o.fail(ErrConstraint, name, "is not one of the values allowed")
	}
	return c
}

func (o *object) amount(name string) Amount {
	n, _ := o.m[name].(json.Number)
	a, err := ParseAmount(string(n))
	if err != nil {
		o.fail(ErrConstraint, name, "is not a plain decimal number")
	}
	return a
}
