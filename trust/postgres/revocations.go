package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

// Revoke implements [trust.Store].
func (s *Store) Revoke(ctx context.Context, list []trust.Revocation) (head uint64, err error) {
	if err := trust.CheckRevocations(list); err != nil {
		return 0, err
	}
	err = s.alone(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		head, err = s.revoke(ctx, conn, list)
		return err
	})
	if err != nil {
		return 0, wrap("revoke", err)
	}
	s.revoked.Store(head)
	s.signal()
	return head, nil
}

const selectRevoker = `SELECT revocations, revoker, revoker_seq, revoker_hash FROM @head`

const insertRevocations = `
INSERT INTO @revocations (seq, handle, kind, before, expires, author, comment, at)
SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::text[], $8::timestamptz[])`

const insertRevocationRecord = `INSERT INTO @records (writer, seq, at, hash, body) VALUES ($1, $2, $3, $4, $5)`

const updateRevoker = `UPDATE @head SET revocations = $1, revoker = $2, revoker_seq = $3, revoker_hash = $4`

func (s *Store) revoke(ctx context.Context, conn *pgxpool.Conn, list []trust.Revocation) (uint64, error) {
	var last uint64
	var chain audit.Head
	var hash []byte
	if err := conn.QueryRow(ctx, s.sql(selectRevoker)).Scan(&last, &chain.Writer, &chain.Seq, &hash); err != nil {
		return 0, err
	}
	if chain.Writer == 0 {
		if err := conn.QueryRow(ctx, s.sql(insertWriter)).Scan(&chain.Writer); err != nil {
			return 0, err
		}
	} else if err := fill(chain.Hash[:], hash); err != nil {
		return 0, err
	}
	columns := newRevoking(list, last)
	last += uint64(len(list))
	body, err := trust.RevocationRecord(columns.numbered)
	if err != nil {
		return 0, err
	}
	row := chain.Append(body)
	batch := &pgx.Batch{}
	batch.Queue(s.sql(insertRevocations), columns.args()...)
	batch.Queue(s.sql(insertRevocationRecord), int32(row.Writer), int64(row.Seq), list[0].At, row.Hash[:], row.Body)
	batch.Queue(s.sql(updateRevoker), int64(last), int32(row.Writer), int64(row.Seq), row.Hash[:])
	batch.Queue(notify, s.place.channel)
	queueCommit(batch)
	return last, conn.SendBatch(ctx, batch).Close()
}

// revoking is a list of revocations, column by column.
type revoking struct {
	numbered             []trust.Revocation
	seqs                 []int64
	handles              [][]byte
	kinds, by, comments  []string
	before, expires, ats []time.Time
}

func newRevoking(list []trust.Revocation, after uint64) *revoking {
	c := &revoking{numbered: make([]trust.Revocation, len(list))}
	for i, r := range list {
		r.Seq = after + uint64(i) + 1
		c.numbered[i] = r
		c.seqs = append(c.seqs, int64(r.Seq))
		c.handles = append(c.handles, r.Handle[:])
		c.kinds, c.by, c.comments = append(c.kinds, string(r.Kind)), append(c.by, r.By), append(c.comments, r.Comment)
		c.before, c.expires, c.ats = append(c.before, r.Before), append(c.expires, r.Expires), append(c.ats, r.At)
	}
	return c
}

func (c *revoking) args() []any {
	return []any{c.seqs, c.handles, c.kinds, c.before, c.expires, c.by, c.comments, c.ats}
}

const selectRevocations = `
SELECT seq, handle, kind, before, expires, author, comment, at FROM @revocations WHERE seq > $1 ORDER BY seq LIMIT $2`

// Revocations implements [trust.Source]. It takes one round trip.
func (s *Store) Revocations(ctx context.Context, after uint64, limit int) (list []trust.Revocation, head uint64, err error) {
	err = s.use(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		batch := &pgx.Batch{}
		batch.Queue(beginRead)
		batch.Queue(s.sql(selectFence)).QueryRow(func(row pgx.Row) error {
			var fence trust.Fence
			err := row.Scan(&fence.Revision, &fence.Revocations)
			head = fence.Revocations
			return err
		})
		batch.Queue(s.sql(selectRevocations), int64(min(after, 1<<62)), max(limit, 0)).Query(func(rows pgx.Rows) error {
			list, err = pgx.CollectRows(rows, scanRevocation)
			return err
		})
		queueCommit(batch)
		return conn.SendBatch(ctx, batch).Close()
	})
	if err != nil {
		return nil, 0, wrap("read revocations", err)
	}
	return list, head, nil
}

func scanRevocation(row pgx.CollectableRow) (r trust.Revocation, err error) {
	var handle []byte
	if err := row.Scan(&r.Seq, &handle, &r.Kind, &r.Before, &r.Expires, &r.By, &r.Comment, &r.At); err != nil {
		return r, err
	}
	r.Before, r.Expires, r.At = r.Before.UTC(), r.Expires.UTC(), r.At.UTC()
	return r, fill(r.Handle[:], handle)
}

const deleteForgotten = `
DELETE FROM @revocations WHERE ctid = ANY(ARRAY(SELECT ctid FROM @revocations WHERE expires < $1 LIMIT $2))`
