package fetch

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// maxHosts bounds how many hosts are remembered. Hosts come from the registry
// and from administrators, so the bound is only met by mistake.
const maxHosts = 1 << 16

// host is one server's breaker and its cap on concurrent requests.
type host struct {
	breaker *gobreaker.CircuitBreaker[*Response]
	slots   chan struct{}
}

// acquire waits for a free slot until ctx ends or the wait has been too long.
func (h *host) acquire(ctx context.Context, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &failure{kind: ErrBusy}
	}
}

func (h *host) release() { <-h.slots }

type hosts struct {
	settings gobreaker.Settings
	perHost  int

	mu sync.Mutex
	m  map[string]*host // guarded by mu
}

func newHosts(o Options) *hosts {
	trip := o.BreakerFailures
	s := gobreaker.Settings{
		MaxRequests:  1,
		Interval:     time.Minute,
		Timeout:      o.BreakerPause,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= trip },
		IsSuccessful: answered,
		IsExcluded:   unrelated,
	}
	if o.OnBreaker != nil {
		s.OnStateChange = func(name string, _, to gobreaker.State) { o.OnBreaker(name, to.String()) }
	}
	return &hosts{settings: s, perHost: o.PerHost, m: make(map[string]*host)}
}

func (hs *hosts) get(name string) (*host, error) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if h, ok := hs.m[name]; ok {
		return h, nil
	}
	if len(hs.m) >= maxHosts {
		hs.sweep()
	}
	if len(hs.m) >= maxHosts {
		return nil, &failure{ErrBusy, "too many hosts"}
	}
	s := hs.settings
	s.Name = name
	h := &host{breaker: gobreaker.NewCircuitBreaker[*Response](s), slots: make(chan struct{}, hs.perHost)}
	hs.m[name] = h
	return h, nil
}

// sweep forgets the hosts about which there is nothing to remember.
func (hs *hosts) sweep() {
	for name, h := range hs.m {
		if len(h.slots) == 0 && h.breaker.State() == gobreaker.StateClosed {
			delete(hs.m, name)
		}
	}
}

func (hs *hosts) state(name string) string {
	hs.mu.Lock()
	h, ok := hs.m[strings.ToLower(name)]
	hs.mu.Unlock()
	if !ok {
		return gobreaker.StateClosed.String()
	}
	return h.breaker.State().String()
}

// answered reports whether the outcome shows that the host is up: a status
// below 500 does, however unwelcome.
func answered(err error) bool {
	if e, ok := errors.AsType[*StatusError](err); ok {
		return e.Code < 500
	}
	return err == nil || errors.Is(err, ErrRedirect)
}

// unrelated reports outcomes that say nothing about the host: the caller gave
// up, or our own policy refused the address.
func unrelated(err error) bool {
	if errors.Is(err, ErrUnreachable) {
		return false
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrAddress)
}
