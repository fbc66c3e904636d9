package exchange_test

import (
	"testing"

	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/fixtures/peer"
	"github.com/comity-auth/comity/trust/audit"
)

func TestExchangeGrantsAndRecords(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	result, fault := b.ask(t, b.request(b.form(b.token(nil)), basic))
	if fault != nil {
		t.Fatal(fault)
	}
	r := b.ledger.last
	if result.Scope != "archive.read" || result.TokenType != "Bearer" || result.ExpiresIn != 300 || r.Client != "agent-basic" || r.Mapping != "acme-scopes" ||
		r.Peer != "acme" || r.Target != archive || r.Revision != 1 || r.Foreign["jti"] == "" || r.Foreign["jti"] == "j1" {
		t.Errorf("got %+v and record %+v", result, r)
	}
}

// A token that is refused after its signature held can be told by its digests.
func TestRefusedTokenKeepsItsDigests(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for reason, claims := range map[string]map[string]any{
		"binding":    {"cnf": map[string]any{"jkt": "u7C42uzHhFVP6JGiAIPZYXxN5XJjX3XNl_5S1kB5lHA"}},
		"token_kind": {"at_hash": "x"},
		"claim_form": {"act": "boss"},
	} {
		_, fault := b.ask(t, b.request(b.form(b.token(claims)), basic))
		if r := b.ledger.last; fault == nil || fault.Reason() != reason || r.Foreign["jti"] == "" || r.Foreign["jti"] == "j1" || r.Foreign["sub"] == "" {
			t.Errorf("%s: got %v and digests %v", reason, fault, r.Foreign)
		}
	}
}

// What a replay's record says is what the client is told.
func TestReplays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	form := b.form(b.token(nil))
	form.Set("client_assertion", b.client.Assertion("agent-jwt", us, peer.Overrides{}))
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	if _, fault := b.ask(t, b.request(form)); fault != nil {
		t.Fatal(fault)
	}
	_, fault := b.ask(t, b.request(form))
	if fault == nil || fault.Code != exchange.InvalidClient || fault.Reason() != "replayed" {
		t.Errorf("got %v, want invalid_client", fault)
	}
	if r := b.ledger.last; r.Error != exchange.InvalidClient || r.Reason != "replayed" || r.Outcome != audit.Deny || r.Issued != nil {
		t.Errorf("got record %+v", r)
	}
}

// A request without a form is refused for its defect, and recorded.
func TestDefects(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for reason, defect := range map[string]error{"body_size": exchange.ErrBodySize, "media_type": exchange.ErrMediaType, "form": exchange.ErrForm, "query": exchange.ErrQuery} {
		req := b.request(b.form(b.token(nil)), basic)
		req.Defect = defect
		if _, fault := b.ask(t, req); fault == nil || fault.Code != exchange.InvalidRequest || fault.Reason() != reason || b.ledger.last.Reason != reason {
			t.Errorf("%v: got %v", defect, fault)
		}
	}
}
