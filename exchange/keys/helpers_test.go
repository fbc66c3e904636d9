package keys_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/ident"
)

var errDown = errors.New("the store is down")

// memStore keeps records as the contract of trust.Store says: InitKeys adds
// only keys of a use of which there is none.
type memStore struct {
	mu      sync.Mutex
	records []trust.KeyRecord
	err     error
}

func (m *memStore) Keys(context.Context) ([]trust.KeyRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.records), m.err
}

func (m *memStore) InitKeys(_ context.Context, add []trust.KeyRecord) ([]trust.KeyRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return nil, m.err
	}
	before := slices.Clone(m.records)
	for _, k := range add {
		if !slices.ContainsFunc(before, func(b trust.KeyRecord) bool { return b.Use == k.Use }) {
			m.records = append(m.records, k)
		}
	}
	return slices.Clone(m.records), nil
}

// edit changes what is stored behind the ring's back.
func (m *memStore) edit(change func([]trust.KeyRecord) []trust.KeyRecord) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = change(slices.Clone(m.records))
}

// setState moves the key with that id to another state.
func (m *memStore) setState(id string, s trust.KeyState) {
	m.edit(func(rs []trust.KeyRecord) []trust.KeyRecord {
		for i := range rs {
			if rs[i].ID == id {
				rs[i].State, rs[i].Changed = s, rs[i].Changed.Add(time.Hour)
			}
		}
		return rs
	})
}

func (m *memStore) add(rec trust.KeyRecord) {
	m.edit(func(rs []trust.KeyRecord) []trust.KeyRecord { return append(rs, rec) })
}

var epoch = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

func now() time.Time { return epoch }

func newSeal(t testing.TB) *keys.Seal {
	t.Helper()
	s, err := keys.OpenSeal("file:" + filepath.Join(t.TempDir(), "comity.seal"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func options(t testing.TB, alg string) keys.Options {
	t.Helper()
	return keys.Options{Algorithm: alg, Seal: newSeal(t), Now: now}
}

func open(t testing.TB, store keys.Store, opts keys.Options) *keys.Ring {
	t.Helper()
	r, err := keys.Open(t.Context(), store, opts)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	return r
}

func generate(t testing.TB, alg string) crypto.Signer {
	t.Helper()
	if alg == keys.RS256 { // 3,072 bits take long to find
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k, err := keys.Generate(alg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func thumbprint(t testing.TB, key crypto.Signer) string {
	t.Helper()
	id, err := keys.Thumbprint(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// sealed makes the record that a rotation would add.
func sealed(t testing.TB, seal *keys.Seal, key crypto.Signer, state trust.KeyState) trust.KeyRecord {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	rec := trust.KeyRecord{ID: thumbprint(t, key), Use: trust.KeySign, Algorithm: keys.ES256, State: state,
		Created: epoch.Add(time.Hour), Changed: epoch.Add(time.Hour)}
	if err := seal.Seal(&rec, der); err != nil {
		t.Fatal(err)
	}
	return rec
}

func writeFile(t testing.TB, mode os.FileMode, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func pemFile(t testing.TB, key crypto.Signer) string {
	t.Helper()
	text, err := keys.EncodePEM(key)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, 0o600, text)
}

func pemText(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func sign(t testing.TB, r *keys.Ring) (ident.RawToken, string) {
	t.Helper()
	token, kid, err := r.Sign(t.Context(), "at+jwt", map[string]any{"sub": "acme/agent"})
	if err != nil {
		t.Fatalf("Sign = %v", err)
	}
	return token, kid
}

// verify checks the token with another implementation against a published set.
func verify(t testing.TB, set jose.JSONWebKeySet, token ident.RawToken) ([]byte, jose.Header) {
	t.Helper()
	jws, err := jose.ParseSignedCompact(token.Reveal(), []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256})
	if err != nil {
		t.Fatalf("the token does not parse: %v", err)
	}
	header := jws.Signatures[0].Protected
	found := set.Key(header.KeyID)
	if len(found) != 1 {
		t.Fatalf("the set has %d keys for kid %q, want 1", len(found), header.KeyID)
	}
	if found[0].Algorithm != header.Algorithm {
		t.Fatalf("the set says alg %q, the header %q", found[0].Algorithm, header.Algorithm)
	}
	payload, err := jws.Verify(found[0])
	if err != nil {
		t.Fatalf("the token does not verify: %v", err)
	}
	return payload, header
}
