package postgres

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/comity-auth/comity/trust"
)

//go:embed migrations/*.sql
var migrations embed.FS

// SchemaVersion is the version of the schema that this binary was made for:
// the number of its newest migration.
const SchemaVersion = 2

// versions is the table in which migrations that have run are noted.
const versions = "schema_migrations"

// Schema tells which version a database has and which this binary was made for.
type Schema struct {
	Version int64 // of the database; 0 when it is empty
	Oldest  int64 // version of the oldest binary that can use the database
	Binary  int64
}

// Check reports whether a binary can use the schema as it is: one that is
// older, or newer than the binary and not declared compatible with it, is
// refused with an error that wraps trust.ErrSchema.
func (s Schema) Check() error {
	switch {
	case s.Version < s.Binary:
		return fmt.Errorf("%w: the schema is version %d and this binary needs version %d: migrate first",
			trust.ErrSchema, s.Version, s.Binary)
	case s.Oldest > s.Binary:
		return fmt.Errorf("%w: the schema is version %d, which needs a binary for version %d or later, and this one is for version %d",
			trust.ErrSchema, s.Version, s.Oldest, s.Binary)
	}
	return nil
}

// Migrate brings the schema up to this binary's version and tells what it is
// then. A schema that is newer already is left alone. One process migrates at a
// time, the others wait; one that is killed leaves whole migrations behind.
func Migrate(ctx context.Context, opts Options) (schema Schema, err error) {
	opts = opts.withDefaults()
	err = direct(opts, func(db *sql.DB) error {
		schema, err = migrate(ctx, db, opts)
		return err
	})
	return schema, wrap("migrate", err)
}

// Status tells the version of the schema without changing it.
func Status(ctx context.Context, opts Options) (schema Schema, err error) {
	opts = opts.withDefaults()
	err = direct(opts, func(db *sql.DB) error {
		schema, err = readSchema(ctx, db)
		return err
	})
	return schema, wrap("read schema version", err)
}

// DropSchema drops the schema that the options name, with all that is in it.
// A schema that is not there is no error.
func DropSchema(ctx context.Context, opts Options) error {
	if opts.Schema == "" {
		return errors.New("drop schema: none is named")
	}
	return wrap("drop schema", direct(opts.withDefaults(), func(db *sql.DB) error {
		_, err := db.ExecContext(ctx, "DROP SCHEMA IF EXISTS "+pgx.Identifier{opts.Schema}.Sanitize()+" CASCADE")
		return err
	}))
}

// direct runs do with sessions of its own that no pooler stands before: they
// end with it.
func direct(opts Options, do func(*sql.DB) error) error {
	config, err := directConfig(opts)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(2)
	return errors.Join(do(db), db.Close())
}

// place is where the tables are.
type place struct {
	qualifier string // what statements put before a table's name
	fence     int64  // the advisory lock that changes and batches meet at
	channel   string // what changes are announced on
}

// prepare makes sure that the database can be used before it is.
func prepare(ctx context.Context, opts Options) (where place, err error) {
	err = direct(opts, func(db *sql.DB) error {
		schema, err := readSchema(ctx, db)
		if err == nil && schema.Version < schema.Binary && !opts.NoMigrate {
			schema, err = migrate(ctx, db, opts)
		}
		if err == nil {
			err = schema.Check()
		}
		if err == nil && opts.Domain != "" {
			err = claimDomain(ctx, db, opts.Domain)
		}
		if err == nil {
			where, err = locate(ctx, db)
		}
		return err
	})
	return where, err
}

const selectPlace = `
SELECT current_database(), n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = to_regclass('head')`

// locate finds the tables once, so that no later statement depends on a search
// path, and derives from their place what is shared by all who use them.
func locate(ctx context.Context, db *sql.DB) (place, error) {
	var database, schema string
	if err := db.QueryRowContext(ctx, selectPlace).Scan(&database, &schema); err != nil {
		return place{}, fmt.Errorf("locate tables: %w", err)
	}
	sum := sha256.Sum256([]byte("comity fence\x00" + database + "\x00" + schema))
	return place{
		qualifier: pgx.Identifier{schema}.Sanitize() + ".",
		fence:     int64(binary.BigEndian.Uint64(sum[:8])),
		channel:   fmt.Sprintf("comity_%x", sum[:8]),
	}, nil
}

// migrate runs what is pending while it holds the migration lock, which has a
// session of its own: goose makes its table before it would take one of its.
func migrate(ctx context.Context, db *sql.DB, opts Options) (schema Schema, err error) {
	fsys, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return Schema{}, err
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, fsys, goose.WithTableName(versions),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return Schema{}, err
	}
	lock, err := db.Conn(ctx)
	if err != nil {
		return Schema{}, err
	}
	// The lock goes with the session, which direct ends, or a kill.
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := lockMigrations(ctx, lock); err != nil {
		return Schema{}, err
	}
	if err := createSchema(ctx, lock, opts.Schema); err != nil {
		return Schema{}, err
	}
	schema, err = readSchema(ctx, db)
	if err != nil || schema.Version >= schema.Binary {
		return schema, err
	}
	if _, err := p.Up(ctx); err != nil {
		return schema, err
	}
	return readSchema(ctx, db)
}

const migrationLock = 0x636f6d697479 // "comity"

// lockMigrations lets one process at a time migrate a database. The lock is
// asked for again and again rather than waited for: a waiting statement holds a
// snapshot, which would hold up a migration that builds an index concurrently.
func lockMigrations(ctx context.Context, conn *sql.Conn) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var locked bool
		err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, migrationLock).Scan(&locked)
		if err != nil {
			return fmt.Errorf("lock migrations: %w", err)
		}
		if locked {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("another process is migrating: %w", ctx.Err())
		}
	}
}

// createSchema looks first: a role that may not create schemas can still use
// one that is there.
func createSchema(ctx context.Context, conn *sql.Conn, schema string) error {
	if schema == "" {
		return nil
	}
	name := pgx.Identifier{schema}.Sanitize()
	var absent bool
	if err := conn.QueryRowContext(ctx, `SELECT to_regnamespace($1) IS NULL`, name).Scan(&absent); err != nil || !absent {
		return err
	}
	_, err := conn.ExecContext(ctx, "CREATE SCHEMA "+name)
	return err
}

const selectSchemaTable = `SELECT to_regclass('schema_level') IS NOT NULL`

const selectSchema = `SELECT version, oldest FROM schema_level ORDER BY version DESC LIMIT 1`

func readSchema(ctx context.Context, db *sql.DB) (Schema, error) {
	schema := Schema{Binary: SchemaVersion}
	var there bool
	if err := db.QueryRowContext(ctx, selectSchemaTable).Scan(&there); err != nil || !there {
		return schema, err
	}
	err := db.QueryRowContext(ctx, selectSchema).Scan(&schema.Version, &schema.Oldest)
	return schema, err
}

const updateDomain = `UPDATE head SET domain = $1 WHERE domain = ''`

const selectDomain = `SELECT domain FROM head`

func claimDomain(ctx context.Context, db *sql.DB, domain string) error {
	var owner string
	if err := db.QueryRowContext(ctx, selectDomain).Scan(&owner); err != nil || owner == domain {
		return err
	}
	if _, err := db.ExecContext(ctx, updateDomain, domain); err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, selectDomain).Scan(&owner); err != nil {
		return err
	}
	if owner != domain {
		return fmt.Errorf("%w: it belongs to the domain %q, not %q", trust.ErrSchema, owner, domain)
	}
	return nil
}
