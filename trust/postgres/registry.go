package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

const selectFence = `SELECT revision, revocations FROM @head`

func (s *Store) head(ctx context.Context) (f trust.Fence, err error) {
	err = s.use(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, s.sql(selectFence)).Scan(&f.Revision, &f.Revocations)
	})
	return f, err
}

const beginRead = `begin isolation level repeatable read, read only`

// The kinds sort as a trust file lists them, then the objects by their order.
// A revision that the registry has not reached is one of another life of it,
// before a restore, and counts as none.
const selectObjects = `
SELECT kind, name, position, body, body IS NULL, hash FROM @objects
 WHERE revision > CASE WHEN $1 > (SELECT revision FROM @head) THEN 0 ELSE $1 END
 ORDER BY CASE kind WHEN 'peer' THEN 1 WHEN 'resource' THEN 2 WHEN 'client' THEN 3
                    WHEN 'mapping' THEN 4 WHEN 'policy' THEN 5 ELSE 6 END, kind, position, name`

// Load implements [trust.Source]. It takes one round trip.
func (s *Store) Load(ctx context.Context, since trust.Revision) (state trust.State, err error) {
	err = s.use(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		state = trust.State{Since: since}
		batch := &pgx.Batch{}
		batch.Queue(beginRead)
		batch.Queue(s.sql(selectFence)).QueryRow(func(row pgx.Row) error {
			err := row.Scan(&state.Revision, &state.Revocations)
			if state.Since > state.Revision {
				state.Since = 0
			}
			return err
		})
		batch.Queue(s.sql(selectObjects), int64(since)).Query(func(rows pgx.Rows) error {
			return collectObjects(rows, &state)
		})
		queueCommit(batch)
		return conn.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		return trust.State{}, wrap("load registry", err)
	}
	return state, nil
}

func collectObjects(rows pgx.Rows, state *trust.State) error {
	for rows.Next() {
		var o trust.Object
		var body, hash []byte
		var removed bool
		if err := rows.Scan(&o.Kind, &o.Name, &o.Order, &body, &removed, &hash); err != nil {
			return err
		}
		if err := fill(o.Hash[:], hash); err != nil {
			return err
		}
		o.Body = body
		switch {
		case !removed:
			state.Objects = append(state.Objects, o)
		case state.Since > 0:
			state.Removed = append(state.Removed, o.Key)
		}
	}
	return rows.Err()
}

// fill copies a stored digest, which has to have the right length.
func fill(dst, stored []byte) error {
	if len(stored) != len(dst) {
		return fmt.Errorf("stored digest has %d bytes, want %d", len(stored), len(dst))
	}
	copy(dst, stored)
	return nil
}

// Apply implements [trust.Store]. An object to be removed that is not there
// fails the change with trust.ErrNotFound. Removals come before additions.
func (s *Store) Apply(ctx context.Context, c trust.Change) (trust.Revision, error) {
	var to trust.Revision
	err := s.alone(ctx, func(ctx context.Context, conn *pgxpool.Conn) (err error) {
		to, err = s.apply(ctx, conn, c)
		return err
	})
	if err != nil {
		return 0, wrap("apply change", err)
	}
	s.announce(to)
	return to, nil
}

const selectChain = `SELECT revision, hash FROM @head`

const insertRevision = `INSERT INTO @revisions (revision, at, hash, body) VALUES ($1, $2, $3, $4)`

const updateHead = `
UPDATE @head SET revision = $1, hash = $2,
       document = CASE WHEN $3 = '' THEN document ELSE $3 END,
       document_revision = CASE WHEN $3 = '' THEN document_revision ELSE $1 END`

const notify = `SELECT pg_notify($1, '')`

func (s *Store) apply(ctx context.Context, conn *pgxpool.Conn, c trust.Change) (trust.Revision, error) {
	var hash []byte
	head := audit.Head{Position: audit.Position{Writer: trust.RegistryWriter}}
	if err := conn.QueryRow(ctx, s.sql(selectChain)).Scan(&head.Seq, &hash); err != nil {
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
	if err := s.writeObjects(ctx, conn, c, to); err != nil {
		return 0, err
	}
	batch := &pgx.Batch{}
	batch.Queue(s.sql(insertRevision), int64(row.Seq), c.At, row.Hash[:], row.Body)
	batch.Queue(s.sql(updateHead), int64(row.Seq), row.Hash[:], c.Document)
	batch.Queue(notify, s.place.channel)
	queueCommit(batch)
	return to, conn.SendBatch(ctx, batch).Close()
}

const removeObject = `
UPDATE @objects SET body = NULL, hash = decode(repeat('00', 32), 'hex'), revision = $1
 WHERE kind = $2 AND name = $3 AND body IS NOT NULL`

const putObject = `
INSERT INTO @objects (kind, name, position, body, hash, revision) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (kind, name) DO UPDATE SET position = excluded.position,
       body = excluded.body, hash = excluded.hash, revision = excluded.revision`

func (s *Store) writeObjects(ctx context.Context, conn *pgxpool.Conn, c trust.Change, to trust.Revision) error {
	batch := &pgx.Batch{}
	for _, k := range c.Remove {
		batch.Queue(s.sql(removeObject), int64(to), k.Kind, k.Name).Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() == 0 {
				return fmt.Errorf("%w: %s", trust.ErrNotFound, k)
			}
			return nil
		})
	}
	for _, o := range c.Put {
		body := []byte(o.Body)
		if body == nil {
			body = []byte{} // NULL would be a tombstone
		}
		batch.Queue(s.sql(putObject), o.Kind, o.Name, o.Order, body, o.Hash[:], int64(to))
	}
	return conn.SendBatch(ctx, batch).Close()
}

const selectApplied = `SELECT document, document_revision FROM @head`

// Applied implements [trust.Store].
func (s *Store) Applied(ctx context.Context) (a trust.Applied, err error) {
	err = s.use(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, s.sql(selectApplied)).Scan(&a.Document, &a.Revision)
	})
	return a, wrap("read what was applied", err)
}
