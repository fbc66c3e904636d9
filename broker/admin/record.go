package admin

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"

	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

// Decision is one decision record and where it stands.
type Decision struct {
	ID     string        `json:"decision_id"`
	Writer uint32        `json:"writer"`
	Seq    uint64        `json:"seq"`
	Hash   string        `json:"sha256" doc:"Of the record and all before it in its chain"`
	Record *audit.Record `json:"record"`
}

// getDecision opens the id, which leads to the record without an index.
// Whatever is wrong with an id, the answer is the same.
func (h *handler) getDecision(c *call) (*reply, error) {
	id := c.PathValue("id")
	at, genuine := h.opts.IDs.Open(id)
	if !genuine || at.Writer == trust.RegistryWriter {
		return nil, newProblem("not_found", "there is no decision of that id")
	}
	row, err := h.opts.Store.Record(c.Context(), at)
	if errors.Is(err, trust.ErrNotFound) {
		return nil, newProblem("not_found", "there is no decision of that id")
	}
	if err != nil {
		return nil, err
	}
	rec, err := audit.Decode(row.Body)
	if err != nil {
		return nil, fmt.Errorf("decode record: %w", err)
	}
	return &reply{body: Decision{id, row.Writer, row.Seq, hex.EncodeToString(row.Hash[:]), rec}}, nil
}

// signingKeys lists the broker's keys.
type signingKeys struct {
	Keys []keys.KeyInfo `json:"keys"`
}

func (h *handler) getKeys(*call) (*reply, error) {
	return &reply{body: signingKeys{append([]keys.KeyInfo{}, h.opts.Ring.Info()...)}}, nil
}

// Verification is the proof of the record, chain by chain.
type Verification struct {
	OK      bool    `json:"ok"`
	Records uint64  `json:"records" doc:"How many were read"`
	Chains  []Chain `json:"chains"`
}

// Chain is one writer's chain. Writer 0 is the registry's own.
type Chain struct {
	Writer  uint32 `json:"writer"`
	Records uint64 `json:"records"`
	Head    string `json:"head" doc:"SHA-256 of the last record, which covers all before it"`
	OK      bool   `json:"ok"`
	Problem string `json:"problem,omitempty" doc:"Where the chain breaks first"`
}

// verifyPage is how many records are read at a time.
const verifyPage = 1000

// verifyAudit walks every chain from its first record to the head it has now.
func (h *handler) verifyAudit(c *call) (*reply, error) {
	heads, err := h.opts.Store.Writers(c.Context())
	if err != nil {
		return nil, err
	}
	out := Verification{OK: true, Chains: []Chain{}}
	for _, head := range heads {
		chain, err := h.verifyChain(c.Context(), head)
		if err != nil {
			return nil, err
		}
		out.OK = out.OK && chain.OK
		out.Records += chain.Records
		out.Chains = append(out.Chains, chain)
	}
	return &reply{body: out}, nil
}

func (h *handler) verifyChain(ctx context.Context, head audit.Head) (Chain, error) {
	out := Chain{Writer: head.Writer, Records: head.Seq, Head: hex.EncodeToString(head.Hash[:]), OK: true}
	end, err := audit.VerifyChain(audit.Head{Position: audit.Position{Writer: head.Writer}}, h.rows(ctx, head))
	switch {
	case errors.Is(err, audit.ErrBroken):
		out.OK, out.Problem = false, err.Error()
	case err != nil:
		return out, err
	case end != head:
		out.OK, out.Problem = false, fmt.Sprintf("the chain ends at record %d and not in its head, record %d", end.Seq, head.Seq)
	}
	return out, nil
}

// rows reads a chain up to the head: what is appended meanwhile is not looked at.
func (h *handler) rows(ctx context.Context, head audit.Head) iter.Seq2[audit.Row, error] {
	return func(yield func(audit.Row, error) bool) {
		after := audit.Position{Writer: head.Writer}
		for after.Seq < head.Seq {
			page, err := h.opts.Store.Records(ctx, after, int(min(verifyPage, head.Seq-after.Seq)))
			if err != nil {
				yield(audit.Row{}, err)
				return
			}
			if len(page) == 0 {
				return
			}
			for _, row := range page {
				if !yield(row, nil) {
					return
				}
			}
			after = page[len(page)-1].Position
		}
	}
}
