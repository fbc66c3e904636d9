package keys

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"sync/atomic"

	"github.com/comity-auth/comity/trust/ident"
)

var (
	// ErrType says that a token type is not one that a header may carry.
	ErrType = errors.New("not a token type for a JWS header")
	// ErrClaims says that claims are not a JSON object.
	ErrClaims = errors.New("claims are not a JSON object")
	// ErrSignature says that a signer answered with something else than a
	// signature of its kind.
	ErrSignature = errors.New("the signer did not give a signature")
)

const (
	maxType = 64
	// maxHeaders bounds the remembered headers of a key; a broker uses a few.
	maxHeaders = 32
	// coordinate is the size in bytes of each half of an ES256 signature.
	coordinate = 32
)

// signingKey is one key with all that stays the same from token to token.
type signingKey struct {
	id, alg string
	signer  crypto.Signer
	public  crypto.PublicKey
	// headers maps a token type to its encoded header and the dot behind it.
	// The map is replaced and never changed.
	headers atomic.Pointer[map[string]string]
}

func newSigningKey(signer crypto.Signer) (*signingKey, error) {
	if signer == nil {
		return nil, fmt.Errorf("%w: there is none", ErrKey)
	}
	pub := signer.Public()
	alg, err := algorithmOf(pub)
	if err != nil {
		return nil, err
	}
	id, err := Thumbprint(pub)
	if err != nil {
		return nil, err
	}
	k := &signingKey{id: id, alg: alg, signer: signer, public: pub}
	k.headers.Store(&map[string]string{})
	return k, nil
}

// Sign makes a compact JWS (RFC 7515 section 3.1) over claims, which must
// encode to a JSON object, with the active key, and returns it with the key's
// id. typ is the media type without "application/", such as "at+jwt" (RFC 8725
// section 3.11). Its errors wrap ErrNoKey, ErrType, ErrClaims, ErrSignature or
// what the signer returned. Safe for concurrent use.
func (r *Ring) Sign(ctx context.Context, typ string, claims any) (ident.RawToken, string, error) {
	if err := ctx.Err(); err != nil {
		return ident.RawToken{}, "", fmt.Errorf("sign: %w", err)
	}
	k := r.state.Load().active
	if k == nil {
		return ident.RawToken{}, "", ErrNoKey
	}
	token, err := k.sign(typ, claims)
	if err != nil {
		return ident.RawToken{}, "", fmt.Errorf("sign with key %s: %w", k.id, err)
	}
	return ident.NewRawToken(token), k.id, nil
}

func (k *signingKey) sign(typ string, claims any) (string, error) {
	header, err := k.header(typ)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil || payload[0] != '{' {
		// The encoder's error is left out: it may quote a claim.
		return "", fmt.Errorf("%w: %T", ErrClaims, claims)
	}
	enc := base64.RawURLEncoding
	out := make([]byte, 0, len(header)+enc.EncodedLen(len(payload))+1+enc.EncodedLen(k.signatureRoom()))
	out = append(out, header...)
	out = enc.AppendEncode(out, payload)
	sig, err := k.signature(out)
	if err != nil {
		return "", err
	}
	out = append(out, '.')
	return string(enc.AppendEncode(out, sig)), nil
}

// signature signs input in the form that JWS asks for: r and s side by side in
// 32 bytes each for ES256 (RFC 7518 section 3.4), PKCS #1 v1.5 for RS256
// (section 3.3), as it is for EdDSA (RFC 8037 section 3.1).
func (k *signingKey) signature(input []byte) ([]byte, error) {
	if k.alg == EdDSA {
		sig, err := k.signer.Sign(rand.Reader, input, crypto.Hash(0))
		if err == nil && len(sig) != ed25519.SignatureSize {
			return nil, ErrSignature
		}
		return sig, err
	}
	digest := sha256.Sum256(input)
	sig, err := k.signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	if k.alg == ES256 {
		return rawECDSA(sig)
	}
	if len(sig) != k.signatureRoom() {
		return nil, ErrSignature
	}
	return sig, nil
}

