package node_test

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/comity-auth/comity/cmd/comity/node"
	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/fixtures/e2e"
	"github.com/comity-auth/comity/fixtures/pg"
)

// newKeyFile puts a fresh signing key into a file.
func newKeyFile(t testing.TB, path, algorithm string) {
	t.Helper()
	key, err := keys.Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	text, err := keys.EncodePEM(key)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, path, string(text))
}

// published is the key set of a replica.
func published(t testing.TB, d *e2e.Domain) jose.JSONWebKeySet {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(d.Get(t, d.URL, "/.well-known/jwks.json").Text), &set); err != nil {
		t.Fatal(err)
	}
	return set
}

// signedBy is the kid of a token that verifies with the published keys.
func signedBy(t testing.TB, w *e2e.World, at *e2e.Domain) string {
	t.Helper()
	a := ask(t, w, at)
	token, err := jwt.ParseSigned(a.Token, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256})
	if err != nil {
		t.Fatalf("%v: %s", err, a.Text)
	}
	set := published(t, at)
	var claims map[string]any
	if err := token.Claims(&set, &claims); err != nil {
		t.Errorf("the token does not verify with what is published: %v", err)
	}
	return token.Headers[0].KeyID
}

func TestKeyFileIsFollowed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "signing.pem")
	newKeyFile(t, path, keys.ES256)
	w := e2e.NewWorld(t, e2e.WorldOptions{Options: e2e.Options{Config: []string{`keys: {seal: "file:comity.seal", file: ` + path + `}`}}})
	first := signedBy(t, w, w.Domain)
	newKeyFile(t, path, keys.ES256)
	var second string
	eventually(t, func() error {
		if second = published(t, w.Domain).Keys[0].KeyID; second == first {
			return errors.New("the old key is published still")
		}
		return nil
	})
	if got := signedBy(t, w, w.Domain); got != second {
		t.Errorf("signed by %s, want the new key %s", got, second)
	}
	for i, bad := range []string{"-----BEGIN PRIVATE KEY-----\nbm8=\n-----END PRIVATE KEY-----\n", "", "RS256"} {
		if bad == "RS256" { // a good key, for another algorithm than the configured
			newKeyFile(t, path, keys.RS256)
		} else {
			replace(t, path, bad)
		}
		eventually(t, func() error {
			if n := count(w.Log, "reload.failed", `"keys"`); n <= i {
				return fmt.Errorf("%d failed reloads, want %d", n, i+1)
			}
			return nil
		})
		if got := signedBy(t, w, w.Domain); got != second {
			t.Errorf("bad key file %d: signed by %s, want still %s", i, got, second)
		}
	}
	newKeyFile(t, path, keys.ES256)
	eventually(t, func() error {
		if published(t, w.Domain).Keys[0].KeyID == second {
			return errors.New("the old key is published still")
		}
		return nil
	})
	if signedBy(t, w, w.Domain) == second {
		t.Error("the old key signs still")
	}
}

// A client that knows nothing of us accepts our tokens for each algorithm, by
// discovery (OpenID Connect Discovery 1.0 section 4) and the published keys.
func TestEveryAlgorithmVerifiesElsewhere(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{keys.ES256, keys.EdDSA, keys.RS256} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			w := e2e.NewWorld(t, e2e.WorldOptions{Options: e2e.Options{
				Config: []string{`keys: {seal: "file:comity.seal", algorithm: ` + algorithm + `}`}}})
			provider, err := oidc.NewProvider(t.Context(), w.Issuer)
			if err != nil {
				t.Fatal(err)
			}
			token := ask(t, w, w.Domain).Token
			verified, err := provider.Verifier(&oidc.Config{ClientID: e2e.Archive}).Verify(t.Context(), token)
			if err != nil {
				t.Fatalf("verify: %v", err)
			}
			if verified.Issuer != w.Issuer || !strings.HasPrefix(verified.Subject, "acme/") {
				t.Errorf("got issuer %s and subject %s", verified.Issuer, verified.Subject)
			}
			set := published(t, w.Domain)
			if len(set.Keys) != 1 {
				t.Fatalf("%d keys are published, want 1", len(set.Keys))
			}
			sum, err := set.Keys[0].Thumbprint(crypto.SHA256)
			if err != nil {
				t.Fatal(err)
			}
			want := base64.RawURLEncoding.EncodeToString(sum)
			if got := signedBy(t, w, w.Domain); got != want || set.Keys[0].Algorithm != algorithm || set.Keys[0].Use != "sig" {
				t.Errorf("kid %s for %s, want the thumbprint %s (RFC 7638)", got, set.Keys[0].Algorithm, want)
			}
		})
	}
}

