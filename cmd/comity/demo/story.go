package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/fixtures/peer"
)

const (
	tokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessToken   = "urn:ietf:params:oauth:token-type:access_token"
	archive       = "https://archive.globex.example"
	printer       = "https://printer.acme.example"
	approvals     = "https://approve.acme.example/agents"
)

// chapters are the story, in order.
func (s *story) chapters() []func(context.Context) {
	return []func(context.Context){
		s.atHome, s.notAbroad, s.crossing, s.reading, s.boundary, s.tooMuch, s.otherAudience, s.stranger, s.stolen, s.suspended, s.unsuspended,
		s.granting, s.redeeming, s.delegating, s.enforcing, s.revoking,
	}
}

// exchange asks globex.example to exchange a token.
func (s *story) exchange(ctx context.Context, token string, key *proof.Signer, more ...string) answer {
	return s.agent.request(ctx, s.globex, key, append([]string{
		"grant_type", tokenExchange, "subject_token", token, "subject_token_type", accessToken, "resource", archive,
	}, more...)...)
}

func (s *story) atHome(ctx context.Context) {
	s.step("the agent gets a token at home, addressed to the foreign broker and bound to its key", func() (string, string, error) {
		sent := "POST acme /token client_credentials for " + s.globex.issuer
		s.home = s.agent.request(ctx, s.acme, s.agent.key, "grant_type", "client_credentials", "audience", s.globex.issuer,
			"task_id", "task-7", "task_purpose", "find papers about comity")
		if err := want(s.home, http.StatusOK, ""); err != nil {
			return sent, "", err
		}
		s.homeTrace = s.home.claim("audit", "trace_id")
		if s.home.kind != "DPoP" || s.homeTrace == "" {
			return sent, "", errors.New("the token is not bound to the agent's key, or has no trace")
		}
		return sent, fmt.Sprintf("200, a DPoP token for agent %s with %s", s.home.claim("agent", "id"), s.home.actions()), nil
	})
}

func (s *story) notAbroad(ctx context.Context) {
	s.step("the foreign resource refuses the home token", func() (string, string, error) {
		a := s.archive.get(ctx, s.agent.key, s.home.token, "DPoP")
		return "GET archive /search with the home token", a.said(), want(a, http.StatusUnauthorized, "invalid_token")
	})
}

func (s *story) crossing(ctx context.Context) {
	s.step("the foreign broker exchanges it", func() (string, string, error) {
		sent := "POST globex /token token-exchange for " + archive
		s.crossed = s.exchange(ctx, s.home.token, s.agent.key)
		if err := want(s.crossed, http.StatusOK, ""); err != nil {
			return sent, "", err
		}
		if got := s.crossed.actions(); got != "archive.search archive.delete" {
			return sent, "", fmt.Errorf("the token carries %q, want archive.search and archive.delete alone", got)
		}
		return sent, fmt.Sprintf("200, %s for %s, %d s instead of %d", s.crossed.actions(), s.crossed.claim("sub"),
			s.crossed.life, s.home.life), nil
	})
}

func (s *story) reading(ctx context.Context) {
	s.step("the resource accepts the result", func() (string, string, error) {
		a := s.archive.get(ctx, s.agent.key, s.crossed.token, "DPoP")
		return "GET archive /search with the exchanged token and a proof", a.said(), want(a, http.StatusOK, "")
	})
}

func (s *story) boundary(ctx context.Context) {
	s.step("the trace ends at the boundary and a fresh one begins", func() (string, string, error) {
		s.crossTrace = s.crossed.claim("audit", "trace_id")
		got := fmt.Sprintf("%s... at home, %s... abroad", clip(s.homeTrace), clip(s.crossTrace))
		switch {
		case len(s.crossTrace) != 32 || s.crossTrace == s.homeTrace:
			return "both tokens", "", errors.New("the trace was not rotated: " + got)
		case s.crossed.claim("audit", "trace_id_scope") != "domain":
			return "both tokens", "", errors.New("the scope of the trace is not the domain")
		}
		for _, name := range []string{"jti", "sub"} {
			if strings.Contains(s.crossed.payload, s.home.claim(name)) {
				return "both tokens", "", errors.New("the exchanged token holds the home token's " + name)
			}
		}
		return "both tokens, decoded", got, nil
	})
	s.step("the foreign record holds a keyed digest of the home trace, and nothing of its value", func() (string, string, error) {
		sent := "GET globex admin /admin/v1/decisions/" + clip(s.crossed.decision) + "..."
		record, err := s.globex.record(ctx, s.crossed.decision)
		if err != nil {
			return sent, "", err
		}
		digest := between(record, `"trace":"`, `"`, strings.Index(record, `"foreign"`))
		for name, value := range map[string]string{"trace": s.homeTrace, "jti": s.home.claim("jti"), "token": s.home.token} {
			if strings.Contains(record, value) {
				return sent, "", errors.New("the record holds the home token's " + name)
			}
		}
		if len(digest) != 43 || !strings.Contains(record, s.crossTrace) {
			return sent, "", errors.New("the record lacks the digest or its own trace")
		}
		return sent, "foreign trace as digest " + clip(digest) + "..., own trace " + clip(s.crossTrace) + "...", nil
	})
}

