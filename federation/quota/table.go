package quota

import (
	"container/heap"
	"crypto/sha256"
	"hash/maphash"
	"sync"
	"time"
)

const (
	maxShards   = 64
	minPerShard = 1024
	// maxKey is the longest key stored as it is; a longer one is stored as its
	// digest, so that a key's length cannot be used to fill memory.
	maxKey = 128
	// sweepEach is how many due entries each call looks at.
	sweepEach = 2
)

// table is a bounded map from keys to counting state that knows when each
// state stops counting. It never drops one before.
type table[V any] struct {
	seed   maphash.Seed
	shards []shard[V]
	onFull func()
}

type shard[V any] struct {
	mu sync.Mutex
	// mu guards the rest. queue is a heap of all entries by due.
	entries map[string]*entry[V]
	queue   queue[V]
	limit   int
}

// entry is the state of one key. From expires on it equals no state at all.
// due is the expiry that was known when the queue last looked: a lower bound,
// since expires only grows, so the queue needs no update on the hot path.
type entry[V any] struct {
	key     string
	expires int64
	due     int64
	value   V
}

func newTable[V any](o Options) *table[V] {
	n := 1
	for n < maxShards && o.MaxKeys/(2*n) >= minPerShard {
		n *= 2
	}
	t := &table[V]{seed: maphash.MakeSeed(), shards: make([]shard[V], n), onFull: o.OnFull}
	for i := range t.shards {
		t.shards[i].entries = make(map[string]*entry[V])
		t.shards[i].limit = o.MaxKeys / n
	}
	return t
}

// shard returns where key is kept, and the form in which it is.
func (t *table[V]) shard(key string) (*shard[V], string) {
	i, key := t.place(key)
	return &t.shards[i], key
}

// place is shard by its index.
func (t *table[V]) place(key string) (int, string) {
	if len(key) > maxKey {
		sum := sha256.Sum256([]byte(key))
		key = "sha256:" + string(sum[:])
	}
	return int(maphash.String(t.seed, key) & uint64(len(t.shards)-1)), key
}

// report calls the hook, outside of any lock.
func (t *table[V]) report(d Decision) {
	if d.Full && t.onFull != nil {
		t.onFull()
	}
}

// insert adds a key that counts until expires. When there is no room it drops
// everything that has expired, and fails if that is nothing.
func (s *shard[V]) insert(key string, now, expires int64) (*entry[V], bool) {
	for len(s.entries) >= s.limit {
		if !s.sweep(now, 1) {
			return nil, false
		}
	}
	e := &entry[V]{key: key, expires: expires, due: expires}
	s.entries[key] = e
	heap.Push(&s.queue, e)
	return e, true
}

// sweep looks at up to n entries that are due: it drops those that have
// expired and re-queues those that lived on. It reports whether there was one.
func (s *shard[V]) sweep(now int64, n int) bool {
	for i := range n {
		if len(s.queue) == 0 || s.queue[0].due > now {
			return i > 0
		}
		e := s.queue[0]
		if e.expires > now {
			e.due = e.expires
			heap.Fix(&s.queue, 0)
			continue
		}
		heap.Pop(&s.queue)
		delete(s.entries, e.key)
	}
	return true
}

// full is the answer when insert failed: room may come when the first entry
// is due.
func (s *shard[V]) full(now int64) Decision {
	wait := time.Second
	if len(s.queue) > 0 {
		wait = max(wait, time.Duration(s.queue[0].due-now))
	}
	return Decision{RetryAfter: wait, Full: true}
}

// queue implements [heap.Interface].
type queue[V any] []*entry[V]

func (q queue[V]) Len() int           { return len(q) }
func (q queue[V]) Less(i, j int) bool { return q[i].due < q[j].due }
func (q queue[V]) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue[V]) Push(x any)        { *q = append(*q, x.(*entry[V])) }
func (q *queue[V]) Pop() any {
	old := *q
	last := len(old) - 1
	e := old[last]
	old[last] = nil
	*q = old[:last]
	return e
}
