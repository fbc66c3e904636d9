package guardnode

import (
	"context"
	"errors"
	"time"

	"github.com/comity-auth/comity/federation/quota"
	"github.com/comity-auth/comity/federation/quota/valkey"
)

const (
	// keysInMemory bounds the tokens that are counted and the proofs that are
	// remembered at one time in this process.
	keysInMemory = 1 << 18
	// The pause before a server that cannot be reached is tried again doubles from
	// the first of these to the second.
	sharePause    = 100 * time.Millisecond
	sharePauseMax = time.Second
)

// openShared makes the counters and the memory of used proofs, once: they outlive
// every change of the configuration. With a server it waits until that can be
// reached; one that answers and is not fit is an error.
func (n *Node) openShared(ctx context.Context) error {
	if n.cfg.Valkey == "" {
		n.shared.counters = quota.NewCounters(quota.Options{MaxKeys: keysInMemory, Now: time.Now})
		n.shared.once = quota.NewOnce(quota.Options{MaxKeys: keysInMemory, Now: time.Now})
		return nil
	}
	for pause := sharePause; ; pause = min(2*pause, sharePauseMax) {
		store, err := valkey.Open(ctx, n.cfg.Valkey, valkey.Options{})
		if err == nil {
			n.store = store
			n.shared.counters, n.shared.once = store.Counters(), store.Once()
			return nil
		}
		if !errors.Is(err, quota.ErrUnavailable) || errors.Is(err, valkey.ErrUnfit) {
			return err
		}
		n.log.WarnContext(ctx, "waiting for the shared counters", "event", "valkey.waiting", "error", err.Error())
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		}
	}
}
