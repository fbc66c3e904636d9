package aap

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Meet is the tighter of two in every constraint: the lower number, what two
// allow lists have in common, what either block list names, the overlap of two
// windows. Lists come out sorted and without entries that another covers, so
// Meet is commutative, associative and idempotent by Equal.
//
// The flag is false when no request at all could satisfy the result; the result
// then still allows nothing when it is enforced, and refuses to be written.
func Meet(a, b Constraints) (Constraints, bool) {
	c := Constraints{
		MaxRequestsPerMinute:  lower(a.MaxRequestsPerMinute, b.MaxRequestsPerMinute),
		MaxRequestsPerHour:    lower(a.MaxRequestsPerHour, b.MaxRequestsPerHour),
		MaxRequestsPerDay:     lower(a.MaxRequestsPerDay, b.MaxRequestsPerDay),
		DomainsAllowed:        meetLists(a.DomainsAllowed, b.DomainsAllowed, meetDomain),
		DomainsBlocked:        slices.Concat(a.DomainsBlocked, b.DomainsBlocked),
		IPRangesAllowed:       meetLists(a.IPRangesAllowed, b.IPRangesAllowed, meetPrefix),
		TimeWindow:            meetWindows(a.TimeWindow, b.TimeWindow),
		MaxDepth:              meetDepth(a.MaxDepth, b.MaxDepth),
		MaxRequestSize:        lower(a.MaxRequestSize, b.MaxRequestSize),
		MaxResponseSize:       lower(a.MaxResponseSize, b.MaxResponseSize),
		DataClassificationMax: Classification(lower(int64(a.DataClassificationMax), int64(b.DataClassificationMax))),
		AllowedMethods:        meetLists(a.AllowedMethods, b.AllowedMethods, meetSame),
		AllowedRegions:        meetLists(a.AllowedRegions, b.AllowedRegions, meetSame),

		RequireApprovalThreshold: meetAmount(a.RequireApprovalThreshold, b.RequireApprovalThreshold),
		RequireEncryption:        a.RequireEncryption || b.RequireEncryption,

		unknown: slices.Concat(a.unknown, b.unknown),
	}.canonical()
	return c, c.satisfiable()
}

// Satisfiable reports whether some request could meet the constraints.
func (c Constraints) Satisfiable() bool { return c.canonical().satisfiable() }

// satisfiable is for canonical constraints.
func (c Constraints) satisfiable() bool {
	w := c.TimeWindow
	return !c.emptyList() && (w == nil || w.Start.Before(w.End))
}

// meetLists keeps what each pair of entries has in common. A nil list is absent
// and limits nothing; the result of two lists is never nil.
func meetLists[T comparable](a, b []T, meet func(x, y T) (T, bool)) []T {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	out := make([]T, 0, min(len(a), len(b)))
	for _, x := range a {
		for _, y := range b {
			if z, ok := meet(x, y); ok && !slices.Contains(out, z) {
				out = append(out, z)
			}
		}
	}
	return out
}

func meetSame(x, y string) (string, bool) { return x, x == y }

// meetDomain is the lower of two names of which one lies under the other.
func meetDomain(x, y string) (string, bool) {
	x, okX := allowedEntry(x)
	y, okY := allowedEntry(y)
	switch {
	case !okX || !okY:
		return "", false
	case under(x, y):
		return x, true
	}
	return y, under(y, x)
}

// meetPrefix is the narrower of two ranges that overlap: ranges of addresses
// either contain one another or have nothing in common.
func meetPrefix(x, y netip.Prefix) (netip.Prefix, bool) {
	x, y = plainPrefix(x), plainPrefix(y)
	if x.Bits() < y.Bits() {
		x, y = y, x
	}
	return x, x.Overlaps(y)
}

func meetWindows(a, b *TimeWindow) *TimeWindow {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	w := *a
	if b.Start.After(w.Start) {
		w.Start = b.Start
	}
	if b.End.Before(w.End) {
		w.End = b.End
	}
	return &w
}

func meetDepth(a, b *int) *int {
	if a == nil || b != nil && *b < *a {
		a = b
	}
	return a
}

func meetAmount(a, b Amount) Amount {
	if a.IsZero() || !b.IsZero() && b.Compare(a) < 0 {
		return b
	}
	return a
}

