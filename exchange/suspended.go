package exchange

import (
	"errors"

	"github.com/comity-auth/comity/trust"
)

// ErrSuspended says that a token of ours was issued by way of a peer, client,
// mapping or policy that is suspended now.
var ErrSuspended = errors.New("something that the token was issued by is suspended")

// halted are the handles of what a snapshot has suspended.
type halted struct {
	snapshot *trust.Snapshot
	by       map[string]trust.Key
}

// suspended gives the handles of what is suspended, worked out once for each
// snapshot.
func (n *namer) suspended(s *trust.Snapshot) map[string]trust.Key {
	if have := n.halted.Load(); have != nil && have.snapshot == s {
		return have.by
	}
	made := &halted{snapshot: s, by: map[string]trust.Key{}}
	for key := range s.Suspended {
		made.by[n.standing(string(key.Kind), key.Name)] = key
	}
	n.halted.Store(made)
	return made.by
}

// checkSuspended holds a token of ours against what is suspended now, all the way
// back: while a neighbour is not trusted, neither is what was issued on its word.
// Unlike a revocation this ends with the suspension.
func (s *Service) checkSuspended(t *trail, snapshot *trust.Snapshot, p *presented) error {
	if p.peer != nil {
		return nil // a peer's token says nothing of how it came about, and the peer is in use
	}
	by := s.names.suspended(snapshot)
	if len(by) == 0 {
		return nil
	}
	for _, handle := range ancestors(p.token.Claims()) {
		if key, found := by[handle]; found {
			return t.fail(p.role, "lineage", "nothing that is suspended", key.String(), ErrSuspended)
		}
	}
	return nil
}
