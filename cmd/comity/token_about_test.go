package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/comity-auth/comity/fixtures/e2e"
	"github.com/comity-auth/comity/fixtures/peer"
	"github.com/comity-auth/comity/trust"
)

// A token at a real broker: its resource's client sees it, its own client revokes
// it, and then nobody sees it any more.
func TestTokenIntrospectAndRevoke(t *testing.T) {
	t.Parallel()
	w := e2e.NewWorld(t, e2e.WorldOptions{Edit: func(w *e2e.World, f *trust.File) {
		for i := range f.Resources {
			if f.Resources[i].Audience == e2e.Archive {
				f.Resources[i].Client = w.Post.ID
			}
		}
	}})
	a := w.Token(t, e2e.Exchange(w.Subject(peer.Overrides{})), w.AsBasic())
	if a.Token == "" {
		t.Fatalf("no token: %s", a.Text)
	}
	token := file(t, a.Token+"\n")
	about := func(command string, c e2e.Client, more ...string) ran {
		args := append([]string{"token", command, token, "--client-id", c.ID, "--client-secret-file", file(t, c.Secret)}, more...)
		return comity(t, "", nil, args...)
	}
	seen := about("introspect", w.Post, "--issuer", w.Issuer, "--client-auth", "client_secret_post")
	if seen.code != 0 || !strings.Contains(seen.stdout, "archive.read") || !strings.Contains(seen.stdout, w.Basic.ID) {
		t.Fatalf("introspect = %+v, want the members", seen)
	}
	whole := about("introspect", w.Post, "--endpoint", w.URL+"/introspect", "--client-auth", "client_secret_post", "--json")
	var members map[string]any
	if err := json.Unmarshal([]byte(whole.stdout), &members); err != nil || members["active"] != true || members["jti"] != a.Claims["jti"] {
		t.Errorf("introspect --json = %+v (%v), want the members", whole, err)
	}
	about("revoke", w.Post, "--issuer", w.Issuer, "--client-auth", "client_secret_post").want(t, 3, "", "unauthorized_client")
	about("revoke", w.Basic, "--issuer", w.Issuer).want(t, 0, "revoked\n", "")
	about("revoke", w.Basic, "--issuer", w.Issuer, "--json").want(t, 0, "{\n  \"revoked\": true\n}\n", "")
	dead := about("introspect", w.Post, "--issuer", w.Issuer, "--client-auth", "client_secret_post")
	if dead.code != 1 || !strings.Contains(dead.stdout, "false") || !strings.Contains(dead.stderr, "does not count") || strings.Contains(dead.stdout, "archive") {
		t.Errorf("introspect of a revoked token = %+v, want that it does not count, and nothing else", dead)
	}
	wrong := w.Basic
	wrong.Secret += "x"
	about("introspect", wrong, "--issuer", w.Issuer).want(t, 1, "", "invalid_client")
}

func TestTokenAboutUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args []string
		says string
	}{
		{"where to ask", []string{"t", "--client-id", "a", "--client-auth", "none"}, "--issuer or --endpoint"},
		{"who asks", []string{"t", "--issuer", "https://a.example", "--client-auth", "none"}, "--client-id"},
		{"how the client authenticates", []string{"t", "--issuer", "https://a.example", "--client-id", "a"}, "say how the client authenticates"},
		{"an issuer that is one", []string{"t", "--issuer", "a", "--client-id", "a", "--client-auth", "none"}, "--issuer"},
		{"an endpoint that is safe", []string{"t", "--endpoint", "http://a.example/x", "--client-id", "a", "--client-auth", "none"}, "--endpoint: want https"},
		{"one thing from stdin", []string{"-", "--issuer", "https://a.example", "--client-id", "a", "--client-secret-file", "-"}, "only one"},
		{"a token", []string{"--issuer", "https://a.example"}, "accepts 1 arg"},
	} {
		for _, command := range []string{"introspect", "revoke"} {
			comity(t, "", nil, append([]string{"token", command}, tt.args...)...).want(t, 2, "", tt.says)
		}
	}
}
