package trust

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/audit"
	"github.com/comity-auth/comity/trust/ident"
)

// authority is a set of scopes and capabilities.
type authority struct {
	scopes       ident.Scopes
	capabilities []aap.Capability
}

// add keeps identical results together.
func (a *authority) add(c aap.Capability) {
	for _, have := range a.capabilities {
		if have.Action == c.Action && have.Constraints.Equal(c.Constraints) {
			return
		}
	}
	a.capabilities = append(a.capabilities, c)
}

func (a *authority) has(action aap.Action) bool {
	return slices.ContainsFunc(a.capabilities, func(c aap.Capability) bool { return c.Action == action })
}

// entitled is what the token (or, with authority: mapping, the identity) yields
// under the mapping, inside the resource's vocabulary.
func (d *decision) entitled(g *Grant) (authority, error) {
	m, subject := g.Mapping, &d.ask.Subject
	if m.ByIdentity && !m.IgnoreCarry && subject.carries() {
		return authority{}, d.fail(ErrCarried, "carried", "a token without scopes and capabilities", "it carries some")
	}
	d.derived = map[aap.Action][]aap.Action{}
	var out authority
	var scopes []string
	for _, r := range m.Scopes {
		if g.Resource.Scopes.Has(r.scope) && (m.ByIdentity || slices.ContainsFunc(r.from, subject.Scopes.Has)) {
			scopes = append(scopes, r.scope)
		}
	}
	out.scopes, _ = ident.NewScopes(scopes)
	for _, r := range m.Capabilities {
		if g.Resource.Actions[r.action] {
			d.yield(&out, m, r)
		}
	}
	if n := len(out.capabilities); n > maxCapabilities {
		return authority{}, d.fail(ErrScope, "capabilities", fmt.Sprintf("at most %d", maxCapabilities), fmt.Sprint(n))
	}
	d.note(audit.Note, "entitled", "", describe(out))
	return out, nil
}

// yield adds what one rule gives.
func (d *decision) yield(out *authority, m *Mapping, r capabilityRule) {
	subject := &d.ask.Subject
	if m.ByIdentity {
		out.add(aap.Capability{Action: r.action, Constraints: r.ceiling})
		return
	}
	if subject.Agent == nil {
		// Beside capabilities, scopes entitle to no action (aap draft-01).
		if slices.ContainsFunc(r.fromScopes, subject.Scopes.Has) {
			out.add(aap.Capability{Action: r.action, Constraints: r.ceiling})
		}
		return
	}
	for _, c := range subject.Agent.Capabilities {
		if !slices.Contains(r.from, c.Action.String()) {
			continue
		}
		if why := untranslatable(c); why != "" {
			d.note(audit.Note, "capability "+c.Action.String(), "translatable", why)
			continue
		}
		met, satisfiable := aap.Meet(c.Constraints, r.ceiling)
		if !satisfiable {
			d.note(audit.Note, "capability "+c.Action.String(), "constraints that can be met together", "they exclude each other")
			continue
		}
		out.add(aap.Capability{Action: r.action, Constraints: met})
		if !slices.Contains(d.derived[r.action], c.Action) {
			d.derived[r.action] = append(d.derived[r.action], c.Action)
		}
	}
}

// untranslatable says why a foreign capability yields nothing.
func untranslatable(c aap.Capability) string {
	switch {
	case len(c.Constraints.Unknown()) > 0:
		return "it has a constraint that is not known here"
	case len(c.Conditions) > 0:
		return "it has conditions"
	case len(c.Resources) > 0:
		return "it names resources of its own domain"
	}
	return ""
}

