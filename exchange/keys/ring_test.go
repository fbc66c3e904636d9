package keys_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

// Replicas that start together on an empty store, each with its own first look
// at the seal, end with the same keys.
func TestReplicasAgree(t *testing.T) {
	t.Parallel()
	store := &memStore{}
	spec := "file:" + filepath.Join(t.TempDir(), "comity.seal")
	rings := make([]*keys.Ring, 8)
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() {
			seal, err := keys.OpenSeal(spec)
			if err != nil {
				t.Error(err)
				return
			}
			if rings[i], err = keys.Open(t.Context(), store, keys.Options{Algorithm: keys.ES256, Seal: seal}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	if len(store.records) != 2 {
		t.Errorf("the store holds %d keys, want one of each use", len(store.records))
	}
	for _, r := range rings {
		if diff := cmp.Diff(string(rings[0].JWKS()), string(r.JWKS())); diff != "" {
			t.Errorf("key sets differ:\n%s", diff)
		}
		if diff := cmp.Diff(rings[0].Derive(keys.LabelDigest, 32), r.Derive(keys.LabelDigest, 32)); diff != "" {
			t.Errorf("derived keys differ:\n%s", diff)
		}
		token, _ := sign(t, r)
		verify(t, rings[0].PublicJWKS(), token)
	}
}

// After a restart everything is as before, and the store held only ciphertext
// and the public key meanwhile.
func TestRestart(t *testing.T) {
	t.Parallel()
	store, opts := &memStore{}, options(t, keys.ES256)
	before := open(t, store, opts)
	after := open(t, store, opts)
	if diff := cmp.Diff(before.Info(), after.Info()); diff != "" {
		t.Errorf("keys changed over a restart:\n%s", diff)
	}
	for _, rec := range store.records {
		if rec.State != trust.KeyActive || !rec.Created.Equal(epoch) || !rec.Changed.Equal(epoch) {
			t.Errorf("record %s: state %s, created %v, changed %v, want active now", rec.ID, rec.State, rec.Created, rec.Changed)
		}
		if rec.Use == trust.KeySign && (rec.ID != before.KeyIDs()[0] || string(rec.Public) != string(before.Info()[0].Public)) {
			t.Errorf("record %s holds %s, want the published key", rec.ID, rec.Public)
		}
	}
}

func TestMaterialForPeers(t *testing.T) {
	t.Parallel()
	r := open(t, &memStore{}, options(t, keys.ES256))
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(r.JWKS(), &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("the set is %s, %v, want one key", r.JWKS(), err)
	}
	k := set.Keys[0]
	// JO-33: a set never holds a private member.
	want := map[string]string{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": r.KeyIDs()[0], "x": k["x"], "y": k["y"]}
	if diff := cmp.Diff(want, k); diff != "" {
		t.Errorf("published key (-want +got):\n%s", diff)
	}
	if r.Algorithm() != keys.ES256 {
		t.Errorf("Algorithm = %q, want ES256", r.Algorithm())
	}
	if got := r.ActiveAge(epoch.Add(time.Hour)); got != time.Hour {
		t.Errorf("ActiveAge = %v, want 1h", got)
	}
	if got := r.ActiveAge(epoch.Add(-time.Hour)); got != 0 {
		t.Errorf("ActiveAge before the key began = %v, want 0", got)
	}
	r.JWKS()[0], r.PublicJWKS().Keys[0].KeyID, r.Info()[0].Public[0] = 'x', "x", 'x'
	if r.JWKS()[0] != '{' || r.PublicJWKS().Keys[0].KeyID == "x" || r.Info()[0].Public[0] != '{' {
		t.Error("a caller can change what the ring shows")
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	text := must(keys.EncodePEM(generate(t, keys.ES256)))
	for _, tc := range []struct {
		name   string
		change func(*testing.T, *keys.Options)
		want   error
	}{
		{"rejects no algorithm", func(_ *testing.T, o *keys.Options) { o.Algorithm = "" }, keys.ErrAlgorithm},
		{"rejects none", func(_ *testing.T, o *keys.Options) { o.Algorithm = "none" }, keys.ErrAlgorithm},
		{"rejects HS256", func(_ *testing.T, o *keys.Options) { o.Algorithm = "HS256" }, keys.ErrAlgorithm},
		{"rejects no seal", func(_ *testing.T, o *keys.Options) { o.Seal = nil }, keys.ErrSeal},
		{"rejects the zero seal", func(_ *testing.T, o *keys.Options) { o.Seal = &keys.Seal{} }, keys.ErrSeal},
		{"LC-07 rejects a world-readable key file", func(t *testing.T, o *keys.Options) { o.File = writeFile(t, 0o644, text) }, keys.ErrPermissions},
		{"rejects a world-writable key file", func(t *testing.T, o *keys.Options) { o.File = writeFile(t, 0o602, text) }, keys.ErrPermissions},
		{"rejects an absent key file", func(t *testing.T, o *keys.Options) { o.File = filepath.Join(t.TempDir(), "no") }, os.ErrNotExist},
		{"rejects a folder as key file", func(t *testing.T, o *keys.Options) { o.File = t.TempDir() }, keys.ErrKey},
		{"rejects an unreadable key file", func(t *testing.T, o *keys.Options) { o.File = writeFile(t, 0o600, []byte("key")) }, keys.ErrKey},
		{"rejects a huge key file", func(t *testing.T, o *keys.Options) { o.File = writeFile(t, 0o600, make([]byte, 65<<10)) }, keys.ErrKey},
		{"rejects a key file for another algorithm", func(t *testing.T, o *keys.Options) { o.Algorithm, o.File = keys.EdDSA, writeFile(t, 0o600, text) }, keys.ErrAlgorithm},
		{"rejects a device for another algorithm", func(t *testing.T, o *keys.Options) { o.Signer = generate(t, keys.EdDSA) }, keys.ErrAlgorithm},
		{"rejects a device on another curve", func(_ *testing.T, o *keys.Options) {
			o.Signer = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
		}, keys.ErrKey},
		{"rejects a device that does not sign", func(t *testing.T, o *keys.Options) { o.Signer = shown{generate(t, o.Algorithm).Public()} }, errDown},
		{"rejects a device that signs with another key", func(t *testing.T, o *keys.Options) {
			o.Signer = liar{signs: generate(t, o.Algorithm), shows: generate(t, o.Algorithm)}
		}, keys.ErrKey},
		{"rejects a key file beside a device", func(t *testing.T, o *keys.Options) {
			o.File, o.Signer = writeFile(t, 0o600, text), generate(t, o.Algorithm)
		}, keys.ErrKey},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			store, opts := &memStore{}, options(t, keys.ES256)
			tc.change(t, &opts)
			if r, err := keys.Open(t.Context(), store, opts); !errors.Is(err, tc.want) || r != nil {
				t.Errorf("Open error = %v, want %v", err, tc.want)
			}
		})
	}
}

func TestGroupReadableKeyFileIsAccepted(t *testing.T) {
	t.Parallel()
	opts := options(t, keys.ES256)
	opts.File = writeFile(t, 0o440, must(keys.EncodePEM(generate(t, keys.ES256))))
	open(t, &memStore{}, opts)
}

// What the database holds is believed only as far as the seal vouches for it.
func TestOpenRefusesStoredKeys(t *testing.T) {
	t.Parallel()
	type records = []trust.KeyRecord
	signing := func(rs records) *trust.KeyRecord {
		return &rs[slices.IndexFunc(rs, func(r trust.KeyRecord) bool { return r.Use == trust.KeySign })]
	}
	mac := func(rs records) *trust.KeyRecord {
		return &rs[slices.IndexFunc(rs, func(r trust.KeyRecord) bool { return r.Use == trust.KeyMAC })]
	}
	for _, tc := range []struct {
		name   string
		change func(*testing.T, *keys.Options, records) records
		want   error
	}{
		{"rejects another seal", func(t *testing.T, o *keys.Options, rs records) records { o.Seal = newSeal(t); return rs }, keys.ErrSeal},
		{"rejects blobs swapped between signing key and MAC key", func(_ *testing.T, _ *keys.Options, rs records) records {
			signing(rs).Sealed, mac(rs).Sealed = mac(rs).Sealed, signing(rs).Sealed
			return rs
		}, keys.ErrSeal},
		{"rejects blobs swapped between two signing keys", func(t *testing.T, o *keys.Options, rs records) records {
			next := sealed(t, o.Seal, generate(t, keys.ES256), trust.KeyPublished)
			next.Sealed, signing(rs).Sealed = signing(rs).Sealed, next.Sealed
			return append(rs, next)
		}, keys.ErrSeal},
		{"rejects a row somebody wrote for a key of their own", func(t *testing.T, o *keys.Options, rs records) records {
			forged := sealed(t, newSeal(t), generate(t, keys.ES256), trust.KeyRetiring)
			return append(rs, forged)
		}, keys.ErrSeal},
		{"rejects an unsealed row", func(t *testing.T, o *keys.Options, rs records) records {
			forged := sealed(t, o.Seal, generate(t, keys.ES256), trust.KeyRetiring)
			forged.Sealed = nil
			return append(rs, forged)
		}, keys.ErrSeal},
		{"rejects a sealed key under another's id", func(t *testing.T, o *keys.Options, rs records) records {
			rec := trust.KeyRecord{ID: thumbprint(t, generate(t, keys.ES256)), Use: trust.KeySign, Algorithm: keys.ES256, State: trust.KeyPublished}
			plain := must(o.Seal.Open(*signing(rs)))
			if err := o.Seal.Seal(&rec, plain); err != nil {
				t.Fatal(err)
			}
			return append(rs, rec)
		}, keys.ErrRecord},
		{"rejects what is sealed and no key", func(t *testing.T, o *keys.Options, rs records) records {
			if err := o.Seal.Seal(signing(rs), []byte("text")); err != nil {
				t.Fatal(err)
			}
			return rs
		}, keys.ErrKey},
		{"rejects two active signing keys", func(t *testing.T, o *keys.Options, rs records) records {
			return append(rs, sealed(t, o.Seal, generate(t, keys.ES256), trust.KeyActive))
		}, keys.ErrRecord},
		{"rejects two active MAC keys", func(t *testing.T, o *keys.Options, rs records) records {
			rec := trust.KeyRecord{ID: "mac-2", Use: trust.KeyMAC, Algorithm: "HKDF-SHA-256", State: trust.KeyActive}
			if err := o.Seal.Seal(&rec, make([]byte, 32)); err != nil {
				t.Fatal(err)
			}
			return append(rs, rec)
		}, keys.ErrRecord},
		{"rejects a MAC key of 31 bytes", func(t *testing.T, o *keys.Options, rs records) records {
			if err := o.Seal.Seal(mac(rs), make([]byte, 31)); err != nil {
				t.Fatal(err)
			}
			return rs
		}, keys.ErrRecord},
		{"rejects a retired MAC key alone", func(_ *testing.T, _ *keys.Options, rs records) records {
			mac(rs).State = trust.KeyRetired
			return rs
		}, keys.ErrRecord},
		{"rejects a revoked signing key alone", func(_ *testing.T, _ *keys.Options, rs records) records {
			signing(rs).State = trust.KeyRevoked
			return rs
		}, keys.ErrNoKey},
		{"rejects a signing key in an unknown state alone", func(_ *testing.T, _ *keys.Options, rs records) records {
			signing(rs).State = "new"
			return rs
		}, keys.ErrNoKey},
		{"rejects a stored key of another algorithm than configured", func(_ *testing.T, o *keys.Options, rs records) records {
			o.Algorithm = keys.EdDSA
			return rs
		}, keys.ErrAlgorithm},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			store, opts := &memStore{}, options(t, keys.ES256)
			open(t, store, opts)
			store.edit(func(rs []trust.KeyRecord) []trust.KeyRecord { return tc.change(t, &opts, rs) })
			if r, err := keys.Open(t.Context(), store, opts); !errors.Is(err, tc.want) || r != nil {
				t.Errorf("Open error = %v, want %v", err, tc.want)
			}
		})
	}
}

