package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

// querier is what a database and a transaction have in common.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

const selectFence = `SELECT revision, revocations FROM head`

func readHead(ctx context.Context, q querier) (f trust.Fence, err error) {
	err = q.QueryRowContext(ctx, selectFence).Scan(&f.Revision, &f.Revocations)
	return f, err
}

// The kinds sort as a trust file lists them, then the objects by their order.
const selectObjects = `
SELECT kind, name, position, body, body IS NULL, hash FROM objects
 WHERE revision > ? AND (body IS NOT NULL OR ?)
 ORDER BY CASE kind WHEN 'peer' THEN 1 WHEN 'resource' THEN 2 WHEN 'client' THEN 3
                    WHEN 'mapping' THEN 4 WHEN 'policy' THEN 5 ELSE 6 END, kind, position, name`

// Load implements [trust.Source].
func (s *Store) Load(ctx context.Context, since trust.Revision) (trust.State, error) {
	state, err := s.load(ctx, since)
	return state, wrap("load registry", err)
}

func (s *Store) load(ctx context.Context, since trust.Revision) (state trust.State, err error) {
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return state, err
	}
	// It only read, so there is nothing that a failed rollback could lose.
	defer func() { _ = tx.Rollback() }()
	head, err := readHead(ctx, tx)
	if err != nil {
		return state, err
	}
	if since > head.Revision {
		since = 0 // of another life of this registry, before a restore
	}
	state = trust.State{Revision: head.Revision, Revocations: head.Revocations, Since: since}
	if since == head.Revision {
		return state, nil
	}
	rows, err := tx.QueryContext(ctx, selectObjects, since, since > 0)
	if err != nil {
		return state, err
	}
	defer rows.Close()
	for rows.Next() {
		o, removed, err := scanObject(rows)
		if err != nil {
			return state, err
		}
		if removed {
			state.Removed = append(state.Removed, o.Key)
		} else {
			state.Objects = append(state.Objects, o)
		}
	}
	return state, rows.Err()
}

func scanObject(rows *sql.Rows) (o trust.Object, removed bool, err error) {
	var body, hash []byte
	if err := rows.Scan(&o.Kind, &o.Name, &o.Order, &body, &removed, &hash); err != nil {
		return o, false, err
	}
	o.Body = body
	return o, removed, fill(o.Hash[:], hash)
}

// fill copies a stored digest, which has to have the right length.
func fill(dst, stored []byte) error {
	if len(stored) != len(dst) {
		return fmt.Errorf("stored digest has %d bytes, want %d", len(stored), len(dst))
	}
	copy(dst, stored)
	return nil
}

const selectChain = `SELECT revision, hash FROM head`

const insertRevision = `INSERT INTO revisions (revision, at, hash, body) VALUES (?, ?, ?, ?)`

const updateHead = `
UPDATE head SET revision = ?1, hash = ?2,
       document = CASE WHEN ?3 = '' THEN document ELSE ?3 END,
       document_revision = CASE WHEN ?3 = '' THEN document_revision ELSE ?1 END`

// Apply implements [trust.Store]. An object to be removed that is not there
// fails the change with trust.ErrNotFound. Removals come before additions.
func (s *Store) Apply(ctx context.Context, c trust.Change) (trust.Revision, error) {
	var to trust.Revision
	err := s.writer.transact(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		to, err = apply(ctx, tx, c)
		return err
	})
	if err != nil {
		return 0, wrap("apply change", err)
	}
	s.announce(to)
	return to, nil
}

func apply(ctx context.Context, tx *sql.Tx, c trust.Change) (trust.Revision, error) {
	var hash []byte
	head := audit.Head{Position: audit.Position{Writer: trust.RegistryWriter}}
	if err := tx.QueryRowContext(ctx, selectChain).Scan(&head.Seq, &hash); err != nil {
		return 0, err
	}
	if err := fill(head.Hash[:], hash); err != nil {
		return 0, err
	}
	if trust.Revision(head.Seq) != c.Base {
		return 0, fmt.Errorf("%w: prepared on %d, now at %d", trust.ErrConflict, c.Base, head.Seq)
	}
	to := c.Base + 1
	body, err := c.Record(to)
	if err != nil {
		return 0, err
	}
	row := head.Append(body)
	if err := writeObjects(ctx, tx, c, to); err != nil {
		return 0, err
	}
	if _, err := tx.ExecContext(ctx, insertRevision, row.Seq, c.At.UnixMicro(), row.Hash[:], row.Body); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, updateHead, row.Seq, row.Hash[:], c.Document)
	return to, err
}

const removeObject = `
UPDATE objects SET body = NULL, hash = zeroblob(32), revision = ?
 WHERE kind = ? AND name = ? AND body IS NOT NULL`

const putObject = `
INSERT INTO objects (kind, name, position, body, hash, revision) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (kind, name) DO UPDATE SET position = excluded.position,
       body = excluded.body, hash = excluded.hash, revision = excluded.revision`

func writeObjects(ctx context.Context, tx *sql.Tx, c trust.Change, to trust.Revision) error {
	for _, k := range c.Remove {
		res, err := tx.ExecContext(ctx, removeObject, to, k.Kind, k.Name)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return errors.Join(fmt.Errorf("%w: %s", trust.ErrNotFound, k), err)
		}
	}
	for _, o := range c.Put {
		body := []byte(o.Body)
		if body == nil {
			body = []byte{} // NULL would be a tombstone
		}
		if _, err := tx.ExecContext(ctx, putObject, o.Kind, o.Name, o.Order, body, o.Hash[:], to); err != nil {
			return err
		}
	}
	return nil
}

const selectApplied = `SELECT document, document_revision FROM head`

// Applied implements [trust.Store].
func (s *Store) Applied(ctx context.Context) (a trust.Applied, err error) {
	err = s.reader.QueryRowContext(ctx, selectApplied).Scan(&a.Document, &a.Revision)
	return a, wrap("read what was applied", err)
}

// Changed implements [trust.Source].
func (s *Store) Changed() <-chan struct{} { return s.changed }

func (s *Store) announce(at trust.Revision) {
	s.seen.Store(uint64(at))
	s.signal()
}

// signal leaves a value unless one waits already: changes coalesce.
func (s *Store) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// moved reports whether the store holds something that changed was not told of.
func (s *Store) moved(head trust.Fence) bool {
	changed := s.seen.Swap(uint64(head.Revision)) != uint64(head.Revision)
	return s.revoked.Swap(head.Revocations) != head.Revocations || changed
}

// poll looks for changes that other processes made.
func (s *Store) poll(ctx context.Context) {
	tick := time.NewTicker(s.opts.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		head, err := readHead(ctx, s.reader)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.opts.Logger.WarnContext(ctx, "registry_poll_failed", "error", err)
		case s.moved(head):
			s.signal()
		}
	}
}