// narrow is what was asked for, all of which must be entitled to: nothing is
// dropped silently.
func (d *decision) narrow(entitled authority) (authority, error) {
	a := d.ask
	out := entitled
	if !a.Scopes.IsZero() || len(a.Actions) > 0 {
		asked := slices.Clone(a.Actions)
		var scopes []string
		for _, s := range a.Scopes.List() {
			if entitled.scopes.Has(s) {
				scopes = append(scopes, s)
				continue
			}
			// A scope that is the name of an action asks for the action.
			action, err := aap.ParseAction(s)
			if err != nil || !entitled.has(action) {
				return authority{}, d.fail(ErrScope, "scope", describe(entitled), "a scope beyond that")
			}
			asked = append(asked, action)
		}
		for _, action := range asked {
			if !entitled.has(action) {
				return authority{}, d.fail(ErrScope, "capabilities", describe(entitled), "an action beyond that")
			}
		}
		out.scopes, _ = ident.NewScopes(scopes)
		out.capabilities = slices.DeleteFunc(slices.Clone(entitled.capabilities), func(c aap.Capability) bool {
			return !slices.Contains(asked, c.Action)
		})
	}
	if out.scopes.IsZero() && len(out.capabilities) == 0 {
		return authority{}, d.fail(ErrScope, "granted", "something", "nothing")
	}
	d.pass("granted", "within what was entitled to", describe(out))
	return out, nil
}

func describe(a authority) string {
	var parts []string
	if !a.scopes.IsZero() {
		parts = append(parts, "scopes "+a.scopes.String())
	}
	if len(a.capabilities) > 0 {
		names := make([]string, len(a.capabilities))
		for i, c := range a.capabilities {
			names[i] = c.Action.String()
		}
		parts = append(parts, "actions "+strings.Join(names, " "))
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// bound is one limit on the life of what is issued.
type bound struct {
	name string
	at   time.Time
}

func (d *decision) exchangeBounds(g *Grant) []bound {
	out := []bound{
		{"mapping", d.ask.Now.Add(g.Mapping.TTL)},
		{"client", d.ask.Client.Expires},
	}
	if !d.ask.Redeems {
		out = append(out, bound{"subject_token", d.ask.Subject.Expires})
	}
	if d.ask.ForGrant {
		out = append(out, bound{"grant", d.ask.Now.Add(grantLife)})
	}
	if d.ask.Peer != nil {
		out = append(out, bound{"peer", d.ask.Peer.Expires})
	}
	if d.ask.Actor != nil {
		out = append(out, bound{"actor_token", d.ask.Actor.Expires})
	}
	return out
}

// agentBounds are those of the agent profile: half of the parent's life, and
// whatever ends in the claims themselves.
func (d *decision) agentBounds() []bound {
	s := &d.ask.Subject
	if s.Agent == nil {
		return nil
	}
	var out []bound
	if !d.ask.Redeems {
		out = append(out, bound{"half_life", aap.HalfLife(d.issuedAt(), s.Expires, d.ask.Now)})
	}
	if at, ok := s.Agent.Expiry(); ok {
		out = append(out, bound{"task", at})
	}
	return out
}

// issuedAt is when the subject's life began. One that does not say so is taken
// to begin now, which leaves the least to halve.
func (d *decision) issuedAt() time.Time {
	if at := d.ask.Subject.IssuedAt; !at.IsZero() {
		return at
	}
	return d.ask.Now
}

// expires is the least of all bounds, in whole seconds.
func (d *decision) expires(bounds []bound) (time.Time, error) {
	set := d.snapshot.settings
	bounds = append(bounds, bound{"max_ttl", d.ask.Now.Add(set.MaxTTL)})
	if d.ask.TTL > 0 {
		bounds = append(bounds, bound{"requested_ttl", d.ask.Now.Add(d.ask.TTL)})
	}
	least := bounds[0]
	for _, b := range bounds[1:] {
		if b.at.Before(least.at) {
			least = b
		}
	}
	at := least.at.Truncate(time.Second)
	left := at.Sub(d.ask.Now.Truncate(time.Second))
	if left < set.MinTTL || left <= 0 {
		return time.Time{}, d.fail(ErrLifetime, "lifetime", "at least "+set.MinTTL.String(), left.String()+", bounded by "+least.name)
	}
	d.pass("lifetime", "bounded by "+least.name, left.String())
	return at, nil
}
