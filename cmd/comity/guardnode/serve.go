package guardnode

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/comity-auth/comity/broker"
	"github.com/comity-auth/comity/federation/guard"
)

const (
	// headerWithin bounds how long a request's header may take.
	headerWithin = 5 * time.Second
	// judgedWithin bounds what is read of a body before the request is admitted,
	// and of one that is not admitted.
	judgedWithin = 10 * time.Second
	// maxHeader bounds a request's header: a token has 16 KiB at most, and a proof
	// comes with it.
	maxHeader = 64 << 10
)

// listen starts both servers. A failure of one comes through the channel.
//
// The public one bounds neither the time of a request's body nor that of the
// response, since long uploads, downloads and WebSockets pass: what has not been
// admitted is bounded by headerWithin and judgedWithin, what has been is between
// the client and the upstream.
func (n *Node) listen(ctx context.Context) (<-chan error, error) {
	failed := make(chan error, 2)
	ops := broker.NewOps(broker.OpsOptions{Metrics: n.metrics.Handler(), Components: n.components, Ready: n.ready, Pprof: n.cfg.Ops.Pprof})
	for _, l := range []struct {
		name        string
		at          string
		ready       net.Listener
		handler     http.Handler
		secure      bool
		read, write time.Duration
	}{
		{"public", n.cfg.Listen, n.opts.Public, http.HandlerFunc(n.serve), n.cfg.TLS.Enabled(), 0, 0},
		// A profile takes as long as it is asked to.
		{"operations", n.cfg.Ops.Listen, n.opts.Ops, ops, false, 10 * time.Second, 2 * time.Minute},
	} {
		if l.ready == nil {
			var err error
			if l.ready, err = net.Listen("tcp", l.at); err != nil {
				return nil, fmt.Errorf("%s listener: %w", l.name, err)
			}
		}
		if l.secure {
			l.ready = tls.NewListener(l.ready, n.certs.Public())
		}
		n.servers.Start(l.ready, &http.Server{
			Handler: l.handler, ReadHeaderTimeout: headerWithin, ReadTimeout: l.read, WriteTimeout: l.write, IdleTimeout: 90 * time.Second,
			MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
		}, failed)
		n.log.InfoContext(ctx, "listening", "event", "listen", "listener", l.name, "address", l.ready.Addr().String())
	}
	return failed, nil
}

type deadlineKey struct{}

// serve hands a request to the current generation, with a bound on reading that
// ends when the request is admitted.
func (n *Node) serve(w http.ResponseWriter, r *http.Request) {
	if n.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	g := n.use()
	if g == nil {
		answerTooEarly(w)
		return
	}
	defer g.release()
	if r.ContentLength != 0 {
		conn := http.NewResponseController(w)
		if conn.SetReadDeadline(time.Now().Add(judgedWithin)) == nil {
			r = r.WithContext(context.WithValue(r.Context(), deadlineKey{}, conn))
		}
	}
	g.handler.ServeHTTP(w, r)
}

// observe receives every decision, of an admitted request before it goes to the
// upstream.
func (n *Node) observe(ctx context.Context, e *guard.Event) {
	if conn, ok := ctx.Value(deadlineKey{}).(*http.ResponseController); ok && e.Admitted() {
		_ = conn.SetReadDeadline(time.Time{}) // it could be set, so it can be lifted
	}
	n.metrics.Observe(ctx, e)
}

// wait obeys signals and looks at files until the end, and then answers a little
// longer.
func (n *Node) wait(ctx context.Context, failed <-chan error) error {
	watching, stop := context.WithCancel(ctx)
	n.watching.Go(func() { n.watch(watching) })
	defer stop()
	select {
	case <-ctx.Done():
		n.log.InfoContext(ctx, "draining", "event", "drain")
		n.draining.Store(true)
		time.Sleep(n.opts.Drain)
		return nil
	case err := <-failed:
		return err
	}
}

// shutdown stops the listeners, public first: health is told to the last.
func (n *Node) shutdown() { n.servers.Shutdown(stopWithin) }
