package exchange

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/ident"
)

// ErrRevoked says that the token, or what it descends from, was revoked.
var ErrRevoked = errors.New("the token was revoked")

// Handle is the handle of one thing that a revocation can name: what tokens
// issued here carry in their lineage when it stood by. A token of another
// issuer is named by that issuer, a blank and its jti.
func (s *Service) Handle(kind, value string) string { return s.names.handle(kind, value) }

func (n *namer) all() string { return n.standing(string(trust.RevokeAll), "") }

// bearing lists what a token that was presented can be revoked by. Ours says it
// in its lineage; of any other only what it came with is known.
func (n *namer) bearing(p *presented) []string {
	if p.peer == nil {
		return append(ancestors(p.token.Claims()), n.handle(string(trust.RevokeToken), p.id),
			n.standing(string(trust.RevokeKey), p.token.KeyThumbprint()), n.all())
	}
	return []string{n.handle(string(trust.RevokeToken), p.token.Issuer()+" "+p.id), n.standing(string(trust.RevokePeer), p.peer.Name),
		n.standing(string(trust.RevokePeerKey), p.token.KeyThumbprint()), n.all()}
}

// checkRevoked holds a token that was presented against the revocations.
func (s *Service) checkRevoked(t *trail, snapshot *trust.Snapshot, p *presented) error {
	return revoked(t, snapshot, p, s.names.bearing(p))
}

// checkParties holds those whom a token is to be issued for against the
// revocations, as of the tokens that were presented: a revoked agent does not
// come back by exchanging an older token of another domain again.
func (s *Service) checkParties(t *trail, c *crossed) error {
	if c.token == nil {
		return nil
	}
	handles := s.names.parties(c)
	if err := revoked(t, c.snapshot, &presented{role: "subject", peer: c.peer, token: c.token}, handles); err != nil {
		return err
	}
	if c.actor == nil {
		return nil
	}
	return revoked(t, c.snapshot, c.actor, handles)
}

// revoked refuses a token that bears one of the handles and was issued before
// it was revoked. The clock of another domain may be ahead of ours by the
// leeway it is granted.
func revoked(t *trail, snapshot *trust.Snapshot, p *presented, handles []string) error {
	issued, _ := p.token.IssuedAt()
	if p.peer != nil {
		issued = issued.Add(-p.peer.Leeway)
	}
	if before, dead := snapshot.Revoked(handles, issued); dead {
		return t.fail(p.role, "revocations", "issued since "+before.Format(time.RFC3339), issued.Format(time.RFC3339), ErrRevoked)
	}
	return nil
}

// parties are the handles of whom a token is issued for.
func (n *namer) parties(c *crossed) []string {
	out := []string{n.handle(string(trust.RevokeSubject), c.grant.Subject)}
	if c.client.Operator != "" {
		out = append(out, n.standing(string(trust.RevokeOperator), c.client.Operator))
	}
	if c.grant.Agent != nil {
		agent := c.grant.Agent.Agent
		out = append(out, n.handle(string(trust.RevokeAgent), agent.ID))
		if agent.Operator != "" && agent.Operator != c.client.Operator {
			out = append(out, n.handle(string(trust.RevokeOperator), agent.Operator))
		}
	}
	return out
}

// sign completes the lineage by the handle of the key that signs, which the
// signer tells only afterwards: the last one is assumed, and where that was
// wrong the token is signed again.
func (s *Service) sign(ctx context.Context, typ string, body *claims) (token ident.RawToken, kid string, err error) {
	if body.Lineage == nil {
		return s.opts.Signer.Sign(ctx, typ, body)
	}
	lineage := slices.Clip(body.Lineage)
	for range maxAttempts {
		assumed := ""
		if last := s.signedBy.Load(); last != nil {
			assumed = *last
		}
		body.Lineage = append(lineage, s.names.standing(string(trust.RevokeKey), assumed))
		token, kid, err = s.opts.Signer.Sign(ctx, typ, body)
		if err != nil || kid == assumed {
			return token, kid, err
		}
		last := kid // kid changes with the next attempt; what is stored must not
		s.signedBy.Store(&last)
	}
	return ident.RawToken{}, "", errors.New("the signing key changes too fast")
}
