package guardnode

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/comity-auth/comity/cmd/comity/guardconf"
	"github.com/comity-auth/comity/federation/guard"
)

// generation is the guard of one reading of the configuration. Requests keep the
// generation that they began with.
type generation struct {
	guard   *guard.Guard
	handler http.Handler

	stop    context.CancelFunc
	running sync.WaitGroup
	users   atomic.Int64  // the requests under way, and one while it is current
	idle    chan struct{} // closed when nobody uses it any more
}

// begin builds a generation and lets it follow its issuers.
func begin(cfg guardconf.Config, with shared) (*generation, error) {
	g := &generation{idle: make(chan struct{})}
	var err error
	if g.guard, g.handler, err = build(cfg, with); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	g.users.Store(1)
	g.running.Go(func() { _ = g.guard.Run(ctx) }) // it ends with the context, and says nothing else
	return g, nil
}

// awaitReady waits until requests could be admitted, at most for a time: the
// guard before goes on meanwhile.
func (g *generation) awaitReady(ctx context.Context, most time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for g.guard.Ready() != nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// release ends one use. The last one can only be after retire.
func (g *generation) release() {
	if g.users.Add(-1) == 0 {
		close(g.idle)
	}
}

// retire waits for the requests under way, at most for a time and until hurry is
// closed, and ends what runs in the background. A request that goes on longer has
// been judged long ago, so that it needs the guard no more.
func (g *generation) retire(most time.Duration, hurry <-chan struct{}) {
	g.release()
	wait := time.NewTimer(most)
	defer wait.Stop()
	select {
	case <-g.idle:
	case <-hurry:
	case <-wait.C:
	}
	g.stop()
	g.running.Wait()
	g.guard.Close()
}
