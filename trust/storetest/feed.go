package storetest

import (
	"context"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/comity-auth/comity/trust"
)

func (s suite) feedTests() []test {
	tests := []test{
		{"a change is announced to the handle that made it", s.feedLocal},
		{"another handle sees a change by polling alone", s.feedAcross(FeedPoll)},
		{"another process's change is seen by polling alone", s.feedProcess(FeedPoll)},
		{"ST-08 many changes coalesce into one announcement", s.feedCoalesces},
		{"following while changes are made misses none", s.feedFollows},
	}
	if s.CutFeed != nil {
		tests = append(tests,
			test{"another handle sees a change by notification alone", s.feedAcross(FeedPush)},
			test{"another process's change is seen by notification alone", s.feedProcess(FeedPush)},
			test{"ST-06 a change while the listener is cut is seen by polling alone", s.feedCut(FeedPoll)},
			test{"ST-06 a change while the listener is cut is seen once it is back", s.feedCut(FeedPush)},
		)
	}
	return tests
}

// follow waits until the store's feed leads it to a revision, and returns how
// often it was woken. It never loads but when woken.
func follow(ctx context.Context, store trust.Source, from, to trust.Revision) (int, error) {
	for woken := 0; ; woken++ {
		if from >= to {
			return woken, nil
		}
		select {
		case <-store.Changed():
		case <-ctx.Done():
			return woken, fmt.Errorf("at revision %d, waiting for %d: %w", from, to, ctx.Err())
		}
		state, err := store.Load(ctx, from)
		if err != nil {
			return woken, err
		}
		if state.Since != from {
			return woken, fmt.Errorf("the whole registry was loaded instead of what changed since %d", from)
		}
		from = state.Revision
	}
}

func mustFollow(t *testing.T, store trust.Source, from, to trust.Revision) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	woken, err := follow(ctx, store, from, to)
	if err != nil {
		t.Fatal(err)
	}
	return woken
}

func (s suite) feedLocal(t *testing.T) {
	store := s.fresh(t)
	mustApply(t, store, put(0, peer("a", `{}`)))
	select {
	case <-store.Changed():
	default:
		t.Error("nothing was announced when Apply returned")
	}
}

func (s suite) feedAcross(feed Feed) func(*testing.T) {
	return func(t *testing.T) {
		location := s.New(t)
		admin, other := s.open(t, location, FeedAll), s.open(t, location, feed)
		for i := range trust.Revision(3) {
			mustApply(t, admin, put(i, peer("a", fmt.Sprint(i))))
			mustFollow(t, other, i, i+1)
		}
	}
}

func (s suite) feedCoalesces(t *testing.T) {
	const changes = 300
	location := s.New(t)
	admin, other := s.open(t, location, FeedAll), s.open(t, location, FeedAll)
	for i := range trust.Revision(changes) {
		mustApply(t, admin, put(i, peer("a", fmt.Sprint(i))))
	}
	for _, store := range []trust.Store{admin, other} {
		if woken := mustFollow(t, store, 0, changes); woken > 2 {
			t.Errorf("woken %d times for %d changes made before, want them coalesced", woken, changes)
		}
	}
}

func (s suite) feedFollows(t *testing.T) {
	const changes = 100
	location := s.New(t)
	admin, other := s.open(t, location, FeedAll), s.open(t, location, FeedAll)
	group, ctx := errgroup.WithContext(t.Context())
	group.Go(func() error {
		for i := range trust.Revision(changes) {
			if _, err := admin.Apply(ctx, put(i, peer(fmt.Sprint(i%7), fmt.Sprint(i)))); err != nil {
				return err
			}
		}
		return nil
	})
	mustFollow(t, other, 0, changes)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func (s suite) feedCut(feed Feed) func(*testing.T) {
	return func(t *testing.T) {
		location := s.New(t)
		admin := s.open(t, location, FeedAll)
		other := s.open(t, location, feed)
		for i := range trust.Revision(3) {
			if err := s.CutFeed(t.Context(), location); err != nil {
				t.Fatal(err)
			}
			mustApply(t, admin, put(i, peer("a", fmt.Sprint(i))))
			mustFollow(t, other, i, i+1)
		}
	}
}

func (s suite) feedProcess(feed Feed) func(*testing.T) {
	return func(t *testing.T) {
		location := s.New(t)
		store := s.open(t, location, feed)
		child := s.start(t, roleApply, location)
		for i := range trust.Revision(5) {
			child.say("apply")
			mustFollow(t, store, i, i+1)
			if got := child.hear(); got != fmt.Sprint(i+1) {
				t.Fatalf("the child applied revision %s, want %d", got, i+1)
			}
		}
	}
}
