package trust

import (
	"fmt"
	"slices"
	"strings"

	"github.com/comity-auth/comity/trust/audit"
	"github.com/comity-auth/comity/trust/ident"
)

// mapping finds the one enforcing mapping that matches.
func (d *decision) mapping(target ident.Audience) (*Mapping, error) {
	peer := Self
	if d.ask.Peer != nil {
		peer = d.ask.Peer.Name
	}
	candidates, _ := d.snapshot.mappings.get(route{peer, target.String()})
	var found []*Mapping
	others := 0
	for _, m := range candidates {
		if !m.serves(d.ask.Client) {
			// A target may have thousands of mappings, each for another client.
			if others++; others > maxOthers {
				continue
			}
		}
		switch why := d.mismatch(m); {
		case why != "":
			d.note(audit.Note, "mapping "+m.Name, "matches", why)
		case m.Shadow:
			d.note(audit.Note, "mapping "+m.Name, "enforces", "shadow: would have matched")
		default:
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return nil, d.fail(ErrNoMapping, "mapping", "one enforcing mapping from "+peer+" to "+target.String(),
			fmt.Sprintf("none of %d", len(candidates)))
	case 1:
		d.pass("mapping", "one enforcing mapping", found[0].Name)
		return found[0], nil
	}
	names := make([]string, len(found))
	for i, m := range found {
		names[i] = m.Name
	}
	return nil, d.fail(ErrAmbiguous, "mapping", "one enforcing mapping", strings.Join(names, ", "))
}

// maxOthers bounds how many mappings of other clients a record lists.
const maxOthers = 16

// mismatch says why a mapping does not match; it is empty when it does.
func (d *decision) mismatch(m *Mapping) string {
	if m.Status != Active {
		return "it is suspended"
	}
	if !m.serves(d.ask.Client) {
		return "the client is not on its list"
	}
	if m.When == nil {
		return ""
	}
	if ok, why := m.When.holds(d.vars); !ok {
		if why != "" {
			return "its condition is false: " + why
		}
		return "its condition is false"
	}
	return ""
}

func (d *decision) presenter(m *Mapping) error {
	if d.ask.NamesClient {
		d.pass("presenter", "a grant that names this client", d.ask.Client.ID.String())
		return nil
	}
	if m.AnyPresenter {
		d.pass("presenter", "any client of the mapping", d.ask.Client.ID.String())
		return nil
	}
	known := d.ask.Client.ID.String()
	if d.ask.Peer != nil {
		known = d.ask.Client.KnownAs[d.ask.Peer.Name]
	}
	if known == "" || known != d.ask.Subject.Holder {
		return d.fail(ErrPresenter, "presenter", "a token issued to this client, known there as "+quoteOr(known, "nobody"),
			"another holder")
	}
	d.pass("presenter", "a token issued to this client", known)
	return nil
}

func quoteOr(s, none string) string {
	if s == "" {
		return none
	}
	return s
}

// proof holds what the mapping or policy and the client demand, together.
func (d *decision) proof(g *Grant, of Proof) error {
	if of == "" {
		of = ProofOptional
		if g.Crosses {
			of = ProofRequired
		}
	}
	by := d.ask.Client.Proof
	if by == "" {
		by = ProofRequired
	}
	key := asks(ProofDPoP, of, by)
	g.NeedsCertificate = asks(ProofMTLS, of, by)
	optional := of == ProofOptional && by == ProofOptional
	expected := together(of, by)
	switch {
	case g.NeedsCertificate && !d.ask.Certificate:
		return d.fail(ErrCertificate, "proof", expected, d.proven())
	case key && !d.ask.DPoP, !optional && !d.ask.DPoP && !d.ask.Certificate:
		return d.fail(ErrProof, "proof", expected, d.proven())
	}
	d.pass("proof", expected, d.proven())
	return nil
}

// asks reports whether one of the demands is for this kind of proof.
func asks(kind Proof, demands ...Proof) bool {
	return slices.Contains(demands, kind) || slices.Contains(demands, ProofBoth)
}

// together names two demands at once.
func together(a, b Proof) string {
	switch {
	case a == b || b == ProofOptional || b == ProofRequired && a != ProofOptional:
		return string(a)
	case a == ProofOptional || a == ProofRequired:
		return string(b)
	}
	return string(a) + " and " + string(b)
}

// proven names what the request proved.
func (d *decision) proven() string {
	switch {
	case d.ask.DPoP && d.ask.Certificate:
		return "a key and a certificate"
	case d.ask.Certificate:
		return "a certificate"
	case d.ask.DPoP:
		return "proven"
	}
	return "none"
}

func (d *decision) policy(target ident.Audience) (*Policy, error) {
	candidates, _ := d.snapshot.policies.get(route{d.ask.Client.Operator, target.String()})
	var found []*Policy
	for _, p := range candidates {
		if p.Status == Active && (p.AgentType == "" || p.AgentType == d.ask.Client.Agent.Type) {
			found = append(found, p)
		}
	}
	if len(found) != 1 {
		is := ErrNoPolicy
		if len(found) > 1 {
			is = ErrAmbiguous
		}
		return nil, d.fail(is, "policy", "one active policy for the client's operator and "+target.String(), fmt.Sprint(len(found)))
	}
	d.pass("policy", "one active policy", found[0].Name)
	return found[0], nil
}
