package node

import (
	"strings"
	"time"

	"github.com/comity-auth/comity/broker/telemetry"
	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/trust"
)

// ofClient reports whether a key set is a client's: clients that sign their
// assertions are peers to package federation, and too many to be labels.
func ofClient(name string) bool { return strings.HasPrefix(name, "client:") }

func (n *Node) fetched(f federation.Fetched) {
	name := f.Peer
	if ofClient(name) {
		name = ""
	}
	n.metrics.Fetch(name, string(f.Result))
}

func (n *Node) watchMetrics() {
	n.metrics.Watch(telemetry.Sources{
		Peers:            n.peerStates,
		RegistryRevision: func() uint64 { return uint64(n.live.Revision()) },
		RegistryAge:      n.live.Age,
		SigningKeyAge:    func() time.Duration { return n.ring.ActiveAge(time.Now()) },
	})
}

// peerStates are the registered peers that were asked for their keys. One that
// nobody needs lets its keys run out; only a fetch that failed makes it down.
func (n *Node) peerStates() []telemetry.PeerState {
	var out []telemetry.PeerState
	for _, h := range n.keys.Health() {
		if ofClient(h.Name) || h.Name == trust.Self {
			continue
		}
		p := telemetry.PeerState{Name: h.Name, Up: h.Up() || h.Failures == 0, KeyAge: -1, Breaker: h.Breaker}
		if !h.LastFetch.IsZero() {
			p.KeyAge = time.Since(h.LastFetch)
		}
		out = append(out, p)
	}
	return out
}
