package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/comity-auth/comity/trust/audit"
)

// IDs turns the position of a record into the decision id that a client sees,
// and back: one AES block over the position and a check of zeros. An id leads
// to its record without an index and tells nobody else how many there are. It
// is a name and grants nothing. Safe for concurrent use.
type IDs struct{ block *blockBox }

// blockBox keeps the expanded key two pointers away, where fmt does not follow.
type blockBox struct{ cipher.Block }

// The block: writer, sequence number, check, as big-endian numbers.
const (
	seqAt   = 4
	checkAt = 12
)

// NewIDs makes ids under a key of 16 or 32 bytes, the same on every replica.
func NewIDs(key []byte) (*IDs, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("decision ids: %w", err)
	}
	return &IDs{&blockBox{block}}, nil
}

// Seal gives the id of the record at pos: 32 lower-case hex digits, the same
// every time. No record stands at a position with Seq 0, and Open refuses the
// id of one.
func (d *IDs) Seal(pos audit.Position) string {
	var b [aes.BlockSize]byte
	binary.BigEndian.PutUint32(b[:seqAt], pos.Writer)
	binary.BigEndian.PutUint64(b[seqAt:checkAt], pos.Seq)
	d.block.Encrypt(b[:], b[:])
	return hex.EncodeToString(b[:])
}

// Open gives the position that id names. It reports false for anything that
// Seal did not make under the same key, but for one guess in 2^32.
func (d *IDs) Open(id string) (audit.Position, bool) {
	var b [aes.BlockSize]byte
	if len(id) != hex.EncodedLen(len(b)) {
		return audit.Position{}, false
	}
	for i := range len(id) {
		// One record has one spelling of its id.
		if 'A' <= id[i] && id[i] <= 'F' {
			return audit.Position{}, false
		}
	}
	if _, err := hex.Decode(b[:], []byte(id)); err != nil {
		return audit.Position{}, false
	}
	d.block.Decrypt(b[:], b[:])
	pos := audit.Position{
		Writer: binary.BigEndian.Uint32(b[:seqAt]),
		Seq:    binary.BigEndian.Uint64(b[seqAt:checkAt]),
	}
	if binary.BigEndian.Uint32(b[checkAt:]) != 0 || pos.Seq == 0 {
		return audit.Position{}, false
	}
	return pos, true
}
