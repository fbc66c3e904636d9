package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

// Revoke implements [trust.Store]. The transaction holds SQLite's write lock
// from its beginning, as a change and a batch of the ledger do.
func (s *Store) Revoke(ctx context.Context, list []trust.Revocation) (head uint64, err error) {
	if err := trust.CheckRevocations(list); err != nil {
		return 0, err
	}
	err = s.writer.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		head, err = revoke(ctx, tx, list)
		return err
	})
	if err != nil {
		return 0, wrap("revoke", err)
	}
	s.revoked.Store(head)
	s.signal()
	return head, nil
}

const selectRevoker = `SELECT revocations, revoker, revoker_seq, revoker_hash FROM head`

const insertRevocation = `
INSERT INTO revocations (seq, handle, kind, before, expires, author, comment, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`

const updateRevoker = `UPDATE head SET revocations = ?, revoker = ?, revoker_seq = ?, revoker_hash = ?`

func revoke(ctx context.Context, tx *sql.Tx, list []trust.Revocation) (uint64, error) {
	var last uint64
	var chain audit.Head
	var hash []byte
	if err := tx.QueryRowContext(ctx, selectRevoker).Scan(&last, &chain.Writer, &chain.Seq, &hash); err != nil {
		return 0, err
	}
	if chain.Writer == 0 {
		if err := tx.QueryRowContext(ctx, insertWriter, list[0].At.UnixMicro()).Scan(&chain.Writer); err != nil {
			return 0, err
		}
	} else if err := fill(chain.Hash[:], hash); err != nil {
		return 0, err
	}
	numbered := make([]trust.Revocation, len(list))
	for i, r := range list {
		last++
		r.Seq = last
		numbered[i] = r
		_, err := tx.ExecContext(ctx, insertRevocation, r.Seq, r.Handle[:], r.Kind, r.Before.UnixMicro(), r.Expires.UnixMicro(),
			r.By, r.Comment, r.At.UnixMicro())
		if err != nil {
			return 0, err
		}
	}
	body, err := trust.RevocationRecord(numbered)
	if err != nil {
		return 0, err
	}
	row := chain.Append(body)
	if _, err := tx.ExecContext(ctx, insertRecord, row.Writer, row.Seq, list[0].At.UnixMicro(), row.Hash[:], row.Body); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, updateRevoker, last, row.Writer, row.Seq, row.Hash[:])
	return last, err
}

const selectRevocations = `
SELECT seq, handle, kind, before, expires, author, comment, at FROM revocations WHERE seq > ? ORDER BY seq LIMIT ?`

// Revocations implements [trust.Source].
func (s *Store) Revocations(ctx context.Context, after uint64, limit int) (list []trust.Revocation, head uint64, err error) {
	list, head, err = s.revocations(ctx, after, limit)
	return list, head, wrap("read revocations", err)
}

func (s *Store) revocations(ctx context.Context, after uint64, limit int) (list []trust.Revocation, head uint64, err error) {
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, 0, err
	}
	// It only read, so there is nothing that a failed rollback could lose.
	defer func() { _ = tx.Rollback() }()
	fence, err := readHead(ctx, tx)
	if err != nil {
		return nil, 0, err
	}
	rows, err := tx.QueryContext(ctx, selectRevocations, min(after, 1<<62), max(limit, 0))
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var r trust.Revocation
		var handle []byte
		var before, expires, at int64
		if err := rows.Scan(&r.Seq, &handle, &r.Kind, &before, &expires, &r.By, &r.Comment, &at); err != nil {
			return nil, 0, err
		}
		if err := fill(r.Handle[:], handle); err != nil {
			return nil, 0, err
		}
		r.Before, r.Expires, r.At = time.UnixMicro(before).UTC(), time.UnixMicro(expires).UTC(), time.UnixMicro(at).UTC()
		list = append(list, r)
	}
	return list, fence.Revocations, rows.Err()
}

const deleteForgotten = `
DELETE FROM revocations WHERE seq IN (SELECT seq FROM revocations WHERE expires < ? LIMIT ?)`

// forget deletes expired revocations, a few at a time.
func (s *Store) forget(ctx context.Context, now time.Time) (total int64, err error) {
	for {
		var n int64
		err := s.writer.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
			res, err := tx.ExecContext(ctx, deleteForgotten, now.UnixMicro(), expireChunk)
			if err != nil {
				return err
			}
			n, err = res.RowsAffected()
			return err
		})
		total += n
		if err != nil || n < expireChunk {
			return total, err
		}
	}
}
