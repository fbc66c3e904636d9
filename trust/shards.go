package trust

import (
	"hash/maphash"
	"iter"
	"maps"
	"slices"
)

const shardCount = 256

// shards is a map in pieces, so that the next snapshot copies only the pieces
// that differ. Readers never lock. The zero shards is empty.
type shards[K comparable, V any] struct {
	parts [shardCount]map[K]V
}

// seed is the same for the life of the process: snapshots share their pieces.
var seed = maphash.MakeSeed()

func shardOf[K comparable](k K) uint8 { return uint8(maphash.Comparable(seed, k)) }

func (s *shards[K, V]) get(k K) (V, bool) {
	v, ok := s.parts[shardOf(k)][k]
	return v, ok
}

func (s *shards[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, part := range s.parts {
			for k, v := range part {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// edit changes a copy of shards, piece by piece.
type edit[K comparable, V any] struct {
	to    *shards[K, V]
	owned [shardCount]bool
	fresh map[K]bool // values that are lists and were copied already
}

func (e *edit[K, V]) own(k K) map[K]V {
	i := shardOf(k)
	if !e.owned[i] {
		e.owned[i] = true
		if e.to.parts[i] = maps.Clone(e.to.parts[i]); e.to.parts[i] == nil {
			e.to.parts[i] = map[K]V{}
		}
	}
	return e.to.parts[i]
}

func (e *edit[K, V]) set(k K, v V) { e.own(k)[k] = v }
func (e *edit[K, V]) remove(k K)   { delete(e.own(k), k) }

// mine gives a list that may be changed in place: an older snapshot may show
// the list, so the first call copies it.
func mine[K comparable, T any](e *edit[K, []T], k K) []T {
	list, _ := e.to.get(k)
	if e.fresh[k] {
		return list
	}
	if e.fresh == nil {
		e.fresh = map[K]bool{}
	}
	e.fresh[k] = true
	return slices.Clone(list)
}
