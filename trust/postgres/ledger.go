package postgres

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/comity-auth/comity/trust"
)

const insertWriter = `INSERT INTO @writers DEFAULT VALUES RETURNING writer`

// OpenWriter implements [trust.Committer].
func (s *Store) OpenWriter(ctx context.Context) (n uint32, err error) {
	err = s.use(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, s.sql(insertWriter)).Scan(&n)
	})
	return n, wrap("open writer", err)
}

// Commit implements [trust.Committer] in two round trips.
func (s *Store) Commit(ctx context.Context, b *trust.Batch) error {
	claim := newClaim(b.Once())
	err := s.again(ctx, func() error {
		return s.use(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
			fence, fresh, err := s.claimOnce(ctx, conn, claim)
			if err != nil {
				return err
			}
			settled, err := b.Settle(fence, fresh)
			if err != nil {
				return err
			}
			return s.write(ctx, conn, settled)
		})
	})
	return wrap("commit batch", err)
}

// claim is the identifiers of a batch, column by column.
type claim struct {
	keys    [][]byte
	expires []time.Time
}

func newClaim(once []trust.Once) claim {
	c := claim{make([][]byte, len(once)), make([]time.Time, len(once))}
	for i := range once {
		c.keys[i], c.expires[i] = once[i].Key[:], once[i].Expires
	}
	return c
}

const insertOnce = `
INSERT INTO @once (key, expires) SELECT * FROM unnest($1::bytea[], $2::timestamptz[])
    ON CONFLICT DO NOTHING RETURNING key`

// claimOnce begins the transaction, waits for the changes before it, and
// inserts the identifiers that are new.
func (s *Store) claimOnce(ctx context.Context, conn *pgxpool.Conn, c claim) (fence trust.Fence, fresh [][sha256.Size]byte, err error) {
	batch := &pgx.Batch{}
	batch.Queue(beginWrite)
	batch.Queue(lockShared, s.lockArgs()...)
	batch.Queue(s.sql(selectFence)).QueryRow(func(row pgx.Row) error {
		return row.Scan(&fence.Revision, &fence.Revocations)
	})
	if len(c.keys) > 0 {
		fresh = make([][sha256.Size]byte, 0, len(c.keys))
		batch.Queue(s.sql(insertOnce), c.keys, c.expires).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var stored []byte
				var key [sha256.Size]byte
				if err := rows.Scan(&stored); err != nil {
					return err
				}
				if err := fill(key[:], stored); err != nil {
					return err
				}
				fresh = append(fresh, key)
			}
			return rows.Err()
		})
	}
	err = conn.SendBatch(ctx, batch).Close()
	return fence, fresh, err
}

const insertRecords = `
INSERT INTO @records (writer, seq, at, hash, body)
SELECT * FROM unnest($1::integer[], $2::bigint[], $3::timestamptz[], $4::bytea[], $5::bytea[])`

const deleteOnce = `DELETE FROM @once WHERE key = ANY($1::bytea[])`

// write puts down what was settled and ends the transaction.
func (s *Store) write(ctx context.Context, conn *pgxpool.Conn, settled trust.Settlement) error {
	batch := &pgx.Batch{}
	if n := len(settled.Rows); n > 0 {
		writers, seqs := make([]int32, n), make([]int64, n)
		hashes, bodies := make([][]byte, n), make([][]byte, n)
		for i := range settled.Rows {
			row := &settled.Rows[i]
			writers[i], seqs[i] = int32(row.Writer), int64(row.Seq)
			hashes[i], bodies[i] = row.Hash[:], row.Body
		}
		batch.Queue(s.sql(insertRecords), writers, seqs, settled.Times, hashes, bodies)
	}
	if n := len(settled.Unclaimed); n > 0 {
		keys := make([][]byte, n)
		for i := range settled.Unclaimed {
			keys[i] = settled.Unclaimed[i][:]
		}
		batch.Queue(s.sql(deleteOnce), keys)
	}
	queueCommit(batch)
	return conn.SendBatch(ctx, batch).Close()
}

// expireChunk bounds how many rows one transaction of Expire locks.
const expireChunk = 20000

const deleteExpired = `
DELETE FROM @once WHERE ctid = ANY(ARRAY(SELECT ctid FROM @once WHERE expires < $1 LIMIT $2))`

// Expire implements [trust.Store]. On error it returns how many were deleted
// before.
func (s *Store) Expire(ctx context.Context, now time.Time) (int64, error) {
	var total int64
	for _, statement := range []string{deleteExpired, deleteForgotten} {
		n, err := s.expire(ctx, statement, now)
		total += n
		if err != nil {
			return total, wrap("expire", err)
		}
	}
	return total, nil
}

func (s *Store) expire(ctx context.Context, statement string, now time.Time) (int64, error) {
	var total int64
	for {
		var n int64
		err := s.use(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
			tag, err := conn.Exec(ctx, s.sql(statement), now, expireChunk)
			n = tag.RowsAffected()
			return err
		})
		total += n
		if err != nil || n < expireChunk {
			return total, err
		}
	}
}
