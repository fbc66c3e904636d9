package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/trust/ident"
	jose "github.com/go-jose/go-jose/v4"
)

// leeway is granted on a token's times.
const leeway = 10 * time.Second

// readable are the algorithms that a token may be verified with. The header
// chooses among them; that is safe because a key fits one kind only.
var readable = []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.ES512, jose.EdDSA, jose.PS256, jose.PS384, jose.PS512,
	jose.RS256, jose.RS384, jose.RS512}

// verification is what a token is held against.
type verification struct{ jwks, issuer, audience, caFile string }

func (v *verification) wanted() bool { return v.jwks != "" || v.issuer != "" }

func (v *verification) check() error {
	if v.audience != "" && !v.wanted() {
		return usageError("--audience needs --issuer or --jwks: without a signature it proves nothing")
	}
	if v.issuer != "" {
		if _, err := ident.ParseIssuer(v.issuer); err != nil {
			return usageError("--issuer: %v", err)
		}
	}
	return nil
}

// prove verifies the signature and returns the thumbprint of the key.
func (v *verification) prove(ctx context.Context, text string) (string, error) {
	signed, err := jose.ParseSignedCompact(text, readable)
	if err != nil {
		return "", errors.New("it is not signed with an algorithm for public keys")
	}
	set, err := v.keys(ctx)
	if err != nil {
		return "", err
	}
	header := signed.Signatures[0].Protected
	key, err := set.Find(header.KeyID, jose.SignatureAlgorithm(header.Algorithm))
	if err != nil {
		return "", errors.New("none of the keys is the one it names")
	}
	if _, err := signed.Verify(key.Public); err != nil {
		return "", errors.New("the signature is wrong")
	}
	return key.Thumbprint, nil
}

// keys reads the key set: the one that was named, else the issuer's.
func (v *verification) keys(ctx context.Context) (*federation.KeySet, error) {
	source := v.jwks
	web, err := newWeb(v.caFile)
	if err != nil {
		return nil, err
	}
	defer web.close()
	if source == "" {
		about, err := web.discover(ctx, v.issuer)
		if err != nil {
			return nil, err
		}
		if source, err = about.url("jwks_uri", about.JWKSURI); err != nil {
			return nil, err
		}
	}
	doc, err := readKeySet(ctx, web, source)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	set, _, err := federation.ParseKeySet(doc)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	return set, nil
}

func readKeySet(ctx context.Context, w *web, source string) ([]byte, error) {
	if !strings.Contains(source, "://") {
		f, err := os.Open(source)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readAtMost(f, maxAnswer)
	}
	a, err := w.get(ctx, source)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("%s answered with status %d", visible(source), a.status)
	}
	return a.body, nil
}

// claims holds the claims of a token with a good signature against what is
// wanted of them.
func (v *verification) claims(c object, now time.Time) error {
	expires, ok := instant(c["exp"])
	switch {
	case v.issuer != "" && c["iss"] != v.issuer:
		return errors.New("it is from another issuer")
	case v.audience != "" && !addressedTo(c["aud"], v.audience):
		return errors.New("it is for another audience")
	case !ok:
		return errors.New("it does not say until when it is valid")
	case !now.Before(expires.Add(leeway)):
		return errors.New("it has expired")
	}
	if c["nbf"] != nil {
		if from, ok := instant(c["nbf"]); !ok || now.Before(from.Add(-leeway)) {
			return errors.New("it is not valid yet")
		}
	}
	return nil
}

func addressedTo(aud any, want string) bool {
	list, ok := aud.([]any)
	if !ok {
		return aud == want
	}
	return slices.Contains(list, any(want))
}
