package node

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/aap"
)

// watchEvery is how often files are looked at for changes.
const watchEvery = 2 * time.Second

// ErrDrift says that the trust file and the registry were both changed since
// one was made equal to the other, so neither may overwrite the other unasked.
var ErrDrift = errors.New("the registry was changed since the trust file was last applied; run comity diff, then comity apply")

// document is the trust file with the policies of the policies folder.
type document struct {
	file   *trust.File
	digest string
}

// readTrust reads the configured trust file and policy folder; nil when neither
// is configured.
func (n *Node) readTrust() (*document, error) {
	if n.cfg.Trust == "" && n.cfg.Policies == "" {
		return nil, nil
	}
	sum := sha256.New()
	f := &trust.File{}
	if n.cfg.Trust != "" {
		text, err := os.ReadFile(n.cfg.Trust)
		if err != nil {
			return nil, err
		}
		sum.Write(text)
		parsed, problems := n.compiler.ParseFile(text)
		if len(problems) > 0 {
			return nil, fmt.Errorf("%s: %w", n.cfg.Trust, problems)
		}
		f = parsed
	}
	if n.cfg.Policies != "" {
		specs, err := readPolicies(n.cfg.Policies, f, sum, n.cfg.Tokens.MaxTTL)
		if err != nil {
			return nil, err
		}
		f.Policies = append(f.Policies, specs...)
		if problems := n.compiler.Check(f, nil); len(problems) > 0 {
			return nil, fmt.Errorf("%s: %w", n.cfg.Policies, problems)
		}
	}
	return &document{f, fmt.Sprintf("%x", sum.Sum(nil))}, nil
}

// readPolicies turns a folder of AAP policy files into policies. Each reaches
// the registered resources whose vocabulary has any of its actions.
func readPolicies(folder string, f *trust.File, sum io.Writer, maxTTL time.Duration) ([]trust.PolicySpec, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	var out []trust.PolicySpec
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		_, _ = sum.Write(text)
		p, err := aap.ParsePolicyFile(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		name := strings.TrimSuffix(strings.ToLower(filepath.Base(path)), ".json")
		spec, err := trust.PolicyOf(name, p, f.Resources, maxTTL)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, spec)
	}
	return out, nil
}

// applyAtStart makes the registry equal to the trust file if that changed since
// it was last applied and nobody changed the registry meanwhile.
func (n *Node) applyAtStart(ctx context.Context) (err error) {
	if n.compiler, err = trust.NewCompiler(Settings(&n.cfg)); err != nil {
		return err
	}
	err = n.applyTrust(ctx)
	if errors.Is(err, ErrDrift) {
		n.log.WarnContext(ctx, "trust file not applied", "event", "trust.drift", "error", err.Error())
		return nil
	}
	return err
}

func (n *Node) applyTrust(ctx context.Context) error {
	doc, err := n.readTrust()
	if err != nil || doc == nil {
		return err
	}
	applied, err := n.store.Applied(ctx)
	if err != nil {
		return err
	}
	if applied.Document == doc.digest {
		return nil
	}
	state, err := n.store.Load(ctx, 0)
	if err != nil {
		return err
	}
	if state.Revision != applied.Revision {
		return ErrDrift
	}
	change, diffs, err := trust.Plan(state, doc.file)
	if err != nil {
		return err
	}
	change.By, change.Origin, change.Comment = "serve", "file", "the trust file changed"
	change.Document, change.At = doc.digest, time.Now()
	revision, err := n.store.Apply(ctx, change)
	if errors.Is(err, trust.ErrConflict) {
		return nil // another replica was first; what it applied is what is served
	}
	if err != nil {
		return err
	}
	n.log.InfoContext(ctx, "trust file applied", "event", "trust.applied", "revision", uint64(revision), "changes", len(diffs))
	return nil
}

// openToken reads the admin API's bootstrap credential, or makes one.
func (n *Node) openToken(context.Context) error {
	path := n.cfg.Admin.TokenFile
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		var b [32]byte
		if _, err := rand.Read(b[:]); err != nil {
			return err
		}
		text = []byte(base64.RawURLEncoding.EncodeToString(b[:]) + "\n")
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		if _, err := f.Write(text); err != nil {
			return errors.Join(err, f.Close())
		}
		if err := f.Close(); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	token := strings.TrimSpace(string(text))
	if len(token) < 32 {
		return fmt.Errorf("%s: the credential is shorter than 32 characters", path)
	}
	n.token.Store(&token)
	return nil
}

// watch reloads what is kept in files, when they change and on SIGHUP. What is
// bad keeps the old.
func (n *Node) watch(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	last := map[string]string{}
	for _, r := range n.reloadable() {
		last[r.what] = stamp(r.files)
	}
	for {
		forced := false
		select {
		case <-ctx.Done():
			return
		case <-hup:
			forced = true
		case <-tick.C:
		}
		for _, r := range n.reloadable() {
			now := stamp(r.files)
			if !forced && now == last[r.what] {
				continue
			}
			last[r.what] = now
			if err := r.do(ctx); err != nil {
				n.log.ErrorContext(ctx, "reload failed; the old stays", "event", "reload.failed", "what", r.what, "error", err.Error())
				continue
			}
			n.log.InfoContext(ctx, "reloaded", "event", "reload", "what", r.what)
		}
	}
}

type reloadable struct {
	what  string
	files []string
	do    func(context.Context) error
}

func (n *Node) reloadable() []reloadable {
	policies, _ := filepath.Glob(filepath.Join(n.cfg.Policies, "*.json"))
	if n.cfg.Policies == "" {
		policies = nil
	}
	return []reloadable{
		{"trust file", append(policies, n.cfg.Trust), func(ctx context.Context) error {
			if err := n.applyTrust(ctx); err != nil {
				return err
			}
			return n.live.Refresh(ctx)
		}},
		{"keys", []string{n.cfg.Keys.File}, n.ring.Reload},
		{"certificates", []string{n.cfg.TLS.CertFile, n.cfg.TLS.KeyFile}, func(context.Context) error { return n.tls.reload() }},
		{"admin credential", []string{n.cfg.Admin.TokenFile}, n.openToken},
	}
}

// stamp says in which state files are.
func stamp(files []string) string {
	var b strings.Builder
	for _, path := range files {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(&b, "%s absent\n", path)
			continue
		}
		fmt.Fprintf(&b, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}
