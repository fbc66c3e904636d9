package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// enforcing shows that the resource holds the agent to every word of its token.
func (s *story) enforcing(ctx context.Context) {
	fresh := s.exchange(ctx, s.home.token, s.agent.key)
	ask := func(method, target string) answer {
		return s.archive.ask(ctx, s.agent.key, method, target, fresh.token, "DPoP")
	}
	s.step("the resource refuses a site that the token does not allow", func() (string, string, error) {
		a := ask(http.MethodGet, "/search?site="+url.QueryEscape("https://ads.tracker.example/"))
		return "GET archive /search of a site below tracker.example", a.said(), want(a, http.StatusForbidden, "aap_domain_not_allowed")
	})
	s.step("and a deletion, for which the home domain asks for a human", func() (string, string, error) {
		a := ask(http.MethodDelete, "/documents/7")
		got := a.said() + ", to be approved at " + a.approval
		if a.approval != approvals {
			return "DELETE archive /documents/7", got, errors.New("the refusal does not say where to have it approved")
		}
		return "DELETE archive /documents/7", got, want(a, http.StatusForbidden, "aap_approval_required")
	})
	s.step("and the fourth search within a minute", func() (string, string, error) {
		const sent = "GET archive /search, again and again"
		for range 2 { // one was counted above, though it was refused
			if a := s.archive.get(ctx, s.agent.key, fresh.token, "DPoP"); a.status != http.StatusOK {
				return sent, "", want(a, http.StatusOK, "")
			}
		}
		a := s.archive.get(ctx, s.agent.key, fresh.token, "DPoP")
		if a.retry == "" {
			return sent, "", errors.New("no Retry-After in " + a.said())
		}
		return sent, fmt.Sprintf("%s, to be tried again in %s s", a.said(), a.retry), want(a, http.StatusTooManyRequests, "aap_constraint_violation")
	})
}

// revoking shows that a token dies where it is used, not where it was issued.
func (s *story) revoking(ctx context.Context) {
	s.step("a revoked token is refused by the resource, which asks nobody", func() (string, string, error) {
		const sent = "POST globex admin /admin/v1/revocations, then GET archive /search until it is refused"
		began := time.Now()
		_, _, err := s.globex.ask(ctx, http.MethodPost, "/admin/v1/revocations", "", "application/json",
			strings.NewReader(fmt.Sprintf(`{"kind": "token", "value": %q}`, s.crossed.claim("jti"))))
		if err != nil {
			return sent, "", err
		}
		for {
			a := s.archive.get(ctx, s.agent.key, s.crossed.token, "DPoP")
			took := time.Since(began)
			if a.status == http.StatusUnauthorized {
				return sent, fmt.Sprintf("%s, %s later", a.said(), took.Round(time.Millisecond)), want(a, http.StatusUnauthorized, "invalid_token")
			}
			if took > 5*time.Second {
				return sent, "", fmt.Errorf("still %s after %s", a.said(), took)
			}
			select {
			case <-ctx.Done():
				return sent, "", ctx.Err()
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
}
