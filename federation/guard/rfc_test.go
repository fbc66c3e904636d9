package guard_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/guard/route"
)

// RFC 9068 section 3, the example access token: header and claims as printed
// there, signed with a key of the kind it names.
func TestRFC9068Example(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "RjEwOwOA"}}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key},
		&jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{"typ": "at+JWT", "kid": "RjEwOwOA"}})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign([]byte(`{
     "iss": "https://authorization-server.example.com/",
     "sub": "5ba552d67",
     "aud":   "https://rs.example.com/",
     "exp": 1639528912,
     "iat": 1618354090,
     "jti" : "dbe39bf3a3ba4238a513f51d6e1691c4",
     "client_id": "s6BhdRkqt3",
     "scope": "openid profile reademail"
   }`))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1618354090, 0)
	o := guard.Options{
		Audience: "https://rs.example.com/", MaxTokenAge: 365 * 24 * time.Hour, Now: func() time.Time { return at },
		Issuers: []guard.Issuer{{Issuer: "https://authorization-server.example.com/", JWKS: set, InsecureNoRevocations: true}},
		Routes:  []route.Spec{{Match: "GET /search", Scope: "reademail"}, {Match: "GET /reports", Scope: "email"}},
	}
	w := middleware(t, o)
	seen := w.wantAdmitted(t, w.get("/search", token))
	if g := seen.Grant; g.Subject != "5ba552d67" || g.ClientID != "s6BhdRkqt3" || g.TokenID != "dbe39bf3a3ba4238a513f51d6e1691c4" ||
		g.Scopes.String() != "openid profile reademail" || g.Expires.Unix() != 1639528912 {
		t.Errorf("grant %+v", g)
	}
	w.wantRefused(t, w.get("/reports", token), 403, "insufficient_scope")
	at = time.Unix(1639528912, 0)
	w.wantRefused(t, w.get("/search", token), 401, "invalid_token")
}
