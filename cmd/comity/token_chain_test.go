package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/fixtures/e2e"
	"github.com/comity-auth/comity/trust"
	jose "github.com/go-jose/go-jose/v4"
)

// twoDomains are brokers of which the first gives grants that the second
// redeems, for a client that authenticates by key at the one and by secret at
// the other.
type twoDomains struct {
	home, abroad     *e2e.World
	key, secret      string // files: the client's key at home, its secret abroad
	subject, dpopKey string // files
}

func newTwoDomains(t *testing.T) *twoDomains {
	t.Helper()
	var d twoDomains
	var public any
	d.key, public = keyFile(t, "ES256", "jwk")
	d.dpopKey, _ = keyFile(t, "ES256", "pem")
	d.abroad = e2e.NewWorld(t, e2e.WorldOptions{})
	three := 3
	d.home = e2e.NewWorld(t, e2e.WorldOptions{Edit: func(w *e2e.World, f *trust.File) {
		f.Peers = append(f.Peers, trust.PeerSpec{Name: "abroad", Domain: "abroad.example", Issuer: d.abroad.Issuer, Expires: f.Peers[0].Expires})
		f.Resources = append(f.Resources,
			trust.ResourceSpec{Audience: d.abroad.Issuer, Actions: []string{"search.web"}, Peer: "abroad"},
			trust.ResourceSpec{Audience: "https://here.example", Actions: []string{"search.web"}, Client: w.JWT.ID})
		f.Clients[0].JWKS = &trust.JWKSSpec{Keys: []map[string]any{jwkOf(t, public)}}
		f.Clients[0].Grants = []string{"token-exchange", "client_credentials"}
		f.Clients[0].KnownAs["abroad"] = w.Basic.ID
		f.Policies = []trust.PolicySpec{{Name: "own", Operator: "org:globex", Resources: []string{"https://here.example"},
			Capabilities: []trust.CapabilityRule{{Action: "search.web"}}, MaxDepth: &three}}
		f.Mappings = append(f.Mappings, trust.MappingSpec{Name: "abroad", Peer: "self", Clients: []string{w.JWT.ID},
			Resources: []string{d.abroad.Issuer}, Capabilities: []trust.CapabilityRule{{Action: "search.web"}}, MaxDepth: &three})
	}})
	d.abroad.Edit(t, func(f *trust.File) {
		f.Peers = append(f.Peers, trust.PeerSpec{Name: "home", Domain: "home.example", Issuer: d.home.Issuer, Grants: []string{"jwt-bearer", "id-jag"},
			Expires: f.Peers[0].Expires})
		for i := range f.Clients {
			if f.Clients[i].ID == d.abroad.Basic.ID {
				f.Clients[i].Grants = []string{"jwt-bearer"}
			}
		}
		f.Mappings = append(f.Mappings, trust.MappingSpec{Name: "home", Peer: "home", Clients: []string{d.abroad.Basic.ID}, Resources: []string{e2e.Search},
			Capabilities: []trust.CapabilityRule{{Action: "archive.search", From: []string{"search.web"}}}, MaxDepth: &three, Proof: "optional"})
	})
	d.secret = file(t, d.abroad.Basic.Secret)
	issued := comity(t, "", nil, "token", "issue", "--issuer", d.home.Issuer, "--client-id", d.home.JWT.ID, "--client-key", d.key,
		"--audience", "https://here.example", "--task-id", "t", "--task-purpose", "search")
	if issued.code != 0 {
		t.Fatalf("token issue: %d %s", issued.code, issued.stderr)
	}
	d.subject = file(t, issued.stdout)
	return &d
}

func (d *twoDomains) exchange(t *testing.T, args ...string) ran {
	t.Helper()
	return comity(t, "", nil, append([]string{"token", "exchange", "--via", "chaining", "--issuer", d.home.Issuer, "--client-id", d.home.JWT.ID,
		"--client-key", d.key, "--subject-token", d.subject, "--audience", d.abroad.Issuer, "--to-client-id", d.abroad.Basic.ID,
		"--to-client-secret-file", d.secret, "--resource", e2e.Search}, args...)...)
}

