// Package node builds one domain's broker out of its configuration, starts it
// and stops it. It decides nothing: it is the part of serve and demo that knows
// which object goes into which.
package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/comity-auth/comity/broker"
	"github.com/comity-auth/comity/broker/telemetry"
	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/cmd/comity/listener"
	"github.com/comity-auth/comity/cmd/comity/reload"
	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/fetch"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
	"github.com/comity-auth/comity/trust/postgres"
	"github.com/comity-auth/comity/trust/sqlite"
)

// Options are what a node is built of beside its configuration.
type Options struct {
	Logger  *slog.Logger
	Version string
	// Public, Admin and Ops take the place of the configured listen addresses
	// when set.
	Public, Admin, Ops net.Listener
	// Schema is the Postgres schema to keep to; empty for the default.
	Schema string
	// WatchEvery is how often files are looked at for changes; default 1 s.
	WatchEvery time.Duration
	// Drain is how long a stopping node still answers, so that balancers notice
	// and clients with open connections are told to close them; default 300 ms.
	Drain time.Duration
}

// Node is a running broker. Open starts what works in the background, Serve
// what listens, Close stops everything.
type Node struct {
	cfg  config.Config
	opts Options
	log  *slog.Logger
	tls  *reload.Certificates
	hup  chan os.Signal

	// These belong to open and release, and to what surface hands out.
	store    trust.Store
	compiler *trust.Compiler
	live     *trust.Live
	seal     *keys.Seal
	ring     *keys.Ring
	fetcher  *fetch.Client
	keys     *federation.Keys
	ledger   *trust.Ledger
	service  *exchange.Service
	metrics  *telemetry.Metrics
	stop     context.CancelFunc
	work     sync.WaitGroup

	token    atomic.Pointer[string] // the admin credential
	surface  atomic.Pointer[surface]
	draining atomic.Bool

	servers listener.Group
	closing sync.Once

	reloading sync.Mutex
	// Under reloading, by what is kept in files: what they were like when they
	// were last read, and at the last look.
	stamps, settling map[string]string
}

// Open builds the node and starts following the store. It refuses to start on
// anything it does not understand. The error wraps trust.ErrUnavailable when
// the store was the only obstacle.
func Open(ctx context.Context, cfg config.Config, opts Options) (*Node, error) {
	n, err := prepare(cfg, opts)
	if err != nil {
		return nil, err
	}
	if err := n.open(ctx); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// prepare makes a node that can listen and does not answer yet.
func prepare(cfg config.Config, opts Options) (*Node, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	opts.WatchEvery = cmp.Or(opts.WatchEvery, time.Second)
	opts.Drain = cmp.Or(opts.Drain, 300*time.Millisecond)
	certificates, err := reload.OpenCertificates(reload.CertificateFiles{Cert: cfg.TLS.CertFile, Key: cfg.TLS.KeyFile, ClientCA: cfg.TLS.ClientCAFile})
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	n := &Node{cfg: cfg, opts: opts, log: opts.Logger, tls: certificates, hup: make(chan os.Signal, 1)}
	// From here on, because the signal ends a process that does not listen to it.
	signal.Notify(n.hup, syscall.SIGHUP)
	return n, nil
}

// open does everything that may fail, first what does not need the store. After
// an error release makes it ready for another attempt.
func (n *Node) open(ctx context.Context) error {
	n.noteFiles()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"metrics", n.openMetrics},
		{"admin credential", n.openToken},
		{"seal", n.openSeal},
		{"trust file", n.checkTrust},
		{"peers", n.openPeers},
		{"store", n.openStore},
		{"keys", n.openKeys},
		{"trust file", n.applyAtStart},
		{"registry", n.openRegistry},
		{"exchange", n.openExchange},
		{"listeners", n.openHandlers},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	n.background()
	return nil
}

func (n *Node) openMetrics(context.Context) error {
	n.metrics = telemetry.New(n.opts.Version)
	return nil
}

const sqliteScheme = "sqlite:"

