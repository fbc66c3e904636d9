package aap

import (
	"fmt"
	"slices"
	"time"
)

// DeriveInput is what an exchange decided about the token to be derived.
type DeriveInput struct {
	// Subject is the origin of the chain when the parent has no delegation
	// claim: its sub, as it may appear in the derived token.
	Subject string
	// Holder is the registered identity that the derived token goes to; it is
	// appended to the chain. 1 to 128 characters.
	Holder string
	// ParentJTI identifies the parent, as it may appear in the derived token:
	// across a boundary a keyed digest.
	ParentJTI string
	// MaxDepth is the least of what mapping and policy allow. Zero allows none.
	MaxDepth int
	// Capabilities is what was granted; at least one.
	Capabilities []Capability
	// From names, for a granted action, the parent's actions that entitled to
	// it. An action that is absent came from the same name.
	From map[Action][]Action
	// ParentLife and ChildLife are the whole lives of both tokens.
	ParentLife, ChildLife time.Duration
	// Now, when set, is recorded as the time of this step.
	Now time.Time
}

// Derive returns the claims of a token derived from one with the parent's:
// the same agent, task, context, audit and oversight, the granted capabilities
// and a delegation one deeper (draft, "Token exchange"; RFC 8693 section 2).
//
// It reports ErrDepth when the parent, the caller or a granted capability does
// not allow another step, ErrDelegation when there is nobody to name in the
// chain, and ErrShape when nothing was granted.
func Derive(parent *Claims, in DeriveInput) (*Claims, error) {
	if parent == nil || len(in.Capabilities) == 0 {
		return nil, fmt.Errorf("%w: nothing to derive from, or nothing granted", ErrShape)
	}
	from := parent.Delegation
	if from == nil {
		from = &Delegation{MaxDepth: in.MaxDepth, Chain: []string{in.Subject}}
	}
	if err := checkStep(from, in); err != nil {
		return nil, err
	}
	child := *parent
	child.Capabilities = slices.Clone(in.Capabilities)
	child.Oversight = issuableOversight(parent.Oversight)
	child.Delegation = &Delegation{
		Depth:              from.Depth + 1,
		MaxDepth:           min(from.MaxDepth, in.MaxDepth),
		Chain:              append(slices.Clone(from.Chain), in.Holder),
		ParentJTI:          in.ParentJTI,
		PrivilegeReduction: reductionOf(parent, in),
		IssuedAtDepth:      stamped(from, in.Now),
	}
	return &child, nil
}

func checkStep(from *Delegation, in DeriveInput) error {
	depth := from.Depth + 1
	if from.Depth >= from.MaxDepth || depth > in.MaxDepth || depth > maxDepth {
		return fmt.Errorf("%w: the token may not be delegated further", ErrDepth)
	}
	for _, c := range in.Capabilities {
		if !c.Constraints.AllowsDepth(depth) {
			return fmt.Errorf("%w: a granted capability may not be delegated further", ErrDepth)
		}
	}
	if len(from.Chain) != depth || slices.Contains(from.Chain, "") {
		return fmt.Errorf("%w: the chain does not match the depth", ErrDelegation)
	}
	if in.Holder == "" || len(in.Holder) > maxOrigin || in.ParentJTI == "" {
		return fmt.Errorf("%w: no holder or no parent to name", ErrDelegation)
	}
	return nil
}

// issuableOversight drops a reference that is not a URI: it is read from peers
// but not written.
func issuableOversight(o *Oversight) *Oversight {
	if o == nil || o.ApprovalReference == "" || isURI(o.ApprovalReference) {
		return o
	}
	out := *o
	out.ApprovalReference = ""
	return &out
}

// reductionOf compares what was granted with what the parent could do.
func reductionOf(parent *Claims, in DeriveInput) *PrivilegeReduction {
	out := &PrivilegeReduction{CapabilitiesRemoved: []Action{}, ConstraintsAdded: []string{}}
	used := map[Action]bool{}
	for _, c := range in.Capabilities {
		sources, ok := in.From[c.Action]
		if !ok {
			sources = []Action{c.Action}
		}
		for _, s := range sources {
			used[s] = true
		}
		out.ConstraintsAdded = unite(out.ConstraintsAdded, added(parent, c, sources))
	}
	for _, p := range parent.Capabilities {
		if !used[p.Action] && !slices.Contains(out.CapabilitiesRemoved, p.Action) {
			out.CapabilitiesRemoved = append(out.CapabilitiesRemoved, p.Action)
		}
	}
	if out.ConstraintsAdded == nil {
		out.ConstraintsAdded = []string{}
	}
	slices.Sort(out.ConstraintsAdded)
	out.LifetimeReducedBy = max(0, int64((in.ParentLife-in.ChildLife)/time.Second))
	return out
}

// added names the constraints of a granted capability that none of the
// parent's, from which it came, had.
func added(parent *Claims, c Capability, sources []Action) []string {
	names := c.Constraints.Names()
	for _, p := range parent.Capabilities {
		if slices.Contains(sources, p.Action) {
			had := p.Constraints.Names()
			names = slices.DeleteFunc(names, func(n string) bool { return slices.Contains(had, n) })
		}
	}
	return names
}

func stamped(from *Delegation, now time.Time) map[int]int64 {
	if now.IsZero() {
		return from.IssuedAtDepth
	}
	out := make(map[int]int64, len(from.IssuedAtDepth)+1)
	for depth, at := range from.IssuedAtDepth {
		out[depth] = at
	}
	out[from.Depth+1] = now.Unix()
	return out
}

// CanDelegate reports whether a token with this claim may be exchanged for one
// a step deeper. A nil claim says nothing, so the caller's default decides.
func (d *Delegation) CanDelegate() bool { return d != nil && d.Depth < d.MaxDepth }

// HalfLife is the latest end of a token derived now from one that lives from
// iat to exp: half of the parent's whole life, counted from now, in whole
// seconds. The caller still bounds it by the parent's exp.
func HalfLife(iat, exp, now time.Time) time.Time {
	return now.Add(max(0, exp.Sub(iat)/2)).Truncate(time.Second)
}