func TestKeysOutliveARestartAndAreTheReplicas(t *testing.T) {
	t.Parallel()
	w := e2e.NewWorld(t, e2e.WorldOptions{Options: e2e.Options{Store: pg.New(t)}})
	first := signedBy(t, w, w.Domain)
	other := w.Replica(t)
	if got := signedBy(t, w, other); got != first {
		t.Errorf("the replica signs by %s, want %s", got, first)
	}
	w.Restart(t)
	if got := signedBy(t, w, w.Domain); got != first {
		t.Errorf("signed by %s after a restart, want %s", got, first)
	}
	one, two := w.Get(t, w.URL, "/.well-known/jwks.json").Text, other.Get(t, other.URL, "/.well-known/jwks.json").Text
	if one != two {
		t.Errorf("replicas publish %s and %s", one, two)
	}
}

// Replicas that do not share the seal cannot share keys, and say so.
func TestAnotherSealRefusesToStart(t *testing.T) {
	t.Parallel()
	s := newSite(t, t.TempDir(), fmt.Sprintf("store: %q", pg.New(t)))
	n, err := node.Open(t.Context(), s.cfg, s.opts)
	if err != nil {
		t.Fatal(err)
	}
	n.Close()
	if err := os.Remove(s.cfg.Keys.SealFile()); err != nil {
		t.Fatal(err)
	}
	if n, err := node.Open(t.Context(), s.cfg, s.opts); !errors.Is(err, keys.ErrSeal) || n != nil {
		t.Errorf("Open = %v, %v, want ErrSeal and no node", n, err)
	}
}

func TestAdminCredential(t *testing.T) {
	t.Parallel()
	w := e2e.Start(t, e2e.Options{})
	path := filepath.Join(w.Dir, "admin.token")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 || len(strings.TrimSpace(string(first))) < 32 {
		t.Errorf("mode %04o and %d bytes, want 0600 and a long credential", info.Mode().Perm(), len(first))
	}
	as := func(token string) int {
		r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, w.AdminURL+"/admin/v1/registry", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
		return w.Do(t, r).Status
	}
	if got := as(string(first)); got != http.StatusOK {
		t.Errorf("status %d with the generated credential", got)
	}
	second := strings.Repeat("x", 40)
	replace(t, path, second+"\n")
	eventually(t, func() error {
		if got := as(second); got != http.StatusOK {
			return fmt.Errorf("status %d with the new credential", got)
		}
		return nil
	})
	if got := as(string(first)); got != http.StatusUnauthorized {
		t.Errorf("status %d with the old credential, want 401", got)
	}

	replace(t, path, "too short\n")
	logged(t, w.Log, "reload.failed", "admin credential", "characters")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	logged(t, w.Log, "reload.failed", "admin credential", "no such file")
	if got := as(second); got != http.StatusOK {
		t.Errorf("status %d after bad files, want the last good credential to work", got)
	}
	if strings.Contains(w.Log.String(), second) || strings.Contains(w.Log.String(), "too short") {
		t.Error("the log holds a credential")
	}
}

// LC-07: what others can read, or what is too short, is refused at the start,
// and the error names the file.
func TestSecretsThatOthersCanReadRefuseToStart(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 40)
	for _, tc := range []struct {
		name, file, line, text string
		mode                   os.FileMode
	}{
		{"rejects a seal that the world can read", "comity.seal", "", "comity-seal-v1:" + strings.Repeat("A", 43) + "\n", 0o604},
		{"rejects a seal that the group can read", "comity.seal", "", "comity-seal-v1:" + strings.Repeat("A", 43) + "\n", 0o640},
		{"rejects a credential that the world can read", "admin.token", "", long, 0o604},
		{"rejects a short credential", "admin.token", "", "short", 0o600},
		{"rejects an endless credential", "admin.token", "", strings.Repeat("x", 1<<16), 0o600},
		{"rejects an empty credential", "admin.token", "", "", 0o600},
		{"rejects a key that the world can read", "signing.pem", "keys: {file: signing.pem}", "", 0o604},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, tc.file)
			if tc.line != "" {
				newKeyFile(t, path, keys.ES256)
			}
			s := newSite(t, dir, tc.line) // read while the files are in order
			if tc.text != "" || tc.line == "" {
				replace(t, path, tc.text)
			}
			if err := os.Chmod(path, tc.mode); err != nil {
				t.Fatal(err)
			}
			n, err := node.Open(t.Context(), s.cfg, s.opts)
			if err == nil || !strings.Contains(err.Error(), tc.file) {
				t.Errorf("Open = %v, want one that names %s", err, tc.file)
			}
			if n != nil {
				n.Close()
			}
		})
	}
}
