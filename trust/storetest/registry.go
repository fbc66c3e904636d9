package storetest

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sync/errgroup"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

func (s suite) registryTests() []test {
	return []test{
		{"an empty registry is revision 0 and holds nothing", s.emptyRegistry},
		{"a change is loaded whole and as a difference", s.loadDifference},
		{"differences add up to the whole", s.differencesAddUp},
		{"a revision that is not known loads the whole", s.unknownSince},
		{"objects come in the order of kind, position and name", s.order},
		{"a stale base is refused and nothing is written", s.staleBase},
		{"removing what is not there is refused and nothing is written", s.removeAbsent},
		{"eight writers that retry lose no update and leave no gap", s.concurrentWriters},
		{"the chain of changes verifies", s.changeChain},
		{"tampering with the chain of changes is found", s.changeTampering},
		{"the document applied last is remembered", s.applied},
		{"text in any script and a large body survive", s.unicode},
		{"the time zone of a change does not matter", s.changeZone},
	}
}

// ignoreEmpty: no objects may be nil or empty.
var ignoreEmpty = cmpopts.EquateEmpty()

func peer(name string, body string) trust.Object {
	return trust.NewObject(trust.Key{Kind: trust.KindPeer, Name: name}, 0, []byte(body))
}

func put(base trust.Revision, objects ...trust.Object) trust.Change {
	return trust.Change{Base: base, Put: objects, By: "admin", Origin: "api", At: time.Now()}
}

func remove(base trust.Revision, names ...string) trust.Change {
	c := trust.Change{Base: base, By: "admin", Origin: "api", At: time.Now()}
	for _, n := range names {
		c.Remove = append(c.Remove, trust.Key{Kind: trust.KindPeer, Name: n})
	}
	return c
}

func (s suite) emptyRegistry(t *testing.T) {
	store := s.fresh(t)
	if diff := gocmp.Diff(trust.State{}, mustLoad(t, store, 0), ignoreEmpty); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
	applied, err := store.Applied(t.Context())
	if err != nil || applied != (trust.Applied{}) {
		t.Errorf("Applied = %+v, %v, want none", applied, err)
	}
	if rows := mustChain(t, store, trust.RegistryWriter); len(rows) != 0 {
		t.Errorf("chain of changes has %d records, want none", len(rows))
	}
	if heads, err := store.Writers(t.Context()); err != nil || len(heads) != 0 {
		t.Errorf("Writers = %v, %v, want none", heads, err)
	}
}

func (s suite) loadDifference(t *testing.T) {
	store := s.fresh(t)
	a1, a2, b, c := peer("a", `{"v":1}`), peer("a", `{"v":2}`), peer("b", `{}`), peer("c", `{}`)
	mustApply(t, store, put(0, a1, b))  // 1
	mustApply(t, store, put(1, a2, c))  // 2
	mustApply(t, store, remove(2, "b")) // 3
	mustApply(t, store, put(3, b))      // 4: back again
	mustApply(t, store, remove(4, "c")) // 5
	for _, tc := range []struct {
		since trust.Revision
		want  trust.State
	}{
		{0, trust.State{Objects: []trust.Object{a2, b}}},
		{1, trust.State{Objects: []trust.Object{a2, b}, Removed: []trust.Key{c.Key}}},
		{2, trust.State{Objects: []trust.Object{b}, Removed: []trust.Key{c.Key}}},
		{3, trust.State{Objects: []trust.Object{b}, Removed: []trust.Key{c.Key}}},
		{4, trust.State{Removed: []trust.Key{c.Key}}},
		{5, trust.State{}},
	} {
		tc.want.Revision, tc.want.Since = 5, tc.since
		if diff := gocmp.Diff(tc.want, mustLoad(t, store, tc.since), ignoreEmpty); diff != "" {
			t.Errorf("Load(%d) (-want +got):\n%s", tc.since, diff)
		}
	}
}

// merge brings a follower's objects up to date.
func merge(have map[trust.Key]trust.Object, state trust.State) {
	if state.Since == 0 {
		clear(have)
	}
	for _, k := range state.Removed {
		delete(have, k)
	}
	for _, o := range state.Objects {
		have[o.Key] = o
	}
}

