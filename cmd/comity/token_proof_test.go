package main

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust/ident"
)

// What is printed is a proof for the request, by the key, of this moment.
func TestTokenProof(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "dpop.pem")
	if err := makeKey(key); err != nil {
		t.Fatal(err)
	}
	const at = "https://archive.globex.example/search?q=1"
	got := comity(t, "", nil, "token", "proof", at, "--dpop-key", key, "--token", file(t, "the.access.token\n"))
	if got.code != 0 {
		t.Fatalf("proof = %+v", got)
	}
	want := proof.Want{Method: http.MethodGet, URLs: []string{at}, Now: time.Now(), Window: proof.Window,
		Algorithms: proof.Algorithms(), AccessToken: ident.NewRawToken("the.access.token")}
	p, err := proof.Parse([]string{strings.TrimSpace(got.stdout)}, want)
	if err != nil {
		t.Fatal(err)
	}
	var said map[string]string
	whole := comity(t, "", nil, "token", "proof", "https://as.example/token", "--method", "POST", "--dpop-key", key, "--nonce", "n1", "--json")
	if err := json.Unmarshal([]byte(whole.stdout), &said); err != nil || said["jkt"] != p.JKT() {
		t.Errorf("proof --json = %+v, want the thumbprint %s", whole, p.JKT())
	}
	want = proof.Want{Method: http.MethodPost, URLs: []string{"https://as.example/token"}, Now: time.Now(), Window: proof.Window,
		Algorithms: proof.Algorithms(), NoAccessToken: true, Nonce: func(n string) bool { return n == "n1" }}
	if _, err := proof.Parse([]string{said["dpop"]}, want); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"archive", "--dpop-key", key}, "want the URL"},
		{[]string{at}, "--dpop-key"},
		{[]string{at, "--dpop-key", key, "--method", "get"}, "--method"},
	} {
		comity(t, "", nil, append([]string{"token", "proof"}, tt.args...)...).want(t, 2, "", tt.says)
	}
	comity(t, "", nil, "token", "proof", at, "--dpop-key", key+".none").want(t, 1, "", "no such file")
}
