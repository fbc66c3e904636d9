package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/comity-auth/comity/trust"
)

const selectKeys = `
SELECT id, use, algorithm, state, public, sealed, created, changed FROM keys ORDER BY created, id`

// Keys implements [trust.Store]. The oldest comes first.
func (s *Store) Keys(ctx context.Context) ([]trust.KeyRecord, error) {
	keys, err := readKeys(ctx, s.reader)
	return keys, wrap("list keys", err)
}

func readKeys(ctx context.Context, q querier) (list []trust.KeyRecord, err error) {
	rows, err := q.QueryContext(ctx, selectKeys)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var k trust.KeyRecord
		var public []byte
		var created, changed int64
		err := rows.Scan(&k.ID, &k.Use, &k.Algorithm, &k.State, &public, &k.Sealed, &created, &changed)
		if err != nil {
			return nil, err
		}
		k.Public, k.Created, k.Changed = public, time.UnixMicro(created).UTC(), time.UnixMicro(changed).UTC()
		list = append(list, k)
	}
	return list, rows.Err()
}

const insertKey = `
INSERT INTO keys (id, use, algorithm, state, public, sealed, created, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`

// InitKeys implements [trust.Store].
func (s *Store) InitKeys(ctx context.Context, keys []trust.KeyRecord) (all []trust.KeyRecord, err error) {
	err = s.writer.transact(ctx, func(ctx context.Context, tx *sql.Tx) error {
		present, err := readKeys(ctx, tx)
		if err != nil {
			return err
		}
		used := make(map[trust.KeyUse]bool)
		for _, k := range present {
			used[k.Use] = true
		}
		for _, k := range keys {
			if used[k.Use] {
				continue
			}
			_, err := tx.ExecContext(ctx, insertKey, k.ID, k.Use, k.Algorithm, k.State, []byte(k.Public), k.Sealed,
				k.Created.UnixMicro(), k.Changed.UnixMicro())
			if err != nil {
				return err
			}
		}
		all, err = readKeys(ctx, tx)
		return err
	})
	return all, wrap("initialise keys", err)
}
