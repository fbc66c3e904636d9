package guard

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/feed"
	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/federation/quota"
	"github.com/comity-auth/comity/federation/traceid"
	"github.com/comity-auth/comity/federation/wire"
	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/ident"
)

// verified is a token that its issuer's key proved, taken apart. It is immutable
// and shared between requests.
type verified struct {
	size    uint32 // of the compact token, in bytes
	token   *federation.Token
	from    *issuer
	cnf     proof.Confirmation
	lineage []string
	issued  time.Time
	client  string
	scopes  ident.Scopes
	actor   Actor
	// agent is nil when the token has no claims of the profile. delegation is what
	// is wrong with its delegation claim, which is asked about in its own turn.
	agent      *aap.Claims
	delegation error
	// shape is what is wrong with the claims otherwise. It is told only once
	// revocation and proof of possession have held.
	shape *refusal
	trace traceid.ID
	// rates are the keys its capabilities are counted by, nil for those without
	// rates.
	rates []string
}

// verify is steps 1 to 6. A token that was verified before costs no signature;
// what may have changed since is asked again all the same: the clock, the
// issuer's keys and what is accepted of it.
func (g *Guard) verify(ctx context.Context, raw ident.RawToken) (*verified, *refusal) {
	key := sha256.Sum256([]byte(raw.Reveal()))
	if v, ok := g.tokens.GetIfPresent(key); ok {
		err := g.verifier.Recheck(ctx, v.token, v.from.peer, v.from.want)
		if err == nil {
			return v, nil
		}
		if !errors.Is(err, federation.ErrUnavailable) {
			g.tokens.Invalidate(key)
		}
		return nil, refuseFor(err, "token", "verified")
	}
	u, err := federation.Peek(raw)
	if err != nil {
		return nil, refuseFor(err, "token", "a compact JWS")
	}
	from := g.set.issuers[u.Issuer()]
	if from == nil {
		return nil, refuse("issuer", "iss", "a configured issuer", "another")
	}
	token, err := g.verifier.Verify(ctx, u, from.peer, from.want)
	if err != nil {
		return nil, refuseFor(err, "token", "verified")
	}
	v := read(token, from)
	v.size = uint32(len(raw.Reveal())) // at most 16 KiB
	g.tokens.Set(key, v)
	return v, nil
}

// read takes apart what was verified. It decides nothing: what is wrong is kept
// for the step that asks.
func read(token *federation.Token, from *issuer) *verified {
	claims := token.Claims()
	v := &verified{token: token, from: from}
	v.issued, _ = token.IssuedAt()
	keep := func(err error, check string) {
		if err != nil && v.shape == nil {
			v.shape = refuseFor(fmt.Errorf("%w: %w", federation.ErrClaims, err), check, "the claim in its form")
		}
	}
	var err error
	if v.cnf, err = proof.ParseConfirmation(claims); err != nil {
		// Bound to what cannot be checked here: refused as soon as a proof is due.
		keep(err, "cnf")
	}
	v.client, _, err = wire.String(claims, "client_id")
	keep(err, "client_id")
	v.lineage, _, err = wire.Strings(claims, "lineage")
	keep(err, "lineage")
	if !from.InsecureNoRevocations && slices.ContainsFunc(v.lineage, func(h string) bool { return !feed.IsHandle(h) }) {
		keep(errors.New("what it holds cannot be revoked"), "lineage")
	}
	scope, _, err := wire.String(claims, "scope")
	keep(err, "scope")
	v.scopes, err = ident.ParseScopes(strings.Join(strings.Fields(scope), " "))
	keep(err, "scope")
	v.actor, err = readActor(claims, token.Issuer())
	keep(err, "act")
	v.readAgent(claims, keep)
	return v
}

// readAgent reads the claims of the profile, delegation apart: what is wrong
// with it has codes of its own and stands behind agent and task.
func (v *verified) readAgent(claims map[string]any, keep func(error, string)) {
	names := aap.Options{}
	if v.from.AliasNames {
		names.Names = aap.NamesAlias
	}
	var err error
	v.agent, err = aap.Parse(claims, names)
	if errors.Is(err, aap.ErrDelegation) || errors.Is(err, aap.ErrDepth) {
		v.delegation = err
		rest := maps.Clone(claims)
		delete(rest, "delegation")
		delete(rest, "aap_delegation")
		v.agent, err = aap.Parse(rest, names)
	}
	keep(err, "agent claims")
	if v.agent == nil {
		return
	}
	if v.agent.Audit != nil {
		v.trace, _ = traceid.ParseID(v.agent.Audit.TraceID)
	}
	v.rates = make([]string, len(v.agent.Capabilities))
	for i, c := range v.agent.Capabilities {
		if c.Constraints.HasRate() {
			v.rates[i] = rateKey(v.token.Issuer(), v.token.ID(), i)
		}
	}
}

// rateKey names what a capability of a token is counted by.
func rateKey(issuer, id string, index int) string {
	return quota.Key(issuer, id, strconv.Itoa(index))
}

// Actor is who acts for a token's subject (RFC 8693 section 4.1). The zero Actor
// is nobody.
type Actor struct {
	Issuer, Subject string
}

// readActor reads the current actor, which alone counts for access. Earlier ones
// are information.
func readActor(claims map[string]any, issuer string) (Actor, error) {
	act, has, err := wire.Object(claims, "act")
	if err != nil || !has {
		return Actor{}, err
	}
	a := Actor{}
	if a.Subject, has, err = wire.String(act, "sub"); err != nil || !has || a.Subject == "" {
		return Actor{}, errors.New("act.sub is missing or no text")
	}
	if a.Issuer, has, err = wire.String(act, "iss"); err != nil {
		return Actor{}, err
	}
	if !has {
		a.Issuer = issuer
	}
	return a, nil
}