func (s suite) differencesAddUp(t *testing.T) {
	store := s.fresh(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	want, followed := map[trust.Key]trust.Object{}, map[trust.Key]trust.Object{}
	var at, seen trust.Revision
	for step := range 60 {
		c := randomChange(rnd, step, want)
		c.Base = at
		at = mustApply(t, store, c)
		if rnd.IntN(3) > 0 && step < 59 {
			continue // several revisions in one difference
		}
		state := mustLoad(t, store, seen)
		merge(followed, state)
		seen = state.Revision
		if diff := gocmp.Diff(want, followed, ignoreEmpty); diff != "" {
			t.Fatalf("after step %d (-want +got):\n%s", step, diff)
		}
	}
	whole := map[trust.Key]trust.Object{}
	merge(whole, mustLoad(t, store, 0))
	if diff := gocmp.Diff(want, whole, ignoreEmpty); diff != "" {
		t.Errorf("whole (-want +got):\n%s", diff)
	}
}

// randomChange removes some of what is there and puts some others.
func randomChange(rnd *rand.Rand, step int, have map[trust.Key]trust.Object) trust.Change {
	c := trust.Change{By: "x", Origin: "file", At: time.Now()}
	for name := range 8 {
		o := peer(strconv.Itoa(name), fmt.Sprintf(`{"step":%d}`, step))
		_, there := have[o.Key]
		switch n := rnd.IntN(6); {
		case n == 0 && there:
			c.Remove = append(c.Remove, o.Key)
			delete(have, o.Key)
		case n == 1:
			c.Put = append(c.Put, o)
			have[o.Key] = o
		}
	}
	return c
}

func (s suite) unknownSince(t *testing.T) {
	store := s.fresh(t)
	a := peer("a", `{}`)
	mustApply(t, store, put(0, a))
	want := trust.State{Revision: 1, Objects: []trust.Object{a}}
	if diff := gocmp.Diff(want, mustLoad(t, store, 99), ignoreEmpty); diff != "" {
		t.Errorf("Load(99) (-want +got):\n%s", diff)
	}
}

func (s suite) order(t *testing.T) {
	store := s.fresh(t)
	at := func(kind trust.Kind, name string, order int64) trust.Object {
		return trust.NewObject(trust.Key{Kind: kind, Name: name}, order, []byte(`{}`))
	}
	want := []trust.Object{
		at(trust.KindPeer, "z", -1), at(trust.KindPeer, "B", 3), at(trust.KindPeer, "a", 3), at(trust.KindPeer, "é", 3),
		at(trust.KindResource, "r", 0), at(trust.KindClient, "c", 0), at(trust.KindMapping, "m", 0), at(trust.KindPolicy, "p", 0),
	}
	shuffled := slices.Clone(want)
	slices.Reverse(shuffled)
	mustApply(t, store, put(0, shuffled...))
	if diff := gocmp.Diff(want, mustLoad(t, store, 0).Objects); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

func (s suite) staleBase(t *testing.T) {
	store := s.fresh(t)
	mustApply(t, store, put(0, peer("a", `{}`)))
	before := mustLoad(t, store, 0)
	for _, base := range []trust.Revision{0, 2, 1 << 40} {
		_, err := store.Apply(t.Context(), put(base, peer("b", `{}`)))
		wantErr(t, fmt.Sprintf("Apply on %d", base), err, trust.ErrConflict)
	}
	if diff := gocmp.Diff(before, mustLoad(t, store, 0)); diff != "" {
		t.Errorf("registry (-before +after):\n%s", diff)
	}
	if rows := mustChain(t, store, trust.RegistryWriter); len(rows) != 1 {
		t.Errorf("chain of changes has %d records, want 1", len(rows))
	}
}

func (s suite) removeAbsent(t *testing.T) {
	store := s.fresh(t)
	mustApply(t, store, put(0, peer("a", `{}`)))
	c := remove(1, "a", "never")
	c.Put = []trust.Object{peer("b", `{}`)}
	_, err := store.Apply(t.Context(), c)
	wantErr(t, "Apply", err, trust.ErrNotFound)
	state := mustLoad(t, store, 0)
	if state.Revision != 1 || len(state.Objects) != 1 || state.Objects[0].Name != "a" {
		t.Errorf("registry = %+v, want a alone at revision 1", state)
	}
}

func (s suite) concurrentWriters(t *testing.T) {
	const writers, each = 8, 5
	location := s.New(t)
	stores := []trust.Store{s.open(t, location, FeedAll), s.open(t, location, FeedAll)}
	group, ctx := errgroup.WithContext(t.Context())
	for w := range writers {
		group.Go(func() error {
			for range each {
				_, err := applyNext(ctx, stores[w%len(stores)], increment)
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	state := mustLoad(t, stores[0], 0)
	if state.Revision != writers*each || string(state.Objects[0].Body) != strconv.Itoa(writers*each) {
		t.Errorf("revision %d, counter %s, want both %d", state.Revision, state.Objects[0].Body, writers*each)
	}
	if rows := mustChain(t, stores[1], trust.RegistryWriter); len(rows) != writers*each {
		t.Errorf("chain of changes has %d records, want %d", len(rows), writers*each)
	}
}

// increment counts in the body of an object, so that a lost update shows.
func increment(state trust.State) trust.Change {
	n := 0
	for _, o := range state.Objects {
		n, _ = strconv.Atoi(string(o.Body)) // the body was written below
	}
	return put(0, peer("counter", strconv.Itoa(n+1)))
}

func (s suite) changeChain(t *testing.T) {
	store := s.fresh(t)
	for i := range 20 {
		c := put(trust.Revision(i), peer("a", strconv.Itoa(i)))
		c.Comment = "step " + strconv.Itoa(i)
		mustApply(t, store, c)
	}
	rows := mustChain(t, store, trust.RegistryWriter)
	if len(rows) != 20 || !strings.Contains(string(rows[6].Body), `"comment":"step 6"`) {
		t.Errorf("chain has %d records, the seventh is %s", len(rows), rows[6].Body)
	}
	heads, err := store.Writers(t.Context())
	if err != nil || len(heads) != 1 || heads[0] != rows[19].Head() {
		t.Errorf("Writers = %v, %v, want the last revision", heads, err)
	}
	row, err := store.Record(t.Context(), audit.Position{Writer: trust.RegistryWriter, Seq: 7})
	if diff := gocmp.Diff(rows[6], row); err != nil || diff != "" {
		t.Errorf("Record(0, 7) = %v (-want +got):\n%s", err, diff)
	}
}

func (s suite) changeTampering(t *testing.T) {
	for name, statement := range map[string]string{
		"a body":  `UPDATE revisions SET body = (SELECT body FROM revisions WHERE revision = 1) WHERE revision = 2`,
		"a hash":  `UPDATE revisions SET hash = (SELECT hash FROM revisions WHERE revision = 1) WHERE revision = 2`,
		"a place": `UPDATE revisions SET revision = 9 WHERE revision = 2`,
		"a gap":   `DELETE FROM revisions WHERE revision = 2`,
	} {
		location := s.New(t)
		store := s.open(t, location, FeedAll)
		for i := range 3 {
			mustApply(t, store, put(trust.Revision(i), peer("a", strconv.Itoa(i))))
		}
		s.exec(t, location, statement)
		_, err := chain(t.Context(), store, trust.RegistryWriter)
		wantErr(t, "chain with "+name+" changed", err, audit.ErrBroken)
	}
}

func (s suite) applied(t *testing.T) {
	store := s.fresh(t)
	from := func(base trust.Revision, document string) trust.Change {
		c := put(base, peer("a", document))
		c.Origin, c.Document = "file", document
		return c
	}
	for i, step := range []struct {
		change trust.Change
		want   trust.Applied
	}{
		{put(0, peer("a", `{}`)), trust.Applied{}},
		{from(1, "aa"), trust.Applied{Document: "aa", Revision: 2}},
		{put(2, peer("b", `{}`)), trust.Applied{Document: "aa", Revision: 2}},
		{from(3, "bb"), trust.Applied{Document: "bb", Revision: 4}},
	} {
		mustApply(t, store, step.change)
		got, err := store.Applied(t.Context())
		if err != nil || got != step.want {
			t.Errorf("after step %d Applied = %+v, %v, want %+v", i, got, err, step.want)
		}
	}
}

func (s suite) unicode(t *testing.T) {
	location := s.New(t)
	store := s.open(t, location, FeedAll)
	c := trust.Change{By: "Ольга ☃ O'Neil", Origin: "api", Comment: "\"; DROP TABLE head; --\n\x00\u2028 $1 @ %", At: time.Now()}
	for _, name := range []string{"名前", "e\u0301", "é", "🦆", "a'b\"c", "%_\\", "A", "a", strings.Repeat("n", 2000)} {
		c.Put = append(c.Put, peer(name, `{"n":"`+name+`"}`))
	}
	c.Put = append(c.Put, peer("large", strings.Repeat("ß", 1<<19)), peer("binary", "\x00\xff\xfe"), peer("empty", ""))
	mustApply(t, store, c)
	want := slices.Clone(c.Put)
	slices.SortFunc(want, func(x, y trust.Object) int { return cmp.Compare(x.Name, y.Name) })
	got := mustLoad(t, s.open(t, location, FeedAll), 0).Objects
	// A digest stands for the body: a difference of megabytes helps nobody.
	for _, list := range [][]trust.Object{want, got} {
		for i := range list {
			if list[i].Hash != sha256.Sum256(list[i].Body) {
				t.Errorf("the body of %q is not what its digest says", list[i].Name)
			}
			list[i].Body = nil
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	row, err := store.Record(t.Context(), audit.Position{Seq: 1})
	body, _ := c.Record(1) // encoding it again cannot fail: Apply did
	if err != nil || string(row.Body) != string(body) {
		t.Errorf("record = %.300s, %v, want %.300s", row.Body, err, body)
	}
}

func (s suite) changeZone(t *testing.T) {
	store := s.fresh(t)
	c := put(0, peer("a", `{}`))
	c.At = time.Date(2026, 11, 21, 23, 30, 0, 0, time.FixedZone("far", -11*3600))
	mustApply(t, store, c)
	rows := mustChain(t, store, trust.RegistryWriter)
	if !strings.Contains(string(rows[0].Body), `"at":"2026-11-22T10:30:00Z"`) {
		t.Errorf("record = %s, want the time in UTC", rows[0].Body)
	}
}
