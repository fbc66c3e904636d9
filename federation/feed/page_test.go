package feed_test

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/comity-auth/comity/federation/feed"
	"github.com/comity-auth/comity/federation/wire"
)

// The largest page there can be is read: 10,000 revocations with the longest
// numbers.
func TestLargestPage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const full, last = 10_000, uint64(1)<<53 - 1
		s := newStation(t)
		s.set(func() {
			s.head = last
			for n := range uint64(full) {
				s.list = append(s.list, [3]any{last - full + 1 + n, handle(n), int64(math.MaxUint32)})
			}
		})
		t.Logf("%d bytes", len(s.sign(s.page(0))))
		f := follow(t, s)
		f.wait(t)
		if f.Len() != full || !f.Revoked([]string{handle(full - 1)}, time.Now()) {
			t.Errorf("%d handles, want %d", f.Len(), full)
		}
	})
}

func FuzzPage(f *testing.F) {
	for _, seed := range []string{
		`{"head":0,"since":0,"revocations":[]}`,
		`{"iss":"https://broker.globex.example","iat":1,"exp":61,"head":9,"since":2,"more":true,"revocations":[[3,"AAAAAAAAAAAAAAAB",1800000000],[7,"AAAAAAAAAAAAAAAC",0]]}`,
		`{"head":9,"since":2,"revocations":[[3,"AAAAAAAAAAAAAAAB",1,1]]}`,
		`{"head":1e1,"since":-0,"revocations":[[1,"AAAAAAAAAAAAAAA=",4294967296]]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, err := feed.ReadPage(payload)
		if err != nil {
			if !errors.Is(err, feed.ErrPage) && !errors.Is(err, wire.ErrSyntax) && !errors.Is(err, wire.ErrLimit) {
				t.Errorf("%q: %v is of no kind", payload, err)
			}
			return
		}
		before := p.Since
		for _, seq := range p.Seq {
			if seq <= before || seq > p.Head {
				t.Errorf("%q: number %d follows %d", payload, seq, before)
			}
			before = seq
		}
		if p.Last < before || p.Last > p.Head || p.More && (len(p.Seq) == 0 || p.Last != before) || !p.More && p.Last != p.Head {
			t.Errorf("%q: goes on after %d", payload, p.Last)
		}
	})
}
