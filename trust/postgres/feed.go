package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/comity-auth/comity/trust"
)

// Changed implements [trust.Source].
func (s *Store) Changed() <-chan struct{} { return s.changed }

func (s *Store) announce(at trust.Revision) {
	s.seen.Store(uint64(at))
	s.signal()
}

// signal leaves a value unless one waits already: changes coalesce.
func (s *Store) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// moved reports whether the store holds something that changed was not told of.
func (s *Store) moved(head trust.Fence) bool {
	changed := s.seen.Swap(uint64(head.Revision)) != uint64(head.Revision)
	return s.revoked.Swap(head.Revocations) != head.Revocations || changed
}

// poll looks for changes that no notification told of.
func (s *Store) poll(ctx context.Context) {
	tick := time.NewTicker(s.opts.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		head, err := s.head(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.opts.Logger.WarnContext(ctx, "registry_poll_failed", "error", err)
		case s.moved(head):
			s.signal()
		}
	}
}

// The pause before the listener connects again doubles from the first of these
// to the second.
const (
	listenPause    = 100 * time.Millisecond
	listenPauseMax = 5 * time.Second
)

// listen hears of changes on a connection of its own, and makes a new one when
// it is lost.
func (s *Store) listen(ctx context.Context) {
	pause := listenPause
	for {
		heard, err := s.hear(ctx)
		if ctx.Err() != nil {
			return
		}
		s.opts.Logger.WarnContext(ctx, "registry_listener_lost", "error", err)
		if heard {
			pause = listenPause
		}
		wait := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
		pause = min(2*pause, listenPauseMax)
	}
}

// hear listens until the connection is lost, and tells whether it ever did.
func (s *Store) hear(ctx context.Context) (heard bool, err error) {
	config, err := directConfig(s.opts)
	if err != nil {
		return false, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, err
	}
	defer func() {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		err = errors.Join(err, conn.Close(bye))
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.place.channel}.Sanitize()); err != nil {
		return false, err
	}
	// Whatever changed while nobody listened is found by looking once.
	s.signal()
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return true, err
		}
		s.signal()
	}
}
