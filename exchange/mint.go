package exchange

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/federation/traceid"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/audit"
	"github.com/comity-auth/comity/trust/ident"
)

// ErrUnissuable says that the claims of a decision may not be written into a
// token: a fault of ours, never of the request.
var ErrUnissuable = errors.New("the decided claims cannot be issued")

var ownAlgorithms = []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256}

// granted is a request that the registry's snapshot allows. Only decide makes
// one.
type granted struct {
	proven
	grant trust.Grant
	// forGrant says that a grant for another domain is issued, and beyond which
	// of that domain's resources it names.
	forGrant bool
	beyond   []ident.Audience
}

// decide is step 5.
func (s *Service) decide(t *trail, p proven) (granted, error) {
	names, err := s.names.of(p.peer)
	if err != nil {
		return granted{}, t.fail("decide", "boundary", "names for the peer's domain", "none", fmt.Errorf("%w: %w", trust.ErrBoundary, err))
	}
	targets, beyond, forGrant := p.destination()
	abroad, parentID, err := s.leaving(p, targets)
	if err != nil {
		return granted{}, t.fail("decide", "boundary", "names for the target's domain", "none", fmt.Errorf("%w: %w", trust.ErrBoundary, err))
	}
	ask := trust.Ask{
		Now: t.now, Grant: p.asked.grant, Client: p.client, Peer: p.peer, Subject: p.subject,
		NamesAbroad: abroad, Redeems: p.asked.grant == trust.GrantJWTBearer, NamesClient: p.namesClient, ForGrant: forGrant,
		Targets: targets, Scopes: p.scopes, Actions: p.actions, TTL: p.ttl, Task: p.task,
		DPoP: p.bound.proven.JKT != "", Certificate: p.bound.proven.X5TS256 != "", ParentID: parentID, Names: names, From: p.from,
	}
	if p.actor != nil {
		ask.Actor = &p.actor.party
	}
	grant, checks, err := p.snapshot.Decide(&ask)
	t.decided(grant, checks)
	if err != nil {
		return granted{}, err
	}
	return granted{proven: p, grant: grant, forGrant: forGrant, beyond: beyond}, nil
}

// leaving gives our identifiers the names they have abroad, when the target is
// another domain's broker.
func (s *Service) leaving(p proven, targets []ident.Audience) (aap.Pseudonymiser, string, error) {
	if len(targets) != 1 || p.token == nil {
		return aap.Pseudonymiser{}, p.parentID, nil
	}
	r := p.snapshot.Resource(targets[0].String())
	if !p.snapshot.Abroad(r) {
		return aap.Pseudonymiser{}, p.parentID, nil
	}
	names, err := s.names.abroad(p.snapshot.Peer(r.Peer))
	return names, s.digests.Digest("jti", r.Peer+" "+p.token.Issuer()+" "+p.tokenID), err
}

// crossed is a grant with the trace that its token belongs to. Only cross makes
// one.
type crossed struct {
	granted
	trace string
}

// cross is step 6: at a boundary the far side's trace ends and a fresh one
// begins; inside the domain the trace goes on.
func (s *Service) cross(t *trail, g granted) crossed {
	c := crossed{granted: g}
	scope := "task"
	incoming := g.subject.Agent
	switch {
	case g.grant.Crosses:
		foreign := ""
		if incoming != nil && incoming.Audit != nil {
			foreign = incoming.Audit.TraceID
		}
		id, link := traceid.Cross(s.digests, foreign)
		c.trace, scope = id.String(), "domain"
		t.link(link)
	case g.grant.Leaves:
		if incoming != nil && incoming.Audit != nil {
			t.note("trace", "continues", incoming.Audit.TraceID)
		}
		c.trace, scope = traceid.New().String(), "domain"
	case incoming != nil && incoming.Audit != nil && incoming.Audit.TraceID != "":
		c.trace, scope = incoming.Audit.TraceID, incoming.Audit.TraceIDScope
	default:
		c.trace = traceid.New().String()
	}
	if c.grant.Agent != nil {
		c.grant.Agent = c.grant.Agent.WithTrace(c.trace, scope)
	}
	t.note("trace", "trace_id", scope)
	return c
}

