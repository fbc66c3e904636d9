package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"time"

	"github.com/comity-auth/comity/trust"
)

const insertWriter = `INSERT INTO writers (opened) VALUES (?) RETURNING writer`

// OpenWriter implements [trust.Committer].
func (s *Store) OpenWriter(ctx context.Context) (n uint32, err error) {
	err = s.writer.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, insertWriter, time.Now().UnixMicro()).Scan(&n)
	})
	return n, wrap("open writer", err)
}

// Commit implements [trust.Committer]. The transaction holds SQLite's write
// lock from its beginning, so the fence it reads holds until it ends.
func (s *Store) Commit(ctx context.Context, b *trust.Batch) error {
	once := b.Once()
	err := s.writer.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		return commit(ctx, transaction{tx, s.writer.stmt}, once, b)
	})
	return wrap("commit batch", err)
}

// transaction is one that runs the ledger's prepared statements.
type transaction struct {
	tx *sql.Tx
	statements
}

func commit(ctx context.Context, t transaction, once []trust.Once, b *trust.Batch) error {
	var fence trust.Fence
	read := t.tx.StmtContext(ctx, t.fence) //nolint:sqlclosecheck // the transaction closes its statements
	err := read.QueryRowContext(ctx).Scan(&fence.Revision, &fence.Revocations)
	if err != nil {
		return err
	}
	fresh, err := t.claimOnce(ctx, once)
	if err != nil {
		return err
	}
	settled, err := b.Settle(fence, fresh)
	if err != nil {
		return err
	}
	if err := t.insertRecords(ctx, settled); err != nil {
		return err
	}
	return t.releaseOnce(ctx, settled.Unclaimed)
}

const insertOnce = `INSERT INTO once (key, expires) VALUES (?, ?) ON CONFLICT DO NOTHING`

func (t transaction) claimOnce(ctx context.Context, once []trust.Once) (fresh [][sha256.Size]byte, err error) {
	insert := t.tx.StmtContext(ctx, t.claim) //nolint:sqlclosecheck // the transaction closes its statements
	for i := range once {
		res, err := insert.ExecContext(ctx, once[i].Key[:], once[i].Expires.UnixMicro())
		if err != nil {
			return nil, err
		}
		if n, err := res.RowsAffected(); err != nil {
			return nil, err
		} else if n == 1 {
			fresh = append(fresh, once[i].Key)
		}
	}
	return fresh, nil
}

const insertRecord = `INSERT INTO records (writer, seq, at, hash, body) VALUES (?, ?, ?, ?, ?)`

func (t transaction) insertRecords(ctx context.Context, settled trust.Settlement) error {
	insert := t.tx.StmtContext(ctx, t.record) //nolint:sqlclosecheck // the transaction closes its statements
	for i := range settled.Rows {
		row := &settled.Rows[i]
		_, err := insert.ExecContext(ctx, row.Writer, row.Seq, settled.Times[i].UnixMicro(), row.Hash[:], row.Body)
		if err != nil {
			return err
		}
	}
	return nil
}

const deleteOnce = `DELETE FROM once WHERE key = ?`

func (t transaction) releaseOnce(ctx context.Context, keys [][sha256.Size]byte) error {
	remove := t.tx.StmtContext(ctx, t.release) //nolint:sqlclosecheck // the transaction closes its statements
	for i := range keys {
		if _, err := remove.ExecContext(ctx, keys[i][:]); err != nil {
			return err
		}
	}
	return nil
}

// expireChunk bounds how long one transaction of Expire keeps a batch waiting.
const expireChunk = 1000

const selectExpired = `SELECT key FROM once WHERE expires < ? AND key > ? ORDER BY key LIMIT ?`

const deleteExpired = `DELETE FROM once WHERE expires < ?1 AND key > ?2 AND key <= ?3`

// Expire implements [trust.Store]. It looks for what expired beside the writer
// and deletes a few at a time, so that the ledger never waits long. On error it
// returns how many were deleted before.
func (s *Store) Expire(ctx context.Context, now time.Time) (int64, error) {
	var total int64
	for after := []byte{}; ; {
		last, err := s.lastExpired(ctx, now, after)
		if err == nil && last == nil {
			var n int64
			n, err = s.forget(ctx, now)
			return total + n, wrap("expire", err)
		}
		if err != nil {
			return total, wrap("expire", err)
		}
		err = s.writer.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
			res, err := tx.ExecContext(ctx, deleteExpired, now.UnixMicro(), after, last)
			if err != nil {
				return err
			}
			n, err := res.RowsAffected()
			total += n
			return err
		})
		if err != nil {
			return total, wrap("expire", err)
		}
		after = last
	}
}

// lastExpired finds the end of the next chunk; nil when there is none.
func (s *Store) lastExpired(ctx context.Context, now time.Time, after []byte) (last []byte, err error) {
	rows, err := s.reader.QueryContext(ctx, selectExpired, now.UnixMicro(), after, expireChunk)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&last); err != nil {
			return nil, err
		}
	}
	return last, rows.Err()
}