// Within reports whether child allows nothing that parent does not. It says no
// when parent has a constraint that is not understood, because then it cannot
// be told.
func Within(child, parent Constraints) bool {
	c, p := child.canonical(), parent.canonical()
	return len(p.unknown) == 0 &&
		noMore(c.MaxRequestsPerMinute, p.MaxRequestsPerMinute) &&
		noMore(c.MaxRequestsPerHour, p.MaxRequestsPerHour) &&
		noMore(c.MaxRequestsPerDay, p.MaxRequestsPerDay) &&
		noMore(c.MaxRequestSize, p.MaxRequestSize) &&
		noMore(c.MaxResponseSize, p.MaxResponseSize) &&
		noMore(int64(c.DataClassificationMax), int64(p.DataClassificationMax)) &&
		(p.MaxDepth == nil || c.MaxDepth != nil && *c.MaxDepth <= *p.MaxDepth) &&
		covered(c.DomainsAllowed, p.DomainsAllowed, under) &&
		stillBlocked(c, p.DomainsBlocked) &&
		covered(c.IPRangesAllowed, p.IPRangesAllowed, prefixUnder) &&
		covered(c.AllowedMethods, p.AllowedMethods, same) &&
		covered(c.AllowedRegions, p.AllowedRegions, same) &&
		windowWithin(c.TimeWindow, p.TimeWindow) &&
		(p.RequireApprovalThreshold.IsZero() || !c.RequireApprovalThreshold.IsZero() &&
			c.RequireApprovalThreshold.Compare(p.RequireApprovalThreshold) <= 0) &&
		(c.RequireEncryption || !p.RequireEncryption)
}

func same(x, y string) bool { return x == y }

// noMore compares two limits of which zero is none.
func noMore(child, parent int64) bool { return parent == 0 || child != 0 && child <= parent }

// covered reports whether each entry of the child lies under one of the parent.
func covered[T any](child, parent []T, under func(x, y T) bool) bool {
	if parent == nil {
		return true
	}
	return child != nil && !slices.ContainsFunc(child, func(x T) bool {
		return !slices.ContainsFunc(parent, func(y T) bool { return under(x, y) })
	})
}

// stillBlocked reports whether the child reaches nothing the parent blocks.
func stillBlocked(c Constraints, blocked []string) bool {
	for _, b := range blocked {
		above := func(e string) bool { return under(b, e) }
		overlaps := func(e string) bool { return under(b, e) || under(e, b) }
		reaches := c.DomainsAllowed == nil || slices.ContainsFunc(c.DomainsAllowed, overlaps)
		if reaches && !slices.ContainsFunc(c.DomainsBlocked, above) {
			return false
		}
	}
	return true
}

func prefixUnder(x, y netip.Prefix) bool { return x.Bits() >= y.Bits() && x.Overlaps(y) }

func windowWithin(c, p *TimeWindow) bool {
	if p == nil {
		return true
	}
	return c != nil && (!c.Start.Before(c.End) || !c.Start.Before(p.Start) && !c.End.After(p.End))
}

// canonical is the one spelling of constraints that limit alike: sorted lists
// without repetitions, without entries that match nothing, that another entry
// covers or that are blocked anyway.
func (c Constraints) canonical() Constraints {
	c.DomainsBlocked = reduce(mapped(c.DomainsBlocked, looseBlocked), under, strings.Compare)
	if len(c.DomainsBlocked) == 0 {
		c.DomainsBlocked = nil
	}
	c.DomainsAllowed = reduce(mapped(c.DomainsAllowed, allowedEntry), under, strings.Compare)
	c.DomainsAllowed = slices.DeleteFunc(c.DomainsAllowed, func(e string) bool {
		return slices.ContainsFunc(c.DomainsBlocked, func(b string) bool { return under(e, b) })
	})
	c.IPRangesAllowed = reduce(mapped(c.IPRangesAllowed, validPrefix), prefixUnder, netip.Prefix.Compare)
	c.AllowedMethods = reduce(slices.Clone(c.AllowedMethods), same, strings.Compare)
	c.AllowedRegions = reduce(slices.Clone(c.AllowedRegions), same, strings.Compare)
	c.unknown = reduce(slices.Clone(c.unknown), same, strings.Compare)
	if c.TimeWindow != nil {
		c.TimeWindow = &TimeWindow{Start: plainTime(c.TimeWindow.Start), End: plainTime(c.TimeWindow.End)}
	}
	return c
}

// looseBlocked keeps an entry that cannot be understood, which blocks all.
func looseBlocked(s string) (string, bool) {
	if e, ok := blockedEntry(s); ok {
		return e, true
	}
	return s, true
}

func validPrefix(p netip.Prefix) (netip.Prefix, bool) {
	return plainPrefix(p), p.IsValid()
}

func plainTime(t time.Time) time.Time { return t.UTC().Round(0) }

// mapped returns a new list of what f keeps; nil stays nil.
func mapped[T any](l []T, f func(T) (T, bool)) []T {
	if l == nil {
		return nil
	}
	out := make([]T, 0, len(l))
	for _, v := range l {
		if w, ok := f(v); ok {
			out = append(out, w)
		}
	}
	return out
}

// reduce sorts the list, in place, and drops repetitions and entries that lie
// under another; nil stays nil.
func reduce[T comparable](l []T, under func(x, y T) bool, compare func(x, y T) int) []T {
	slices.SortFunc(l, compare)
	l = slices.Compact(l)
	if len(l) < 2 {
		return l
	}
	all := slices.Clone(l)
	return slices.DeleteFunc(l, func(x T) bool {
		return slices.ContainsFunc(all, func(y T) bool { return x != y && under(x, y) })
	})
}
