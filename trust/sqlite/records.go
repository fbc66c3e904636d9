package sqlite

import (
	"context"
	"fmt"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

const selectRecords = `SELECT seq, hash, body FROM records WHERE writer = ? AND seq > ? ORDER BY seq LIMIT ?`

const selectRevisions = `SELECT revision, hash, body FROM revisions WHERE revision > ? ORDER BY revision LIMIT ?`

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
func (s *Store) Records(ctx context.Context, after audit.Position, limit int) ([]audit.Row, error) {
	rows, err := s.records(ctx, after, limit)
	return rows, wrap("read records", err)
}

func (s *Store) records(ctx context.Context, after audit.Position, limit int) (list []audit.Row, err error) {
	if limit <= 0 {
		return nil, nil
	}
	text, args := selectRecords, []any{after.Writer, after.Seq, limit}
	if after.Writer == trust.RegistryWriter {
		text, args = selectRevisions, args[1:]
	}
	rows, err := s.reader.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		row := audit.Row{Position: audit.Position{Writer: after.Writer}}
		var hash []byte
		if err := rows.Scan(&row.Seq, &hash, &row.Body); err != nil {
			return nil, err
		}
		if err := fill(row.Hash[:], hash); err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, rows.Err()
}

const selectWriters = `
SELECT 0, revision, hash FROM head WHERE revision > 0
UNION ALL
SELECT * FROM (
  SELECT w.writer, coalesce(r.seq, 0), coalesce(r.hash, zeroblob(32))
    FROM writers w LEFT JOIN records r ON r.writer = w.writer
         AND r.seq = (SELECT max(seq) FROM records WHERE writer = w.writer)
   ORDER BY w.writer)`

// Writers implements [trust.Store]. The registry's chain comes first, as
// writer 0, once it has a revision; the others follow by number. All heads are
// of one moment.
func (s *Store) Writers(ctx context.Context) ([]audit.Head, error) {
	heads, err := s.heads(ctx)
	return heads, wrap("list writers", err)
}

func (s *Store) heads(ctx context.Context) (list []audit.Head, err error) {
	rows, err := s.reader.QueryContext(ctx, selectWriters)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var head audit.Head
		var hash []byte
		if err := rows.Scan(&head.Writer, &head.Seq, &hash); err != nil {
			return nil, err
		}
		if err := fill(head.Hash[:], hash); err != nil {
			return nil, err
		}
		list = append(list, head)
	}
	return list, rows.Err()
}
