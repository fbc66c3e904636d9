package federation_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/wire"
	"github.com/comity-auth/comity/trust/ident"
)

func saying() object {
	return object{"iss": forgeIssuer, "iat": forgeNow - 5, "exp": forgeNow + 55, "secret": "of-the-statement"}
}

func wantStatement() federation.WantStatement {
	return federation.WantStatement{Type: "feed+jwt", Limits: wire.DefaultLimits(), MaxLife: time.Minute}
}

func verifyStatement(t *testing.T, raw string, p federation.Peer, w federation.WantStatement) (*federation.Statement, error) {
	t.Helper()
	return federation.NewVerifier(&staticKeys{}, clockAt(forgeNow)).VerifyStatement(t.Context(), ident.NewRawToken(raw), p, w)
}

func TestVerifyStatement(t *testing.T) {
	t.Parallel()
	k := forged()
	typed := object{"typ": "feed+jwt", "kid": "k1"}
	good := signWith(t, jose.ES256, k.p256, typed, saying())
	peerThat := func(differs func(*federation.Peer)) federation.Peer { p := goodPeer(t); differs(&p); return p }
	large := saying().with("text", slices.Repeat([]string{strings.Repeat("x", 1000)}, 20))
	wider := wantStatement()
	wider.Limits.MaxBytes = 64 << 10
	for _, tt := range []struct {
		name string
		raw  string
		peer federation.Peer
		want federation.WantStatement
		err  error
	}{
		{"accepts without sub and aud", good, goodPeer(t), wantStatement(), nil},
		{"accepts one larger than a token where that is asked for", signWith(t, jose.ES256, k.p256, typed, large), goodPeer(t), wider, nil},
		{"refuses one larger than asked for", signWith(t, jose.ES256, k.p256, typed, large), goodPeer(t), wantStatement(), federation.ErrMalformed},
		{"refuses an access token", goodToken(t, goodClaims()), goodPeer(t), wantStatement(), federation.ErrType},
		{"refuses no typ", signWith(t, jose.ES256, k.p256, object{"kid": "k1"}, saying()), goodPeer(t), wantStatement(), federation.ErrType},
		{"refuses another issuer", signWith(t, jose.ES256, k.p256, typed, saying().with("iss", "https://evil.example")), goodPeer(t), wantStatement(), federation.ErrIssuer},
		{"refuses another key of the name", signWith(t, jose.ES256, k.other, typed, saying()), goodPeer(t), wantStatement(), federation.ErrSignature},
		{"refuses an unknown kid", signWith(t, jose.ES256, k.p256, typed.with("kid", "k9"), saying()), goodPeer(t), wantStatement(), federation.ErrUnknownKey},
		{"refuses alg none", encode64([]byte(`{"alg":"none","typ":"feed+jwt"}`)) + "." + strings.Split(good, ".")[1] + ".eA", goodPeer(t), wantStatement(), federation.ErrAlgorithm},
		{"refuses a key of its own", signWith(t, jose.ES256, k.p256, typed.with("jku", "https://evil.example"), saying()), goodPeer(t), wantStatement(), federation.ErrMalformed},
		{"refuses no iat", signWith(t, jose.ES256, k.p256, typed, saying().with("iat", nil)), goodPeer(t), wantStatement(), federation.ErrClaims},
		{"refuses no exp", signWith(t, jose.ES256, k.p256, typed, saying().with("exp", nil)), goodPeer(t), wantStatement(), federation.ErrClaims},
		{"refuses one that has expired", signWith(t, jose.ES256, k.p256, typed, saying().with("iat", forgeNow-91).with("exp", forgeNow-31)), goodPeer(t), wantStatement(), federation.ErrExpired},
		{"refuses one of the future", signWith(t, jose.ES256, k.p256, typed, saying().with("iat", forgeNow+11)), goodPeer(t), wantStatement(), federation.ErrNotYetValid},
		{"refuses a longer life", signWith(t, jose.ES256, k.p256, typed, saying().with("exp", forgeNow+56)), goodPeer(t), wantStatement(), federation.ErrLifetime},
		{"refuses a key that is not pinned", good, peerThat(func(p *federation.Peer) { p.Pins = []federation.Pin{{Thumbprint: "another"}} }), wantStatement(), federation.ErrUnknownKey},
		{"refuses an algorithm that is not accepted", good, peerThat(func(p *federation.Peer) { p.Algorithms = nil }), wantStatement(), federation.ErrAlgorithm},
		{"refuses from the zero peer", good, federation.Peer{}, wantStatement(), federation.ErrAlgorithm},
		{"refuses from a peer without issuer", good, peerThat(func(p *federation.Peer) { p.Issuer = "" }), wantStatement(), federation.ErrIssuer},
		{"refuses for the zero want", good, goodPeer(t), federation.WantStatement{}, federation.ErrMalformed},
		{"refuses where no type is asked for", signWith(t, jose.ES256, k.p256, object{"kid": "k1"}, saying()), goodPeer(t), federation.WantStatement{Limits: wire.DefaultLimits()}, federation.ErrType},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := verifyStatement(t, tt.raw, tt.peer, tt.want)
			if !errors.Is(err, tt.err) || (s == nil) != (err != nil) {
				t.Errorf("got %v, error %v, want %v", s, err, tt.err)
			}
		})
	}
}

func TestStatementSaysWhatItHolds(t *testing.T) {
	t.Parallel()
	s, err := verifyStatement(t, signWith(t, jose.ES256, forged().p256, object{"typ": "feed+jwt", "kid": "k1"}, saying()), goodPeer(t), wantStatement())
	if err != nil {
		t.Fatal(err)
	}
	if s.IssuedAt().Unix() != forgeNow-5 || s.Expires().Unix() != forgeNow+55 || s.Claims()["secret"] != "of-the-statement" {
		t.Errorf("got %v, %v and %v", s.IssuedAt(), s.Expires(), s.Claims())
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", s, s, s, *s), fmt.Sprintf("%+v", struct{ in federation.Statement }{*s}), s.LogValue().String()} {
		if strings.Contains(text, "of-the-statement") {
			t.Errorf("it prints itself: %s", text)
		}
	}
}
