package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

const selectRecords = `SELECT seq, hash, body FROM @records WHERE writer = $1 AND seq > $2 ORDER BY seq LIMIT $3`

const selectRevisions = `SELECT revision, hash, body FROM @revisions WHERE revision > $1 ORDER BY revision LIMIT $2`

// Record implements [trust.Store].
func (s *Store) Record(ctx context.Context, at audit.Position) (audit.Row, error) {
	if at.Seq == 0 {
		return audit.Row{}, fmt.Errorf("read record: %w: the first one is 1", trust.ErrNotFound)
	}
	rows, err := s.Records(ctx, audit.Position{Writer: at.Writer, Seq: at.Seq - 1}, 1)
	switch {
	case err != nil:
		return audit.Row{}, err
	case len(rows) == 0 || rows[0].Position != at:
		return audit.Row{}, fmt.Errorf("read record: %w: writer %d, record %d", trust.ErrNotFound, at.Writer, at.Seq)
	}
	return rows[0], nil
}

// Records implements [trust.Store].
func (s *Store) Records(ctx context.Context, after audit.Position, limit int) (list []audit.Row, err error) {
	if limit <= 0 {
		return nil, nil
	}
	text, args := selectRecords, []any{int64(after.Writer), int64(after.Seq), limit}
	if after.Writer == trust.RegistryWriter {
		text, args = selectRevisions, args[1:]
	}
	err = s.use(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, s.sql(text), args...)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (audit.Row, error) {
			row := audit.Row{Position: audit.Position{Writer: after.Writer}}
			var hash []byte
			if err := r.Scan(&row.Seq, &hash, &row.Body); err != nil {
				return row, err
			}
			err := fill(row.Hash[:], hash)
			return row, err
		})
		return err
	})
	return list, wrap("read records", err)
}

const selectWriters = `
SELECT 0, revision, hash FROM @head WHERE revision > 0
UNION ALL
SELECT * FROM (
  SELECT w.writer, coalesce(r.seq, 0), coalesce(r.hash, decode(repeat('00', 32), 'hex'))
    FROM @writers w LEFT JOIN LATERAL (
         SELECT seq, hash FROM @records WHERE writer = w.writer ORDER BY seq DESC LIMIT 1) r ON true
   ORDER BY w.writer) heads`

// Writers implements [trust.Store]. The registry's chain comes first, as
// writer 0, once it has a revision; the others follow by number. All heads are
// of one moment.
func (s *Store) Writers(ctx context.Context) (list []audit.Head, err error) {
	err = s.use(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, s.sql(selectWriters))
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (head audit.Head, err error) {
			var hash []byte
			if err := r.Scan(&head.Writer, &head.Seq, &hash); err != nil {
				return head, err
			}
			err = fill(head.Hash[:], hash)
			return head, err
		})
		return err
	})
	return list, wrap("list writers", err)
}