// signatureRoom is the size of a signature in bytes.
func (k *signingKey) signatureRoom() int {
	if pub, ok := k.public.(*rsa.PublicKey); ok {
		return pub.Size()
	}
	return ed25519.SignatureSize // and twice a P-256 coordinate
}

// prove signs a text and verifies the signature, so that a signer whose public
// half is another's is found before anybody gets a token from it.
func (k *signingKey) prove() error {
	text := []byte("comity key proof v1")
	sig, err := k.signature(text)
	if err != nil {
		return fmt.Errorf("%w: it does not sign: %w", ErrKey, err)
	}
	digest := sha256.Sum256(text)
	var ok bool
	switch pub := k.public.(type) {
	case *ecdsa.PublicKey:
		r, s := new(big.Int).SetBytes(sig[:coordinate]), new(big.Int).SetBytes(sig[coordinate:])
		ok = ecdsa.Verify(pub, digest[:], r, s)
	case ed25519.PublicKey:
		ok = ed25519.Verify(pub, text, sig)
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig) == nil
	}
	if !ok {
		return fmt.Errorf("%w: its public half does not verify what it signs", ErrKey)
	}
	return nil
}

// header gives the encoded protected header for typ with the dot behind it.
func (k *signingKey) header(typ string) (string, error) {
	known := k.headers.Load()
	if h, ok := (*known)[typ]; ok {
		return h, nil
	}
	if err := checkType(typ); err != nil {
		return "", err
	}
	fields, err := json.Marshal(struct {
		Alg string `json:"alg"`
		Kid string `json:"kid"`
		Typ string `json:"typ"`
	}{k.alg, k.id, typ})
	if err != nil {
		return "", fmt.Errorf("encode header: %w", err)
	}
	h := base64.RawURLEncoding.EncodeToString(fields) + "."
	if len(*known) < maxHeaders {
		next := maps.Clone(*known)
		next[typ] = h
		k.headers.CompareAndSwap(known, &next) // the loser's is made again next time
	}
	return h, nil
}

// checkType accepts the characters of a media type name (RFC 6838 section 4.2).
func checkType(typ string) error {
	if typ == "" || len(typ) > maxType {
		return fmt.Errorf("%w: length %d", ErrType, len(typ))
	}
	for i := range len(typ) {
		c := typ[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '+', c == '-', c == '.', c == '_', c == '/':
		default:
			return fmt.Errorf("%w: byte %d is %#x", ErrType, i, c)
		}
	}
	return nil
}

// rawECDSA turns the ASN.1 form of a P-256 signature, which every crypto.Signer
// gives (RFC 3279 section 2.2.3), into the form of RFC 7518 section 3.4. It is
// written out because encoding/asn1 costs two allocations for each number.
func rawECDSA(der []byte) ([]byte, error) {
	if len(der) < 2 || der[0] != 0x30 || der[1] > 0x7f || int(der[1]) != len(der)-2 {
		return nil, ErrSignature
	}
	out := make([]byte, 2*coordinate)
	rest, ok := readCoordinate(out[:coordinate], der[2:])
	if !ok {
		return nil, ErrSignature
	}
	if rest, ok = readCoordinate(out[coordinate:], rest); !ok || len(rest) != 0 {
		return nil, ErrSignature
	}
	return out, nil
}

// readCoordinate reads one positive DER integer of at most 256 bits into dst
// and returns what follows it.
func readCoordinate(dst, der []byte) ([]byte, bool) {
	if len(der) < 3 || der[0] != 0x02 || der[1] == 0 || der[1] > coordinate+1 || int(der[1]) > len(der)-2 {
		return nil, false
	}
	n, rest := der[2:2+der[1]], der[2+der[1]:]
	if n[0] == 0 {
		n = n[1:]
		if len(n) == 0 || n[0] < 0x80 {
			return nil, false // zero, or padded without need
		}
	} else if n[0] >= 0x80 {
		return nil, false // negative
	}
	if len(n) > coordinate {
		return nil, false
	}
	copy(dst[coordinate-len(n):], n)
	return rest, true
}
