package demo

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/cmd/comity/node"
	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/fixtures/peer"
	"github.com/comity-auth/comity/trust/postgres"
)

// world is everything the story happens in.
type world struct {
	opts         Options
	dir          string
	acme, globex *domain
	agent        *agent
	orchestrator *agent // a second agent of acme.example, known to globex.example too
	helper       *agent // a third, known at home alone
	archive      *guarded
	stray        *peer.Issuer
	secrets      map[string]string
}

// domain is one running broker.
type domain struct {
	name, issuer, admin, dir, schema string
	public, adminAt, ops             net.Listener
	node                             *node.Node
	stop                             context.CancelFunc
	done                             chan error
	http                             *http.Client
}

func newWorld(ctx context.Context, o Options) (w *world, err error) {
	w = &world{opts: o, secrets: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.dir, err = os.MkdirTemp("", "comity-demo-"); err != nil {
		return w, err
	}
	client := &http.Client{Timeout: 10 * time.Second}
	for _, a := range []struct {
		at **agent
		id string
	}{{&w.agent, "acme-agent"}, {&w.orchestrator, "acme-orchestrator"}, {&w.helper, "acme-helper"}} {
		*a.at = &agent{id: a.id, http: client, login: map[string]*peer.Key{}}
		if (*a.at).key, err = proof.GenerateSigner(); err != nil {
			return w, err
		}
	}
	if w.stray, err = peer.New(peer.Options{}); err != nil {
		return w, err
	}
	for _, d := range []struct {
		at   **domain
		name string
	}{{&w.acme, "acme"}, {&w.globex, "globex"}} {
		if *d.at, err = newDomain(w.dir, d.name, client); err != nil {
			return w, err
		}
		for _, a := range []*agent{w.agent, w.orchestrator, w.helper} {
			if a.login[(*d.at).issuer], err = peer.GenerateKey("ES256"); err != nil {
				return w, err
			}
		}
		w.secrets[d.name] = rand.Text() + rand.Text()
	}
	if err = w.acme.start(ctx, o.Store, w.acmeTrust()); err != nil {
		return w, err
	}
	if err = w.globex.start(ctx, o.Store, w.globexTrust()); err != nil {
		return w, err
	}
	w.archive, err = newGuarded(ctx, w.globex.issuer, w.agent)
	return w, err
}

// newDomain takes the listeners, whose ports are in the names of things.
func newDomain(dir, name string, client *http.Client) (*domain, error) {
	d := &domain{name: name, dir: filepath.Join(dir, name), http: client, schema: "comity_demo_" + name + "_" + strings.ToLower(rand.Text()[:8])}
	if err := os.Mkdir(d.dir, 0o700); err != nil {
		return nil, err
	}
	for _, l := range []*net.Listener{&d.public, &d.adminAt, &d.ops} {
		var err error
		if *l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	d.issuer, d.admin = "http://"+d.public.Addr().String(), "http://"+d.adminAt.Addr().String()
	return d, nil
}

// start runs the broker as serve would, from a configuration and a trust file.
func (d *domain) start(ctx context.Context, store, trustFile string) error {
	if store == "" {
		store = "sqlite:comity.db"
	}
	text := fmt.Sprintf(`domain: %s.example
issuer: %s
listen: %s
admin: {listen: "%s", token_file: admin.token}
ops: {listen: "%s"}
store: %q
trust: trust.yaml
egress: {allow: [127.0.0.0/8]}
keys: {seal: "file:comity.seal"}
`, d.name, d.issuer, d.public.Addr(), d.adminAt.Addr(), d.ops.Addr(), store)
	if err := os.WriteFile(filepath.Join(d.dir, "trust.yaml"), []byte(trustFile), 0o600); err != nil {
		return err
	}
	path := filepath.Join(d.dir, "comity.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	loaded, err := config.Load(path, nil, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	o := node.Options{Version: "demo", Public: d.public, Admin: d.adminAt, Ops: d.ops}
	if !strings.HasPrefix(store, "sqlite:") {
		o.Schema = d.schema
	}
	if d.node, err = node.Open(ctx, loaded.Config, o); err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop, d.done = stop, make(chan error, 1)
	go func() { d.done <- d.node.Serve(serving) }()
	return nil
}

func (d *domain) close(ctx context.Context, store string) error {
	if d == nil {
		return nil
	}
	var err error
	if d.stop != nil {
		d.stop()
		err = <-d.done
	}
	if d.node != nil {
		d.node.Close()
	}
	for _, l := range []net.Listener{d.public, d.adminAt, d.ops} {
		if l != nil {
			_ = l.Close()
		}
	}
	if store != "" && d.node != nil {
		err = errors.Join(err, postgres.DropSchema(ctx, postgres.Options{DSN: store, Schema: d.schema}))
	}
	return err
}

func (w *world) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if w.archive != nil {
		w.archive.close()
	}
	err := errors.Join(w.acme.close(ctx, w.opts.Store), w.globex.close(ctx, w.opts.Store))
	if w.stray != nil {
		w.stray.Close()
	}
	return errors.Join(err, os.RemoveAll(w.dir))
}

// ask calls the domain's admin API. A body has a media type, and where it changes
// something that is there the entity tag of what it changes.
func (d *domain) ask(ctx context.Context, method, path, etag, media string, body io.Reader) (string, string, error) {
	token, err := os.ReadFile(filepath.Join(d.dir, "admin.token"))
	if err != nil {
		return "", "", err
	}
	req, err := http.NewRequestWithContext(ctx, method, d.admin+path, body)
	if err != nil {
		return "", "", err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	if body != nil {
		req.Header.Set("Content-Type", media)
		if etag != "" {
			req.Header.Set("If-Match", etag)
		}
	}
	res, err := d.http.Do(req)
	if err != nil {
		return "", "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: status %d: %s", method, path, res.StatusCode, text)
	}
	return string(text), res.Header.Get("ETag"), err
}

// record reads a decision as the domain's administrator would.
func (d *domain) record(ctx context.Context, id string) (string, error) {
	text, _, err := d.ask(ctx, http.MethodGet, "/admin/v1/decisions/"+id, "", "", nil)
	if err != nil {
		return "", err
	}
	// One spelling, whatever the indentation.
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return "", err
	}
	flat, err := json.Marshal(v)
	return string(flat), err
}

// setPeerStatus changes the registry as its administrator would.
func (d *domain) setPeerStatus(ctx context.Context, status string) error {
	text, etag, err := d.ask(ctx, http.MethodGet, "/admin/v1/registry", "", "", nil)
	if err != nil {
		return err
	}
	var lines []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "status:") {
			continue
		}
		lines = append(lines, line)
		if strings.TrimSpace(line) == "- name: acme" {
			indent := strings.Repeat(" ", strings.Index(line, "-")+2)
			lines = append(lines, indent+"status: "+status+"\n")
		}
	}
	_, _, err = d.ask(ctx, http.MethodPut, "/admin/v1/registry", etag, "application/yaml", strings.NewReader(strings.Join(lines, "")))
	return err
}

// keep leaves everything running until the context ends.
func (w *world) keep(ctx context.Context) error {
	basic := func(name string) string {
		return base64.StdEncoding.EncodeToString([]byte("acme-script:" + w.secrets[name]))
	}
	fmt.Fprintf(w.opts.Out, `
Still running. Try it by hand; the first line gets a token at home, the second crosses:

  TOKEN=$(curl -s -H 'Authorization: Basic %s' -d grant_type=client_credentials --data-urlencode audience=%s -d task_id=t1 -d task_purpose=curl %s/token | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl -s -H 'Authorization: Basic %s' -d grant_type=%s -d subject_token=$TOKEN -d subject_token_type=%s --data-urlencode resource=%s %s/token

  admin of globex.example: %s with the credential in %s
  metrics of globex.example: http://%s/metrics

Interrupt to stop.
`, basic("acme"), w.globex.issuer, w.acme.issuer, basic("globex"), tokenExchange, accessToken, archive, w.globex.issuer,
		w.globex.admin, filepath.Join(w.globex.dir, "admin.token"), w.globex.ops.Addr())
	<-ctx.Done()
	return nil
}
