package valkey_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/quota"
	"github.com/comity-auth/comity/federation/quota/valkey"
	server "github.com/comity-auth/comity/fixtures/valkey"
)

func TestServerGoneIsUnavailableUntilItIsBack(t *testing.T) {
	t.Parallel()
	s := server.Private(t, server.Options{})
	store, until := open(t, s.URL(), unhurried), time.Now().Add(time.Hour)
	rules := []quota.Rule{{Span: quota.Day, Max: 1}}
	take := func() (quota.Decision, error) { return store.Counters().Take(t.Context(), "k", rules, until) }
	if d, err := take(); err != nil || !d.OK {
		t.Fatalf("Take = %+v, %v", d, err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	for i := range 40 { // More often than there are connections.
		if d, err := take(); d.OK || d.RetryAfter <= 0 || !errors.Is(err, quota.ErrUnavailable) || errors.Is(err, quota.ErrFull) {
			t.Fatalf("call %d without a server: Take = %+v, %v, want ErrUnavailable", i, d, err)
		}
	}
	if fresh, err := store.Once().Use(t.Context(), "k", until); fresh || !errors.Is(err, quota.ErrUnavailable) {
		t.Fatalf("without a server: Use = %v, %v, want ErrUnavailable", fresh, err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		d, err := take()
		if err == nil {
			// The server keeps nothing over a restart, as the documentation says.
			if !d.OK {
				t.Errorf("after the restart: Take = %+v, want a count that starts anew", d)
			}
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the store did not recover")
		case <-tick.C:
		}
	}
}

// A server that hangs costs a call its time-out and no more.
func TestServerThatHangsIsUnavailable(t *testing.T) {
	t.Parallel()
	s := server.Private(t, server.Options{})
	store, until := open(t, s.URL(), valkey.Options{Timeout: 50 * time.Millisecond, Connections: 2}), time.Now().Add(time.Hour)
	if err := s.Freeze(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 { // More than there are connections.
		wg.Go(func() {
			if d, err := store.Counters().Take(t.Context(), fmt.Sprint(i), everySpan(1), until); d.OK || !errors.Is(err, quota.ErrUnavailable) {
				t.Errorf("Take = %+v, %v, want ErrUnavailable", d, err)
			}
		})
	}
	wg.Wait()
	if err := s.Thaw(); err != nil {
		t.Fatal(err)
	}
}

// A server that becomes unfit is not used by connections made from then on.
func TestServerThatBeginsToEvictIsRefused(t *testing.T) {
	t.Parallel()
	s := server.Private(t, server.Options{})
	store, client := open(t, s.URL(), unhurried), raw(t, s.URL())
	for name, value := range map[string]string{"maxmemory": "50mb", "maxmemory-policy": "allkeys-lru"} {
		if err := client.ConfigSet(t.Context(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
		t.Fatal(err)
	}
	d, err := store.Counters().Take(t.Context(), "k", everySpan(1), time.Now().Add(time.Hour))
	if d.OK || !errors.Is(err, quota.ErrUnavailable) {
		t.Errorf("Take = %+v, %v, want ErrUnavailable", d, err)
	}
}

// What somebody else left under our keys is not taken for a count.
func TestStateThatIsNotOursIsUnavailable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil []any
	}{
		{"refuses a state of another type", []any{"SET", "state", "1"}},
		{"refuses when the runs are gone", []any{"DEL", "runs"}},
		{"refuses runs that are none", []any{"LSET", "runs", 0, "x"}},
		{"refuses a state without numbers", []any{"HSET", "state", "hours", "x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := server.Private(t, server.Options{})
			c, client := open(t, s.URL(), unhurried).Counters(), raw(t, s.URL())
			until := time.Now().Add(time.Hour)
			if _, err := c.Take(t.Context(), "k", everySpan(9), until); err != nil {
				t.Fatal(err)
			}
			runs := client.Keys(t.Context(), "*:minute").Val()[0]
			tt.spoil[1] = map[any]string{"runs": runs, "state": strings.TrimSuffix(runs, ":minute")}[tt.spoil[1]]
			if err := client.Do(t.Context(), tt.spoil...).Err(); err != nil {
				t.Fatal(err)
			}
			if d, err := c.Take(t.Context(), "k", everySpan(9), until); d.OK || !errors.Is(err, quota.ErrUnavailable) {
				t.Errorf("Take = %+v, %v, want ErrUnavailable", d, err)
			}
		})
	}
}
