package storetest

import (
	"fmt"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/comity-auth/comity/trust"
)

func (s suite) keyTests() []test {
	return []test{
		{"keys come back as they were given", s.keysSurvive},
		{"keys of a use that has some are not added", s.keysOnce},
		{"of two processes that race one wins and both see its keys", s.keysRace},
	}
}

func key(id string, use trust.KeyUse) trust.KeyRecord {
	now := time.Date(2026, 11, 21, 12, 0, 0, 123456000, time.UTC)
	k := trust.KeyRecord{ID: id, Use: use, Algorithm: "ES256", State: trust.KeyActive,
		Sealed: []byte("sealed\x00" + id), Created: now, Changed: now.Add(time.Hour)}
	if use == trust.KeySign {
		k.Public = []byte(`{"kty":"EC", "x": "é"}`)
	}
	return k
}

func (s suite) keysSurvive(t *testing.T) {
	location := s.New(t)
	store := s.open(t, location, FeedAll)
	if none, err := store.Keys(t.Context()); err != nil || len(none) != 0 {
		t.Fatalf("Keys = %v, %v, want none", none, err)
	}
	want := []trust.KeyRecord{key("a", trust.KeySign), key("b", trust.KeyMAC), key("c", trust.KeySign)}
	given := []trust.KeyRecord{want[0], want[1], want[2]}
	given[0].Created = given[0].Created.In(time.FixedZone("far", -11*3600))
	got, err := store.InitKeys(t.Context(), given)
	if diff := gocmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("InitKeys = %v (-want +got):\n%s", err, diff)
	}
	got, err = s.open(t, location, FeedAll).Keys(t.Context())
	if diff := gocmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Keys = %v (-want +got):\n%s", err, diff)
	}
}

func (s suite) keysOnce(t *testing.T) {
	store := s.fresh(t)
	if _, err := store.InitKeys(t.Context(), []trust.KeyRecord{key("a", trust.KeySign)}); err != nil {
		t.Fatal(err)
	}
	got, err := store.InitKeys(t.Context(), []trust.KeyRecord{key("b", trust.KeySign), key("c", trust.KeyMAC)})
	want := []trust.KeyRecord{key("a", trust.KeySign), key("c", trust.KeyMAC)}
	if diff := gocmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("InitKeys = %v (-want +got):\n%s", err, diff)
	}
}

func (s suite) keysRace(t *testing.T) {
	location := s.New(t)
	stores := []trust.Store{s.open(t, location, FeedAll), s.open(t, location, FeedAll)}
	results := make([][]trust.KeyRecord, 8)
	var group errgroup.Group
	for i := range results {
		group.Go(func() (err error) {
			results[i], err = stores[i%2].InitKeys(t.Context(),
				[]trust.KeyRecord{key(fmt.Sprint("s", i), trust.KeySign), key(fmt.Sprint("m", i), trust.KeyMAC)})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(results[0]) != 2 {
		t.Fatalf("%d keys, want 2", len(results[0]))
	}
	for i, got := range results {
		if diff := gocmp.Diff(results[0], got); diff != "" {
			t.Errorf("caller %d sees other keys (-first +got):\n%s", i, diff)
		}
	}
}
