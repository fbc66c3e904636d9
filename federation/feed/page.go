package feed

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/wire"
)

const (
	// pageType is the typ of a page.
	pageType = "revocation-feed+jwt"
	// mediaType is what a page is served as.
	mediaType = "application/" + pageType
	// maxPage bounds a page in bytes, and maxEntries the revocations on it. A
	// full page of the broker takes 550 to 750 KiB.
	maxPage    = 1 << 20
	maxEntries = 10_000
	// maxPageLife bounds exp - iat of a page, which brokers give a minute.
	maxPageLife = 5 * time.Minute
)

// errPage says that a page is signed as it should be and makes no sense.
var errPage = errors.New("not a page of the feed")

// wanted is what a page must be before it is read.
func wanted() federation.WantStatement {
	return federation.WantStatement{Type: pageType, MaxLife: maxPageLife,
		Limits: wire.Limits{MaxBytes: maxPage, MaxDepth: 3, MaxMembers: maxEntries, MaxString: 1 << 10, MaxValues: 4*maxEntries + 64}}
}

// page is one page of the feed: the revocations after since, up to head unless
// there are more.
type page struct {
	issued      time.Time
	since, head uint64
	more        bool
	entries     []entry
}

// entry is one revocation.
type entry struct {
	seq    uint64
	handle handle
	before uint32
}

// last is the number of the newest revocation that the page, with all before
// it, tells of.
func (p *page) last() uint64 {
	if p.more {
		return p.entries[len(p.entries)-1].seq
	}
	return p.head
}

// readPage reads the claims of a page. Numbers ascend and may have gaps, where
// the broker has forgotten what cannot matter any more. Its errors wrap errPage
// and repeat nothing of the page.
func readPage(claims map[string]any) (*page, error) {
	p := new(page)
	var err error
	if p.head, err = number(claims, "head"); err != nil {
		return nil, err
	}
	if p.since, err = number(claims, "since"); err != nil {
		return nil, err
	}
	if p.more, _, err = wire.Bool(claims, "more"); err != nil {
		return nil, fmt.Errorf("%w: %w", errPage, err)
	}
	list, present, err := wire.Array(claims, "revocations")
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errPage, err)
	case !present:
		return nil, fmt.Errorf("%w: no revocations", errPage)
	case p.since > p.head:
		return nil, fmt.Errorf("%w: it begins after the newest", errPage)
	case p.more && len(list) == 0:
		return nil, fmt.Errorf("%w: more, and none on it", errPage)
	}
	p.entries = make([]entry, len(list))
	last := p.since
	for i, v := range list {
		e, ok := readEntry(v)
		if !ok {
			return nil, fmt.Errorf("%w: revocation %d of it cannot be read", errPage, i)
		}
		if e.seq <= last || e.seq > p.head {
			return nil, fmt.Errorf("%w: revocation %d of it is out of order", errPage, i)
		}
		p.entries[i], last = e, e.seq
	}
	return p, nil
}

func number(claims map[string]any, name string) (uint64, error) {
	n, present, err := wire.Int(claims, name)
	if err != nil || !present || n < 0 {
		return 0, fmt.Errorf("%w: %s must be a number", errPage, name)
	}
	return uint64(n), nil
}

func readEntry(v any) (e entry, ok bool) {
	list, ok := v.([]any)
	if !ok || len(list) != 3 {
		return entry{}, false
	}
	seq, first := wire.Whole(list[0])
	before, second := wire.Whole(list[2])
	text, _ := list[1].(string)
	h, third := parseHandle(text)
	if !first || !second || !third || seq < 1 || before < 0 || before > math.MaxUint32 {
		return entry{}, false
	}
	return entry{uint64(seq), h, uint32(before)}, true
}
