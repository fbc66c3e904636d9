package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
)

func TestClientSecret(t *testing.T) {
	t.Parallel()
	got := comity(t, "", nil, "client", "secret", "--json")
	var s, again clientSecret
	if err := json.Unmarshal([]byte(got.stdout), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Secret) != 43 || url.QueryEscape(s.Secret) != s.Secret || s.Hash != hashOf(s.Secret) {
		t.Errorf("secret = %+v", s)
	}
	_ = json.Unmarshal([]byte(comity(t, "", nil, "client", "secret", "--json").stdout), &again)
	if again.Secret == s.Secret {
		t.Error("two secrets are the same")
	}
	if text := comity(t, "", nil, "client", "secret").stdout; !strings.HasPrefix(text, "secret: ") || !strings.Contains(text, "\nsecret_hash: sha256:") {
		t.Errorf("text = %q", text)
	}
}

func TestKeysGenerate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "agent.pem")
	got := comity(t, "", nil, "keys", "generate", "--out", path, "--public")
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(got.stdout), &set); err != nil || got.code != 0 || len(set.Keys) != 1 || !set.Keys[0].IsPublic() {
		t.Fatalf("%+v: %v", got, err)
	}
	key, _, err := openPrivate(path)
	if err != nil {
		t.Fatal(err)
	}
	if !key.Public().(*ecdsa.PublicKey).Equal(set.Keys[0].Key) {
		t.Error("the halves do not belong together")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v %v", info, err)
	}
	before, _ := os.ReadFile(path)
	comity(t, "", nil, "keys", "generate", "--out", path).want(t, 1, "", "never replaced")
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the key was replaced")
	}
	comity(t, "", nil, "keys", "public", path).want(t, 0, got.stdout, "")
	comity(t, "", nil, "keys", "generate", "--public").want(t, 2, "", "--out")
	comity(t, "", nil, "keys", "generate", "--algorithm", "HS256").want(t, 2, "", "HS256")
	comity(t, "", nil, "keys", "generate", "--format", "der").want(t, 2, "", "pem or jwk")
	if printed := comity(t, "", nil, "keys", "generate"); !strings.HasPrefix(printed.stdout, "-----BEGIN PRIVATE KEY-----\n") {
		t.Errorf("%+v", printed)
	}
}

func hashOf(s string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s))) }
