package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

const (
	jwtBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	jwtType   = "urn:ietf:params:oauth:token-type:jwt"
)

// atHomeFor gets a token of acme.example for one of its agents; without a key
// it is a bearer token.
func (s *story) atHomeFor(ctx context.Context, a *agent, audience string, bound bool) answer {
	key := a.key
	if !bound {
		key = nil
	}
	return a.request(ctx, s.acme, key, "grant_type", "client_credentials", "audience", audience,
		"task_id", "task-9", "task_purpose", "find papers about comity")
}

// granting is leg 1 of identity and authorization chaining across domains: the
// home broker gives a grant that only the foreign one can redeem.
func (s *story) granting(ctx context.Context) {
	s.step("the other way to cross: the home broker gives the agent a grant for the foreign one", func() (string, string, error) {
		sent := "POST acme /token token-exchange for " + s.globex.issuer
		home := s.atHomeFor(ctx, s.agent, s.acme.issuer, true)
		if err := want(home, http.StatusOK, ""); err != nil {
			return "client_credentials for " + s.acme.issuer, "", err
		}
		s.grant = s.agent.request(ctx, s.acme, s.agent.key, "grant_type", tokenExchange, "subject_token", home.token,
			"subject_token_type", accessToken, "requested_token_type", jwtType, "audience", s.globex.issuer, "resource", archive)
		if err := want(s.grant, http.StatusOK, ""); err != nil {
			return sent, "", err
		}
		if s.grant.kind != "N_A" || s.grant.life > 60 || s.grant.claim("aud") != s.globex.issuer {
			return sent, "", fmt.Errorf("token_type %s, %d s, aud %s: no grant for the foreign broker", s.grant.kind, s.grant.life, s.grant.claim("aud"))
		}
		return sent, fmt.Sprintf("200, a grant for %d s, of no use at any resource", s.grant.life), nil
	})
}

// redeeming is leg 2, which counts once.
func (s *story) redeeming(ctx context.Context) {
	redeem := func() answer {
		return s.agent.request(ctx, s.globex, s.agent.key, "grant_type", jwtBearer, "assertion", s.grant.token)
	}
	s.step("the foreign broker redeems it, and the resource accepts the result", func() (string, string, error) {
		sent := "POST globex /token jwt-bearer"
		token := redeem()
		if err := want(token, http.StatusOK, ""); err != nil {
			return sent, "", err
		}
		if token.kind != "DPoP" || token.actions() != "archive.search" {
			return sent, "", fmt.Errorf("a %s token with %q, want a bound one with archive.search", token.kind, token.actions())
		}
		a := s.archive.get(ctx, s.agent.key, token.token, "DPoP")
		return sent, fmt.Sprintf("200, %s for %d s, and %s from the archive", token.actions(), token.life, a.said()), want(a, http.StatusOK, "")
	})
	s.step("a second redemption is refused", func() (string, string, error) {
		a := redeem()
		return "POST globex /token jwt-bearer with the same grant", a.said(), want(a, http.StatusBadRequest, "invalid_grant")
	})
}

// delegating is RFC 8693 with an actor_token: who acts, and for whom.
func (s *story) delegating(ctx context.Context) {
	helper := s.atHomeFor(ctx, s.helper, s.globex.issuer, false)
	actor := s.atHomeFor(ctx, s.orchestrator, s.globex.issuer, true)
	exchange := func(subject, actor answer) answer {
		return s.orchestrator.request(ctx, s.globex, s.orchestrator.key, "grant_type", tokenExchange, "resource", archive,
			"subject_token", subject.token, "subject_token_type", accessToken, "actor_token", actor.token, "actor_token_type", accessToken)
	}
	s.step("an orchestrator acts for another agent, because the mapping lists it", func() (string, string, error) {
		sent := "POST globex /token token-exchange with the orchestrator's token as actor_token"
		a := exchange(helper, actor)
		if err := want(a, http.StatusOK, ""); err != nil {
			return sent, "", err
		}
		switch {
		case a.claim("act", "sub") != "acme-orchestrator-1" || a.claim("act", "iss") != s.acme.issuer:
			return sent, "", errors.New("the token does not name who acts")
		case !strings.HasPrefix(a.claim("sub"), "acme/agent-") || a.kind != "DPoP":
			return sent, "", errors.New("the token is not the agent's, or not bound to the orchestrator's key")
		}
		return sent, fmt.Sprintf("200, %s of %s, act %s", a.actions(), a.claim("sub"), a.claim("act", "sub")), nil
	})
	s.step("and not the other way around", func() (string, string, error) {
		a := exchange(actor, helper)
		return "the same with the two tokens exchanged", a.said(), want(a, http.StatusBadRequest, "invalid_request")
	})
}
