package proof

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/comity-auth/comity/trust/ident"
)

// ErrKey says that a key cannot make proofs.
var ErrKey = errors.New("key cannot make proofs")

// Signer makes DPoP proofs with one key, on the client's side. It is safe for
// concurrent use if its key is.
type Signer struct {
	key    crypto.Signer
	alg    string
	jkt    string
	header string
}

// Options are what a proof may need besides method and URL.
type Options struct {
	// AccessToken is the token that goes with the request, if any does.
	AccessToken ident.RawToken
	// Nonce is the last one the server gave (RFC 9449 section 8), if any.
	Nonce string
	// Now stamps the proof. Zero is the present.
	Now time.Time
}

// GenerateSigner makes a signer with a new P-256 key, kept in memory only.
func GenerateSigner() (*Signer, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return NewSigner(k)
}

// NewSigner accepts an EC key on P-256 (ES256) or P-384 (ES384), an Ed25519 key
// (EdDSA) or an RSA key of 2048 to 8192 bits (RS256), wherever it is kept.
func NewSigner(k crypto.Signer) (*Signer, error) {
	if k == nil {
		return nil, fmt.Errorf("%w: there is none", ErrKey)
	}
	own, alg, err := describe(k.Public())
	if err != nil {
		return nil, err
	}
	header := `{"typ":"dpop+jwt","alg":"` + alg + `","jwk":` + own.members() + `}`
	return &Signer{
		key:    k,
		alg:    alg,
		jkt:    own.thumbprint(),
		header: base64.RawURLEncoding.EncodeToString([]byte(header)),
	}, nil
}

// Thumbprint is the RFC 7638 SHA-256 thumbprint, in base64url, of a public key
// of one of the kinds that [NewSigner] accepts.
func Thumbprint(public crypto.PublicKey) (string, error) {
	k, _, err := describe(public)
	if err != nil {
		return "", err
	}
	return k.thumbprint(), nil
}

// JKT is the thumbprint that a token bound to this signer's key bears.
func (s *Signer) JKT() string { return s.jkt }

// Algorithm is the alg of the proofs.
func (s *Signer) Algorithm() string { return s.alg }

// Proof makes the value of a DPoP header for one request. It must not be used
// again: every request needs a proof of its own.
func (s *Signer) Proof(method, url string, o Options) (string, error) {
	if i := strings.IndexAny(url, "?#"); i >= 0 {
		url = url[:i]
	}
	if _, ok := parseTarget(url); !ok || method == "" {
		return "", errors.New("make proof: method or URL is not one of HTTP")
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	id := make([]byte, 16)
	rand.Read(id) // never fails
	claims := struct {
		ID    string `json:"jti"`
		HTM   string `json:"htm"`
		HTU   string `json:"htu"`
		IAT   int64  `json:"iat"`
		ATH   string `json:"ath,omitempty"`
		Nonce string `json:"nonce,omitempty"`
	}{base64.RawURLEncoding.EncodeToString(id), method, url, o.Now.Unix(), "", o.Nonce}
	if !o.AccessToken.IsZero() {
		claims.ATH = digest([]byte(o.AccessToken.Reveal()))
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("make proof: %w", err)
	}
	input := s.header + "." + base64.RawURLEncoding.EncodeToString(payload)
	sig, err := s.sign(input)
	if err != nil {
		return "", fmt.Errorf("make proof: %w", err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

func (s *Signer) sign(input string) ([]byte, error) {
	switch s.alg {
	case eddsa:
		return s.key.Sign(rand.Reader, []byte(input), crypto.Hash(0))
	case rs256:
		return s.key.Sign(rand.Reader, hashFor(s.alg, input), crypto.SHA256)
	}
	hash, size := crypto.SHA256, 32
	if s.alg == es384 {
		hash, size = crypto.SHA384, 48
	}
	der, err := s.key.Sign(rand.Reader, hashFor(s.alg, input), hash)
	if err != nil {
		return nil, err
	}
	// A crypto.Signer answers in ASN.1, JOSE wants both halves at full length
	// (RFC 7518 section 3.4).
	var pair struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &pair); err != nil || len(rest) > 0 {
		return nil, errors.New("key returned a malformed signature")
	}
	if pair.R.Sign() < 0 || pair.S.Sign() < 0 || pair.R.BitLen() > 8*size || pair.S.BitLen() > 8*size {
		return nil, errors.New("key returned a signature of another curve")
	}
	sig := make([]byte, 2*size)
	pair.R.FillBytes(sig[:size])
	pair.S.FillBytes(sig[size:])
	return sig, nil
}

// describe gives a public key the members that name it, and its algorithm.
func describe(public crypto.PublicKey) (*key, string, error) {
	encode := base64.RawURLEncoding.EncodeToString
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		point, err := p.Bytes()
		if err != nil || p.Curve != elliptic.P256() && p.Curve != elliptic.P384() {
			return nil, "", fmt.Errorf("%w: it is not on P-256 or P-384", ErrKey)
		}
		size := len(point) / 2
		k := &key{public: p, kty: "EC", crv: "P-256", x: encode(point[1 : 1+size]), y: encode(point[1+size:])}
		if p.Curve == elliptic.P384() {
			k.crv = "P-384"
			return k, es384, nil
		}
		return k, es256, nil
	case ed25519.PublicKey:
		if len(p) != ed25519.PublicKeySize || weak([32]byte(p)) {
			return nil, "", fmt.Errorf("%w: it is not a sound Ed25519 key", ErrKey)
		}
		return &key{public: p, kty: "OKP", crv: "Ed25519", x: encode(p)}, eddsa, nil
	case *rsa.PublicKey:
		if p.N == nil {
			return nil, "", fmt.Errorf("%w: it is empty", ErrKey)
		}
		k := &key{kty: "RSA", n: encode(p.N.Bytes()), e: encode(big.NewInt(int64(p.E)).Bytes())}
		if !k.parseRSA() {
			return nil, "", fmt.Errorf("%w: it is not an RSA key of 2048 to 8192 bits with a sound exponent", ErrKey)
		}
		return k, rs256, nil
	}
	return nil, "", fmt.Errorf("%w: it is of another kind", ErrKey)
}
