package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/comity-auth/comity/broker"
	"github.com/comity-auth/comity/broker/admin"
	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/exchange"
)

// drainFor is how long a stopping node still answers, so that balancers notice
// and clients with open connections are told to close them.
const drainFor = 300 * time.Millisecond

func (n *Node) openHandlers(ctx context.Context) (err error) {
	if n.tls, err = openCertificates(n.cfg.TLS); err != nil {
		return err
	}
	n.public, err = broker.New(broker.Options{
		Issuer: n.cfg.Issuer, Exchanger: n.service, JWKS: n.ring.JWKS, Algorithm: n.ring.Algorithm(), Ready: n.Ready,
		TrustedProxies: n.cfg.TrustedProxies, Logger: n.log, Observe: n.metrics.HTTP,
	})
	if err != nil {
		return err
	}
	n.admin, err = admin.New(admin.Options{
		Store: n.store, Compiler: n.compiler, Live: n.live, Keys: n.keys, Peer: exchange.Verifiable, IDs: n.ring.IDs(), Ring: n.ring,
		Token: func() string { return *n.token.Load() }, Hosts: n.cfg.Admin.Hosts, Logger: n.log, Now: time.Now,
	})
	if err != nil {
		return err
	}
	n.ops = broker.NewOps(broker.OpsOptions{Metrics: n.metrics.Handler(), Components: n.Components, Ready: n.Ready, Pprof: n.cfg.Ops.Pprof})
	return nil
}

// Serve listens until the context ends, then drains. It returns the first
// listener's failure, or nil.
func (n *Node) Serve(ctx context.Context) error {
	failed := make(chan error, 3)
	for _, l := range []struct {
		name    string
		at      string
		ready   net.Listener
		handler http.Handler
		secure  bool
	}{
		{"public", n.cfg.Listen, n.opts.Public, n.public, n.cfg.TLS.Enabled()},
		{"admin", n.cfg.Admin.Listen, n.opts.Admin, n.admin, n.cfg.TLS.Enabled() && !config.OnLoopback(n.cfg.Admin.Listen)},
		{"operations", n.cfg.Ops.Listen, n.opts.Ops, n.ops, false},
	} {
		s, err := n.listen(l.name, l.at, l.ready, l.handler, l.secure)
		if err != nil {
			return err
		}
		n.servers = append(n.servers, s)
		go s.serve(failed)
		n.log.InfoContext(ctx, "listening", "event", "listen", "listener", l.name, "address", s.listener.Addr().String())
	}
	select {
	case <-ctx.Done():
		n.log.InfoContext(ctx, "draining", "event", "drain")
		n.draining.Store(true)
		time.Sleep(drainFor)
		return nil
	case err := <-failed:
		return err
	}
}

type server struct {
	http     *http.Server
	listener net.Listener
}

func (n *Node) listen(name, at string, ready net.Listener, h http.Handler, secure bool) (*server, error) {
	if ready == nil {
		var err error
		if ready, err = net.Listen("tcp", at); err != nil {
			return nil, fmt.Errorf("%s listener: %w", name, err)
		}
	}
	s := &server{listener: ready, http: &http.Server{
		Handler: n.closing(h), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 90 * time.Second, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
	}}
	if secure {
		s.listener = tls.NewListener(ready, n.tls.config())
	}
	return s, nil
}

// closing tells clients to close their connections while the node drains.
func (n *Node) closing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

func (s *server) serve(failed chan<- error) {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		failed <- err
	}
}

func (s *server) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
}

// certificates hold the certificate of the listeners, replaced when its files
// change.
type certificates struct {
	files   config.TLS
	current atomic.Pointer[tls.Certificate]
	clients *x509.CertPool
}

func openCertificates(files config.TLS) (*certificates, error) {
	c := &certificates{files: files}
	if !files.Enabled() {
		return c, nil
	}
	if files.ClientCAFile != "" {
		pem, err := os.ReadFile(files.ClientCAFile)
		if err != nil {
			return nil, err
		}
		c.clients = x509.NewCertPool()
		if !c.clients.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", files.ClientCAFile)
		}
	}
	return c, c.reload()
}

func (c *certificates) reload() error {
	if !c.files.Enabled() {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
	if err != nil {
		return err
	}
	c.current.Store(&cert)
	return nil
}

func (c *certificates) config() *tls.Config {
	out := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil }}
	if c.clients != nil {
		out.ClientCAs, out.ClientAuth = c.clients, tls.VerifyClientCertIfGiven
	}
	return out
}
