package exchange

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// nonceTurn is how long one DPoP nonce is given out. It is accepted for as long
// again, so a client that got one has at least this long to use it.
const nonceTurn = 2 * time.Minute

// nonces are the token endpoint's DPoP nonces (RFC 9449 section 8). They are
// derived from the time under a key all replicas share, so none is stored. The
// zero nonces asks for none.
type nonces struct{ key []byte }

func (n nonces) on() bool { return len(n.key) > 0 }

// current is the nonce to give out now.
func (n nonces) current(now time.Time) string { return n.of(now.Unix() / int64(nonceTurn/time.Second)) }

// valid reports whether a nonce is this turn's or the last one's.
func (n nonces) valid(now time.Time, nonce string) bool {
	turn := now.Unix() / int64(nonceTurn/time.Second)
	is := hmac.Equal([]byte(nonce), []byte(n.of(turn)))
	was := hmac.Equal([]byte(nonce), []byte(n.of(turn-1)))
	return n.on() && (is || was)
}

func (n nonces) of(turn int64) string {
	m := hmac.New(sha256.New, n.key)
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(turn)))
	return base64url(m.Sum(nil)[:16])
}
