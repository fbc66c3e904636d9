package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/comity-auth/comity/fixtures/e2e"
	"github.com/comity-auth/comity/fixtures/peer"
	"github.com/comity-auth/comity/fixtures/pki"
	"github.com/comity-auth/comity/trust"
	jose "github.com/go-jose/go-jose/v4"
)

// pair is a certificate and its key in files.
type pair struct{ cert, key, both, thumbprint string }

func newPair(t *testing.T, cert tls.Certificate) pair {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile, err := pki.Files(dir, cert)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{cert: certFile, key: keyFile, both: filepath.Join(dir, "both.pem"), thumbprint: certificateThumbprint(cert.Certificate[0])}
	var text []byte
	for _, name := range []string{certFile, keyFile} {
		part, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, part...)
	}
	if err := os.WriteFile(p.both, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// tlsWorld is a broker on its own TLS listener with clients that have
// certificates: agent-ca by an authority, agent-self by a self-signed one, and
// agent-basic, whose tokens have to be bound to one whatever it is.
type tlsWorld struct {
	*e2e.World
	ca                string // of the server, a file
	byCA, self, other pair
	secret, token     string // files: of agent-basic, and a token of the neighbour
}

func newTLSWorld(t *testing.T, servers *pki.CA, edit func(*e2e.World, *trust.File)) *tlsWorld {
	t.Helper()
	clients := pki.Start(t, "clients")
	selfSigned, err := pki.SelfSigned(pki.Leaf{})
	if err != nil {
		t.Fatal(err)
	}
	w := &tlsWorld{ca: file(t, string(servers.PEM())), self: newPair(t, selfSigned),
		byCA: newPair(t, clients.Client(t, "agent", "spiffe://acme.example/agent")), other: newPair(t, clients.Client(t, "another"))}
	served := newPair(t, servers.Server(t))
	o := e2e.WorldOptions{Edit: func(world *e2e.World, f *trust.File) {
		w.edit(t, f, string(clients.PEM()), selfSigned.Leaf)
		if edit != nil {
			edit(world, f)
		}
	}}
	o.Secure = true
	o.Config = []string{fmt.Sprintf("tls: {cert_file: %q, key_file: %q}", served.cert, served.key), "trusted_proxies: []",
		fmt.Sprintf("egress: {allow: [127.0.0.0/8], ca_file: %q}", w.ca)}
	w.World = e2e.NewWorld(t, o)
	w.secret, w.token = file(t, w.Basic.Secret), file(t, w.Subject(peer.Overrides{}))
	return w
}

func (w *tlsWorld) edit(t *testing.T, f *trust.File, authority string, self *x509.Certificate) {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: self.PublicKey}}})
	var set trust.JWKSSpec
	if err == nil {
		err = json.Unmarshal(text, &set)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []trust.ClientSpec{
		{ID: "agent-ca", Auth: "tls_client_auth", TLS: &trust.TLSSpec{SANURI: "spiffe://acme.example/agent", CA: authority}},
		{ID: "agent-self", Auth: "self_signed_tls_client_auth", JWKS: &set},
	} {
		c.Operator, c.Agent = "org:globex", &trust.AgentSpec{ID: c.ID + "-1", Type: "llm-autonomous"}
		c.KnownAs, c.Expires = map[string]string{"acme": e2e.Holder}, f.Clients[0].Expires
		c.Grants = []string{"token-exchange", "client_credentials"}
		f.Clients = append(f.Clients, c)
		f.Mappings[0].Clients = append(f.Mappings[0].Clients, c.ID)
	}
	f.Clients[1].Proof = "mtls" // agent-basic
	f.Policies = append(f.Policies, trust.PolicySpec{Name: "own", Operator: "org:globex", Resources: []string{e2e.Search},
		Capabilities: []trust.CapabilityRule{{Action: "archive.search"}}})
}

// exchange runs an exchange of the neighbour's token at the broker.
func (w *tlsWorld) exchange(t *testing.T, args ...string) ran {
	t.Helper()
	return comity(t, "", nil, append([]string{"token", "exchange", "--issuer", w.Issuer, "--ca-file", w.ca, "--subject-token", w.token,
		"--audience", e2e.Archive}, args...)...)
}

// wantBound holds the printed token against what it has to be bound to.
func (r ran) wantBound(t *testing.T, jkt, x5t string) {
	t.Helper()
	want := map[string]any{}
	if jkt != "" {
		want["jkt"] = jkt
	}
	if x5t != "" {
		want["x5t#S256"] = x5t
	}
	got, _ := e2e.Claims(strings.TrimSpace(r.stdout))["cnf"].(map[string]any)
	if r.code != 0 || r.stderr != "" || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("exit code %d, stderr %q, cnf %v, want %v", r.code, r.stderr, got, want)
	}
}