// OpenStore opens the store that a URL names: sqlite:PATH or postgres://...
func OpenStore(ctx context.Context, cfg *config.Config, opts Options) (trust.Store, error) {
	// A nil pointer of either kind would not be a nil interface.
	if path, ok := strings.CutPrefix(cfg.Store, sqliteScheme); ok {
		s, err := sqlite.Open(ctx, sqlite.Options{Path: path, Domain: cfg.Domain.String(), Logger: opts.Logger})
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	s, err := postgres.Open(ctx, postgres.Options{DSN: cfg.Store, DirectDSN: cfg.StoreDirect, Schema: opts.Schema,
		Domain: cfg.Domain.String(), Logger: opts.Logger})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (n *Node) openStore(ctx context.Context) (err error) {
	n.store, err = OpenStore(ctx, &n.cfg, n.opts)
	return err
}

func (n *Node) openSeal(context.Context) (err error) {
	n.seal, err = keys.OpenSeal(n.cfg.Keys.Seal)
	return err
}

func (n *Node) openKeys(ctx context.Context) (err error) {
	o := keys.Options{Algorithm: n.cfg.Keys.Algorithm, Seal: n.seal, File: n.cfg.Keys.File}
	if !n.cfg.Keys.Inline.IsZero() {
		if o.Signer, err = keys.ParsePrivate([]byte(n.cfg.Keys.Inline.Reveal())); err != nil {
			return fmt.Errorf("keys.inline: %w", err)
		}
		o.File = ""
	}
	n.ring, err = keys.Open(ctx, n.store, o)
	return err
}

// Settings are what the registry is compiled with.
func Settings(cfg *config.Config) trust.Settings {
	return trust.Settings{Domain: cfg.Domain, Issuer: cfg.Issuer, TTL: cfg.Tokens.TTL, MaxTTL: cfg.Tokens.MaxTTL, MinTTL: cfg.Tokens.MinTTL}
}

func (n *Node) openRegistry(ctx context.Context) (err error) {
	n.live, err = trust.NewLive(ctx, n.store, n.compiler, trust.LiveOptions{
		MaxStale: n.cfg.Registry.MaxStale, Logger: n.log, OnChange: n.registryChanged,
	})
	return err
}

func (n *Node) openPeers(context.Context) (err error) {
	o := fetch.Options{Allow: n.cfg.Egress.Allow}
	if n.cfg.Egress.CAFile != "" {
		if o.RootCAs, err = reload.ReadPool(n.cfg.Egress.CAFile); err != nil {
			return err
		}
	}
	if n.fetcher, err = fetch.New(o); err != nil {
		return err
	}
	n.keys = federation.NewKeys(n.fetcher, federation.KeysOptions{Logger: n.log, Observe: n.fetched})
	return nil
}

func (n *Node) openExchange(context.Context) (err error) {
	n.watchMetrics()
	n.ledger = trust.NewLedger(n.store, trust.LedgerOptions{Observe: n.metrics.Batch})
	n.service, err = exchange.New(exchange.Options{
		Settings: Settings(&n.cfg), Endpoint: broker.TokenURL(n.cfg.Issuer),
		Registry: n.live, Verifier: federation.NewVerifier(n.keys, time.Now), Signer: n.ring, Ledger: n.ledger, Revoker: n.store,
		Limits: exchange.Limits{ClientPerMinute: n.cfg.Limits.ClientPerMinute, GlobalPerSecond: n.cfg.Limits.GlobalPerSecond},
		Nonces: n.cfg.DPoP.Nonces, Now: time.Now, Observe: n.decided,
	})
	return err
}

// decided is where every decision goes once it is final.
func (n *Node) decided(ctx context.Context, r *audit.Record, id string, took time.Duration) {
	n.metrics.Decision(r, took)
	level := slog.LevelInfo
	if r.Outcome == audit.Error {
		level = slog.LevelError
	}
	attrs := []slog.Attr{
		slog.String("event", r.Event), slog.String("outcome", string(r.Outcome)), slog.String("decision_id", id),
		slog.String("client", r.Client), slog.String("peer", r.Peer), slog.String("mapping", r.Mapping),
		slog.String("target", r.Target), slog.Uint64("revision", r.Revision), slog.Duration("took", took),
	}
	if r.Outcome != audit.Allow {
		attrs = append(attrs, slog.String("reason", r.Reason), slog.String("error", r.Error), slog.String("detail", r.Detail))
	}
	if r.Issued != nil {
		attrs = append(attrs, slog.String("trace_id", r.Issued.TraceID))
	}
	n.log.LogAttrs(ctx, level, "decision", attrs...)
}

// registryChanged keeps what is known of peers' keys to the peers there are.
func (n *Node) registryChanged(s *trust.Snapshot) {
	for _, key := range s.Touched() {
		if p := s.Peer(key.Name); key.Kind == trust.KindPeer && p != nil {
			n.work.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				// Its failure is logged and shown with the peer's health.
				_ = n.keys.Refresh(ctx, exchange.Verifiable(p))
			})
		}
	}
	n.keys.Retain(func(yield func(string) bool) {
		for f := range exchange.Fingerprints(s) {
			if !yield(f) {
				return
			}
		}
	})
}

