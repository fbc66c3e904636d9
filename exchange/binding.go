package exchange

import (
	"fmt"
	"slices"

	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust"
)

// bound is a caller whose proof of possession, if it sent one, holds. Only bind
// makes one.
type bound struct {
	caller
	// proven is what the request proved possession of; zero when nothing.
	proven proof.Confirmation
}

// proofAlgorithms are those a DPoP proof may be signed with.
var proofAlgorithms = []string{"ES256", "EdDSA", "ES384", "PS256", "RS256"}

// bind is step 3: sender constraint by DPoP (RFC 9449) and by certificate
// (RFC 8705).
func (s *Service) bind(t *trail, c caller) (bound, error) {
	b := bound{caller: c}
	if len(c.dpop) == 0 {
		t.note("binding", "dpop", "none was sent")
		t.bindCertificate(&b)
		return b, nil
	}
	want := proof.Want{Method: "POST", URLs: []string{s.opts.Endpoint}, Now: t.now, Window: proof.Window,
		Algorithms: proofAlgorithms, NoAccessToken: true}
	if s.nonces.on() {
		want.Nonce = func(nonce string) bool { return s.nonces.valid(t.now, nonce) }
	}
	p, err := proof.Parse(c.dpop, want)
	if err != nil {
		return b, t.fail("binding", "dpop", "one valid proof for this endpoint", err.Error(), fmt.Errorf("dpop: %w", err))
	}
	jkt, id := p.OnceKey()
	t.useOnce(trust.NewOnce(trust.OnceProof, jkt, id, p.Expires()))
	b.proven = p.Confirmation()
	t.pass("binding", "dpop", "one valid proof for this endpoint", jkt)
	t.bindCertificate(&b)
	return b, nil
}

// ProofAlgorithms lists what DPoP proofs may be signed with.
func ProofAlgorithms() []string { return slices.Clone(proofAlgorithms) }
