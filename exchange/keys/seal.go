package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/comity-auth/comity/trust"
)

// ErrSeal says that a sealed key cannot be opened, or the seal itself cannot.
var ErrSeal = errors.New("seal")

const (
	sealSize   = 32
	sealIDSize = 8
	sealFormat = 1
	// sealHeader begins a seal file, so that neither another secret nor an
	// empty mount is mistaken for one and scanners can find a stray copy.
	sealHeader  = "comity-seal-v1:"
	maxSealFile = 256
)

// Seal encrypts the broker's secrets for the store with AES-256-GCM under a
// random nonce, bound to the id, use and algorithm of the key. It is safe for
// concurrent use. The zero Seal seals and opens nothing.
type Seal struct{ key *sealKey }

type sealKey struct {
	aead cipher.AEAD
	// id tells seals apart without telling anything about them; it stands in
	// front of everything sealed, so a wrong seal is told from a damaged record.
	id [sealIDSize]byte
}

// OpenSeal reads the seal that spec names. The only scheme is "file:PATH": a
// file of one line, "comity-seal-v1:" and 32 bytes in base64url. An absent file
// is generated with mode 0600; of several processes that race one generates and
// all use it. Its errors wrap ErrSeal, and ErrPermissions when the file can be
// reached by group or world.
func OpenSeal(spec string) (*Seal, error) {
	path, ok := strings.CutPrefix(spec, "file:")
	if !ok || path == "" || strings.HasPrefix(path, "//") {
		return nil, fmt.Errorf("%w: the only scheme is file:PATH", ErrSeal)
	}
	text, _, err := readSecret(path, maxSealFile, otherAccess)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createSecret(path, newSealText()); err != nil {
			return nil, fmt.Errorf("%w: generate: %w", ErrSeal, err)
		}
		text, _, err = readSecret(path, maxSealFile, otherAccess)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSeal, err)
	}
	secret, err := parseSealText(string(text))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrSeal, path, err)
	}
	return newSeal(secret)
}

func newSealText() []byte {
	var secret [sealSize]byte
	rand.Read(secret[:])
	return append(base64.RawURLEncoding.AppendEncode([]byte(sealHeader), secret[:]), '\n')
}

func parseSealText(text string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(text, sealHeader)
	if !ok {
		return nil, fmt.Errorf("it is not a seal file: it does not begin with %q", sealHeader)
	}
	encoded = strings.TrimSuffix(encoded, "\n")
	// The decoder skips line breaks, and a seal is one line.
	if len(encoded) != base64.RawURLEncoding.EncodedLen(sealSize) || strings.ContainsAny(encoded, "\r\n") {
		return nil, errors.New("the seal is not 32 bytes in base64url")
	}
	// The decoder's own error is left out: it quotes its input.
	secret, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, errors.New("the seal is not base64url")
	}
	return secret, nil
}

func newSeal(secret []byte) (*Seal, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "comity seal v1 key", sealSize)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSeal, err)
	}
	id, err := hkdf.Key(sha256.New, secret, nil, "comity seal v1 id", sealIDSize)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSeal, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSeal, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSeal, err)
	}
	return &Seal{&sealKey{aead: aead, id: [sealIDSize]byte(id)}}, nil
}

// Seal encrypts plaintext into rec.Sealed. The record's ID, Use and Algorithm
// must be set and must not change afterwards. Its error wraps ErrSeal.
func (s *Seal) Seal(rec *trust.KeyRecord, plaintext []byte) error {
	if s == nil || s.key == nil {
		return fmt.Errorf("%w: none is open", ErrSeal)
	}
	if rec.ID == "" || rec.Use == "" || rec.Algorithm == "" {
		return fmt.Errorf("%w: the record lacks its id, use or algorithm", ErrSeal)
	}
	head := append([]byte{sealFormat}, s.key.id[:]...)
	rec.Sealed = s.key.aead.Seal(head, nil, plaintext, sealBinding(rec))
	return nil
}

// Open decrypts rec.Sealed. Its error wraps ErrSeal and says whether the record
// was sealed with another seal or is damaged.
func (s *Seal) Open(rec trust.KeyRecord) ([]byte, error) {
	const head = 1 + sealIDSize
	switch {
	case s == nil || s.key == nil:
		return nil, fmt.Errorf("%w: none is open", ErrSeal)
	case len(rec.Sealed) < head || rec.Sealed[0] != sealFormat:
		return nil, fmt.Errorf("%w: key %q is not sealed in a format known here", ErrSeal, rec.ID)
	case [sealIDSize]byte(rec.Sealed[1:head]) != s.key.id:
		return nil, fmt.Errorf("%w: key %q was sealed with another seal (%x; the one at hand is %x): restore that seal file, and give every replica the same one",
			ErrSeal, rec.ID, rec.Sealed[1:head], s.key.id)
	}
	plain, err := s.key.aead.Open(nil, nil, rec.Sealed[head:], sealBinding(&rec))
	if err != nil {
		return nil, fmt.Errorf("%w: key %q was changed, or moved here from another record", ErrSeal, rec.ID)
	}
	return plain, nil
}

// sealBinding is what the ciphertext is bound to. The lengths keep one field
// from running into the next.
func sealBinding(rec *trust.KeyRecord) []byte {
	b := []byte("comity key v1")
	for _, s := range []string{rec.ID, string(rec.Use), rec.Algorithm} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}
