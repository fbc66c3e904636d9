package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/comity-auth/comity/cmd/comity/reload"
	"github.com/comity-auth/comity/trust"
)

const (
	minToken = 32   // characters of the admin credential
	maxToken = 4096 // bytes of its file
)

// openToken reads the admin API's bootstrap credential, or makes one.
func (n *Node) openToken(ctx context.Context) error {
	err := n.readToken(ctx)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := createToken(n.cfg.Admin.TokenFile); err != nil {
		return err
	}
	return n.readToken(ctx)
}

func (n *Node) readToken(context.Context) error {
	path := n.cfg.Admin.TokenFile
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf("%s: mode %#o lets every user of this machine at a secret; chmod 600 it", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return err
	}
	token := strings.TrimSpace(string(text))
	if len(token) < minToken || len(text) > maxToken {
		return fmt.Errorf("%s: the credential must have %d to %d characters", path, minToken, maxToken)
	}
	n.token.Store(&token)
	return nil
}

// createToken makes a file that appears whole or not at all; of several
// processes that race one generates and all use it.
func createToken(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".comity-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(rand.Text() + rand.Text() + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// reloadable is something that is kept in files.
type reloadable struct {
	what  string
	files []string
	do    func(context.Context) error
}

func (n *Node) reloadables() []reloadable {
	policies, _ := policyFiles(n.cfg.Policies) // an unreadable folder is the reader's to report
	return []reloadable{
		{"trust file", append(policies, n.cfg.Policies, n.cfg.Trust), n.reloadTrust},
		{"keys", []string{n.cfg.Keys.File}, func(ctx context.Context) error { return n.ring.Reload(ctx) }},
		{"certificates", []string{n.cfg.TLS.CertFile, n.cfg.TLS.KeyFile, n.cfg.TLS.ClientCAFile},
			func(context.Context) error { return n.tls.Reload() }},
		// Not openToken: a file that is away for a moment is no wish for a new one.
		{"admin credential", []string{n.cfg.Admin.TokenFile}, n.readToken},
	}
}

func (n *Node) reloadTrust(ctx context.Context) error {
	if err := n.applyTrust(ctx); err != nil {
		return err
	}
	return n.live.Refresh(ctx)
}

// noteFiles remembers what the files are like, before any of them is read.
func (n *Node) noteFiles() {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	n.stamps, n.settling = map[string]string{}, map[string]string{}
	for _, r := range n.reloadables() {
		n.stamps[r.what] = reload.Stamp(r.files)
	}
}

// watch reloads what is kept in files, when they change and on SIGHUP.
func (n *Node) watch(ctx context.Context) {
	tick := time.NewTicker(n.opts.WatchEvery)
	defer tick.Stop()
	for {
		// What goes wrong is logged.
		select {
		case <-ctx.Done():
			return
		case <-n.hup:
			_ = n.Reload(ctx)
		case <-tick.C:
			_ = n.reloadChanged(ctx)
		}
	}
}

// Reload reads the trust file, the keys, the certificates and the admin
// credential again, whether they changed or not, as SIGHUP does. What is bad
// keeps the old; the error, which was logged, says what. It is safe for
// concurrent use.
func (n *Node) Reload(ctx context.Context) error {
	n.reloading.Lock()
	clear(n.stamps)
	n.reloading.Unlock()
	return n.reloadChanged(ctx)
}

func (n *Node) reloadChanged(ctx context.Context) error {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	var errs []error
	for _, r := range n.reloadables() {
		now := reload.Stamp(r.files)
		last, known := n.stamps[r.what]
		seen := n.settling[r.what]
		n.settling[r.what] = now
		// Files that differ from the last look may still be being written.
		if known && (last == now || seen != now) {
			continue
		}
		n.stamps[r.what] = now
		err := r.do(ctx)
		switch {
		case err == nil:
			n.log.InfoContext(ctx, "reloaded", "event", "reload", "what", r.what)
			continue
		case errors.Is(err, ErrDrift):
			n.reportDrift(ctx)
		default:
			n.log.ErrorContext(ctx, "reload failed; the old stays", "event", "reload.failed", "what", r.what, "error", err.Error())
		}
		if errors.Is(err, trust.ErrUnavailable) || errors.Is(err, trust.ErrConflict) {
			delete(n.stamps, r.what) // the file is good; try again
		}
		errs = append(errs, fmt.Errorf("%s: %w", r.what, err))
	}
	return errors.Join(errs...)
}
