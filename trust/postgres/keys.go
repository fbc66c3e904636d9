package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/comity-auth/comity/trust"
)

const selectKeys = `
SELECT id, use, algorithm, state, public, sealed, created, changed FROM @keys ORDER BY created, id`

// Keys implements [trust.Store]. The oldest comes first.
func (s *Store) Keys(ctx context.Context) (all []trust.KeyRecord, err error) {
	err = s.use(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		all, err = s.readKeys(ctx, conn)
		return err
	})
	return all, wrap("list keys", err)
}

func (s *Store) readKeys(ctx context.Context, conn *pgxpool.Conn) ([]trust.KeyRecord, error) {
	rows, err := conn.Query(ctx, s.sql(selectKeys))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (k trust.KeyRecord, err error) {
		var public []byte
		err = r.Scan(&k.ID, &k.Use, &k.Algorithm, &k.State, &public, &k.Sealed, &k.Created, &k.Changed)
		k.Public, k.Created, k.Changed = public, k.Created.UTC(), k.Changed.UTC()
		return k, err
	})
}

const insertKey = `
INSERT INTO @keys (id, use, algorithm, state, public, sealed, created, changed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`

// InitKeys implements [trust.Store].
func (s *Store) InitKeys(ctx context.Context, keys []trust.KeyRecord) (all []trust.KeyRecord, err error) {
	err = s.alone(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		present, err := s.readKeys(ctx, conn)
		if err != nil {
			return err
		}
		used := make(map[trust.KeyUse]bool)
		for _, k := range present {
			used[k.Use] = true
		}
		batch := &pgx.Batch{}
		for _, k := range keys {
			if !used[k.Use] {
				batch.Queue(s.sql(insertKey), k.ID, k.Use, k.Algorithm, k.State, []byte(k.Public), k.Sealed, k.Created, k.Changed)
			}
		}
		queueCommit(batch)
		if err := conn.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		all, err = s.readKeys(ctx, conn)
		return err
	})
	return all, wrap("initialise keys", err)
}