func TestTokenExchangeViaChaining(t *testing.T) {
	t.Parallel()
	d := newTwoDomains(t)
	for _, kind := range []string{"jwt", "id-jag"} {
		got := d.exchange(t, "--grant", kind)
		c := e2e.Claims(strings.TrimSpace(got.stdout))
		if got.code != 0 || got.stderr != "" || c["iss"] != d.abroad.Issuer || c["aud"] != e2e.Search || c["cnf"] != nil {
			t.Errorf("%s: exit code %d, stderr %q, claims %v, want a token of the other domain", kind, got.code, got.stderr, c)
		}
	}
	t.Run("binds both legs to one key", func(t *testing.T) {
		got := d.exchange(t, "--dpop-key", d.dpopKey, "--json", "--requested-ttl", "40s", "--to-capabilities", "archive.search")
		var body struct {
			Token string `json:"access_token"`
			Type  string `json:"token_type"`
			Life  int    `json:"expires_in"`
		}
		if err := json.Unmarshal([]byte(got.stdout), &body); err != nil || body.Type != "DPoP" || body.Life > 40 {
			t.Fatalf("exit code %d, stderr %q, type %q, life %d", got.code, got.stderr, body.Type, body.Life)
		}
		signer, err := openProofKey(d.dpopKey)
		if err != nil {
			t.Fatal(err)
		}
		if cnf, _ := e2e.Claims(body.Token)["cnf"].(map[string]any); cnf["jkt"] != signer.JKT() {
			t.Errorf("cnf = %v, want the key %s", cnf, signer.JKT())
		}
	})
	t.Run("says which broker refused", func(t *testing.T) {
		d.exchange(t, "--scope", "docs:read").want(t, 3, "", "comity: "+d.home.Issuer+": invalid_scope")
		d.exchange(t, "--to-scope", "archive.read").want(t, 3, "", "comity: "+d.abroad.Issuer+": invalid_scope")
		d.exchange(t, "--to-client-secret-file", file(t, "wrong")).want(t, 1, "", "comity: "+d.abroad.Issuer+": invalid_client")
		d.exchange(t, "--audience", "https://127.0.0.1:1").want(t, 2, "", "one --audience")
	})
	t.Run("no answer and no message holds the subject token or the secret", func(t *testing.T) {
		subject, _ := os.ReadFile(d.subject)
		for _, got := range []ran{d.exchange(t), d.exchange(t, "--to-scope", "archive.read"), d.exchange(t, "--print-curl")} {
			for _, secret := range []string{strings.TrimSpace(string(subject)), d.abroad.Basic.Secret} {
				if strings.Contains(got.stdout+got.stderr, secret) {
					t.Error("a secret was printed")
				}
			}
		}
	})
}

// What the first broker gives is sent on only if it is the grant that was asked
// for, with the key that was proven.
func TestChainingSendsNothingButTheGrant(t *testing.T) {
	t.Parallel()
	const issued = `"issued_token_type":"urn:ietf:params:oauth:token-type:`
	for _, tt := range []struct{ name, answer, stderr string }{
		{"refuses an access token", `{"access_token":"t","token_type":"Bearer",` + issued + `access_token"}`, "no grant of the kind"},
		{"refuses an access token that calls itself a grant", `{"access_token":"t","token_type":"Bearer",` + issued + `jwt"}`, "no grant of the kind"},
		{"refuses a grant of another kind", `{"access_token":"t","token_type":"N_A",` + issued + `id-jag"}`, "no grant of the kind"},
		{"refuses a grant without its key", `{"access_token":"e30.e30.e30","token_type":"N_A",` + issued + `jwt"}`, "not bound to the key"},
		{"refuses a grant with another key", `{"access_token":"e30.eyJjbmYiOnsiamt0IjoieCJ9fQ.e30","token_type":"N_A",` + issued + `jwt"}`, "not bound to the key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			home := newAuthServer(t, func(w http.ResponseWriter, _ url.Values, _ int) { fmt.Fprint(w, tt.answer) })
			abroad := newAuthServer(t, bearer)
			comity(t, "", nil, "token", "exchange", "--via", "chaining", "--issuer", home.URL, "--client-id", "a", "--client-auth", "none",
				"--subject-token", file(t, "s"), "--audience", abroad.URL, "--to-client-auth", "none",
				"--dpop-key", filepath.Join(t.TempDir(), "key")).want(t, 1, "", tt.stderr)
			if len(abroad.seen) != 0 {
				t.Errorf("the other broker got %d requests, want none", len(abroad.seen))
			}
		})
	}
	t.Run("a grant is no token", func(t *testing.T) {
		t.Parallel()
		s := newAuthServer(t, func(w http.ResponseWriter, _ url.Values, _ int) {
			fmt.Fprint(w, `{"access_token":"t","token_type":"N_A",`+issued+`jwt"}`)
		})
		comity(t, "", nil, "token", "exchange", "--issuer", s.URL, "--client-id", "a", "--client-auth", "none", "--subject-token", file(t, "s"),
			"--audience", "b").want(t, 1, "", "unknown type")
	})
	t.Run("the second broker's metadata has to be about it", func(t *testing.T) {
		t.Parallel()
		home := newAuthServer(t, func(w http.ResponseWriter, _ url.Values, _ int) {
			fmt.Fprint(w, `{"access_token":"t","token_type":"N_A",`+issued+`jwt"}`)
		})
		abroad := newAuthServer(t, bearer)
		comity(t, "", nil, "token", "exchange", "--via", "chaining", "--issuer", home.URL, "--client-id", "a", "--client-auth", "none",
			"--subject-token", file(t, "s"), "--audience", abroad.URL+"/other", "--to-client-auth", "none").want(t, 1, "", "metadata of the issuer")
	})
}

