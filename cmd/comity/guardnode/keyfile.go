package guardnode

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/federation"
)

// maxKeys bounds a file of public keys, in bytes.
const maxKeys = 100 << 10

var errKeys = errors.New("want a JWK set, or public keys in PEM")

// readKeys gives the keys of a file as a JWK set.
func readKeys(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeys+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxKeys:
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxKeys)
	}
	doc, err := keySet(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return doc, nil
}

// keySet reads a JWK set or PEM. A set without a key that can be used is refused:
// nothing it is for would be admitted.
func keySet(text []byte) ([]byte, error) {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("-----BEGIN ")) {
		var err error
		if text, err = pemSet(text); err != nil {
			return nil, err
		}
	}
	set, problems, err := federation.ParseKeySet(text)
	if err != nil {
		return nil, errKeys
	}
	for _, p := range problems {
		if p.Reason == federation.ReasonSecret {
			return nil, fmt.Errorf("key %d is a %s, which belongs to the issuer alone", p.Index, p.Reason)
		}
	}
	if set.Len() == 0 {
		return nil, errors.New("holds no public key that can be used")
	}
	return text, nil
}

// pemSet names each key by its thumbprint (RFC 7638), as brokers of this kind do.
func pemSet(text []byte) ([]byte, error) {
	var set jose.JSONWebKeySet
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "PUBLIC KEY" {
			return nil, errKeys
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, errKeys
		}
		one := jose.JSONWebKey{Key: key, Use: "sig"}
		sum, err := one.Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, errKeys
		}
		one.KeyID = base64.RawURLEncoding.EncodeToString(sum)
		set.Keys = append(set.Keys, one)
	}
	return json.Marshal(set)
}