// claims are those of an issued token (RFC 9068 section 2.2).
type claims struct {
	Issuer    string             `json:"iss"`
	Subject   string             `json:"sub"`
	Audience  string             `json:"aud"`
	Expires   int64              `json:"exp"`
	NotBefore int64              `json:"nbf"`
	IssuedAt  int64              `json:"iat"`
	ID        string             `json:"jti"`
	ClientID  string             `json:"client_id,omitempty"`
	Scope     string             `json:"scope,omitempty"`
	Resource  []string           `json:"resource,omitempty"`
	Cnf       proof.Confirmation `json:"cnf,omitzero"`
	Act       *actClaim          `json:"act,omitempty"`
	*aap.Claims
	Lineage []string `json:"lineage,omitempty"`
}

// minted is a token that is signed and may not leave yet. Only mint makes one.
type minted struct {
	crossed
	result Result
}

// mint is step 7.
func (s *Service) mint(ctx context.Context, t *trail, c crossed) (minted, error) {
	id, err := newID()
	if err != nil {
		return minted{}, err
	}
	now := t.now.Truncate(time.Second)
	body := claims{
		Issuer: s.opts.Settings.Issuer.String(), Subject: c.grant.Subject, Audience: c.grant.Resource.Audience.String(),
		Expires: c.grant.Expires.Unix(), NotBefore: now.Unix(), IssuedAt: now.Unix(), ID: id,
		ClientID: c.client.ID.String(), Scope: c.grant.Scopes.String(), Cnf: c.confirmation(), Act: nestAct(c.grant.Act), Claims: c.grant.Agent,
		Lineage: s.names.lineage(&c, id),
	}
	if err := s.checkParties(t, &c); err != nil {
		return minted{}, err
	}
	if body.Claims != nil {
		if err := body.Claims.CheckIssuable(); err != nil {
			return minted{}, t.fail("mint", "claims", "issuable", err.Error(), fmt.Errorf("%w: %w", ErrUnissuable, err))
		}
	}
	if c.forGrant {
		if err := c.addressed(t, &body); err != nil {
			return minted{}, err
		}
	}
	handles := body.Lineage
	if c.grant.Resource.Peer != "" {
		body.Lineage = nil // no handle crosses a boundary
	}
	token, kid, err := s.sign(ctx, c.headerType(), &body)
	if err != nil {
		return minted{}, fmt.Errorf("sign: %w", err)
	}
	if body.Lineage != nil {
		handles = body.Lineage
	}
	t.minted(&body, handles, kid, c.trace)
	return minted{crossed: c, result: s.result(c, token, c.grant.Expires.Sub(now))}, nil
}

// Result is an issued token (RFC 8693 section 2.2.1).
type Result struct {
	AccessToken     ident.RawToken
	IssuedTokenType ident.TokenType // zero for client_credentials
	TokenType       string          // Bearer or DPoP
	ExpiresIn       int64           // seconds
	Scope           string
	DecisionID      string
	// Nonce is the one to make the next proof with; empty when none is asked for.
	Nonce string
}

func (s *Service) result(c crossed, token ident.RawToken, life time.Duration) Result {
	r := Result{AccessToken: token, TokenType: "Bearer", ExpiresIn: int64(life / time.Second), Scope: c.grant.Scopes.String()}
	if c.bound.proven.JKT != "" {
		r.TokenType = "DPoP"
	}
	if c.asked.grant == trust.GrantTokenExchange {
		r.IssuedTokenType = c.requestedType
	}
	if c.forGrant {
		r.TokenType = "N_A" // RFC 8693 section 2.2.1
	}
	return r
}

// commit is step 8: it makes the decision durable. A nil result without an
// error says that the registry moved on, to head, and the request has to be
// decided again.
func (s *Service) commit(ctx context.Context, t *trail, m minted) (*Result, trust.Fence, error) {
	t.record.Outcome = audit.Allow
	out, err := s.opts.Ledger.Commit(ctx, trust.Entry{Record: t.record, IfReplayed: t.replayed(), Once: t.once, Seen: t.seen,
		Siblings: int(s.underWay.Load())})
	if err != nil {
		return nil, trust.Fence{}, err
	}
	switch out.Status {
	case trust.Committed:
		m.result.DecisionID = s.ids.Seal(out.At)
		t.final = m.result.DecisionID
		return &m.result, out.Head, nil
	case trust.Stale:
		return nil, out.Head, nil
	case trust.Replayed:
		t.record = t.replayed()
		return nil, out.Head, &replay{kind: out.Replay, at: out.At}
	}
	return nil, trust.Fence{}, fmt.Errorf("the ledger ended an entry with status %d", out.Status)
}

// newID draws 128 random bits.
func newID() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(b[:]), nil
}

func sum(b []byte) [sha256.Size]byte { return sha256.Sum256(b) }

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
