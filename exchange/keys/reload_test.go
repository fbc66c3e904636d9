package keys_test

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/trust"
)

func TestReloadFollowsARotation(t *testing.T) {
	t.Parallel()
	store, opts := &memStore{}, options(t, keys.ES256)
	r := open(t, store, opts)
	first, before := r.KeyIDs()[0], r.JWKS()
	old, _ := sign(t, r)
	reload := func() {
		t.Helper()
		if err := r.Reload(t.Context()); err != nil {
			t.Fatalf("Reload = %v", err)
		}
	}
	reload()
	if diff := cmp.Diff(string(before), string(r.JWKS())); diff != "" {
		t.Errorf("the set changed without a change of keys:\n%s", diff)
	}

	next := sealed(t, opts.Seal, generate(t, keys.ES256), trust.KeyPublished)
	store.add(next)
	reload()
	if _, kid := sign(t, r); kid != first || len(r.KeyIDs()) != 2 {
		t.Errorf("LC-09: %s signs and %d keys are published, want the first key and 2", kid, len(r.KeyIDs()))
	}

	store.setState(first, trust.KeyRetiring)
	store.setState(next.ID, trust.KeyActive)
	reload()
	token, kid := sign(t, r)
	if kid != next.ID || r.KeyIDs()[0] != next.ID {
		t.Errorf("%s signs, want the next key", kid)
	}
	verify(t, r.PublicJWKS(), token)
	verify(t, r.PublicJWKS(), old)
	if got := r.ActiveAge(epoch.Add(3 * time.Hour)); got != time.Hour {
		t.Errorf("ActiveAge = %v, want 1h since the change of state", got)
	}

	store.setState(first, trust.KeyRetired)
	reload()
	if ids := r.KeyIDs(); len(ids) != 1 || ids[0] != next.ID {
		t.Errorf("KeyIDs = %v, want the next key alone", ids)
	}
	if !slices.ContainsFunc(r.Info(), func(k keys.KeyInfo) bool { return k.ID == first && k.State == trust.KeyRetired }) {
		t.Error("Info no longer lists the retired key")
	}
}

func TestReloadKeepsWhatIsGood(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*testing.T, *memStore, *keys.Seal)
		want   error
	}{
		{"rejects a store that is down", func(_ *testing.T, m *memStore, _ *keys.Seal) { m.err = errDown }, errDown},
		{"rejects a new key under another seal", func(t *testing.T, m *memStore, _ *keys.Seal) {
			m.add(sealed(t, newSeal(t), generate(t, keys.ES256), trust.KeyPublished))
		}, keys.ErrSeal},
		{"rejects a second active key", func(t *testing.T, m *memStore, s *keys.Seal) {
			m.add(sealed(t, s, generate(t, keys.ES256), trust.KeyActive))
		}, keys.ErrRecord},
		{"rejects an active key under another seal while the old one retires", func(t *testing.T, m *memStore, _ *keys.Seal) {
			m.edit(func(rs []trust.KeyRecord) []trust.KeyRecord {
				for i := range rs {
					if rs[i].Use == trust.KeySign {
						rs[i].State = trust.KeyRetiring
					}
				}
				return append(rs, sealed(t, newSeal(t), generate(t, keys.ES256), trust.KeyActive))
			})
		}, keys.ErrSeal},
		{"rejects another MAC key", func(t *testing.T, m *memStore, s *keys.Seal) {
			m.edit(func(rs []trust.KeyRecord) []trust.KeyRecord {
				for i := range rs {
					if rs[i].Use == trust.KeyMAC {
						rs[i].ID = "mac-2"
						if err := s.Seal(&rs[i], make([]byte, 32)); err != nil {
							t.Error(err)
						}
					}
				}
				return rs
			})
		}, keys.ErrRecord},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			store, opts := &memStore{}, options(t, keys.ES256)
			r := open(t, store, opts)
			_, before := sign(t, r)
			derived := r.Derive(keys.LabelDigest, 32)
			tc.change(t, store, opts.Seal)
			if err := r.Reload(t.Context()); !errors.Is(err, tc.want) {
				t.Fatalf("Reload error = %v, want %v", err, tc.want)
			}
			token, kid := sign(t, r)
			if kid != before {
				t.Errorf("%s signs, want the key of before", kid)
			}
			verify(t, r.PublicJWKS(), token)
			if diff := cmp.Diff(derived, r.Derive(keys.LabelDigest, 32)); diff != "" {
				t.Errorf("derived keys changed:\n%s", diff)
			}
		})
	}
}

