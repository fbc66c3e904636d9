package storetest

import (
	"testing"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

func (s suite) recordTests() []test {
	return []test{
		{"records come in order, after a position and up to a limit", s.pages},
		{"a writer without records is listed at its beginning", s.emptyWriter},
		{"a record changed behind the store's back is found", s.recordTampering},
	}
}

func (s suite) pages(t *testing.T) {
	store := s.fresh(t)
	l := newLedger(t, store, trust.LedgerOptions{})
	var writer uint32
	for range 10 {
		writer = mustCommit(t, l, entry(), trust.Committed).At.Writer
	}
	for _, tc := range []struct {
		after       audit.Position
		limit       int
		first, last uint64
	}{
		{audit.Position{Writer: writer}, 4, 1, 4},
		{audit.Position{Writer: writer, Seq: 4}, 4, 5, 8},
		{audit.Position{Writer: writer, Seq: 8}, 4, 9, 10},
		{audit.Position{Writer: writer}, 100, 1, 10},
		{audit.Position{Writer: writer, Seq: 10}, 4, 0, 0},
		{audit.Position{Writer: writer}, 0, 0, 0},
		{audit.Position{Writer: writer}, -1, 0, 0},
		{audit.Position{Writer: writer + 1}, 4, 0, 0},
		{audit.Position{}, 4, 0, 0},
	} {
		rows, err := store.Records(t.Context(), tc.after, tc.limit)
		want := 0
		if tc.first > 0 {
			want = int(tc.last - tc.first + 1)
		}
		if err != nil || len(rows) != want {
			t.Errorf("Records(%v, %d) = %d rows, %v, want %d", tc.after, tc.limit, len(rows), err, want)
			continue
		}
		for i, r := range rows {
			if r.Writer != writer || r.Seq != tc.first+uint64(i) {
				t.Errorf("Records(%v, %d)[%d] is %v", tc.after, tc.limit, i, r.Position)
			}
		}
	}
}

func (s suite) emptyWriter(t *testing.T) {
	store := s.fresh(t)
	a, err := store.OpenWriter(t.Context())
	if err != nil || a == 0 {
		t.Fatalf("OpenWriter = %d, %v, want a number above 0", a, err)
	}
	b, err := store.OpenWriter(t.Context())
	if err != nil || b == a || b == 0 {
		t.Fatalf("OpenWriter = %d, %v, want another number than %d", b, err, a)
	}
	heads, err := store.Writers(t.Context())
	if err != nil || len(heads) != 2 || heads[0].Writer != a || heads[1].Writer != b {
		t.Fatalf("Writers = %v, %v, want %d and %d", heads, err, a, b)
	}
	for _, h := range heads {
		if h.Seq != 0 || h.Hash != ([32]byte{}) {
			t.Errorf("head = %v, want the beginning", h)
		}
	}
}

func (s suite) recordTampering(t *testing.T) {
	location := s.New(t)
	store := s.open(t, location, FeedAll)
	l := newLedger(t, store, trust.LedgerOptions{})
	var out trust.Outcome
	for range 3 {
		out = mustCommit(t, l, entry(), trust.Committed)
	}
	s.exec(t, location, `UPDATE records SET hash = (SELECT hash FROM records WHERE seq = 1) WHERE seq = 2`)
	_, err := chain(t.Context(), store, out.At.Writer)
	wantErr(t, "chain", err, audit.ErrBroken)
}
