package guardnode

import (
	"context"
	"reflect"
	"strings"
	"time"

	"github.com/comity-auth/comity/cmd/comity/guardconf"
	"github.com/comity-auth/comity/cmd/comity/reload"
)

// watch reads the configuration again on SIGHUP, and the certificates then and
// when their files change.
func (n *Node) watch(ctx context.Context) {
	tick := time.NewTicker(n.opts.WatchEvery)
	defer tick.Stop()
	files := certificateFiles(n.cfg).List()
	last := reload.Stamp(files)
	seen := last
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.hup:
			last = reload.Stamp(files)
			n.reloadCertificates(ctx)
			n.reload(ctx)
		case <-tick.C:
			now := reload.Stamp(files)
			// Files that differ from the last look may still be being written.
			if now != last && now == seen {
				last = now
				n.reloadCertificates(ctx)
			}
			seen = now
		}
	}
}

func (n *Node) reloadCertificates(ctx context.Context) {
	if n.cfg.TLS.Enabled() {
		n.report(ctx, "certificates", n.certs.Reload())
	}
}

// reload makes a new generation. What is bad keeps the old.
func (n *Node) reload(ctx context.Context) {
	if n.opts.Load == nil {
		return
	}
	cfg, err := n.opts.Load()
	if err == nil {
		err = n.renew(ctx, cfg)
	}
	n.report(ctx, "configuration", err)
}

func (n *Node) renew(ctx context.Context, cfg guardconf.Config) error {
	next, err := begin(cfg, n.shared)
	if err != nil {
		return err
	}
	n.warn(ctx, cfg)
	if ignored := forLife(n.cfg, cfg); len(ignored) > 0 {
		n.log.WarnContext(ctx, "some settings are for the life of the process", "event", "reload.restart", "settings", strings.Join(ignored, ", "))
	}
	next.awaitReady(ctx, readyWithin)
	n.replace(next)
	return nil
}

// forLife names the settings that differ and take effect at the next start alone.
func forLife(was, is guardconf.Config) []string {
	var out []string
	for _, s := range []struct {
		name    string
		was, is any
	}{
		{"listen", was.Listen, is.Listen}, {"ops", was.Ops, is.Ops}, {"tls", was.TLS, is.TLS},
		{"valkey", was.Valkey, is.Valkey}, {"log", was.Log, is.Log},
	} {
		if !reflect.DeepEqual(s.was, s.is) {
			out = append(out, s.name)
		}
	}
	return out
}

func (n *Node) report(ctx context.Context, what string, err error) {
	if err != nil {
		n.log.ErrorContext(ctx, "reload failed; the old stays", "event", "reload.failed", "what", what, "error", err.Error())
		return
	}
	n.log.InfoContext(ctx, "reloaded", "event", "reload", "what", what)
}
