package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"modernc.org/sqlite"

	"github.com/comity-auth/comity/trust"
)

// readers is how many connections read at a time.
const readers = 4

// createFile makes the file before SQLite does, which would make it readable
// by others. SQLite gives its side files the mode of the file.
func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// exists refuses a missing file, which opening would create.
func exists(path string) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("%w: %w", trust.ErrUnavailable, err)
	}
	return nil
}

// openDB opens a pool of connections that can only read when size is above 1.
func openDB(opts Options, size int) (*sql.DB, error) {
	dsn, err := dataSource(opts, size > 1)
	if err != nil {
		return nil, err
	}
	connector, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return db, nil
}

func dataSource(opts Options, readOnly bool) (string, error) {
	path, err := filepath.Abs(opts.Path)
	if err != nil {
		return "", err
	}
	q := url.Values{
		"_busy_timeout": {strconv.FormatInt(opts.Busy.Milliseconds(), 10)},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_foreign_keys": {"on"},
		"_txlock":       {"immediate"},
		"_defensive":    {"1"},
		"_dqs":          {"0"},
		// One-time identifiers fall on random pages. A cache that holds them and
		// rarer checkpoints than the default save a quarter of a batch's cost.
		"_pragma": {"cache_size(-16000)", "wal_autocheckpoint(4000)"},
	}
	if readOnly {
		q.Set("_query_only", "on")
		q.Set("_txlock", "deferred")
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: q.Encode()}
	return u.String(), nil
}

// writer is the one connection that writes. Its turn is a channel rather than
// a lock, so that who waits can give up.
type writer struct {
	db   *sql.DB
	turn chan struct{}
	stmt statements
}

// statements are those of the ledger, prepared once.
type statements struct {
	fence, claim, record, release *sql.Stmt
}

func openWriter(ctx context.Context, opts Options) (*writer, error) {
	db, err := openDB(opts, 1)
	if err != nil {
		return nil, err
	}
	w := &writer{db: db, turn: make(chan struct{}, 1)}
	for _, p := range []struct {
		into **sql.Stmt
		text string
	}{
		{&w.stmt.fence, selectFence},
		{&w.stmt.claim, insertOnce},
		{&w.stmt.record, insertRecord},
		{&w.stmt.release, deleteOnce},
	} {
		if *p.into, err = db.PrepareContext(ctx, p.text); err != nil { //nolint:sqlclosecheck // the writer keeps it until db.Close
			return nil, errors.Join(fmt.Errorf("prepare: %w", err), db.Close())
		}
	}
	return w, nil
}

// close waits for the transaction under way.
func (w *writer) close() error {
	w.turn <- struct{}{}
	defer func() { <-w.turn }()
	return w.db.Close()
}

// transact runs do in one immediate transaction. The context counts until the
// transaction begins; from then on only the disk is waited for, and watching a
// context would cost a goroutine per statement.
func (w *writer) transact(ctx context.Context, do func(context.Context, *sql.Tx) error) error {
	select {
	case w.turn <- struct{}{}:
		defer func() { <-w.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := do(ctx, tx); err != nil {
		return errors.Join(err, ignoreDone(tx.Rollback()))
	}
	if err := tx.Commit(); err != nil {
		// Most failures have ended the transaction, and then this one fails too.
		// What they left open would keep the connection from ever beginning again.
		_, _ = w.db.ExecContext(ctx, "ROLLBACK")
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}
