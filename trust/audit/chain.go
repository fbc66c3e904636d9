package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// Position says where a record stands: in whose chain, and how far from its
// beginning. The first record of a writer has Seq 1. The zero Position is no
// position.
type Position struct {
	Writer uint32
	Seq    uint64
}

// Head is the end of a writer's chain. A chain without records has Seq 0 and
// the zero Hash.
type Head struct {
	Position
	Hash [sha256.Size]byte
}

// Row is one stored record.
type Row struct {
	Position
	Hash [sha256.Size]byte
	Body []byte
}

// ErrBroken says that a chain does not verify.
var ErrBroken = errors.New("chain is broken")

const chainLabel = "comity record v1\x00"

// Append gives the row that continues the chain with body.
func (h Head) Append(body []byte) Row {
	p := Position{Writer: h.Writer, Seq: h.Seq + 1}
	return Row{Position: p, Hash: link(h.Hash, p, body), Body: body}
}

// Head is the end of the chain once the row is its last.
func (r Row) Head() Head { return Head{Position: r.Position, Hash: r.Hash} }

func link(prev [sha256.Size]byte, p Position, body []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write([]byte(chainLabel))
	h.Write(prev[:])
	var at [12]byte
	binary.BigEndian.PutUint32(at[:4], p.Writer)
	binary.BigEndian.PutUint64(at[4:], p.Seq)
	h.Write(at[:])
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// VerifyChain walks rows that should continue from, in order, and returns the
// end of the chain. Its error wraps ErrBroken and names the first bad sequence
// number, or is what the sequence yielded.
func VerifyChain(from Head, rows iter.Seq2[Row, error]) (Head, error) {
	for row, err := range rows {
		if err != nil {
			return from, err
		}
		want := from.Append(row.Body)
		switch {
		case row.Position != want.Position:
			return from, fmt.Errorf("%w: writer %d: record %d stands where %d belongs", ErrBroken, from.Writer, row.Seq, want.Seq)
		case row.Hash != want.Hash:
			return from, fmt.Errorf("%w: writer %d: record %d was changed", ErrBroken, from.Writer, row.Seq)
		}
		from = row.Head()
	}
	return from, nil
}
