package valkey_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/quota"
	"github.com/comity-auth/comity/federation/quota/valkey"
	server "github.com/comity-auth/comity/fixtures/valkey"
)

func TestOnceIsTrueForOneReplicaOnly(t *testing.T) {
	t.Parallel()
	until, prefix := time.Now().Add(time.Hour), unique("k")
	got := writers(t, 100, func(s *valkey.Store, i int) (bool, error) {
		return s.Once().Use(t.Context(), fmt.Sprint(prefix, i), until)
	})
	if got != 100 {
		t.Errorf("%d fresh, want 100", got)
	}
}

func TestOncePastItsEndIsNeverFresh(t *testing.T) {
	t.Parallel()
	o := open(t, server.New(t), unhurried).Once()
	for _, until := range []time.Time{{}, time.Unix(0, 0), time.Now().Add(-time.Hour), time.Now().Add(-time.Second)} {
		if fresh, err := o.Use(t.Context(), unique("k"), until); err != nil || fresh {
			t.Errorf("until %v: Use = %v, %v, want false", until, fresh, err)
		}
	}
}

// The key must be there until its end, to the millisecond, and not for good.
func TestOnceKeyExpiresAtItsEnd(t *testing.T) {
	t.Parallel()
	s := server.Private(t, server.Options{})
	o, client := open(t, s.URL(), unhurried).Once(), raw(t, s.URL())
	for _, tt := range []struct{ until, want time.Time }{
		{time.UnixMicro(4_000_000_000_000_001), time.UnixMilli(4_000_000_000_001)},
		{time.UnixMicro(4_000_000_000_000_000), time.UnixMilli(4_000_000_000_000)},
		{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if fresh, err := o.Use(t.Context(), "the-jti", tt.until); err != nil || !fresh {
			t.Fatalf("Use = %v, %v", fresh, err)
		}
		keys := client.Keys(t.Context(), "*").Val()
		if len(keys) != 1 || !strings.HasPrefix(keys[0], "comity:once:{") || strings.Contains(keys[0], "jti") {
			t.Fatalf("keys = %q, want one digest", keys)
		}
		if got := client.PExpireTime(t.Context(), keys[0]).Val(); got != time.Duration(tt.want.UnixMilli())*time.Millisecond {
			t.Errorf("until %v: expires at %v, want %v", tt.until, got, tt.want)
		}
	}
}

// A flood makes new keys fail. What is remembered stays.
func TestOnceOfAFullServerFails(t *testing.T) {
	t.Parallel()
	s := server.Private(t, server.Options{})
	store, until := open(t, s.URL(), unhurried), time.Now().Add(time.Hour)
	if fresh, err := store.Once().Use(t.Context(), "live", until); err != nil || !fresh {
		t.Fatalf("Use = %v, %v", fresh, err)
	}
	if d, err := store.Counters().Take(t.Context(), "live", everySpan(1), until); err != nil || !d.OK {
		t.Fatalf("Take = %+v, %v", d, err)
	}
	client := raw(t, s.URL())
	if err := client.ConfigSet(t.Context(), "maxmemory", "1kb").Err(); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"live", "new"} {
		fresh, err := store.Once().Use(t.Context(), key, until)
		if fresh || !errors.Is(err, quota.ErrFull) || !errors.Is(err, quota.ErrUnavailable) {
			t.Errorf("%s: Use = %v, %v, want ErrFull", key, fresh, err)
		}
	}
	if d, err := store.Counters().Take(t.Context(), "new", everySpan(1), until); d.OK || d.RetryAfter <= 0 || !errors.Is(err, quota.ErrFull) {
		t.Errorf("Take = %+v, %v, want ErrFull", d, err)
	}
	if err := client.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	if fresh, err := store.Once().Use(t.Context(), "live", until); err != nil || fresh {
		t.Errorf("after the flood: Use = %v, %v, want false", fresh, err)
	}
	if d, err := store.Counters().Take(t.Context(), "live", everySpan(1), until); err != nil || d.OK {
		t.Errorf("after the flood: Take = %+v, %v, want refused", d, err)
	}
	if d, err := store.Counters().Take(t.Context(), "new", everySpan(1), until); err != nil || !d.OK {
		t.Errorf("after the flood: Take of a key that failed = %+v, %v, want OK", d, err)
	}
}

func BenchmarkUse(b *testing.B) {
	o := open(b, server.New(b), unhurried).Once()
	prefix := unique("k")
	var n atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := o.Use(b.Context(), fmt.Sprint(prefix, n.Add(1)), time.Now().Add(time.Minute)); err != nil {
				b.Error(err)
			}
		}
	})
}
