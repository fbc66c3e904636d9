package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/comity-auth/comity/broker"
	"github.com/comity-auth/comity/broker/admin"
	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/cmd/comity/settings"
	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/trust"
)

const (
	// stopWithin bounds what is waited for requests under way at the end.
	stopWithin = 10 * time.Second
	// The pause before a store that cannot be reached is tried again doubles
	// from the first of these to the second.
	openPause    = 100 * time.Millisecond
	openPauseMax = time.Second
)

// surface is what the three listeners answer with.
type surface struct{ public, admin, ops http.Handler }

func (n *Node) openHandlers(context.Context) (err error) {
	var s surface
	s.public, err = broker.New(broker.Options{
		Issuer: n.cfg.Issuer, Exchanger: n.service, Inspector: n.service,
		Feed: exchange.NewFeed(Settings(&n.cfg), n.live, n.ring, time.Now), JWKS: n.ring.JWKS, Algorithm: n.ring.Algorithm(), Ready: n.Ready,
		TrustedProxies: n.cfg.TrustedProxies, MutualTLS: n.cfg.TLS.Enabled(), CertificateHeader: n.cfg.TLS.ClientCertHeader, Logger: n.log, Observe: n.metrics.HTTP,
	})
	if err != nil {
		return err
	}
	s.admin, err = admin.New(admin.Options{
		Store: n.store, Compiler: n.compiler, Live: n.live, Keys: n.keys, Peer: exchange.Verifiable, Handle: n.service.Handle, IDs: n.ring.IDs(), Ring: n.ring,
		Token: func() string { return *n.token.Load() }, Hosts: n.cfg.Admin.Hosts, Logger: n.log, Now: time.Now,
	})
	if err != nil {
		return err
	}
	s.ops = broker.NewOps(broker.OpsOptions{Metrics: n.metrics.Handler(), Components: n.Components, Ready: n.Ready, Pprof: n.cfg.Ops.Pprof})
	n.surface.Store(&s)
	return nil
}

// Run serves a domain until the context ends. It listens at once, live and not
// ready, and waits for a database that cannot be reached; whatever else is
// wrong is returned.
func Run(ctx context.Context, cfg config.Config, opts Options) error {
	n, err := prepare(cfg, opts)
	if err != nil {
		return err
	}
	defer n.Close()
	failed, err := n.listen(ctx)
	if err != nil {
		return err
	}
	switch err := n.openPatiently(ctx, failed); {
	case err == nil:
		n.log.InfoContext(ctx, "serving", "event", "serve", "revision", uint64(n.live.Revision()))
	case ctx.Err() == nil:
		return err
	}
	return n.wait(ctx, failed)
}

// openPatiently opens, again and again while only the database is missing. An
// embedded store that cannot be opened does not come back by itself.
func (n *Node) openPatiently(ctx context.Context, failed <-chan error) error {
	for pause := openPause; ; pause = min(2*pause, openPauseMax) {
		err := n.open(ctx)
		if err == nil {
			return nil
		}
		n.release()
		if !errors.Is(err, trust.ErrUnavailable) || strings.HasPrefix(n.cfg.Store, sqliteScheme) {
			return err
		}
		n.log.WarnContext(ctx, "waiting for the store", "event", "store.waiting", "error", err.Error())
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
			continue
		case <-ctx.Done():
			err = ctx.Err()
		case err = <-failed:
		}
		wait.Stop()
		return err
	}
}

// Serve listens until the context ends, then drains. It returns the first
// listener's failure, or nil.
func (n *Node) Serve(ctx context.Context) error {
	failed, err := n.listen(ctx)
	if err != nil {
		return err
	}
	return n.wait(ctx, failed)
}

// wait waits for the end, and then answers a little longer.
func (n *Node) wait(ctx context.Context, failed <-chan error) error {
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

// listen starts the three servers. A failure of one comes through the channel.
func (n *Node) listen(ctx context.Context) (<-chan error, error) {
	secure := n.cfg.TLS.Enabled()
	failed := make(chan error, 3)
	for _, l := range []struct {
		name   string
		at     string
		ready  net.Listener
		of     func(*surface) http.Handler
		health bool // answers /healthz
		secure bool
		write  time.Duration
	}{
		{"public", n.cfg.Listen, n.opts.Public, func(s *surface) http.Handler { return s.public }, true, secure, 30 * time.Second},
		{"admin", n.cfg.Admin.Listen, n.opts.Admin, func(s *surface) http.Handler { return s.admin }, false,
			secure && !settings.OnLoopback(n.cfg.Admin.Listen), 30 * time.Second},
		// A profile takes as long as it is asked to.
		{"operations", n.cfg.Ops.Listen, n.opts.Ops, func(s *surface) http.Handler { return s.ops }, true, false, 2 * time.Minute},
	} {
		if l.ready == nil {
			var err error
			if l.ready, err = net.Listen("tcp", l.at); err != nil {
				return nil, fmt.Errorf("%s listener: %w", l.name, err)
			}
		}
		if l.secure {
			// Only the public listener asks whoever comes for a certificate: on the
			// admin listener it would make browsers ask people.
			with := n.tls.Private()
			if l.name == "public" {
				with = n.tls.Public()
			}
			l.ready = tls.NewListener(l.ready, with)
		}
		s := n.server(n.answer(l.of, starting(l.health)))
		s.WriteTimeout = l.write
		n.servers.Start(l.ready, s, failed)
		n.log.InfoContext(ctx, "listening", "event", "listen", "listener", l.name, "address", l.ready.Addr().String())
	}
	return failed, nil
}

func (n *Node) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 90 * time.Second,
		MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
	}
}

// answer hands requests to one of the handlers once there are any, and tells
// clients to close their connections while the node drains.
func (n *Node) answer(of func(*surface) http.Handler, before http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		if s := n.surface.Load(); s != nil {
			of(s).ServeHTTP(w, r)
			return
		}
		before.ServeHTTP(w, r)
	})
}

// starting answers while the store is waited for: the process lives, and can do
// nothing yet.
func starting(health bool) http.Handler {
	say := func(w http.ResponseWriter, status int, body string) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body+"\n")
	}
	mux := http.NewServeMux()
	if health {
		mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, `{"status":"ok"}`) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		say(w, http.StatusServiceUnavailable, `{"status":"unavailable","error":"temporarily_unavailable"}`)
	})
	return mux
}

// shutdown stops the listeners, public first: health is told to the last.
func (n *Node) shutdown() { n.servers.Shutdown(stopWithin) }
