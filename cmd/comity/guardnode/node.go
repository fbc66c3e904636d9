package guardnode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/comity-auth/comity/broker"
	"github.com/comity-auth/comity/cmd/comity/guardconf"
	"github.com/comity-auth/comity/cmd/comity/listener"
	"github.com/comity-auth/comity/cmd/comity/reload"
	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/guard/metrics"
	"github.com/comity-auth/comity/federation/quota/valkey"
)

// Options are what a node is built of beside its configuration.
type Options struct {
	Logger  *slog.Logger
	Version string
	// Load reads the configuration again, for SIGHUP. Nil: nothing is reloaded but
	// certificates.
	Load func() (guardconf.Config, error)
	// Public and Ops take the place of the configured listen addresses when set.
	Public, Ops net.Listener
	// WatchEvery is how often the certificates' files are looked at; default 1 s.
	WatchEvery time.Duration
	// Drain is how long a stopping node still answers, so that balancers notice
	// and clients with open connections are told to close them; default 300 ms.
	Drain time.Duration
}

const (
	// stopWithin bounds what is waited for requests under way, at the end and when
	// the configuration changes.
	stopWithin = 10 * time.Second
	// readyWithin bounds what is waited for what a new configuration has to learn
	// before it replaces the one before.
	readyWithin = 5 * time.Second
)

// Node is a running guard.
type Node struct {
	cfg     guardconf.Config // as at the start
	opts    Options
	log     *slog.Logger
	certs   *reload.Certificates
	metrics *metrics.Metrics
	hup     chan os.Signal

	shared shared
	store  *valkey.Store // nil without one

	mu      sync.RWMutex
	current *generation // under mu; nil until the first is there

	draining atomic.Bool
	servers  listener.Group
	watching sync.WaitGroup
	retiring sync.WaitGroup
	hurry    chan struct{} // closed when generations that retire should wait no longer
}

// Run guards until the context ends. It listens at once, live and not ready, and
// waits for shared counters that cannot be reached; whatever else is wrong is
// returned.
func Run(ctx context.Context, cfg guardconf.Config, opts Options) error {
	n, err := prepare(cfg, opts)
	if err != nil {
		return err
	}
	defer n.close()
	failed, err := n.listen(ctx)
	if err != nil {
		return err
	}
	if err := n.open(ctx, failed); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before it began
		}
		return err
	}
	n.log.InfoContext(ctx, "guarding", "event", "guard", "audience", cfg.Audience, "issuers", len(cfg.Issuers), "routes", len(cfg.Routes))
	return n.wait(ctx, failed)
}

// prepare makes a node that can listen and does not answer yet.
func prepare(cfg guardconf.Config, opts Options) (*Node, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	opts.WatchEvery = cmp.Or(opts.WatchEvery, time.Second)
	opts.Drain = cmp.Or(opts.Drain, 300*time.Millisecond)
	certs, err := reload.OpenCertificates(certificateFiles(cfg))
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	n := &Node{cfg: cfg, opts: opts, log: opts.Logger, certs: certs, metrics: metrics.New(opts.Version), hup: make(chan os.Signal, 1), hurry: make(chan struct{})}
	n.metrics.Watch(n.stats)
	n.shared = shared{observe: n.observe, log: n.log}
	// Before the listeners, so that what can be known to be wrong refuses to start.
	if err := Check(cfg); err != nil {
		return nil, err
	}
	// From here on, because the signal ends a process that does not listen to it.
	signal.Notify(n.hup, syscall.SIGHUP)
	return n, nil
}

func certificateFiles(cfg guardconf.Config) reload.CertificateFiles {
	return reload.CertificateFiles{Cert: cfg.TLS.CertFile, Key: cfg.TLS.KeyFile, ClientCA: cfg.TLS.ClientCAFile}
}

// open makes the first generation. A listener's failure ends it.
func (n *Node) open(ctx context.Context, failed <-chan error) error {
	opening, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done, ended := make(chan error, 1), make(chan struct{})
	go func() { defer close(ended); done <- n.openShared(opening) }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("valkey: %w", err)
		}
	case err := <-failed:
		cancel(err)
		<-ended
		return err
	}
	first, err := begin(n.cfg, n.shared)
	if err != nil {
		return err
	}
	n.warn(ctx, n.cfg)
	n.replace(first)
	return nil
}

// warn says which protections are switched off.
func (n *Node) warn(ctx context.Context, cfg guardconf.Config) {
	for _, s := range cfg.Insecure() {
		n.log.WarnContext(ctx, "insecure setting", "event", "guard.insecure", "setting", s)
	}
}

// replace makes a generation the current one, and has the one before drain. Nil:
// there is none any more.
func (n *Node) replace(next *generation) {
	n.mu.Lock()
	last := n.current
	n.current = next
	n.mu.Unlock()
	if last != nil {
		n.retiring.Go(func() { last.retire(stopWithin, n.hurry) })
	}
}

// use is the current generation, which is not closed before it is released. Nil:
// there is none yet.
func (n *Node) use() *generation {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.current != nil {
		n.current.users.Add(1)
	}
	return n.current
}

func (n *Node) stats() guard.Stats {
	g := n.use()
	if g == nil {
		return guard.Stats{}
	}
	defer g.release()
	return g.guard.Stats()
}

// ready says whether requests can be judged now.
func (n *Node) ready() error {
	if n.draining.Load() {
		return errors.New("shutting down")
	}
	g := n.use()
	if g == nil {
		return errors.New("starting")
	}
	defer g.release()
	return g.guard.Ready()
}

// components says how everything is that the node depends on.
func (n *Node) components() []broker.Component {
	c := broker.Component{Name: "guard", Status: "ok"}
	if err := n.ready(); err != nil {
		c.Status, c.Detail = "unavailable", err.Error()
	}
	return []broker.Component{c}
}

// close stops listening, finishes what is under way and releases everything.
func (n *Node) close() {
	n.draining.Store(true)
	n.shutdown()
	signal.Stop(n.hup)
	n.watching.Wait()
	close(n.hurry) // the listeners waited already
	n.replace(nil)
	n.retiring.Wait()
	if n.store != nil {
		if err := n.store.Close(); err != nil {
			n.log.Error("close the shared counters", "event", "valkey.close", "error", err.Error())
		}
	}
}

// answerTooEarly answers while there is no generation: the process lives, and can
// judge nothing.
func answerTooEarly(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = fmt.Fprintf(w, "{\"error\":%q}\n", guard.Unavailable)
}