func (s *story) tooMuch(ctx context.Context) {
	s.step("a request for more than the mapping allows is refused whole", func() (string, string, error) {
		a := s.exchange(ctx, s.home.token, s.agent.key, "capabilities", "archive.search archive.fetch")
		return "token-exchange asking archive.search and archive.fetch", a.said(), want(a, http.StatusBadRequest, "invalid_scope")
	})
}

func (s *story) otherAudience(ctx context.Context) {
	s.step("a token for another audience is refused", func() (string, string, error) {
		other := s.agent.request(ctx, s.acme, s.agent.key, "grant_type", "client_credentials", "audience", printer,
			"task_id", "task-8", "task_purpose", "print a page")
		if err := want(other, http.StatusOK, ""); err != nil {
			return "client_credentials for the printer", "", err
		}
		a := s.exchange(ctx, other.token, s.agent.key)
		return "token-exchange of a token addressed to " + printer, a.said(), want(a, http.StatusBadRequest, "invalid_request")
	})
}

func (s *story) stranger(ctx context.Context) {
	s.step("a token of an unregistered issuer is refused without asking that issuer anything", func() (string, string, error) {
		sent := "token-exchange of a token signed by " + s.stray.URL()
		a := s.exchange(ctx, s.stray.Token(s.globex.issuer, peer.Overrides{}), s.agent.key)
		if err := want(a, http.StatusBadRequest, "invalid_request"); err != nil {
			return sent, "", err
		}
		if hits := s.stray.TotalHits(); hits != 0 {
			return sent, "", fmt.Errorf("the broker sent %d requests to an issuer nobody registered", hits)
		}
		return sent, a.said() + ", and no request reached the issuer", nil
	})
}

func (s *story) stolen(ctx context.Context) {
	thief, err := proof.GenerateSigner()
	if err != nil {
		s.step("a thief makes a key", func() (string, string, error) { return "", "", err })
		return
	}
	s.step("a stolen token cannot be exchanged without the agent's key", func() (string, string, error) {
		a := s.exchange(ctx, s.home.token, thief)
		return "token-exchange with a proof by another key", a.said(), want(a, http.StatusBadRequest, "invalid_request")
	})
	s.step("nor used at the resource: not with another key, not as a bearer token", func() (string, string, error) {
		sent := "GET archive /search with the thief's proof, and with none"
		a := s.archive.get(ctx, thief, s.crossed.token, "DPoP")
		if err := want(a, http.StatusUnauthorized, "invalid_token"); err != nil {
			return sent, "", err
		}
		a = s.archive.get(ctx, nil, s.crossed.token, "Bearer")
		return sent, a.said() + ", twice", want(a, http.StatusUnauthorized, "invalid_token")
	})
}

func (s *story) suspended(ctx context.Context) {
	s.step("a suspended peer's token is refused at once", func() (string, string, error) {
		sent := "peer acme set to suspended, then token-exchange"
		if err := s.globex.setPeerStatus(ctx, "suspended"); err != nil {
			return sent, "", err
		}
		a := s.exchange(ctx, s.home.token, s.agent.key)
		return sent, a.said(), want(a, http.StatusBadRequest, "invalid_request")
	})
}

func (s *story) unsuspended(ctx context.Context) {
	s.step("and works again once the peer is unsuspended", func() (string, string, error) {
		sent := "peer acme set to active, then token-exchange"
		if err := s.globex.setPeerStatus(ctx, "active"); err != nil {
			return sent, "", err
		}
		a := s.exchange(ctx, s.home.token, s.agent.key)
		return sent, a.said(), want(a, http.StatusOK, "")
	})
}

func clip(s string) string { return s[:min(8, len(s))] }

// between is the text after from and before to, at or behind start.
func between(s, from, to string, start int) string {
	if start < 0 {
		return ""
	}
	_, rest, ok := strings.Cut(s[start:], from)
	if !ok {
		return ""
	}
	out, _, _ := strings.Cut(rest, to)
	return out
}
