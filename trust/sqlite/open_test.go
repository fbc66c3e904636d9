package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/sqlite"
)

func newPath(t *testing.T) string { return filepath.Join(t.TempDir(), "comity.db") }

func mustOpen(t *testing.T, opts sqlite.Options) *sqlite.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), opts)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// refused fails unless opening does, with an error that wraps want.
func refused(t *testing.T, opts sqlite.Options, want error) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), opts)
	if err == nil {
		_ = store.Close()
	}
	if !errors.Is(err, want) {
		t.Fatalf("Open = %v, want %v", err, want)
	}
}

// Not parallel: it counts goroutines.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	store := mustOpen(t, sqlite.Options{Path: newPath(t)})
	if _, err := store.Load(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	store := mustOpen(t, sqlite.Options{Path: path})
	if _, err := store.OpenWriter(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("mode of %s is %o, want 600", filepath.Base(name), mode)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	garbage := newPath(t)
	if err := os.WriteFile(garbage, []byte("this is no database, and it is long enough to be read as one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := newPath(t)
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	owned := newPath(t)
	mustOpen(t, sqlite.Options{Path: owned, Domain: "globex.example"})
	for _, tc := range []struct {
		name string
		opts sqlite.Options
		want error
	}{
		{"a file that is no database", sqlite.Options{Path: garbage}, trust.ErrUnavailable},
		{"a folder", sqlite.Options{Path: t.TempDir()}, trust.ErrUnavailable},
		{"a folder that is not there", sqlite.Options{Path: filepath.Join(t.TempDir(), "no", "db")}, trust.ErrUnavailable},
		{"a file that is not there when it may not migrate", sqlite.Options{Path: newPath(t), NoMigrate: true}, trust.ErrUnavailable},
		{"an empty file when it may not migrate", sqlite.Options{Path: empty, NoMigrate: true}, trust.ErrSchema},
		{"the file of another domain", sqlite.Options{Path: owned, Domain: "acme.example"}, trust.ErrSchema},
	} {
		t.Run("refuses "+tc.name, func(t *testing.T) {
			t.Parallel()
			refused(t, tc.opts, tc.want)
			if tc.opts.NoMigrate && errors.Is(tc.want, trust.ErrUnavailable) {
				if _, err := os.Stat(tc.opts.Path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the file was created (%v)", err)
				}
			}
		})
	}
}

func TestOpenAcceptsItsOwnDomainAndNone(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	mustOpen(t, sqlite.Options{Path: path})
	mustOpen(t, sqlite.Options{Path: path, Domain: "globex.example"})
	mustOpen(t, sqlite.Options{Path: path, Domain: "globex.example"})
	mustOpen(t, sqlite.Options{Path: path})
	refused(t, sqlite.Options{Path: path, Domain: "acme.example"}, trust.ErrSchema)
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	opts := sqlite.Options{Path: newPath(t)}
	if _, err := sqlite.Status(t.Context(), opts); !errors.Is(err, trust.ErrUnavailable) {
		t.Fatalf("Status of a missing file = %v, want ErrUnavailable", err)
	}
	want := sqlite.Schema{Version: sqlite.SchemaVersion, Oldest: 1, Binary: sqlite.SchemaVersion}
	for range 2 { // the second finds nothing to do
		got, err := sqlite.Migrate(t.Context(), opts)
		if err != nil || got != want {
			t.Fatalf("Migrate = %+v, %v, want %+v", got, err, want)
		}
	}
	got, err := sqlite.Status(t.Context(), opts)
	if err != nil || got != want || got.Check() != nil {
		t.Errorf("Status = %+v, %v, want %+v", got, err, want)
	}
	opts.NoMigrate = true
	mustOpen(t, opts)
}

// ST-11: while another process holds the file, writes give up in time and
// reads go on.
func TestWritesGiveUpWhileTheFileIsHeld(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	store := mustOpen(t, sqlite.Options{Path: path, Busy: 50 * time.Millisecond})
	change := trust.Change{By: "admin", Origin: "api", At: time.Now()}
	err := query(t.Context(), path, func(db *sql.DB) error {
		db.SetMaxOpenConns(1)
		if _, err := db.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil {
			return err
		}
		if _, err := store.Apply(t.Context(), change); !errors.Is(err, trust.ErrUnavailable) {
			t.Errorf("Apply = %v, want ErrUnavailable", err)
		}
		if _, err := store.Load(t.Context(), 0); err != nil {
			t.Errorf("Load = %v, want reads to go on", err)
		}
		_, err := db.ExecContext(t.Context(), `ROLLBACK`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if to, err := store.Apply(t.Context(), change); err != nil || to != 1 {
		t.Errorf("Apply afterwards = %d, %v, want revision 1", to, err)
	}
}

// A caller that waits for its turn behind another of the same process can give up.
func TestWaitingForAWriterEndsWithTheContext(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	store := mustOpen(t, sqlite.Options{Path: path, Busy: time.Minute})
	err := query(t.Context(), path, func(db *sql.DB) error {
		db.SetMaxOpenConns(1)
		if _, err := db.ExecContext(t.Context(), `BEGIN IMMEDIATE`); err != nil {
			return err
		}
		first := make(chan error, 1)
		go func() {
			_, err := store.OpenWriter(t.Context())
			first <- err
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		<-ctx.Done()
		if _, err := store.OpenWriter(ctx); !errors.Is(err, trust.ErrUnavailable) {
			t.Errorf("OpenWriter = %v, want ErrUnavailable", err)
		}
		_, err := db.ExecContext(t.Context(), `ROLLBACK`)
		return errors.Join(err, <-first)
	})
	if err != nil {
		t.Fatal(err)
	}
}
