package guard

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// watchEvery is how often a connection that was upgraded is asked whether its token
// still counts.
const watchEvery = time.Second

// upgrades reports whether the request asks for a WebSocket, the one thing that is
// upgraded to.
func upgrades(r *http.Request) bool { return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") }

// whileAlive gives a context that ends once the token has expired or was revoked:
// what goes over a connection that was upgraded is judged no more, so it must not
// outlive what it was admitted on. The function frees what watches.
func (g *Guard) whileAlive(ctx context.Context, grant *Grant) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancel(ctx)
	if grant.token == nil { // of a public route
		return ctx, end
	}
	go func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for g.alive(grant.token) {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		end()
	}()
	return ctx, end
}

func (g *Guard) alive(v *verified) bool {
	if g.set.Now().After(v.token.Expires().Add(g.set.Leeway)) {
		return false
	}
	f := g.feeds[v.from.Issuer.Issuer]
	return f == nil || !f.Revoked(v.lineage, v.issued)
}
