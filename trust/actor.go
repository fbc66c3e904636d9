package trust

import (
	"errors"
	"fmt"
	"slices"

	"github.com/comity-auth/comity/trust/aap"
)

// Why delegation is refused.
var (
	ErrActor = errors.New("the actor may not act for the subject")
	ErrChain = errors.New("act and the delegation chain contradict each other")
)

// MaxActors bounds how many actors a token names (RFC 8693 section 4.1).
const MaxActors = 5

// Actor is who acts, or acted, for a subject.
type Actor struct{ Issuer, Subject string }

// actor decides on who acts for the subject (RFC 8693 section 4.1 and 4.4), and
// what the issued token says of it. The subject's own word, may_act, limits who
// may; it entitles only where both are of this domain. Across domains the mapping
// does.
func (d *decision) actor(g *Grant) error {
	subject, actor := &d.ask.Subject, d.ask.Actor
	if g.Act = d.earlier(g); len(g.Act) > 0 {
		if err := d.agreement(); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(g.Act, func(a Actor) bool { return a.Subject == "" }) {
		return d.fail(ErrBoundary, "act", "a name for every actor", "no key for pseudonyms")
	}
	if actor == nil {
		return nil
	}
	who := Actor{actor.Issuer, actor.Subject}
	allowed, err := d.mayAct(who)
	if err != nil {
		return err
	}
	allowed = allowed && !subject.foreign() && !actor.foreign()
	listed := slices.Contains(g.Mapping.Actors, who)
	switch {
	case who == Actor{subject.Issuer, subject.Subject}:
		return d.fail(ErrActor, "actor", "somebody else than the subject", "the subject itself")
	case !listed && !allowed:
		return d.fail(ErrActor, "actor", "one the mapping lists", "another")
	case !d.holds(actor):
		return d.fail(ErrActor, "actor", "a token issued to this client", "another holder")
	case slices.Contains(subject.Act, who): // as they came: in g.Act they may go by other names
		return d.fail(ErrActor, "actor", "one that did not act before", "one that did")
	case len(g.Act) >= MaxActors:
		return d.fail(ErrDepth, "actor", fmt.Sprintf("at most %d actors", MaxActors), fmt.Sprint(len(g.Act)+1))
	}
	g.Act = append([]Actor{who}, g.Act...)
	d.pass("actor", "allowed to act for the subject", who.Subject+" of "+who.Issuer)
	return nil
}

// foreign reports whether another trust domain vouches for the party.
func (p *Party) foreign() bool { return p.Peer != nil && p.Peer.Foreign }

// holds reports whether the actor's token was issued to this client. A client
// that a peer has no identifier for holds none of the peer's tokens.
func (d *decision) holds(actor *Party) bool {
	known := d.ask.Client.ID.String()
	if actor.Peer != nil {
		known = d.ask.Client.KnownAs[actor.Peer.Name]
	}
	return known != "" && actor.Holder == known
}

// mayAct holds an actor against the subject's may_act, and says whether that
// names it. Without the claim nobody is named and nobody excluded.
func (d *decision) mayAct(who Actor) (named bool, err error) {
	claim, has := d.ask.Subject.Claims["may_act"]
	if !has {
		return false, nil
	}
	m, _ := claim.(map[string]any)
	sub, _ := m["sub"].(string)
	iss := d.ask.Subject.Issuer
	if v, given := m["iss"]; given {
		iss, _ = v.(string)
	}
	if sub == "" || iss == "" || (Actor{iss, sub}) != who {
		return false, d.fail(ErrActor, "may_act", "the actor", "somebody else")
	}
	return true, nil
}

// earlier are the actors that the subject token names already. Another domain's
// word for them counts only under a mapping that knows of actors.
func (d *decision) earlier(g *Grant) []Actor {
	acts := slices.Clone(d.ask.Subject.Act)
	if len(acts) == 0 || !g.Crosses {
		return acts
	}
	if len(g.Mapping.Actors) == 0 {
		d.pass("act", "dropped: the mapping lists no actors", fmt.Sprint(len(acts)))
		return nil
	}
	if !g.Mapping.Keep[aap.KeepChain] {
		for i := range acts {
			acts[i].Subject = d.ask.Names.Pseudonym(aap.KindAgent, acts[i].Subject)
		}
	}
	return acts
}

// agreement holds the subject's current actor against its delegation chain.
func (d *decision) agreement() error {
	s := &d.ask.Subject
	if len(s.Act) == 0 || s.Agent == nil || s.Agent.Delegation == nil {
		return nil
	}
	if !slices.Contains(s.Agent.Delegation.Chain, s.Act[0].Subject) {
		return d.fail(ErrChain, "act", "one of the delegation chain", "somebody else")
	}
	return nil
}
