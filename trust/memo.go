package trust

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"

	"cel.dev/cel-go/cel"
)

// maxMemo bounds what a memo remembers.
const maxMemo = 1 << 18

// memo remembers conditions that passed the type check, so that judging a
// registry again costs what has changed in it. It is safe for concurrent use.
type memo struct {
	conditions sync.Map // [32]byte to *condition
	size       atomic.Int64
}

// condition gives what was compiled of the same source for the same type
// before, or compiles it. Failures are not remembered.
func (m *memo) condition(source string, want *cel.Type, compile func() (*condition, error)) (*condition, error) {
	key := sha256.Sum256([]byte(want.String() + "\x00" + source))
	if have, ok := m.conditions.Load(key); ok {
		return have.(*condition), nil
	}
	made, err := compile()
	if err != nil {
		return nil, err
	}
	if m.size.Add(1) > maxMemo {
		m.conditions.Clear()
		m.size.Store(1)
	}
	m.conditions.Store(key, made)
	return made, nil
}
