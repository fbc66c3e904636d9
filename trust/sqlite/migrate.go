package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

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

// Schema tells which version a file has and which this binary was made for.
type Schema struct {
	Version int64 // of the file; 0 when it is empty
	Oldest  int64 // version of the oldest binary that can use the file
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

// Migrate brings the file's schema up to this binary's version and tells what
// it is then. The file is created when absent. A schema that is newer already
// is left alone. Migrations that were interrupted leave nothing behind.
func Migrate(ctx context.Context, opts Options) (Schema, error) {
	opts = opts.withDefaults()
	if err := createFile(opts.Path); err != nil {
		return Schema{}, fault(err)
	}
	db, err := openDB(opts, 1)
	if err != nil {
		return Schema{}, fault(err)
	}
	schema, err := migrate(ctx, db)
	if err = errors.Join(err, db.Close()); err != nil {
		return schema, wrap("migrate "+opts.Path, err)
	}
	return schema, nil
}

// Status tells the version of the file's schema without changing it. The file
// has to exist.
func Status(ctx context.Context, opts Options) (Schema, error) {
	opts = opts.withDefaults()
	if err := exists(opts.Path); err != nil {
		return Schema{}, err
	}
	db, err := openDB(opts, readers)
	if err != nil {
		return Schema{}, fault(err)
	}
	schema, err := readSchema(ctx, db)
	return schema, wrap("schema of "+opts.Path, errors.Join(err, db.Close()))
}

// prepare makes sure that the file can be used before it is.
func prepare(ctx context.Context, opts Options) error {
	if opts.NoMigrate {
		if err := exists(opts.Path); err != nil {
			return err
		}
	} else if err := createFile(opts.Path); err != nil {
		return err
	}
	db, err := openDB(opts, 1)
	if err != nil {
		return err
	}
	return errors.Join(ready(ctx, db, opts), db.Close())
}

func ready(ctx context.Context, db *sql.DB, opts Options) error {
	schema, err := readSchema(ctx, db)
	if err == nil && schema.Version < schema.Binary && !opts.NoMigrate {
		schema, err = migrate(ctx, db)
	}
	if err == nil {
		err = schema.Check()
	}
	if err == nil && opts.Domain != "" {
		err = claimDomain(ctx, db, opts.Domain)
	}
	return err
}

// migrate runs what is pending. SQLite has no lock that outlives a transaction,
// so two processes may start the same migration; one of them fails and finds
// the work done.
func migrate(ctx context.Context, db *sql.DB) (Schema, error) {
	fsys, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return Schema{}, err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, fsys, goose.WithTableName(versions),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return Schema{}, err
	}
	for attempt := 1; ; attempt++ {
		schema, err := readSchema(ctx, db)
		if err != nil || schema.Version >= schema.Binary {
			return schema, err
		}
		if _, err := p.Up(ctx); err != nil && (attempt == 5 || ctx.Err() != nil) {
			return schema, err
		}
	}
}

const selectSchemaTable = `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'schema_level'`

const selectSchema = `SELECT version, oldest FROM schema_level ORDER BY version DESC LIMIT 1`

func readSchema(ctx context.Context, db *sql.DB) (Schema, error) {
	schema := Schema{Binary: SchemaVersion}
	var tables int
	if err := db.QueryRowContext(ctx, selectSchemaTable).Scan(&tables); err != nil || tables == 0 {
		return schema, err
	}
	err := db.QueryRowContext(ctx, selectSchema).Scan(&schema.Version, &schema.Oldest)
	return schema, err
}

const updateDomain = `UPDATE head SET domain = ? WHERE domain = ''`

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