// background starts what runs beside the requests.
func (n *Node) background() {
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	for _, task := range []func(context.Context){n.live.Run, n.expire, n.watch} {
		n.work.Go(func() { task(ctx) })
	}
}

// expire forgets one-time identifiers that nobody could present any more.
func (n *Node) expire(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := n.store.Expire(ctx, time.Now()); err != nil && ctx.Err() == nil {
			n.log.WarnContext(ctx, "expire one-time identifiers", "event", "store.expire", "error", err.Error())
		}
	}
}

// Ready says whether the node can issue tokens now.
func (n *Node) Ready() error {
	if n.draining.Load() {
		return errors.New("shutting down")
	}
	if n.ring.Algorithm() == "" {
		return keys.ErrNoKey
	}
	_, err := n.live.Snapshot()
	return err
}

// Components says how everything is that the node depends on.
func (n *Node) Components() []broker.Component {
	out := []broker.Component{{Name: "registry", Status: "ok", Detail: fmt.Sprintf("revision %d, seen %s ago", n.live.Revision(), n.live.Age().Round(time.Millisecond))}}
	if _, err := n.live.Snapshot(); err != nil {
		out[0].Status, out[0].Detail = "unavailable", err.Error()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	out = append(out, broker.Component{Name: "store", Status: "ok"})
	if err := n.store.Ping(ctx); err != nil {
		out[1].Status, out[1].Detail = "unavailable", err.Error()
	}
	signer := broker.Component{Name: "signer", Status: "ok", Detail: n.ring.Algorithm()}
	if signer.Detail == "" {
		signer.Status, signer.Detail = "unavailable", keys.ErrNoKey.Error()
	}
	out = append(out, signer)
	for _, h := range n.keys.Health() {
		if !h.Up() && h.Failures > 0 { // keys that nobody needs just run out
			out = append(out, broker.Component{Name: "peer " + h.Name, Status: "degraded", Detail: h.LastError})
		}
	}
	return out
}

// Close stops listening, finishes what is under way and releases everything. A
// second Close does nothing.
func (n *Node) Close() {
	n.closing.Do(func() {
		n.draining.Store(true)
		n.shutdown()
		n.release()
		signal.Stop(n.hup)
	})
}

// release undoes open, how far that ever came.
func (n *Node) release() {
	if n.stop != nil {
		n.stop()
	}
	n.work.Wait()
	if n.ledger != nil {
		n.ledger.Close()
	}
	if n.keys != nil {
		n.keys.Close()
	}
	if n.fetcher != nil {
		n.fetcher.Close()
	}
	if n.store != nil {
		if err := n.store.Close(); err != nil {
			n.log.Error("close the store", "event", "store.close", "error", err.Error())
		}
	}
	n.stop, n.ledger, n.keys, n.fetcher, n.store = nil, nil, nil, nil, nil
}
