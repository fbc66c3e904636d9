package trust

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// ErrStale says that the registry was not seen for longer than allowed, so
// nothing may be decided on what is remembered of it. It wraps ErrUnavailable.
var ErrStale = fmt.Errorf("%w: the registry was last seen too long ago", ErrUnavailable)

// LiveOptions tune a Live. The zero value takes the defaults.
type LiveOptions struct {
	MaxStale time.Duration // default 60 s
	Poll     time.Duration // default 1 s
	Timeout  time.Duration // of one question to the source; default 5 s
	Logger   *slog.Logger
	Now      func() time.Time
	// OnChange is called with each new snapshot, in order, when set.
	OnChange func(*Snapshot)
}

// Live follows a source and holds the newest snapshot. It is safe for
// concurrent use.
type Live struct {
	source   Source
	compiler *Compiler
	opts     LiveOptions

	current atomic.Pointer[Snapshot]
	// contact is when the last successful load began, with its monotonic
	// reading, so that a clock set back does not make the registry younger.
	contact atomic.Pointer[time.Time]

	mu sync.Mutex // serialises loads

	wait struct {
		sync.Mutex
		next chan struct{} // closed at the next snapshot
	}
}

// NewLive loads the registry for the first time. Run keeps it fresh.
func NewLive(ctx context.Context, source Source, compiler *Compiler, opts LiveOptions) (*Live, error) {
	opts.MaxStale = cmp.Or(opts.MaxStale, 60*time.Second)
	opts.Poll = cmp.Or(opts.Poll, time.Second)
	opts.Timeout = cmp.Or(opts.Timeout, 5*time.Second)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	l := &Live{source: source, compiler: compiler, opts: opts}
	l.wait.next = make(chan struct{})
	return l, l.Refresh(ctx)
}

// Snapshot gives the newest snapshot. It wraps ErrStale once the store has not
// been reached for longer than MaxStale.
func (l *Live) Snapshot() (*Snapshot, error) {
	s := l.current.Load()
	if s == nil || l.Age() > l.opts.MaxStale {
		return nil, ErrStale
	}
	return s, nil
}

// Age is how long ago the store last answered; for ever when it never did.
func (l *Live) Age() time.Duration {
	if at := l.contact.Load(); at != nil {
		return l.opts.Now().Sub(*at)
	}
	return math.MaxInt64
}

// Revision is the revision of the newest snapshot.
func (l *Live) Revision() Revision {
	if s := l.current.Load(); s != nil {
		return s.revision
	}
	return 0
}

// Run follows the source until the context ends.
func (l *Live) Run(ctx context.Context) {
	tick := time.NewTicker(l.opts.Poll)
	defer tick.Stop()
	failing := false
	changed := l.source.Changed()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case _, open := <-changed:
			if !open { // the source is closing; the poll finds out
				changed = nil
				continue
			}
		}
		err := l.Refresh(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			l.opts.Logger.ErrorContext(ctx, "registry unreachable", "event", "registry.unreachable", "error", err.Error())
		} else if err == nil && failing {
			l.opts.Logger.InfoContext(ctx, "registry reachable again", "event", "registry.reachable")
		}
		failing = err != nil
	}
}

// Refresh loads what changed and publishes it.
func (l *Live) Refresh(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refresh(ctx)
}

// refreshUpTo loads unless another caller has just loaded far enough.
func (l *Live) refreshUpTo(ctx context.Context, f Fence) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reached(f) {
		return nil
	}
	return l.refresh(ctx)
}

func (l *Live) reached(f Fence) bool {
	s := l.current.Load()
	return s != nil && !s.Fence().olderThan(f)
}

// refresh needs mu.
func (l *Live) refresh(ctx context.Context) error {
	asked := l.opts.Now()
	prev := l.current.Load()
	next, err := l.load(ctx, prev)
	if err != nil {
		return err
	}
	if next != prev {
		l.publish(ctx, prev, next)
	}
	l.contact.Store(&asked)
	return nil
}

// load gives what follows a snapshot, which is itself while nothing changed.
func (l *Live) load(ctx context.Context, prev *Snapshot) (*Snapshot, error) {
	st, err := l.ask(ctx, prev)
	if err != nil {
		return nil, fmt.Errorf("load the registry: %w", err)
	}
	if prev != nil && st.Revision == prev.revision && st.Revocations == prev.revocations && !prev.revoked.due(l.opts.Now()) {
		return prev, nil
	}
	next, err := l.compiler.Compile(prev, st)
	if err != nil {
		return nil, fmt.Errorf("compile the registry: %w", err)
	}
	return next, l.followRevocations(ctx, prev, next, st.Revocations)
}

func (l *Live) ask(ctx context.Context, prev *Snapshot) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, l.opts.Timeout)
	defer cancel()
	var since Revision
	if prev != nil {
		since = prev.revision
	}
	return l.source.Load(ctx, since)
}

func (l *Live) publish(ctx context.Context, prev, next *Snapshot) {
	l.current.Store(next)
	l.wait.Lock()
	close(l.wait.next)
	l.wait.next = make(chan struct{})
	l.wait.Unlock()
	var known map[Key]string
	if prev != nil {
		known = prev.faults()
	}
	for k, why := range next.faults() {
		if known[k] != why {
			l.opts.Logger.WarnContext(ctx, "registry object has no effect", "event", "registry.faulty", "object", k.String(), "error", why)
		}
	}
	if l.opts.OnChange != nil {
		l.opts.OnChange(next)
	}
}

// Await waits until the snapshot is at least as new as the fence, and loads it
// at once rather than at the next poll. It wraps ErrUnavailable.
func (l *Live) Await(ctx context.Context, f Fence) error {
	for {
		l.wait.Lock()
		next := l.wait.next
		l.wait.Unlock()
		if l.reached(f) {
			return nil
		}
		if err := l.refreshUpTo(ctx, f); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if l.reached(f) {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, errors.New("the registry did not catch up in time"))
		}
	}
}

// Wait waits until the snapshot is at least as new as the fence, without
// asking the source: for who can wait for the next poll. Its error is the
// context's.
func (l *Live) Wait(ctx context.Context, f Fence) error {
	for {
		l.wait.Lock()
		next := l.wait.next
		l.wait.Unlock()
		if l.reached(f) {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
