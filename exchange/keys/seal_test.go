package keys_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/trust"
)

const sealLine = "comity-seal-v1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

func TestOpenSeal(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		spec func(*testing.T) string
		want error
	}{
		{"accepts a file of mode 0600", sealFile(0o600, sealLine+"\n"), nil},
		{"accepts a file of mode 0400", sealFile(0o400, sealLine+"\n"), nil},
		{"accepts a file without a line end", sealFile(0o600, sealLine), nil},
		{"accepts an absent file, which it generates", func(t *testing.T) string { return "file:" + filepath.Join(t.TempDir(), "new") }, nil},
		{"rejects a world-readable file", sealFile(0o604, sealLine), keys.ErrPermissions},
		{"rejects a group-readable file", sealFile(0o640, sealLine), keys.ErrPermissions},
		{"rejects a group-writable file", sealFile(0o620, sealLine), keys.ErrPermissions},
		{"rejects an absent folder", func(t *testing.T) string { return "file:" + filepath.Join(t.TempDir(), "no", "seal") }, os.ErrNotExist},
		{"rejects a link to nowhere", danglingSeal, os.ErrNotExist},
		{"rejects a folder", func(t *testing.T) string { return "file:" + t.TempDir() }, keys.ErrSeal},
		{"rejects an empty file", sealFile(0o600, ""), keys.ErrSeal},
		{"rejects a file without the header", sealFile(0o600, strings.TrimPrefix(sealLine, "comity-seal-v1:")), keys.ErrSeal},
		{"rejects another version", sealFile(0o600, strings.Replace(sealLine, "v1", "v2", 1)), keys.ErrSeal},
		{"rejects 31 bytes", sealFile(0o600, sealLine[:len(sealLine)-2]), keys.ErrSeal},
		{"rejects a line break inside", sealFile(0o600, sealLine[:len(sealLine)-1]+"\r\n"), keys.ErrSeal},
		{"rejects two lines", sealFile(0o600, sealLine+"\n\n"), keys.ErrSeal},
		{"rejects the other base64 alphabet", sealFile(0o600, sealLine[:len(sealLine)-2]+"+8"), keys.ErrSeal},
		{"rejects bits behind the last byte", sealFile(0o600, sealLine[:len(sealLine)-1]+"9"), keys.ErrSeal},
		{"rejects 1 MiB", sealFile(0o600, sealLine+strings.Repeat("A", 1<<20)), keys.ErrSeal},
		{"rejects another scheme", func(*testing.T) string { return "env:SEAL" }, keys.ErrSeal},
		{"rejects a bare path", func(*testing.T) string { return "comity.seal" }, keys.ErrSeal},
		{"rejects an empty path", func(*testing.T) string { return "file:" }, keys.ErrSeal},
		{"rejects a URL with an authority", func(*testing.T) string { return "file:///comity.seal" }, keys.ErrSeal},
		{"rejects nothing", func(*testing.T) string { return "" }, keys.ErrSeal},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s, err := keys.OpenSeal(tc.spec(t))
			if !errors.Is(err, tc.want) || err != nil && !errors.Is(err, keys.ErrSeal) {
				t.Fatalf("OpenSeal error = %v, want ErrSeal and %v", err, tc.want)
			}
			if (s == nil) != (err != nil) {
				t.Errorf("OpenSeal = %v beside error %v", s, err)
			}
			if err != nil && strings.Contains(err.Error(), "AAECAwQF") {
				t.Errorf("the error quotes the seal: %v", err)
			}
		})
	}
}

func sealFile(mode os.FileMode, text string) func(*testing.T) string {
	return func(t *testing.T) string { return "file:" + writeFile(t, mode, []byte(text)) }
}

func danglingSeal(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "seal")
	if err := os.Symlink(filepath.Join(filepath.Dir(path), "nowhere"), path); err != nil {
		t.Fatal(err)
	}
	return "file:" + path
}

func TestGeneratedSealFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "comity.seal")
	if _, err := keys.OpenSeal("file:" + path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %o, want 600", info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := base64.RawURLEncoding.DecodeString(strings.TrimSuffix(strings.TrimPrefix(string(text), "comity-seal-v1:"), "\n"))
	if err != nil || len(secret) != 32 || bytes.Equal(secret, make([]byte, 32)) {
		t.Errorf("the file holds %d bytes, %v, want 32 random ones", len(secret), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("the folder holds %d files, %v, want the seal alone", len(left), err)
	}
}

// Processes that start together end with one seal: what each seals, all open.
func TestSealRace(t *testing.T) {
	t.Parallel()
	spec := "file:" + filepath.Join(t.TempDir(), "comity.seal")
	seals, records := make([]*keys.Seal, 16), make([]trust.KeyRecord, 16)
	var wg sync.WaitGroup
	for i := range seals {
		wg.Go(func() {
			s, err := keys.OpenSeal(spec)
			if err != nil {
				t.Error(err)
				return
			}
			seals[i], records[i] = s, trust.KeyRecord{ID: "k", Use: trust.KeyMAC, Algorithm: "a"}
			if err := s.Seal(&records[i], []byte("secret")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range seals {
		for _, rec := range records {
			if plain, err := s.Open(rec); err != nil || string(plain) != "secret" {
				t.Fatalf("Open = %q, %v, want what was sealed", plain, err)
			}
		}
	}
}

func TestSealOpensOnlyWhatItSealed(t *testing.T) {
	t.Parallel()
	seal, other := newSeal(t), newSeal(t)
	rec := trust.KeyRecord{ID: "key-1", Use: trust.KeySign, Algorithm: keys.ES256, State: trust.KeyActive}
	if err := seal.Seal(&rec, []byte("the key itself")); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(rec.Sealed, []byte("key itself")) {
		t.Fatal("the record holds the key in the clear")
	}
	for _, tc := range []struct {
		name   string
		seal   *keys.Seal
		change func(*trust.KeyRecord)
		says   string
	}{
		{"accepts the record as it was sealed", seal, func(*trust.KeyRecord) {}, ""},
		{"accepts the record in another state", seal, func(r *trust.KeyRecord) { r.State = trust.KeyRetiring }, ""},
		{"rejects another seal", other, func(*trust.KeyRecord) {}, "another seal"},
		{"rejects another id", seal, func(r *trust.KeyRecord) { r.ID = "key-2" }, "moved"},
		{"rejects another use", seal, func(r *trust.KeyRecord) { r.Use = trust.KeyMAC }, "moved"},
		{"rejects another algorithm", seal, func(r *trust.KeyRecord) { r.Algorithm = keys.EdDSA }, "moved"},
		{"rejects a byte that went from one field to the next", seal, func(r *trust.KeyRecord) { r.ID, r.Use = "key-", "1sign" }, "moved"},
		{"rejects another format", seal, func(r *trust.KeyRecord) { r.Sealed[0]++ }, "format"},
		{"rejects an empty record", seal, func(r *trust.KeyRecord) { r.Sealed = nil }, "format"},
		{"rejects a head alone", seal, func(r *trust.KeyRecord) { r.Sealed = r.Sealed[:9] }, "changed"},
		{"rejects a cut record", seal, func(r *trust.KeyRecord) { r.Sealed = r.Sealed[:len(r.Sealed)-1] }, "changed"},
		{"rejects an extended record", seal, func(r *trust.KeyRecord) { r.Sealed = append(r.Sealed, 0) }, "changed"},
		{"rejects the zero seal", &keys.Seal{}, func(*trust.KeyRecord) {}, "none is open"},
		{"rejects no seal", nil, func(*trust.KeyRecord) {}, "none is open"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := rec
			r.Sealed = bytes.Clone(rec.Sealed)
			tc.change(&r)
			plain, err := tc.seal.Open(r)
			if tc.says == "" {
				if err != nil || string(plain) != "the key itself" {
					t.Fatalf("Open = %q, %v, want the key", plain, err)
				}
				return
			}
			if !errors.Is(err, keys.ErrSeal) || !strings.Contains(err.Error(), tc.says) || plain != nil {
				t.Errorf("Open = %q, %v, want ErrSeal that says %q", plain, err, tc.says)
			}
		})
	}
}

func TestSealNoticesEveryFlippedBit(t *testing.T) {
	t.Parallel()
	seal := newSeal(t)
	rec := trust.KeyRecord{ID: "key-1", Use: trust.KeySign, Algorithm: keys.ES256}
	if err := seal.Seal(&rec, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	for i := range len(rec.Sealed) * 8 {
		r := rec
		r.Sealed = bytes.Clone(rec.Sealed)
		r.Sealed[i/8] ^= 1 << (i % 8)
		if _, err := seal.Open(r); !errors.Is(err, keys.ErrSeal) {
			t.Errorf("bit %d flipped: Open error = %v, want ErrSeal", i, err)
		}
	}
}

func TestSealRefusesWhatItCannotBindTo(t *testing.T) {
	t.Parallel()
	seal := newSeal(t)
	full := trust.KeyRecord{ID: "k", Use: trust.KeySign, Algorithm: keys.ES256}
	for _, tc := range []struct {
		name   string
		seal   *keys.Seal
		change func(*trust.KeyRecord)
	}{
		{"rejects a record without id", seal, func(r *trust.KeyRecord) { r.ID = "" }},
		{"rejects a record without use", seal, func(r *trust.KeyRecord) { r.Use = "" }},
		{"rejects a record without algorithm", seal, func(r *trust.KeyRecord) { r.Algorithm = "" }},
		{"rejects the zero seal", &keys.Seal{}, func(*trust.KeyRecord) {}},
		{"rejects no seal", nil, func(*trust.KeyRecord) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rec := full
			tc.change(&rec)
			if err := tc.seal.Seal(&rec, []byte("secret")); !errors.Is(err, keys.ErrSeal) || rec.Sealed != nil {
				t.Errorf("Seal error = %v, sealed %d bytes, want ErrSeal and none", err, len(rec.Sealed))
			}
		})
	}
}
