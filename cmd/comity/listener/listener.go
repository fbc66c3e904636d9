// Package listener runs the HTTP servers of a process, and stops them.
package listener

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Group is the servers of a process. The zero Group has none. It is not for
// concurrent use.
type Group struct {
	servers []*http.Server
	serving sync.WaitGroup
}

// Start serves on a listener until Shutdown. A failure comes through the channel,
// which needs room for one of each server.
func (g *Group) Start(l net.Listener, s *http.Server, failed chan<- error) {
	g.servers = append(g.servers, s)
	g.serving.Go(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	})
}

// Shutdown stops the servers one after the other, in the order they were started,
// and waits for requests under way, for all of them at most so long.
func (g *Group) Shutdown(within time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for _, s := range g.servers {
		if s.Shutdown(ctx) != nil {
			_ = s.Close()
		}
	}
	g.serving.Wait()
}