func TestChainingUsage(t *testing.T) {
	t.Parallel()
	base := []string{"token", "exchange", "--issuer", "https://as.example", "--client-id", "a", "--client-auth", "none", "--subject-token", "-"}
	with := func(args ...string) []string { return append(slices.Clone(base), args...) }
	for _, tt := range []struct {
		name, stderr string
		args         []string
	}{
		{"refuses another way", "--via is direct or chaining", with("--audience", "https://b.example", "--via", "magic")},
		{"wants the other broker", "needs one --audience", with("--resource", "https://r.example", "--via", "chaining", "--to-client-auth", "none")},
		{"wants one other broker", "needs one --audience", with("--audience", "https://b.example", "--audience", "https://c.example", "--via", "chaining")},
		{"wants an issuer", "--audience:", with("--audience", "b", "--via", "chaining", "--to-client-auth", "none")},
		{"wants a credential for it", "--to-client-secret-file", with("--audience", "https://b.example", "--via", "chaining")},
		{"refuses a method without its credential", "--to-client-auth private_key_jwt", with("--audience", "https://b.example", "--via", "chaining",
			"--to-client-auth", "private_key_jwt")},
		{"refuses a grant that it does not know", "--grant is jwt or id-jag", with("--audience", "https://b.example", "--via", "chaining", "--grant", "saml2")},
		{"refuses to read two things from stdin", "both be read from stdin", with("--audience", "https://b.example", "--via", "chaining",
			"--to-client-secret-file", "-")},
		{"refuses flags of the second leg without it", "--to-client-id goes with --via chaining", with("--audience", "https://b.example", "--to-client-id", "b")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			comity(t, "s", nil, tt.args...).want(t, 2, "", tt.stderr)
		})
	}
}

func TestChainingPrintCurl(t *testing.T) {
	t.Parallel()
	got := comity(t, "", nil, "token", "exchange", "--via", "chaining", "--issuer", "https://a.example", "--client-id", "a", "--client-auth", "none",
		"--subject-token", "token.txt", "--audience", "https://b.example", "--to-client-id", "b", "--to-client-secret-file", "b.txt", "--print-curl")
	for _, part := range []string{"GRANT=$(curl", "requested_token_type=urn:ietf:params:oauth:token-type:jwt", `assertion="$GRANT"`,
		"https://b.example/.well-known/oauth-authorization-server", `-u 'b:'"$(cat -- 'b.txt')"`, "jwt-bearer"} {
		if got.code != 0 || !strings.Contains(got.stdout, part) {
			t.Errorf("exit code %d, stdout lacks %s:\n%s", got.code, part, got.stdout)
		}
	}
}

// jwkOf is a public key as a trust file writes it.
func jwkOf(t *testing.T, public any) map[string]any {
	t.Helper()
	id, err := keys.Thumbprint(public)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(jose.JSONWebKey{Key: public, KeyID: id, Algorithm: "ES256"})
	var out map[string]any
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}
