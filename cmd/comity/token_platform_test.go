package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/comity-auth/comity/fixtures/e2e"
	"github.com/comity-auth/comity/fixtures/peer"
	"github.com/comity-auth/comity/fixtures/spiffe"
	"github.com/comity-auth/comity/trust"
)

// The platform's token is read anew for each request, for it is replaced.
func TestTokenOfThePlatform(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { // as kubelet projects it
			t.Error(err)
		}
	}
	write("first-token\n")
	s := newAuthServer(t, func(w http.ResponseWriter, _ url.Values, n int) {
		if n == 1 {
			write("second-token")
			w.Header().Set("DPoP-Nonce", "n1")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"use_dpop_nonce"}`)
			return
		}
		dpopBound(w, nil, n)
	})
	comity(t, "", nil, "token", "issue", "--issuer", s.URL, "--audience", "a", "--client-assertion-file", path,
		"--dpop-key", filepath.Join(t.TempDir(), "dpop.pem")).want(t, 0, "issued-token\n", "")
	if len(s.seen) != 2 {
		t.Fatalf("got %d requests, want 2", len(s.seen))
	}
	for i, want := range []string{"first-token", "second-token"} {
		form := s.seen[i].form
		if form.Get("client_assertion") != want || form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || form.Has("client_id") {
			t.Errorf("request %d: got %v, want %s without client_id", i+1, form, want)
		}
	}
}

func TestTokenOfThePlatformForms(t *testing.T) {
	t.Parallel()
	base := []string{"token", "exchange", "--audience", "a"}
	for _, tt := range []struct {
		name, stdin string
		env, args   []string
		kind, id    string
	}{
		{"from the environment", "", []string{"SVID=the-token"}, []string{"--client-assertion-file", "env:SVID", "--client-assertion-type", "jwt-spiffe"}, "jwt-spiffe", ""},
		{"from stdin", "the-token\n", nil, []string{"--client-assertion-file", "-"}, "jwt-bearer", ""},
		{"with a client id", "the-token", nil, []string{"--client-assertion-file", "-", "--client-id", "agent", "--client-auth", "federated"}, "jwt-bearer", "agent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newAuthServer(t, bearer)
			args := append(slices.Clone(base), append(tt.args, "--issuer", s.URL, "--subject-token", file(t, "subject"))...)
			comity(t, tt.stdin, tt.env, args...).want(t, 0, "issued-token\n", "")
			form := s.only(t).form
			if form.Get("client_assertion") != "the-token" || !strings.HasSuffix(form.Get("client_assertion_type"), ":"+tt.kind) || form.Get("client_id") != tt.id {
				t.Errorf("got %v", form)
			}
		})
	}
	subject := []string{"--issuer", "https://as.example", "--subject-token", "-"}
	for _, tt := range []struct {
		name, stderr string
		args         []string
	}{
		{"refuses two things from stdin", "both be read from stdin", append(subject, "--client-assertion-file", "-")},
		{"refuses a secret besides", "not with several", append(subject, "--client-assertion-file", "x", "--client-secret-file", "y", "--client-id", "a")},
		{"refuses a type without a token", "goes with", append(subject, "--client-assertion-type", "jwt-spiffe", "--client-auth", "none", "--client-id", "a")},
		{"refuses an unknown type", "is jwt-bearer or jwt-spiffe", append(subject, "--client-assertion-type", "saml2-bearer", "--client-assertion-file", "x")},
		{"refuses the method without a token", "does not go with", append(subject, "--client-auth", "federated", "--client-id", "a")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			comity(t, "", nil, append(slices.Clone(base), tt.args...)...).want(t, 2, "", tt.stderr)
		})
	}
	got := comity(t, "", nil, append(slices.Clone(base), "--token-url", "https://as.example/token", "--subject-token", "s.txt",
		"--client-assertion-file", "/run/t", "--print-curl")...)
	if got.code != 0 || !strings.Contains(got.stdout, `--data-urlencode client_assertion="$(cat -- '/run/t')"`) || !strings.Contains(got.stdout, ":jwt-bearer") {
		t.Errorf("curl: got %d %s %s", got.code, got.stdout, got.stderr)
	}
}

// At a real broker: a client that a trust domain vouches for, by the commands.
func TestTokenOfThePlatformAtABroker(t *testing.T) {
	t.Parallel()
	mesh := spiffe.New(t, "mesh.example")
	w := e2e.NewWorld(t, e2e.WorldOptions{Edit: func(_ *e2e.World, f *trust.File) {
		f.Peers = append(f.Peers, trust.PeerSpec{Name: "mesh", Domain: "mesh.example", Kind: "spiffe", Grants: []string{"client-authentication"},
			Bundle: &trust.BundleSpec{Keys: mesh.Keys(t)}, Expires: f.Peers[0].Expires})
		f.Clients = append(f.Clients, trust.ClientSpec{ID: "agent-svid", Auth: "federated", Proof: "optional", Expires: f.Peers[0].Expires,
			Federated: &trust.FederatedSpec{Peer: "mesh", Subject: mesh.ID("/agent")}, KnownAs: map[string]string{"acme": e2e.Holder}})
		f.Mappings[0].Clients = append(f.Mappings[0].Clients, "agent-svid")
	}})
	svid := file(t, mesh.GoodJWT(t, "/agent", w.Issuer))
	for range 2 {
		got := comity(t, "", nil, "token", "exchange", "--issuer", w.Issuer, "--client-assertion-file", svid, "--client-assertion-type", "jwt-spiffe",
			"--subject-token", file(t, w.Subject(peer.Overrides{})), "--audience", e2e.Archive)
		if got.code != 0 || e2e.Claims(strings.TrimSpace(got.stdout))["client_id"] != "agent-svid" {
			t.Errorf("got %d %s %s, want a token for agent-svid", got.code, got.stdout, got.stderr)
		}
	}
	comity(t, "", nil, "token", "exchange", "--issuer", w.Issuer, "--client-assertion-file", file(t, mesh.JWT("/other", w.Issuer, peer.Overrides{})),
		"--client-assertion-type", "jwt-spiffe", "--subject-token", file(t, w.Subject(peer.Overrides{})), "--audience", e2e.Archive).want(t, 1, "", "invalid_client")
}
