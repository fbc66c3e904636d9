package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/federation/proof"
	jose "github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

// authServer is a token endpoint that keeps what it was sent.
type authServer struct {
	*httptest.Server
	answer func(w http.ResponseWriter, form url.Values, n int) // n counts from 1

	mu   sync.Mutex
	seen []seenRequest
}

type seenRequest struct {
	form   url.Values
	header http.Header
}

func newAuthServer(t *testing.T, answer func(http.ResponseWriter, url.Values, int)) *authServer {
	t.Helper()
	s := &authServer{answer: answer}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"token_endpoint":%q,"jwks_uri":%q}`, s.URL, s.URL+"/token", s.URL+"/keys")
	})
	mux.HandleFunc("POST /token", s.token)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *authServer) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.URL.RawQuery != "" {
		http.Error(w, "want a form in the body alone", http.StatusTeapot)
		return
	}
	s.mu.Lock()
	s.seen = append(s.seen, seenRequest{r.PostForm, r.Header.Clone()})
	n := len(s.seen)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	s.answer(w, r.PostForm, n)
}

// only is the one request there was.
func (s *authServer) only(t *testing.T) seenRequest {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) != 1 {
		t.Fatalf("requests = %d, want 1", len(s.seen))
	}
	return s.seen[0]
}

func bearer(w http.ResponseWriter, _ url.Values, _ int) {
	fmt.Fprint(w, `{"access_token":"issued-token","token_type":"Bearer","expires_in":300,"x_extra":[1]}`)
}

func dpopBound(w http.ResponseWriter, _ url.Values, _ int) {
	fmt.Fprint(w, `{"access_token":"issued-token","token_type":"DPoP","expires_in":300}`)
}

// comity runs a command line in this process.
type ran struct {
	code           int
	stdout, stderr string
}

func comity(t *testing.T, stdin string, env []string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	code := Run(ctx, args, strings.NewReader(stdin), &out, &errs, env)
	return ran{code, out.String(), errs.String()}
}

func (r ran) want(t *testing.T, code int, stdout, stderr string) {
	t.Helper()
	if r.code != code || r.stdout != stdout || !strings.Contains(r.stderr, stderr) || stderr == "" && r.stderr != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q; want %d, %q, %q", r.code, r.stdout, r.stderr, code, stdout, stderr)
	}
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// keyFile makes a private key.
func keyFile(t *testing.T, alg, format string) (path string, public any) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "key")
	comity(t, "", nil, "keys", "generate", "--algorithm", alg, "--format", format, "--out", path).want(t, 0, keyLine(t, path, alg), "")
	key, _, err := openPrivate(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, key.Public()
}

func keyLine(t *testing.T, path, alg string) string {
	t.Helper()
	key, _, err := openPrivate(path)
	if err != nil {
		return ""
	}
	id, err := keys.Thumbprint(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s: %s key %s\n", path, alg, id)
}

func TestTokenIssueBySecret(t *testing.T) {
	t.Parallel()
	const secret = "a b+c/d=%é"
	for _, tt := range []struct {
		name, method, source, stdin string
		env                         []string
		basic                       bool
	}{
		{name: "sends a secret from a file as basic credentials", source: file(t, secret+"\n"), basic: true},
		{name: "reads a secret from stdin", source: "-", stdin: secret + "\n", basic: true},
		{name: "reads a secret from the environment", source: "env:AGENT_SECRET", env: []string{"AGENT_SECRET=" + secret}, basic: true},
		{name: "sends a secret in the body when told to", method: "client_secret_post", source: file(t, secret)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newAuthServer(t, bearer)
			args := []string{"token", "issue", "--issuer", s.URL, "--client-id", "agent:1", "--client-secret-file", tt.source,
				"--audience", "https://archive.globex.example", "--scope", "a b", "--scope", "c", "--capabilities", "x.read,x.write",
				"--task-id", "t1", "--task-purpose", "look & see", "--requested-ttl", "2m"}
			if tt.method != "" {
				args = append(args, "--client-auth", tt.method)
			}
			comity(t, tt.stdin, tt.env, args...).want(t, 0, "issued-token\n", "")
			got := s.only(t)
			want := url.Values{"grant_type": {"client_credentials"}, "audience": {"https://archive.globex.example"}, "scope": {"a b c"},
				"capabilities": {"x.read x.write"}, "task_id": {"t1"}, "task_purpose": {"look & see"}, "requested_ttl": {"120"}}
			id, password, basic := (&http.Request{Header: got.header}).BasicAuth()
			if tt.basic {
				// RFC 6749 section 2.3.1
				id, _ = url.QueryUnescape(id)
				password, _ = url.QueryUnescape(password)
				if id != "agent:1" || password != secret {
					t.Errorf("credentials = %q %q", id, password)
				}
			} else {
				want["client_id"], want["client_secret"] = []string{"agent:1"}, []string{secret}
			}
			if basic != tt.basic {
				t.Errorf("basic credentials sent = %v, want %v", basic, tt.basic)
			}
			if diff := cmp.Diff(want, got.form); diff != "" {
				t.Errorf("form (-want +got):\n%s", diff)
			}
			if got.header.Get("DPoP") != "" {
				t.Error("a proof was sent that nobody asked for")
			}
		})
	}
}

func TestTokenIssueWithoutCredentialNamesTheClient(t *testing.T) {
	t.Parallel()
	s := newAuthServer(t, bearer)
	got := comity(t, "", nil, "token", "issue", "--token-url", s.URL+"/token", "--client-id", "agent", "--client-auth", "none",
		"--resource", "https://archive.globex.example", "--json")
	var answer map[string]any
	if err := json.Unmarshal([]byte(got.stdout), &answer); err != nil || got.code != 0 {
		t.Fatalf("%+v: %v", got, err)
	}
	if answer["access_token"] != "issued-token" || answer["x_extra"] == nil {
		t.Errorf("--json printed %v, want the whole answer", answer)
	}
	want := url.Values{"grant_type": {"client_credentials"}, "client_id": {"agent"}, "resource": {"https://archive.globex.example"}}
	if diff := cmp.Diff(want, s.only(t).form); diff != "" {
		t.Errorf("form (-want +got):\n%s", diff)
	}
}

func TestClientAssertionIsForTheIssuerOnceAndShort(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ alg, format string }{{"ES256", "pem"}, {"EdDSA", "jwk"}, {"RS256", "pem"}} {
		t.Run(tt.alg, func(t *testing.T) {
			t.Parallel()
			path, public := keyFile(t, tt.alg, tt.format)
			s := newAuthServer(t, bearer)
			for range 2 {
				comity(t, "", nil, "token", "issue", "--issuer", s.URL, "--client-id", "agent", "--client-key", path,
					"--audience", "https://archive.globex.example").want(t, 0, "issued-token\n", "")
			}
			var ids []string
			for _, r := range s.seen {
				if got := r.form.Get("client_assertion_type"); got != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
					t.Errorf("client_assertion_type = %q", got)
				}
				if r.form.Has("client_id") || r.header.Get("Authorization") != "" {
					t.Error("the client is named twice")
				}
				ids = append(ids, checkAssertion(t, r.form.Get("client_assertion"), s.URL, tt.alg, public))
			}
			if ids[0] == ids[1] {
				t.Error("two assertions have one jti")
			}
		})
	}
}

// checkAssertion verifies a client assertion and returns its jti.
func checkAssertion(t *testing.T, text, issuer, alg string, public any) string {
	t.Helper()
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := signed.Verify(public)
	if err != nil {
		t.Fatal(err)
	}
	header := signed.Signatures[0].Protected
	thumbprint, err := keys.Thumbprint(public)
	if err != nil {
		t.Fatal(err)
	}
	if typ := header.ExtraHeaders[jose.HeaderType]; typ != "client-authentication+jwt" || header.KeyID != thumbprint {
		t.Errorf("header typ = %v, kid = %q, want the thumbprint", typ, header.KeyID)
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Audience any    `json:"aud"`
		ID       string `json:"jti"`
		Issued   int64  `json:"iat"`
		Expires  int64  `json:"exp"`
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&claims); err != nil {
		t.Fatal(err)
	}
	if claims.Issuer != "agent" || claims.Subject != "agent" || claims.Audience != issuer || claims.Expires-claims.Issued != 60 || len(claims.ID) < 22 {
		t.Errorf("claims = %+v", claims)
	}
	if age := time.Since(time.Unix(claims.Issued, 0)); age < -time.Second || age > time.Minute {
		t.Errorf("iat is %v ago", age)
	}
	return claims.ID
}

func TestClientAssertionNamesTheKeyAsTheJWKDoes(t *testing.T) {
	t.Parallel()
	path, _ := keyFile(t, "ES256", "jwk")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var jwk map[string]any
	if err := json.Unmarshal(text, &jwk); err != nil {
		t.Fatal(err)
	}
	jwk["kid"] = "agent-2027"
	if text, err = json.Marshal(jwk); err != nil {
		t.Fatal(err)
	}
	named := file(t, string(text))
	for _, tt := range []struct {
		name, want string
		args       []string
	}{{"takes the kid of the JWK", "agent-2027", nil}, {"takes the kid of the flag first", "other", []string{"--client-key-id", "other"}}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newAuthServer(t, bearer)
			comity(t, "", nil, append([]string{"token", "issue", "--issuer", s.URL, "--client-id", "agent", "--client-key", named, "--audience", "a"},
				tt.args...)...).want(t, 0, "issued-token\n", "")
			signed, err := jose.ParseSignedCompact(s.only(t).form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
			if err != nil {
				t.Fatal(err)
			}
			if got := signed.Signatures[0].Protected.KeyID; got != tt.want {
				t.Errorf("kid = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestTokenIsBoundToAKeyThatIsMadeWhenAbsent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "dpop.pem")
	s := newAuthServer(t, dpopBound)
	for range 2 {
		comity(t, "", nil, "token", "issue", "--issuer", s.URL, "--client-id", "agent", "--client-auth", "none", "--audience", "a",
			"--dpop-key", path).want(t, 0, "issued-token\n", "")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v %v", info, err)
	}
	var jkt []string
	for _, r := range s.seen {
		p := parseProof(t, r, s.URL+"/token")
		key, _ := p.OnceKey()
		jkt = append(jkt, key)
	}
	if jkt[0] != jkt[1] {
		t.Error("the second request was bound to another key")
	}
}

func parseProof(t *testing.T, r seenRequest, endpoint string) proof.Proof {
	t.Helper()
	p, err := proof.Parse(r.header.Values("DPoP"), proof.Want{Method: "POST", URLs: []string{endpoint}, Now: time.Now(), Window: proof.Window,
		Algorithms: []string{"ES256"}, NoAccessToken: true})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func nonceOf(t *testing.T, text string) string {
	t.Helper()
	read, err := readToken(text)
	if err != nil {
		t.Fatal(err)
	}
	nonce, _ := read.Claims["nonce"].(string)
	return nonce
}

func TestBearerTokenInsteadOfABoundOneIsSaid(t *testing.T) {
	t.Parallel()
	s := newAuthServer(t, bearer)
	comity(t, "", nil, "token", "issue", "--issuer", s.URL, "--client-id", "agent", "--client-auth", "none", "--audience", "a",
		"--dpop-key", filepath.Join(t.TempDir(), "dpop.pem")).want(t, 0, "issued-token\n", "not bound")
}

// RFC 9449 section 8: the proof is made again with the server's nonce, and so
// is the assertion, which counts once. It is not tried for ever.
func TestNonceIsTakenUpOnce(t *testing.T) {
	t.Parallel()
	key, public := keyFile(t, "ES256", "pem")
	run := func(s *authServer) ran {
		return comity(t, "", nil, "token", "issue", "--issuer", s.URL, "--client-id", "agent", "--client-key", key, "--audience", "a",
			"--dpop-key", filepath.Join(t.TempDir(), "dpop.pem"))
	}
	nonce := func(w http.ResponseWriter) {
		w.Header().Set("DPoP-Nonce", "nonce-1")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":"use_dpop_nonce"}`)
	}
	s := newAuthServer(t, func(w http.ResponseWriter, f url.Values, n int) {
		if n == 1 {
			nonce(w)
			return
		}
		dpopBound(w, f, n)
	})
	run(s).want(t, 0, "issued-token\n", "")
	if len(s.seen) != 2 {
		t.Fatalf("requests = %d, want 2", len(s.seen))
	}
	if got := nonceOf(t, s.seen[1].header.Get("DPoP")); got != "nonce-1" {
		t.Errorf("nonce of the second proof = %q, want nonce-1", got)
	}
	if checkAssertion(t, s.seen[0].form.Get("client_assertion"), s.URL, "ES256", public) ==
		checkAssertion(t, s.seen[1].form.Get("client_assertion"), s.URL, "ES256", public) {
		t.Error("the assertion was sent twice")
	}
	forever := newAuthServer(t, func(w http.ResponseWriter, _ url.Values, _ int) { nonce(w) })
	run(forever).want(t, 1, "", "use_dpop_nonce")
	if len(forever.seen) != 2 {
		t.Errorf("requests = %d, want 2", len(forever.seen))
	}
}