// MT-02: a client of RFC 8705 is the one whose certificate the connection shows.
func TestTokenByClientCertificate(t *testing.T) {
	t.Parallel()
	w := newTLSWorld(t, pki.Start(t, "servers"), nil)
	dpop, _ := keyFile(t, "ES256", "pem")
	signer, err := openProofKey(dpop)
	if err != nil {
		t.Fatal(err)
	}
	with := func(args ...string) []string { return args }
	for _, tt := range []struct {
		name     string
		args     []string
		jkt, x5t string
	}{
		{"by an authority", with("--client-id", "agent-ca", "--client-cert", w.byCA.cert, "--client-cert-key", w.byCA.key), "", w.byCA.thumbprint},
		{"with the key in the same file", with("--client-id", "agent-ca", "--client-cert", w.byCA.both), "", w.byCA.thumbprint},
		{"by a self-signed one", with("--client-id", "agent-self", "--client-cert", w.self.both, "--client-auth", "self_signed_tls_client_auth"), "", w.self.thumbprint},
		{"besides a secret, for binding alone", with("--client-id", w.Basic.ID, "--client-secret-file", w.secret, "--client-cert", w.other.both), "", w.other.thumbprint},
		{"besides a proof key", with("--client-id", "agent-ca", "--client-cert", w.byCA.both, "--dpop-key", dpop), signer.JKT(), w.byCA.thumbprint},
		{"besides a secret and a proof key", with("--client-id", w.Basic.ID, "--client-secret-file", w.secret, "--client-cert", w.other.both,
			"--dpop-key", dpop), signer.JKT(), w.other.thumbprint},
		{"at a token endpoint that is named", with("--issuer", "", "--token-url", w.Issuer+"/token", "--client-id", "agent-ca", "--client-cert", w.byCA.both), "", w.byCA.thumbprint},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w.exchange(t, tt.args...).wantBound(t, tt.jkt, tt.x5t)
		})
	}
	t.Run("issues tokens too", func(t *testing.T) {
		t.Parallel()
		comity(t, "", nil, "token", "issue", "--issuer", w.Issuer, "--ca-file", w.ca, "--client-id", "agent-ca", "--client-cert", w.byCA.both,
			"--audience", e2e.Search, "--task-id", "t", "--task-purpose", "search").wantBound(t, "", w.byCA.thumbprint)
	})
	t.Run("says what the broker says of another's certificate", func(t *testing.T) {
		t.Parallel()
		w.exchange(t, "--client-id", "agent-ca", "--client-cert", w.other.both).want(t, 1, "", "invalid_client")
		w.exchange(t, "--client-id", "agent-ca", "--client-auth", "none").want(t, 1, "", "invalid_client")
	})
	t.Run("exchanges a token that is bound to it", func(t *testing.T) {
		t.Parallel()
		bound := file(t, w.Subject(peer.Overrides{Claims: map[string]any{"cnf": map[string]any{"x5t#S256": w.other.thumbprint}}}))
		args := []string{"--client-id", w.Basic.ID, "--client-secret-file", w.secret, "--subject-token", bound, "--client-cert"}
		w.exchange(t, append(args, w.other.both)...).wantBound(t, "", w.other.thumbprint)
		w.exchange(t, append(args, w.self.both)...).want(t, 3, "", "invalid_request")
	})
	t.Run("does not trust a server that nobody vouches for", func(t *testing.T) {
		t.Parallel()
		w.exchange(t, "--ca-file", "", "--client-id", "agent-ca", "--client-cert", w.byCA.both).want(t, 1, "", "certificate")
	})
}

