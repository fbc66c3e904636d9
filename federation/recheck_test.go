package federation_test

import (
	"errors"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/trust/ident"
)

// A token that was verified once is held against all that may have changed.
func TestRecheck(t *testing.T) {
	t.Parallel()
	now := int64(forgeNow)
	clock := func() time.Time { return time.Unix(now, 0) }
	keys := &staticKeys{}
	v := federation.NewVerifier(keys, clock)
	u, err := federation.Peek(ident.NewRawToken(goodToken(t, goodClaims())))
	if err != nil {
		t.Fatal(err)
	}
	token, err := v.Verify(t.Context(), u, goodPeer(t), goodWant())
	if err != nil {
		t.Fatal(err)
	}
	good := goodPeer(t)
	for _, tt := range []struct {
		name  string
		peer  func(*federation.Peer)
		wants func(*federation.Want)
		at    int64
		want  error
	}{
		{"accepts while nothing changed", nil, nil, forgeNow, nil},
		{"refuses once it has expired", nil, nil, forgeNow + 240 + 31, federation.ErrExpired},
		{"refuses when the key was withdrawn", func(p *federation.Peer) { p.JWKS = keySetDoc(t, publicJWK(t, forged().p384, "k2")) }, nil, forgeNow, federation.ErrUnknownKey},
		{"refuses when another key took its kid", func(p *federation.Peer) { p.JWKS = keySetDoc(t, publicJWK(t, forged().other, "k1")) }, nil, forgeNow, federation.ErrUnknownKey},
		{"refuses when its key is no longer pinned", func(p *federation.Peer) { p.Pins = []federation.Pin{{Thumbprint: "another"}} }, nil, forgeNow, federation.ErrUnknownKey},
		{"refuses when its algorithm is no longer accepted", func(p *federation.Peer) { p.Algorithms = nil }, nil, forgeNow, federation.ErrAlgorithm},
		{"refuses under another issuer", func(p *federation.Peer) { p.Issuer = "https://other.example" }, nil, forgeNow, federation.ErrIssuer},
		{"refuses for another audience", nil, func(w *federation.Want) { w.Audiences = []string{"https://other.example"} }, forgeNow, federation.ErrAudience},
		{"refuses as another type", nil, func(w *federation.Want) { w.Types = []string{"jwt"} }, forgeNow, federation.ErrType},
		{"refuses once it is too old", func(p *federation.Peer) { p.MaxTokenAge, p.Leeway = time.Second, 0 }, nil, forgeNow, federation.ErrTooOld},
	} {
		p, w := good, goodWant()
		if tt.peer != nil {
			tt.peer(&p)
		}
		if tt.wants != nil {
			tt.wants(&w)
		}
		now = tt.at
		if err := v.Recheck(t.Context(), token, p, w); !errors.Is(err, tt.want) {
			t.Errorf("%s: got error %v, want %v", tt.name, err, tt.want)
		}
	}
	if err := v.Recheck(t.Context(), &federation.Token{}, good, goodWant()); !errors.Is(err, federation.ErrMalformed) {
		t.Errorf("a token that nobody verified: got error %v, want %v", err, federation.ErrMalformed)
	}
}
