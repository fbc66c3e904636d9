package trust

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	Timeout  time.Duration // of one load; default 5 s
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
	contact atomic.Int64 // unix nanoseconds of the last successful load

	mu     sync.Mutex // serialises loads
	faulty int        // guarded by mu

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

// Age is how long ago the store last answered.
func (l *Live) Age() time.Duration {
	return l.opts.Now().Sub(time.Unix(0, l.contact.Load()))
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
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.source.Changed():
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
	ctx, cancel := context.WithTimeout(ctx, l.opts.Timeout)
	defer cancel()
	asked := l.opts.Now()
	prev := l.current.Load()
	var since Revision
	if prev != nil {
		since = prev.revision
	}
	st, err := l.source.Load(ctx, since)
	if err != nil {
		return fmt.Errorf("load the registry: %w", err)
	}
	if prev == nil || st.Revision != prev.revision || st.Revocations != prev.revocations {
		next, err := l.compiler.Compile(prev, st)
		if err != nil {
			return fmt.Errorf("compile the registry: %w", err)
		}
		l.publish(ctx, next)
	}
	l.contact.Store(asked.UnixNano())
	return nil
}

func (l *Live) publish(ctx context.Context, next *Snapshot) {
	l.current.Store(next)
	l.wait.Lock()
	close(l.wait.next)
	l.wait.next = make(chan struct{})
	l.wait.Unlock()
	if n := next.faulty.len(); n != l.faulty {
		l.faulty = n
		for k, why := range next.faulty.all() {
			l.opts.Logger.WarnContext(ctx, "registry object does not compile", "event", "registry.faulty", "object", k.String(), "error", why)
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
		if s := l.current.Load(); s != nil && !s.Fence().olderThan(f) {
			return nil
		}
		if err := l.Refresh(ctx); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if s := l.current.Load(); !s.Fence().olderThan(f) {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, errors.New("the registry did not catch up in time"))
		}
	}
}