func TestOpenReportsTheStore(t *testing.T) {
	t.Parallel()
	if _, err := keys.Open(t.Context(), &memStore{err: errDown}, options(t, keys.ES256)); !errors.Is(err, errDown) {
		t.Errorf("Open error = %v, want the store's", err)
	}
}

// liar shows one key and signs with another.
type liar struct{ signs, shows crypto.Signer }

func (l liar) Public() crypto.PublicKey { return l.shows.Public() }

func (l liar) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return l.signs.Sign(r, digest, opts)
}

// A key file takes over from a stored key, of whatever algorithm, which stays
// in the set; without the file the stored one signs again.
func TestKeyFileBesideStoredKey(t *testing.T) {
	t.Parallel()
	store, opts := &memStore{}, options(t, keys.ES256)
	stored := open(t, store, opts)
	old, _ := sign(t, stored)

	withFile := opts
	withFile.Algorithm = keys.EdDSA
	withFile.File = pemFile(t, generate(t, keys.EdDSA))
	r := open(t, store, withFile)
	token, kid := sign(t, r)
	verify(t, r.PublicJWKS(), token)
	verify(t, r.PublicJWKS(), old)
	if ids := r.KeyIDs(); len(ids) != 2 || ids[0] != kid || ids[1] != stored.KeyIDs()[0] {
		t.Errorf("KeyIDs = %v, want the file's and then the stored", ids)
	}
	info := r.Info()
	if info[0].Source != keys.SourceFile || !info[0].Signing || info[0].State != trust.KeyActive {
		t.Errorf("the file's key is %+v, want active and signing", info[0])
	}
	if i := slices.IndexFunc(info, func(k keys.KeyInfo) bool { return k.ID == stored.KeyIDs()[0] }); info[i].State != trust.KeyRetiring || info[i].Signing {
		t.Errorf("the stored key is %+v, want retiring", info[i])
	}
	if diff := cmp.Diff(stored.Derive(keys.LabelHandle, 16), r.Derive(keys.LabelHandle, 16)); diff != "" {
		t.Errorf("the key file changed the MAC key:\n%s", diff)
	}
	if _, again := sign(t, open(t, store, opts)); again != stored.KeyIDs()[0] {
		t.Errorf("without the file %s signs, want the stored key", again)
	}
}

