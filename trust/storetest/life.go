package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

func (s suite) lifeTests() []test {
	return []test{
		{"what was acknowledged is there after reopening", s.reopen},
		{"ST-20 processes that start together on an empty database all can use it", s.startTogether},
		{"a schema that a newer binary made and declares compatible is used", s.newerSchema},
		{"a schema that needs a newer binary is refused, naming both versions", s.incompatibleSchema},
		{"a closed store answers that it is unavailable, and closes again", s.closed},
		{"a cancelled context is not served", s.cancelled},
		{"ST-13 what was acknowledged survives a killed process", s.killed},
	}
}

func (s suite) reopen(t *testing.T) {
	location := s.New(t)
	first := s.open(t, location, FeedAll)
	c := put(0, peer("a", `{"x":1}`), peer("b", `{}`))
	c.Document = "ab"
	mustApply(t, first, c)
	mustApply(t, first, remove(1, "b"))
	want := mustLoad(t, first, 0)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again := s.open(t, location, FeedAll)
	if diff := gocmp.Diff(want, mustLoad(t, again, 0), ignoreEmpty); diff != "" {
		t.Errorf("registry (-before +after):\n%s", diff)
	}
	applied, err := again.Applied(t.Context())
	if err != nil || applied != (trust.Applied{Document: "ab", Revision: 1}) {
		t.Errorf("Applied = %+v, %v", applied, err)
	}
	mustApply(t, again, put(2, peer("b", `{}`)))
	if rows := mustChain(t, again, trust.RegistryWriter); len(rows) != 3 {
		t.Errorf("chain of changes has %d records, want 3", len(rows))
	}
}

func (s suite) startTogether(t *testing.T) {
	location := s.New(t)
	stores := make([]trust.Store, 3)
	var group errgroup.Group
	for i := range stores {
		group.Go(func() (err error) {
			stores[i], err = s.Open(t.Context(), location, FeedAll)
			return err
		})
	}
	err := group.Wait()
	for _, store := range stores {
		if store != nil {
			t.Cleanup(func() { _ = store.Close() })
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, store := range stores {
		mustApply(t, store, put(trust.Revision(i), peer("a", `{}`)))
	}
}

// declare pretends that a newer binary has migrated the database.
func (s suite) declare(t *testing.T, version, oldest int64) (location string) {
	t.Helper()
	location = s.New(t)
	if err := s.open(t, location, FeedAll).Close(); err != nil {
		t.Fatal(err)
	}
	s.exec(t, location, fmt.Sprintf(`INSERT INTO schema_level (version, oldest) VALUES (%d, %d)`, version, oldest))
	return location
}

func (s suite) newerSchema(t *testing.T) {
	for _, ahead := range []int64{1, 2} {
		location := s.declare(t, s.SchemaVersion+ahead, s.SchemaVersion)
		store := s.open(t, location, FeedAll)
		mustApply(t, store, put(0, peer("a", `{}`)))
		mustCommit(t, newLedger(t, store, trust.LedgerOptions{}), trust.Entry{Record: record(audit.Deny, "")}, trust.Committed)
	}
}

func (s suite) incompatibleSchema(t *testing.T) {
	location := s.declare(t, s.SchemaVersion+41, s.SchemaVersion+40)
	store, err := s.Open(t.Context(), location, FeedAll)
	if err == nil {
		t.Cleanup(func() { _ = store.Close() })
	}
	wantErr(t, "Open", err, trust.ErrSchema)
	for _, version := range []int64{s.SchemaVersion + 41, s.SchemaVersion} {
		if !regexp.MustCompile(fmt.Sprintf(`version %d\b`, version)).MatchString(err.Error()) {
			t.Errorf("error %q does not name version %d", err, version)
		}
	}
}

func (s suite) closed(t *testing.T) {
	store := s.fresh(t)
	if err := store.Ping(t.Context()); err != nil {
		t.Fatalf("Ping = %v", err)
	}
	for range 2 {
		if err := store.Close(); err != nil {
			t.Fatalf("Close = %v", err)
		}
	}
	_, err := store.Load(t.Context(), 0)
	wantErr(t, "Load", err, trust.ErrUnavailable)
	_, err = store.Apply(t.Context(), put(0, peer("a", `{}`)))
	wantErr(t, "Apply", err, trust.ErrUnavailable)
	_, err = store.OpenWriter(t.Context())
	wantErr(t, "OpenWriter", err, trust.ErrUnavailable)
	wantErr(t, "Ping", store.Ping(t.Context()), trust.ErrUnavailable)
}

func (s suite) cancelled(t *testing.T) {
	store := s.fresh(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := store.Load(ctx, 0)
	wantErr(t, "Load", err, trust.ErrUnavailable)
	_, err = store.Apply(ctx, put(0, peer("a", `{}`)))
	wantErr(t, "Apply", err, trust.ErrUnavailable)
	if state := mustLoad(t, store, 0); state.Revision != 0 {
		t.Errorf("revision = %d, want 0", state.Revision)
	}
}

// killed lets a child write, kills it while it does, and looks for all it said
// to be durable.
func (s suite) killed(t *testing.T) {
	const rounds, lines = 10, 40
	location := s.New(t)
	for range rounds {
		child := s.start(t, roleCommit, location)
		var said []byte
		for range lines {
			said = append(said, child.hear()+"\n"...)
		}
		said = append(said, child.kill()...)
		s.survived(t, location, said)
	}
}

func (s suite) survived(t *testing.T, location string, said []byte) {
	t.Helper()
	if s.Check != nil {
		if err := s.Check(t.Context(), location); err != nil {
			t.Fatalf("the database is damaged: %v", err)
		}
	}
	store := s.open(t, location, FeedAll)
	l := newLedger(t, store, trust.LedgerOptions{})
	var group errgroup.Group
	group.SetLimit(32)
	// What follows the last line break was cut off by the kill.
	whole := said[:bytes.LastIndexByte(said, '\n')+1]
	for dec := json.NewDecoder(bytes.NewReader(whole)); dec.More(); {
		var ack acknowledged
		if err := dec.Decode(&ack); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Record(t.Context(), audit.Position{Writer: ack.Writer, Seq: ack.Seq}); err != nil {
			t.Fatalf("an acknowledged record is gone: %v", err)
		}
		group.Go(func() error {
			out, err := l.Commit(t.Context(), entry(once(ack.ID)))
			if err == nil && out.Status != trust.Replayed {
				t.Errorf("identifier %s can be used again", ack.ID)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	heads, err := store.Writers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range heads {
		mustChain(t, store, h.Writer)
	}
}
