package broker_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/comity-auth/comity/broker"
	"github.com/comity-auth/comity/trust/ident"
)

// feed is a revocation feed at a number.
type feed struct {
	head atomic.Uint64
	err  error
	more chan struct{} // a value each time there is one more
}

func (f *feed) Page(context.Context, uint64) (ident.RawToken, uint64, error) {
	return ident.NewRawToken("page"), f.head.Load(), f.err
}

func (f *feed) Wait(ctx context.Context, since uint64) error {
	for f.head.Load() <= since {
		select {
		case <-f.more:
			f.head.Add(1)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func following(t *testing.T, f broker.Feed, ready func() error) func(query, tag string) *httptest.ResponseRecorder {
	t.Helper()
	h, err := broker.New(broker.Options{Issuer: ident.MustIssuer("https://broker.globex.example"), Exchanger: &listener{}, Inspector: unasked{}, Feed: f,
		JWKS: func() []byte { return nil }, Algorithm: "ES256", Ready: ready, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return func(query, tag string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/revocations"+query, nil)
		if tag != "" {
			r.Header.Set("If-None-Match", tag)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
}

func always() error { return nil }

func TestFeedThatIsStaleIsUnavailable(t *testing.T) {
	t.Parallel()
	w := following(t, &feed{err: errors.New("stale")}, always)("", "")
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Header().Get("ETag") != "" {
		t.Errorf("got %d %v, want 503 with Retry-After", w.Code, w.Header())
	}
}

func TestFeedThatIsNotThere(t *testing.T) {
	t.Parallel()
	if w := following(t, nil, always)("", ""); w.Code != http.StatusNotFound {
		t.Errorf("got %d, want 404", w.Code)
	}
}

func TestFeedAnswersAfterTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &feed{more: make(chan struct{})}
		began := time.Now()
		if w := following(t, f, always)("?since=0&wait=30", ""); w.Code != http.StatusOK || time.Since(began) != 30*time.Second {
			t.Errorf("got %d after %s, want a page after 30 s", w.Code, time.Since(began))
		}
		began = time.Now()
		if w := following(t, f, always)("?wait=7", `"0"`); w.Code != http.StatusNotModified || time.Since(began) != 7*time.Second {
			t.Errorf("got %d after %s, want 304 after 7 s", w.Code, time.Since(began))
		}
	})
}

func TestFeedAnswersWhenThereIsMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &feed{more: make(chan struct{})}
		go func() {
			time.Sleep(3500 * time.Millisecond)
			f.more <- struct{}{}
		}()
		began := time.Now()
		w := following(t, f, always)("?since=0&wait=30", `"0"`)
		if w.Code != http.StatusOK || w.Header().Get("ETag") != `"1"` || time.Since(began) != 3500*time.Millisecond {
			t.Errorf("got %d, ETag %s after %s, want a page at once", w.Code, w.Header().Get("ETag"), time.Since(began))
		}
	})
}

// A broker that goes away does not keep its followers.
func TestFeedEndsTheWaitWhenTheBrokerDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var draining atomic.Bool
		ready := func() error {
			if draining.Load() {
				return errors.New("draining")
			}
			return nil
		}
		go func() {
			time.Sleep(2 * time.Second)
			draining.Store(true)
		}()
		began := time.Now()
		if w := following(t, &feed{more: make(chan struct{})}, ready)("?wait=30", ""); w.Code != http.StatusOK || time.Since(began) > 3*time.Second {
			t.Errorf("got %d after %s, want an answer within a second of the drain", w.Code, time.Since(began))
		}
	})
}