// With a key file no signing key is generated, and one that is stored too is
// published once.
func TestKeyFileAlone(t *testing.T) {
	t.Parallel()
	key := generate(t, keys.ES256)
	store, opts := &memStore{}, options(t, keys.ES256)
	opts.File = pemFile(t, key)
	open(t, store, opts)
	if len(store.records) != 1 || store.records[0].Use != trust.KeyMAC {
		t.Errorf("the store holds %d keys, want the MAC key alone", len(store.records))
	}
	store.add(sealed(t, opts.Seal, key, trust.KeyActive))
	if ids := open(t, store, opts).KeyIDs(); len(ids) != 1 {
		t.Errorf("KeyIDs = %v, want one", ids)
	}
	store.setState(thumbprint(t, key), trust.KeyRevoked)
	if _, err := keys.Open(t.Context(), store, opts); !errors.Is(err, keys.ErrNoKey) {
		t.Errorf("Open with a key file that was revoked: error = %v, want ErrNoKey", err)
	}
}

// Derived keys name people and records for years: they never change.
func TestDeriveGolden(t *testing.T) {
	t.Parallel()
	opts := options(t, keys.ES256)
	rec := trust.KeyRecord{ID: "mac-1", Use: trust.KeyMAC, Algorithm: "HKDF-SHA-256", State: trust.KeyActive}
	if err := opts.Seal.Seal(&rec, must(hex.DecodeString(strings.Repeat("0b", 32)))); err != nil {
		t.Fatal(err)
	}
	r := open(t, &memStore{records: []trust.KeyRecord{rec}}, opts)
	for label, want := range map[string]string{
		keys.LabelPseudonym:  "42427a8079ee7279d400e84771ab2df38a0d21772341b9454a8ad3ef3ad29b0b",
		keys.LabelDigest:     "f93cbfc38df7cad62d4d2cbadea82e0925a6bf5f03361b7398008984e9c01fa7",
		keys.LabelHandle:     "75c9d3cc411a3db4e9c24fbaa6ec4d391f757b31bcb619debd3c0cec235ef3ff",
		keys.LabelDecisionID: "5b7e0a24e5a49b48b824d0dd00f775138e2c1306902501ed8fbff9fad5f5a225",
	} {
		if got := hex.EncodeToString(r.Derive(label, 32)); got != want {
			t.Errorf("Derive(%q) = %s, want %s", label, got, want)
		}
	}
	for _, tc := range []struct {
		label string
		n     int
	}{{"", 32}, {keys.LabelDigest, 0}, {keys.LabelDigest, -1}, {keys.LabelDigest, 8161}} {
		if !panics(func() { r.Derive(tc.label, tc.n) }) {
			t.Errorf("Derive(%q, %d) gave a key, want a panic", tc.label, tc.n)
		}
	}
	ids, err := keys.NewIDs(r.Derive(keys.LabelDecisionID, 32))
	if err != nil {
		t.Fatal(err)
	}
	position := audit.Position{Writer: 3, Seq: 4}
	pos, ok := r.IDs().Open(ids.Seal(position))
	if !ok || pos != position {
		t.Errorf("the ring opens %v, %v, want %v", pos, ok, position)
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}