// Both legs of chaining show the certificate that the grant is bound to.
func TestTokenExchangeViaChainingByClientCertificate(t *testing.T) {
	t.Parallel()
	servers, three := pki.Start(t, "servers"), 3
	abroad := newTLSWorld(t, servers, nil)
	home := newTLSWorld(t, servers, func(w *e2e.World, f *trust.File) {
		f.Peers = append(f.Peers, trust.PeerSpec{Name: "abroad", Domain: "abroad.example", Issuer: abroad.Issuer, Expires: f.Peers[0].Expires})
		f.Resources = append(f.Resources,
			trust.ResourceSpec{Audience: abroad.Issuer, Actions: []string{"search.web"}, Peer: "abroad"},
			trust.ResourceSpec{Audience: "https://here.example", Actions: []string{"search.web"}, Client: "agent-ca"})
		f.Clients[len(f.Clients)-2].KnownAs["abroad"] = w.Basic.ID // agent-ca
		f.Policies = append(f.Policies, trust.PolicySpec{Name: "here", Operator: "org:globex", Resources: []string{"https://here.example"},
			Capabilities: []trust.CapabilityRule{{Action: "search.web"}}, MaxDepth: &three})
		f.Mappings = append(f.Mappings, trust.MappingSpec{Name: "abroad", Peer: "self", Clients: []string{"agent-ca"}, Resources: []string{abroad.Issuer},
			Capabilities: []trust.CapabilityRule{{Action: "search.web"}}, MaxDepth: &three})
	})
	abroad.Edit(t, func(f *trust.File) {
		f.Peers = append(f.Peers, trust.PeerSpec{Name: "home", Domain: "home.example", Issuer: home.Issuer, Grants: []string{"jwt-bearer"}, Expires: f.Peers[0].Expires})
		f.Clients[1].Grants = []string{"jwt-bearer"}
		f.Mappings = append(f.Mappings, trust.MappingSpec{Name: "home", Peer: "home", Clients: []string{abroad.Basic.ID}, Resources: []string{e2e.Search},
			Capabilities: []trust.CapabilityRule{{Action: "archive.search", From: []string{"search.web"}}}, MaxDepth: &three})
	})
	issued := comity(t, "", nil, "token", "issue", "--issuer", home.Issuer, "--ca-file", home.ca, "--client-id", "agent-ca", "--client-cert", home.byCA.both,
		"--audience", "https://here.example", "--task-id", "t", "--task-purpose", "search")
	issued.wantBound(t, "", home.byCA.thumbprint)
	base := []string{"token", "exchange", "--via", "chaining", "--issuer", home.Issuer, "--ca-file", home.ca, "--client-id", "agent-ca",
		"--client-cert", home.byCA.both, "--subject-token", file(t, issued.stdout), "--audience", abroad.Issuer, "--to-client-id", abroad.Basic.ID,
		"--to-client-secret-file", abroad.secret, "--resource", e2e.Search}
	comity(t, "", nil, base...).wantBound(t, "", home.byCA.thumbprint)
	with := func(args ...string) []string { return append(slices.Clone(base), args...) }
	comity(t, "", nil, with("--to-client-cert", home.other.cert, "--to-client-cert-key", home.other.key)...).
		want(t, 3, "", "comity: "+abroad.Issuer+": invalid_grant")
}

func TestClientCertificateUsage(t *testing.T) {
	t.Parallel()
	p, loose := newPair(t, pki.Start(t, "clients").Client(t, "agent")), file(t, "k")
	if err := os.Chmod(loose, 0o604); err != nil {
		t.Fatal(err)
	}
	base := []string{"token", "issue", "--issuer", "https://127.0.0.1:1", "--client-id", "agent", "--audience", "a"}
	with := func(args ...string) []string { return append(slices.Clone(base), args...) }
	for _, tt := range []struct {
		name, stderr string
		code         int
		args         []string
	}{
		{"refuses a key without its certificate", "goes with --client-cert", 2, with("--client-auth", "none", "--client-cert-key", p.key)},
		{"refuses the method without a certificate", "needs --client-cert", 2, with("--client-auth", "tls_client_auth")},
		{"refuses the method with another credential", "does not go with", 2, with("--client-auth", "tls_client_auth", "--client-cert", p.both,
			"--client-secret-file", p.key)},
		{"refuses a connection that shows none", "needs https", 2, []string{"token", "issue", "--issuer", "http://127.0.0.1:1", "--client-id", "a",
			"--audience", "a", "--client-cert", p.both}},
		{"refuses a certificate without a key", "no certificate with the private key", 1, with("--client-cert", p.cert)},
		{"refuses the key of another certificate", "no certificate with the private key", 1, with("--client-cert", p.cert, "--client-cert-key",
			newPair(t, pki.Start(t, "others").Client(t, "agent")).key)},
		{"refuses a key that everybody can read", "make it 0600", 1, with("--client-cert", p.cert, "--client-cert-key", loose)},
		{"refuses the second leg's without chaining", "--to-client-cert goes with --via chaining", 2, []string{"token", "exchange", "--issuer",
			"https://127.0.0.1:1", "--client-id", "a", "--audience", "a", "--client-auth", "none", "--subject-token", "-", "--to-client-cert", p.both}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			comity(t, "", nil, tt.args...).want(t, tt.code, "", tt.stderr)
		})
	}
	t.Run("shows the certificate with curl too", func(t *testing.T) {
		t.Parallel()
		got := comity(t, "", nil, with("--client-cert", p.cert, "--client-cert-key", p.key, "--ca-file", "ca.pem", "--print-curl")...)
		for _, part := range []string{"--cert '" + p.cert + "'", "--key '" + p.key + "'", "--cacert 'ca.pem'", "mtls_endpoint_aliases", "client_id=agent"} {
			if got.code != 0 || !strings.Contains(got.stdout, part) {
				t.Errorf("exit code %d, stdout lacks %s:\n%s", got.code, part, got.stdout)
			}
		}
	})
}
