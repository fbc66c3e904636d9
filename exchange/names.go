package exchange

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/ident"
)

// namer gives things the names that tokens and records may hold: pseudonyms for
// what comes from another domain, and opaque handles for revocation.
type namer struct {
	pseudonyms, handles []byte
	domain              ident.Domain
	byDomain            sync.Map // ident.Domain to aap.Pseudonymiser; as many as there are registered domains
	registered          sync.Map // of kind and name to handle; as many as there are registered names
	halted              atomic.Pointer[halted]
}

func newNamer(pseudonyms, handles []byte, domain ident.Domain) *namer {
	return &namer{pseudonyms: pseudonyms, handles: handles, domain: domain}
}

// of gives the names that a peer's identifiers have here. Nothing needs one
// without a peer or within the domain.
func (n *namer) of(p *trust.Peer) (aap.Pseudonymiser, error) {
	if p == nil || !p.Foreign {
		return aap.Pseudonymiser{}, nil
	}
	if have, ok := n.byDomain.Load(p.Domain); ok {
		return have.(aap.Pseudonymiser), nil
	}
	made, err := aap.NewPseudonymiser(n.pseudonyms, p.Domain, n.domain)
	if err == nil {
		n.byDomain.Store(p.Domain, made)
	}
	return made, err
}

// abroad are the names that our identifiers have in a peer's domain.
func (n *namer) abroad(p *trust.Peer) (aap.Pseudonymiser, error) {
	if p == nil {
		return aap.Pseudonymiser{}, errors.New("the peer is not registered")
	}
	return aap.NewPseudonymiser(n.pseudonyms, n.domain, p.Domain)
}

// handle stands for one thing a revocation can name. It is the same on every
// replica and says nothing to anybody else.
func (n *namer) handle(kind, value string) string {
	m := hmac.New(sha256.New, n.handles)
	_, _ = io.WriteString(m, kind+"\x00"+value)
	return base64url(m.Sum(nil)[:12])
}

// standing is the handle of something registered, which is asked for again and
// again.
func (n *namer) standing(kind, name string) string {
	key := [2]string{kind, name}
	if have, ok := n.registered.Load(key); ok {
		return have.(string)
	}
	made := n.handle(kind, name)
	n.registered.Store(key, made)
	return made
}

// lineage lists the handles of a token: its own, its ancestors', and those of
// everything that stood by when it was made. The signing key's is missing.
func (n *namer) lineage(c *crossed, id string) []string {
	out := []string{n.handle("token", id), n.standing("client", c.client.ID.String()), n.all()}
	out = append(out, n.parties(c)...)
	if c.grant.Policy != nil {
		out = append(out, n.standing("policy", c.grant.Policy.Name))
	}
	if c.grant.Mapping != nil {
		out = append(out, n.standing("mapping", c.grant.Mapping.Name))
	}
	inherit := func(handles []string) {
		for _, h := range handles {
			if !slices.Contains(out, h) {
				out = append(out, h)
			}
		}
	}
	inherit(c.vouched)
	if c.token != nil {
		inherit(n.bearing(&presented{peer: c.peer, token: c.token, id: c.tokenID}))
	}
	if c.actor != nil {
		inherit(n.bearing(c.actor))
	}
	return out
}

// ancestors are the handles that our own token came with.
func ancestors(claims map[string]any) []string {
	list, _ := claims["lineage"].([]any)
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok && len(s) <= 32 && !strings.ContainsAny(s, " \"") {
			out = append(out, s)
		}
	}
	return out
}
