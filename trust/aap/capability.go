package aap

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SortedKey is the same for two capabilities exactly when they grant the same:
// it ignores the description and the order of lists. It serves equality and
// ordering inside one process; it is not a format.
func (c Capability) SortedKey() string {
	var b keyBuilder
	b.text("action", c.Action.name)
	b.text("constraints", c.Constraints.key())
	resources := slices.Clone(c.Resources)
	slices.Sort(resources)
	b.list("resources", c.Resources != nil, slices.Compact(resources))
	if len(c.Conditions) > 0 {
		conditions, err := json.Marshal(c.Conditions) // members come out sorted
		b.text("conditions", string(conditions)+errorText(err))
	}
	return b.String()
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Equal reports whether both grant the same.
func (c Capability) Equal(o Capability) bool { return c.SortedKey() == o.SortedKey() }

// Collapse returns the capabilities without those that grant the same as an
// earlier one, in the same order.
func Collapse(l []Capability) []Capability {
	seen := make(map[string]bool, len(l))
	var out []Capability
	for _, c := range l {
		if key := c.SortedKey(); !seen[key] {
			seen[key] = true
			out = append(out, c)
		}
	}
	return out
}

func (c Constraints) key() string {
	c = c.canonical()
	var b keyBuilder
	b.number("per_minute", c.MaxRequestsPerMinute)
	b.number("per_hour", c.MaxRequestsPerHour)
	b.number("per_day", c.MaxRequestsPerDay)
	b.number("request_size", c.MaxRequestSize)
	b.number("response_size", c.MaxResponseSize)
	b.number("classification", int64(c.DataClassificationMax))
	b.text("threshold", c.RequireApprovalThreshold.text)
	b.list("domains", c.DomainsAllowed != nil, c.DomainsAllowed)
	b.list("blocked", c.DomainsBlocked != nil, c.DomainsBlocked)
	b.list("methods", c.AllowedMethods != nil, c.AllowedMethods)
	b.list("regions", c.AllowedRegions != nil, c.AllowedRegions)
	b.list("unknown", len(c.unknown) > 0, c.unknown)
	ranges := make([]string, len(c.IPRangesAllowed))
	for i, p := range c.IPRangesAllowed {
		ranges[i] = p.String()
	}
	b.list("ranges", c.IPRangesAllowed != nil, ranges)
	if c.MaxDepth != nil {
		b.number("depth", int64(*c.MaxDepth)+1)
	}
	if c.RequireEncryption {
		b.number("encryption", 1)
	}
	if w := c.TimeWindow; w != nil {
		b.text("window", w.Start.Format(time.RFC3339Nano)+" "+w.End.Format(time.RFC3339Nano))
	}
	return b.String()
}

// keyBuilder writes what is set, each text with its length before it, so that
// no two different lists read alike.
type keyBuilder struct{ strings.Builder }

func (b *keyBuilder) text(name, value string) {
	if value != "" {
		b.WriteString(name + "=" + strconv.Itoa(len(value)) + ":" + value + ";")
	}
}

func (b *keyBuilder) number(name string, n int64) {
	if n != 0 {
		b.text(name, strconv.FormatInt(n, 10))
	}
}

func (b *keyBuilder) list(name string, set bool, l []string) {
	if !set {
		return
	}
	b.WriteString(name + "[" + strconv.Itoa(len(l)) + "]")
	for _, v := range l {
		b.WriteString(strconv.Itoa(len(v)) + ":" + v + ";")
	}
}
