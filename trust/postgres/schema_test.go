package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/comity-auth/comity/fixtures/pg"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/postgres"
)

func inSchema(dsn, schema string) postgres.Options {
	opts := options(dsn)
	opts.Schema = schema
	return opts
}

// Two domains can share a database, each in a schema of its own.
func TestSchemasAreApart(t *testing.T) {
	t.Parallel()
	dsn := pg.New(t)
	a, b := inSchema(dsn, "acme"), inSchema(dsn, `Globex "@" $1`)
	a.Poll, b.Poll = time.Hour, time.Hour
	acme, globex := mustOpen(t, a), mustOpen(t, b)
	if _, err := acme.Apply(t.Context(), change(0)); err != nil {
		t.Fatal(err)
	}
	state, err := globex.Load(t.Context(), 0)
	if err != nil || state.Revision != 0 {
		t.Errorf("the other schema is at %d, %v, want 0", state.Revision, err)
	}
	if _, err := globex.Apply(t.Context(), change(0)); err != nil {
		t.Errorf("Apply to the other schema = %v", err)
	}
	l := trust.NewLedger(globex, trust.LedgerOptions{})
	t.Cleanup(l.Close)
	e := entry("x")
	e.Seen.Revision = 1
	if out, err := l.Commit(t.Context(), e); err != nil || out.Status != trust.Committed {
		t.Errorf("Commit = %+v, %v", out, err)
	}
	if n := scan[int](t, connect(t, dsn), `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`); n != 0 {
		t.Errorf("%d tables in the public schema, want none", n)
	}
}

func TestDropSchema(t *testing.T) {
	t.Parallel()
	dsn := pg.New(t)
	opts := inSchema(dsn, "acme")
	store := mustOpen(t, opts)
	if _, err := store.Apply(t.Context(), change(0)); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds nothing
		if err := postgres.DropSchema(t.Context(), opts); err != nil {
			t.Fatalf("DropSchema = %v", err)
		}
	}
	if err := postgres.DropSchema(t.Context(), options(dsn)); err == nil {
		t.Error("DropSchema without a name = nil, want it refused")
	}
	state, err := mustOpen(t, opts).Load(t.Context(), 0)
	if err != nil || state.Revision != 0 {
		t.Errorf("the new schema is at %d, %v, want 0", state.Revision, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dsn := pg.New(t)
	owned := inSchema(dsn, "owned")
	owned.Domain = "globex.example"
	mustOpen(t, owned)
	foreign := owned
	foreign.Domain = "acme.example"
	unmigrated := inSchema(dsn, "absent")
	unmigrated.NoMigrate = true
	for _, tc := range []struct {
		name string
		opts postgres.Options
		want error
	}{
		{"the tables of another domain", foreign, trust.ErrSchema},
		{"a schema that is not there when it may not migrate", unmigrated, trust.ErrSchema},
		{"a server that is not there", options("postgres://nobody@127.0.0.1:1/none"), trust.ErrUnavailable},
		{"a DSN that is none", options("postgres://%zz"), trust.ErrUnavailable},
	} {
		t.Run("refuses "+tc.name, func(t *testing.T) {
			t.Parallel()
			store, err := postgres.Open(t.Context(), tc.opts)
			if err == nil {
				_ = store.Close()
			}
			if !errors.Is(err, tc.want) {
				t.Errorf("Open = %v, want %v", err, tc.want)
			}
		})
	}
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	opts := inSchema(pg.New(t), "acme")
	before, err := postgres.Status(t.Context(), opts)
	if err != nil || before != (postgres.Schema{Binary: postgres.SchemaVersion}) {
		t.Fatalf("Status of an empty database = %+v, %v", before, err)
	}
	if err := before.Check(); !errors.Is(err, trust.ErrSchema) {
		t.Errorf("Check = %v, want ErrSchema", err)
	}
	want := postgres.Schema{Version: postgres.SchemaVersion, Oldest: 1, Binary: postgres.SchemaVersion}
	for range 2 { // the second finds nothing to do
		got, err := postgres.Migrate(t.Context(), opts)
		if err != nil || got != want {
			t.Fatalf("Migrate = %+v, %v, want %+v", got, err, want)
		}
	}
	got, err := postgres.Status(t.Context(), opts)
	if err != nil || got != want || got.Check() != nil {
		t.Errorf("Status = %+v, %v, want %+v", got, err, want)
	}
	opts.NoMigrate = true
	mustOpen(t, opts)
}
