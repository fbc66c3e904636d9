package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// The signature algorithms a broker signs with (RFC 7518 section 3.1, RFC 8037
// section 3.1).
const (
	ES256 = "ES256"
	EdDSA = "EdDSA"
	RS256 = "RS256"
)

var (
	// ErrKey says that a key cannot be read or is not fit to sign.
	ErrKey = errors.New("not a usable signing key")
	// ErrAlgorithm says that an algorithm is unknown or does not fit the key.
	ErrAlgorithm = errors.New("signature algorithm")
)

const (
	// MaxKeyFile is the size in bytes of the largest key file that is read.
	MaxKeyFile = 64 << 10

	generatedRSABits = 3072
	minRSABits       = 2048
	maxRSABits       = 8192
	minRSAExponent   = 65537
)

// Generate makes a signing key: P-256 for ES256, Ed25519 for EdDSA, RSA with
// 3,072 bits for RS256. Any other algorithm is ErrAlgorithm.
func Generate(alg string) (crypto.Signer, error) {
	switch alg {
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case RS256:
		return rsa.GenerateKey(rand.Reader, generatedRSABits)
	}
	return nil, checkAlgorithm(alg)
}

func checkAlgorithm(alg string) error {
	switch alg {
	case ES256, EdDSA, RS256:
		return nil
	}
	return fmt.Errorf("%w: it must be ES256, EdDSA or RS256, not %q", ErrAlgorithm, alg)
}

// algorithmOf tells the one algorithm that a key is used with. It refuses every
// key that no algorithm of this package fits.
func algorithmOf(pub crypto.PublicKey) (string, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return "", fmt.Errorf("%w: an elliptic curve key must be on P-256", ErrKey)
		}
		return ES256, nil
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return "", fmt.Errorf("%w: an Ed25519 key has 32 bytes", ErrKey)
		}
		return EdDSA, nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return "", fmt.Errorf("%w: an RSA key must have %d to %d bits, not %d", ErrKey, minRSABits, maxRSABits, bits)
		}
		if k.E < minRSAExponent || k.E%2 == 0 {
			return "", fmt.Errorf("%w: an RSA exponent must be odd and at least %d", ErrKey, minRSAExponent)
		}
		return RS256, nil
	}
	return "", fmt.Errorf("%w: keys of this type do not sign here", ErrKey)
}

// Thumbprint is the key's RFC 7638 SHA-256 thumbprint in base64url, which is
// its key id everywhere.
func Thumbprint(pub crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: pub}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("%w: it has no thumbprint", ErrKey)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// EncodePEM writes an in-process private key as PKCS#8 in PEM (RFC 7468
// section 10). The result is a secret.
func EncodePEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be written as PKCS#8", ErrKey)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// EncodeJWK writes an in-process private key as a JWK (RFC 7517) with its
// thumbprint as kid. The result is a secret.
func EncodeJWK(key crypto.Signer) ([]byte, error) {
	k, err := newSigningKey(key)
	if err != nil {
		return nil, err
	}
	out, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: k.id, Algorithm: k.alg, Use: "sig"})
	if err != nil {
		return nil, fmt.Errorf("%w: it cannot be written as a JWK", ErrKey)
	}
	return out, nil
}

// ParsePrivate reads one private key: PEM with PKCS#8, SEC 1 or PKCS#1 in it,
// or a private JWK. It refuses encrypted keys, more than one key, keys that no
// algorithm fits and pairs whose halves do not belong together. Its errors wrap
// ErrKey, or ErrAlgorithm when a JWK names another algorithm than its key's,
// and quote nothing of the input.
func ParsePrivate(data []byte) (crypto.Signer, error) {
	if len(data) > MaxKeyFile {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrKey, MaxKeyFile)
	}
	data = bytes.TrimSpace(data)
	parse := parsePEM
	if bytes.HasPrefix(data, []byte("{")) {
		parse = parseJWK
	}
	key, err := parse(data)
	if err != nil {
		return nil, err
	}
	k, err := newSigningKey(key)
	if err != nil {
		return nil, err
	}
	if err := k.prove(); err != nil {
		return nil, err
	}
	return key, nil
}

func parsePEM(data []byte) (crypto.Signer, error) {
	var found *pem.Block
	for len(data) > 0 {
		block, rest := pem.Decode(data)
		if block == nil || !bytes.HasPrefix(data, []byte("-----BEGIN ")) {
			return nil, fmt.Errorf("%w: neither PEM nor a JWK", ErrKey)
		}
		data = bytes.TrimSpace(rest)
		if block.Type == "EC PARAMETERS" {
			continue // openssl writes the curve's name in front of the key
		}
		if found != nil {
			return nil, fmt.Errorf("%w: the PEM holds more than the key", ErrKey)
		}
		found = block
	}
	if found == nil {
		return nil, fmt.Errorf("%w: it is empty", ErrKey)
	}
	if found.Type == "ENCRYPTED PRIVATE KEY" || len(found.Headers) > 0 {
		return nil, fmt.Errorf("%w: encrypted PEM is not supported", ErrKey)
	}
	return parseDER(found.Type, found.Bytes)
}

func parseDER(kind string, der []byte) (crypto.Signer, error) {
	var key any
	var err error
	switch kind {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(der)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(der)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(der)
	default:
		return nil, fmt.Errorf("%w: the PEM block is not a private key", ErrKey)
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("%w: the PEM block does not hold a valid signing key", ErrKey)
	}
	return signer, nil
}

func parseJWK(data []byte) (crypto.Signer, error) {
	var jwk jose.JSONWebKey
	if err := json.Unmarshal(data, &jwk); err != nil || !jwk.Valid() {
		return nil, fmt.Errorf("%w: not a valid JWK", ErrKey)
	}
	signer, ok := jwk.Key.(crypto.Signer)
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: the JWK is not a private signing key", ErrKey)
	case jwk.Use != "" && jwk.Use != "sig":
		return nil, fmt.Errorf("%w: the JWK is not for signing", ErrKey)
	}
	alg, err := algorithmOf(signer.Public())
	if err != nil {
		return nil, err
	}
	if jwk.Algorithm != "" && jwk.Algorithm != alg {
		return nil, fmt.Errorf("%w: the JWK names another one than %s, which its key is for", ErrAlgorithm, alg)
	}
	if k, ok := signer.(*rsa.PrivateKey); ok {
		// What the JWK says about the primes beyond the primes is not used.
		k = &rsa.PrivateKey{PublicKey: k.PublicKey, D: k.D, Primes: k.Primes}
		k.Precompute()
		return k, nil
	}
	return signer, nil
}

// parsePKCS8 reads what was sealed.
func parsePKCS8(der []byte) (crypto.Signer, error) { return parseDER("PRIVATE KEY", der) }
