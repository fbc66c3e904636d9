package feed

import (
	"encoding/base64"
	"errors"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// handle stands for one thing that can be revoked, as the broker that made it
// can tell and nobody else.
type handle [12]byte

// handleText is the length of a handle in its text form, unpadded base64url.
const handleText = 16

// base64url is never assigned to.
var base64url = base64.RawURLEncoding.Strict()

// IsHandle reports whether a text has the form of a handle. What has not cannot be
// revoked.
func IsHandle(text string) bool {
	_, ok := parseHandle(text)
	return ok
}

func parseHandle(text string) (h handle, ok bool) {
	if len(text) != handleText {
		return handle{}, false
	}
	// The decoder skips line ends, and then gives less.
	n, err := base64url.Decode(h[:], []byte(text))
	if err != nil || n != len(h) {
		return handle{}, false
	}
	return h, true
}

const (
	// shardCount is in how many pieces the set is, each of which is locked and
	// swept by itself.
	shardCount = 64
	// maxHandles bounds the set: some 300 MiB.
	maxHandles = 8 << 20
)

var errFull = errors.New("more revocations are in force than can be kept")

// set is what is revoked: handles, and the second that whatever bears them must
// not have been issued before. One goroutine writes, any number read. The zero
// set is empty.
type set struct {
	shards [shardCount]shard
	size   atomic.Int64
	swept  int // the shard that was swept last; the writer's
}

type shard struct {
	mu sync.RWMutex
	m  map[handle]uint32 // guarded by mu; the writer reads it without
}

// seed is the same for the life of the process.
var seed = maphash.MakeSeed()

func (s *set) shard(h handle) *shard { return &s.shards[maphash.Comparable(seed, h)%shardCount] }

// revoked reports whether what bears the handle and was issued at the second is
// dead.
func (s *set) revoked(h handle, issued int64) bool {
	at := s.shard(h)
	at.mu.RLock()
	before, ok := at.m[h]
	at.mu.RUnlock()
	return ok && int64(before) > issued
}

// add revokes, and reports whether that was news.
func (s *set) add(h handle, before uint32) (news bool, err error) {
	at := s.shard(h)
	have, known := at.m[h]
	switch {
	case known && have >= before:
		return false, nil
	case !known && s.size.Load() >= maxHandles:
		return false, errFull
	case !known:
		s.size.Add(1)
	}
	at.mu.Lock()
	defer at.mu.Unlock()
	if at.m == nil {
		at.m = map[handle]uint32{}
	}
	at.m[h] = before
	return true, nil
}

// sweep forgets, in the next of the shards, what was revoked before the second.
// Readers wait for no more than a pointer, and a map that has shrunk gives its
// memory back.
func (s *set) sweep(oldest uint32) {
	s.swept = (s.swept + 1) % shardCount
	at := &s.shards[s.swept]
	gone := 0
	for _, before := range at.m {
		if before < oldest {
			gone++
		}
	}
	if gone == 0 {
		return
	}
	kept := make(map[handle]uint32, len(at.m)-gone)
	for h, before := range at.m {
		if before >= oldest {
			kept[h] = before
		}
	}
	at.mu.Lock()
	at.m = kept
	at.mu.Unlock()
	s.size.Add(-int64(gone))
}

// second is an instant as the set holds it.
func second(t time.Time) uint32 { return uint32(min(max(t.Unix(), 0), math.MaxUint32)) }
