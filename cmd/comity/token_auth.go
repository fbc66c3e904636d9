package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust/ident"
	jose "github.com/go-jose/go-jose/v4"
	"github.com/spf13/cobra"
)

// The client authentication methods (RFC 7591 section 2, OpenID Connect Core
// section 9).
const (
	authNone  = "none"
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"
	authKey   = "private_key_jwt"
	// authFederated is by a token that the platform gives the client anyway.
	authFederated = "federated"
)

const (
	assertionType  = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	assertionTypes = "urn:ietf:params:oauth:client-assertion-type:"
	assertionLife  = time.Minute

	typeBearer, typeSPIFFE = "jwt-bearer", "jwt-spiffe"
)

// credential is how a request proves who sends it, and what it binds the token
// to.
type credential struct {
	method, clientID, issuer string
	secret                   ident.RawToken
	assertion                jose.Signer   // with private_key_jwt
	platform                 platformToken // with federated
	proof                    *proof.Signer // nil for a bearer token
}

// credential reads what the flags name.
func (f *tokenFlags) credential(cmd *cobra.Command) (*credential, error) {
	c := &credential{method: f.shownMethod(), clientID: f.clientID, issuer: f.issuer}
	var err error
	switch {
	case f.secret != "":
		c.secret, err = f.readClientSecret(cmd)
	case f.keyFile != "":
		c.assertion, err = openAssertionKey(f.keyFile, f.keyID)
	case f.assertion != "":
		c.platform, err = f.openPlatformToken(cmd)
	}
	if err == nil && f.dpopKey != "" {
		c.proof, err = openProofKey(f.dpopKey)
	}
	return c, err
}

func (f *tokenFlags) readClientSecret(cmd *cobra.Command) (ident.RawToken, error) {
	if f.secret != fromStdin && !strings.HasPrefix(f.secret, fromEnv) {
		if err := checkOwn(f.secret); err != nil {
			return ident.RawToken{}, err
		}
	}
	text, err := readSource(cmd, f.app.env, f.secret)
	return ident.NewRawToken(text), err
}

// platformToken is where the platform puts the client's token. It is read for
// each request, since platforms replace it: projected tokens of Kubernetes are
// files that change.
type platformToken struct {
	kind string // of the assertion, the last part of client_assertion_type
	read func() (ident.RawToken, error)
}

func (f *tokenFlags) openPlatformToken(cmd *cobra.Command) (platformToken, error) {
	t := platformToken{kind: f.assertionKind, read: func() (ident.RawToken, error) {
		text, err := readSource(cmd, f.app.env, f.assertion)
		return ident.NewRawToken(text), err
	}}
	if f.assertion == fromStdin { // which is read once
		token, err := t.read()
		t.read = func() (ident.RawToken, error) { return token, nil }
		return t, err
	}
	return t, nil
}

// apply puts the credential into a request. Each request needs it anew: an
// assertion and a proof count once.
func (c *credential) apply(form url.Values, header http.Header) error {
	switch c.method {
	case authBasic:
		// RFC 6749 section 2.3.1: both halves are form-encoded first.
		pair := url.QueryEscape(c.clientID) + ":" + url.QueryEscape(c.secret.Reveal())
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	case authPost:
		form.Set("client_id", c.clientID)
		form.Set("client_secret", c.secret.Reveal())
	case authKey:
		assertion, err := c.assert(time.Now())
		if err != nil {
			return err
		}
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion)
	case authFederated:
		token, err := c.platform.read()
		if err != nil {
			return err
		}
		if c.clientID != "" {
			form.Set("client_id", c.clientID)
		}
		form.Set("client_assertion_type", assertionTypes+c.platform.kind)
		form.Set("client_assertion", token.Reveal())
	default:
		form.Set("client_id", c.clientID)
	}
	return nil
}

// assert makes a client assertion (RFC 7523 section 3, RFC 10070): for the
// issuer alone, for a minute, once.
func (c *credential) assert(now time.Time) (string, error) {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	claims, err := json.Marshal(map[string]any{
		"iss": c.clientID, "sub": c.clientID, "aud": c.issuer,
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(), "jti": base64.RawURLEncoding.EncodeToString(id),
	})
	if err != nil {
		return "", err
	}
	signed, err := c.assertion.Sign(claims)
	if err != nil {
		return "", errors.New("the client's key does not sign")
	}
	return signed.CompactSerialize()
}

func openAssertionKey(path, keyID string) (jose.Signer, error) {
	key, text, err := openPrivate(path)
	if err != nil {
		return nil, err
	}
	if keyID == "" {
		if keyID, err = keyIDOf(key, text); err != nil {
			return nil, err
		}
	}
	opts := (&jose.SignerOptions{}).WithType("client-authentication+jwt")
	return jose.NewSigner(jose.SigningKey{Algorithm: algorithmOf(key), Key: jose.JSONWebKey{Key: key, KeyID: keyID}}, opts)
}

// keyIDOf is the name that a JWK gives itself, else the thumbprint.
func keyIDOf(key crypto.Signer, text []byte) (string, error) {
	var named struct {
		KeyID string `json:"kid"`
	}
	if json.Unmarshal(text, &named) == nil && named.KeyID != "" {
		return named.KeyID, nil
	}
	return keys.Thumbprint(key.Public())
}

// algorithmOf is the one that a key of those that ParsePrivate accepts signs
// with.
func algorithmOf(key crypto.Signer) jose.SignatureAlgorithm {
	switch key.Public().(type) {
	case *ecdsa.PublicKey:
		return jose.ES256
	case ed25519.PublicKey:
		return jose.EdDSA
	}
	return jose.RS256
}

// openPrivate reads a private key that nobody but its owner and group can
// reach. The text is a secret.
func openPrivate(path string) (crypto.Signer, []byte, error) {
	if err := checkOwn(path); err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	text, err := readAtMost(f, keys.MaxKeyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	key, err := keys.ParsePrivate(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, text, nil
}

// openProofKey reads the key of DPoP proofs, or makes one. Of two that make it
// at once one wins and both use it.
func openProofKey(path string) (*proof.Signer, error) {
	key, _, err := openPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		key, _, err = openPrivate(path)
	}
	if err != nil {
		return nil, err
	}
	return proof.NewSigner(key)
}

func makeKey(path string) error {
	key, err := keys.Generate(keys.ES256)
	if err != nil {
		return err
	}
	text, err := keys.EncodePEM(key)
	if err != nil {
		return err
	}
	return writeSecret(path, text)
}