// A key that a reload could not open is not published on anybody's word.
func TestReloadPublishesNoKeyItCannotOpen(t *testing.T) {
	t.Parallel()
	store, opts := &memStore{}, options(t, keys.ES256)
	r := open(t, store, opts)
	forged := sealed(t, newSeal(t), generate(t, keys.ES256), trust.KeyRetiring)
	store.add(forged)
	if err := r.Reload(t.Context()); !errors.Is(err, keys.ErrSeal) {
		t.Fatalf("Reload error = %v, want ErrSeal", err)
	}
	if slices.Contains(r.KeyIDs(), forged.ID) {
		t.Error("the forged key is published")
	}
}

// A revoked key stops signing and leaves the set at once, whatever else is
// wrong at that moment.
func TestRevokedKeyStopsSigning(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		also func(*testing.T, *memStore)
	}{
		{"with no key to follow it", func(*testing.T, *memStore) {}},
		{"with a forged key beside it", func(t *testing.T, m *memStore) {
			m.add(sealed(t, newSeal(t), generate(t, keys.ES256), trust.KeyActive))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			store := &memStore{}
			r := open(t, store, options(t, keys.ES256))
			store.setState(r.KeyIDs()[0], trust.KeyRevoked)
			tc.also(t, store)
			if err := r.Reload(t.Context()); !errors.Is(err, keys.ErrNoKey) {
				t.Errorf("Reload error = %v, want ErrNoKey", err)
			}
			if token, _, err := r.Sign(t.Context(), "at+jwt", struct{}{}); !errors.Is(err, keys.ErrNoKey) || !token.IsZero() {
				t.Errorf("Sign error = %v, want ErrNoKey and no token", err)
			}
			if got := string(r.JWKS()); got != `{"keys":[]}` {
				t.Errorf("the set is %s, want it empty", got)
			}
			if r.Algorithm() != "" || r.ActiveAge(epoch.Add(time.Hour)) != 0 {
				t.Errorf("Algorithm = %q, ActiveAge = %v, want none", r.Algorithm(), r.ActiveAge(epoch.Add(time.Hour)))
			}
		})
	}
}

// A device whose key was revoked does not hand over to a stored key.
func TestRevokedDeviceStaysRevoked(t *testing.T) {
	t.Parallel()
	store, opts := &memStore{}, options(t, keys.ES256)
	open(t, store, opts)
	key := generate(t, keys.ES256)
	opts.Signer = key
	r := open(t, store, opts)
	store.add(sealed(t, opts.Seal, key, trust.KeyRevoked))
	for range 2 {
		if err := r.Reload(t.Context()); !errors.Is(err, keys.ErrNoKey) {
			t.Errorf("Reload error = %v, want ErrNoKey", err)
		}
		if _, _, err := r.Sign(t.Context(), "at+jwt", struct{}{}); !errors.Is(err, keys.ErrNoKey) {
			t.Errorf("Sign error = %v, want ErrNoKey", err)
		}
	}
}

func TestReloadReadsTheKeyFile(t *testing.T) {
	t.Parallel()
	store, opts := &memStore{}, options(t, keys.ES256)
	stored := open(t, store, opts).KeyIDs()[0]
	first, second := generate(t, keys.ES256), generate(t, keys.ES256)
	opts.File = pemFile(t, first)
	r := open(t, store, opts)
	for _, bad := range [][]byte{nil, []byte("key"), must(keys.EncodePEM(generate(t, keys.EdDSA)))} {
		rewrite(t, opts.File, bad)
		if err := r.Reload(t.Context()); err == nil {
			t.Error("Reload of a bad file = nil, want an error")
		}
		if _, kid := sign(t, r); kid != thumbprint(t, first) {
			t.Errorf("%s signs, want the key of the last good file", kid)
		}
	}
	// Another part takes effect all the same.
	store.setState(stored, trust.KeyRevoked)
	if err := r.Reload(t.Context()); !errors.Is(err, keys.ErrAlgorithm) {
		t.Errorf("Reload error = %v, want ErrAlgorithm", err)
	}
	if slices.Contains(r.KeyIDs(), stored) {
		t.Error("the revoked key is still published")
	}
	rewrite(t, opts.File, must(keys.EncodeJWK(second)))
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	token, kid := sign(t, r)
	if kid != thumbprint(t, second) {
		t.Errorf("%s signs, want the new file's key", kid)
	}
	verify(t, r.PublicJWKS(), token)
	if err := os.Chmod(opts.File, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(t.Context()); !errors.Is(err, keys.ErrPermissions) {
		t.Errorf("Reload of a world-readable file: error = %v, want ErrPermissions", err)
	}
}

func rewrite(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
