package traceid

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
)

// The kinds of foreign identifier that a record may refer to. A digest of one
// kind says nothing about equal values of another.
const (
	KindTrace   = "trace"
	KindJTI     = "jti"
	KindTxn     = "txn"
	KindSession = "sid"
	KindTask    = "task"
)

// ErrKey reports a digest key that is too short to keep values from being
// guessed.
var ErrKey = errors.New("digest key is too short")

// minKey is the shortest digest key, in bytes: the strength of SHA-256.
const minKey = 32

// label keeps our digests apart from any other use of the same key.
const label = "comity foreign identifier v1"

// Digester turns foreign identifiers into keyed digests (HMAC-SHA-256, RFC
// 2104). It is safe for concurrent use and never prints its key. The zero
// Digester has no key and digests everything to the empty string: without a
// key a digest of something short could be undone by guessing.
type Digester struct{ key *[]byte }

// NewDigester copies key, which must have at least 32 bytes.
func NewDigester(key []byte) (Digester, error) {
	if len(key) < minKey {
		return Digester{}, fmt.Errorf("%w: %d bytes", ErrKey, len(key))
	}
	own := slices.Clone(key)
	return Digester{&own}, nil
}

// Digest returns the digest of an identifier of some kind, 43 characters of
// unpadded base64url. An absent (empty) identifier has none.
func (d Digester) Digest(kind, value string) string {
	if d.key == nil || value == "" {
		return ""
	}
	mac := hmac.New(sha256.New, *d.key)
	io.WriteString(mac, label)
	// The length keeps ("ab", "c") and ("a", "bc") apart.
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(kind)))
	mac.Write(n[:])
	io.WriteString(mac, kind)
	io.WriteString(mac, value)
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Format keeps the key out of every verb of fmt.
func (d Digester) Format(f fmt.State, _ rune) { io.WriteString(f, "[redacted]") }

// LogValue keeps the key out of logs.
func (d Digester) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalText keeps the key out of encoders.
func (d Digester) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }
