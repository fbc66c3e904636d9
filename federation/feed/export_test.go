package feed

import "github.com/comity-auth/comity/federation/wire"

// ErrPage is what is wrong with a page that makes no sense.
var ErrPage = errPage

// Page is a page as it was read.
type Page struct {
	Since, Head, Last uint64
	More              bool
	Seq               []uint64
	Before            []uint32
}

// ReadPage reads what a page would hold, without its signature.
func ReadPage(payload []byte) (*Page, error) {
	claims, err := wire.ParseObject(payload, wanted().Limits)
	if err != nil {
		return nil, err
	}
	p, err := readPage(claims)
	if err != nil {
		return nil, err
	}
	out := &Page{Since: p.since, Head: p.head, Last: p.last(), More: p.more}
	for _, e := range p.entries {
		out.Seq, out.Before = append(out.Seq, e.seq), append(out.Before, e.before)
	}
	return out, nil
}
