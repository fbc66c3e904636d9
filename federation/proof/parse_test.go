package proof_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust/ident"
)

func refused(t *testing.T, text string, w proof.Want) {
	t.Helper()
	refusedAll(t, []string{text}, w)
}

func refusedAll(t *testing.T, texts []string, w proof.Want) {
	t.Helper()
	p, err := proof.Parse(texts, w)
	if !errors.Is(err, proof.ErrProof) {
		t.Errorf("Parse error = %v, want ErrProof", err)
	}
	if !p.IsZero() {
		t.Errorf("a refused proof left %+v", p)
	}
}

func TestRFC9449Examples(t *testing.T) {
	t.Parallel()
	const (
		jkt   = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
		head  = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
		token = head + ".eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
		guard = head + ".eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
	)
	w := want()
	w.URLs, w.Now = []string{"https://server.example.com/token"}, time.Unix(1562262616, 0)
	p, err := proof.Parse([]string{token}, w)
	if err != nil {
		t.Fatal(err)
	}
	if p.JKT() != jkt || p.ID() != "-BwC3ESc6acc2lTc" || p.IssuedAt().Unix() != 1562262616 {
		t.Errorf("got jkt %q, jti %q, iat %d", p.JKT(), p.ID(), p.IssuedAt().Unix())
	}

	w = proof.Want{
		Method: "GET", URLs: []string{"https://resource.example.org/protectedresource"}, Now: time.Unix(1562262618, 0),
		Window: proof.Window, Algorithms: []string{"ES256"},
		AccessToken: ident.NewRawToken("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"),
	}
	if p, err = proof.Parse([]string{guard}, w); err != nil || p.JKT() != jkt {
		t.Errorf("protected resource: jkt %q, error %v", p.JKT(), err)
	}
	w.AccessToken = ident.NewRawToken("another")
	refused(t, guard, w)
}

func TestDP01AcceptsValidProofs(t *testing.T) {
	t.Parallel()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p256, p384 := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384())
	tests := []struct {
		alg string
		key crypto.Signer
		jwk object
	}{
		{"ES256", p256, ecJWK(t, p256)},
		{"ES384", p384, ecJWK(t, p384)},
		{"EdDSA", ed, object{"kty": "OKP", "crv": "Ed25519", "x": b64(ed.Public().(ed25519.PublicKey))}},
		{"RS256", rs, rsaJWK(rs)},
		{"PS256", rs, rsaJWK(rs)},
	}
	for _, tt := range tests {
		t.Run(tt.alg, func(t *testing.T) {
			t.Parallel()
			p, err := proof.Parse([]string{forge(t, tt.key, header(tt.alg, tt.jwk), claims(nil))}, want())
			if err != nil {
				t.Fatal(err)
			}
			jkt, err := proof.Thumbprint(tt.key.Public())
			if err != nil {
				t.Fatal(err)
			}
			onceKey, onceID := p.OnceKey()
			if p.JKT() != jkt || p.ID() != "id-1" || onceKey != jkt || onceID != "id-1" || p.Algorithm() != tt.alg {
				t.Errorf("got %+v, want thumbprint %q", p, jkt)
			}
			if want := noon().Add(proof.Window + proof.Ahead); !p.Expires().Equal(want) {
				t.Errorf("Expires = %v, want %v", p.Expires(), want)
			}
			if p.Confirmation() != (proof.Confirmation{JKT: jkt}) {
				t.Errorf("Confirmation = %+v", p.Confirmation())
			}
			// One bit of the signature, anywhere, is enough to refuse.
			good := forge(t, tt.key, header(tt.alg, tt.jwk), claims(nil))
			flipped := []byte(good)
			flipped[strings.LastIndexByte(good, '.')+1] ^= 2
			refused(t, string(flipped), want())
		})
	}
}

func TestDP01ThumbprintIsOverRequiredMembersOnly(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	jkt, err := proof.Thumbprint(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	jwk := with(ecJWK(t, k), object{"kid": "mine", "x5c": []string{"MIIB"}, "use": "sig", "alg": "ES256", "key_ops": []string{"verify"}})
	p, err := proof.Parse([]string{forge(t, k, header("ES256", jwk), claims(nil))}, want())
	if err != nil || p.JKT() != jkt {
		t.Errorf("got %q, error %v, want %q", p.JKT(), err, jkt)
	}
}

func TestDP02WantsExactlyOneProof(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	good := forge(t, k, header("ES256", ecJWK(t, k)), claims(nil))
	other := forge(t, k, header("ES256", ecJWK(t, k)), claims(object{"jti": "id-2"}))
	for name, headers := range map[string][]string{
		"two headers":         {good, other},
		"one header twice":    {good, good},
		"a header and empty":  {good, ""},
		"two joined by comma": {good + "," + other},
		"two with blank":      {good + ", " + other},
		"a trailing comma":    {good + ","},
		"an empty header":     {""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refusedAll(t, headers, want())
		})
	}
}

// DP-24: that there is no proof is told apart, for clients that must bring one.
func TestDP24MissingProof(t *testing.T) {
	t.Parallel()
	refusedAll(t, nil, want())
	if _, err := proof.Parse(nil, want()); !errors.Is(err, proof.ErrMissing) {
		t.Errorf("without a header: %v, want ErrMissing", err)
	}
	if _, err := proof.Parse([]string{""}, want()); errors.Is(err, proof.ErrMissing) {
		t.Error("an empty header counts as none")
	}
}

func TestDP03Header(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	good := header("ES256", ecJWK(t, k))
	for name, h := range map[string]object{
		"typ missing":              with(good, object{"typ": nil}),
		"typ JWT":                  with(good, object{"typ": "JWT"}),
		"typ at+jwt":               with(good, object{"typ": "at+jwt"}),
		"typ a number":             with(good, object{"typ": 1}),
		"typ with a suffix":        with(good, object{"typ": "dpop+jwt;x"}),
		"alg missing":              with(good, object{"alg": nil}),
		"alg none":                 with(good, object{"alg": "none"}),
		"alg None":                 with(good, object{"alg": "None"}),
		"alg HS256":                with(good, object{"alg": "HS256"}),
		"alg in lower case":        with(good, object{"alg": "es256"}),
		"alg of another curve":     with(good, object{"alg": "ES384"}),
		"alg of another kind":      with(good, object{"alg": "RS256"}),
		"alg not advertised":       with(good, object{"alg": "ES512"}),
		"critical extension":       with(good, object{"crit": []string{"x"}, "x": 1}),
		"unencoded payload option": with(good, object{"b64": false}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, forge(t, k, h, claims(nil)), want())
		})
	}
	signed := forge(t, k, good, claims(nil))
	for name, text := range map[string]string{
		"not a JWT":          "proof",
		"two parts":          signed[:strings.LastIndexByte(signed, '.')],
		"no signature":       signed[:strings.LastIndexByte(signed, '.')+1],
		"five parts":         signed + ".a.b",
		"padded":             signed + "==",
		"claims an array":    forge(t, k, good, []int{1}),
		"header an array":    forge(t, k, []int{1}, claims(nil)),
		"beyond 8 KiB":       forge(t, k, good, claims(object{"x": strings.Repeat("a", 8<<10)})),
		"with Bearer before": "Bearer " + signed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, text, want())
		})
	}
}

func TestDP03AlgorithmMustBeAdvertised(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	good := forge(t, k, header("ES256", ecJWK(t, k)), claims(nil))
	for name, list := range map[string][]string{"none": nil, "others": {"EdDSA", "PS256"}} {
		w := want()
		w.Algorithms = list
		if _, err := proof.Parse([]string{good}, w); !errors.Is(err, proof.ErrProof) {
			t.Errorf("with %s advertised: %v, want ErrProof", name, err)
		}
	}
	// Naming an algorithm that is symmetric or unsigned does not switch it on.
	w := want()
	w.Algorithms = []string{"none", "HS256"}
	for _, alg := range w.Algorithms {
		refused(t, forge(t, k, header(alg, object{"kty": "oct", "k": "c2VjcmV0"}), claims(nil)), w)
		refused(t, forge(t, k, header(alg, ecJWK(t, k)), claims(nil)), w)
	}
}

// A typ is a media type, so its letters have no case and application/ may lead.
func TestTypeIsAMediaType(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	for _, typ := range []string{"DPoP+JWT", "application/dpop+jwt"} {
		h := with(header("ES256", ecJWK(t, k)), object{"typ": typ})
		if _, err := proof.Parse([]string{forge(t, k, h, claims(nil))}, want()); err != nil {
			t.Errorf("typ %q: %v", typ, err)
		}
	}
}

func TestDP05RequiredClaims(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	h := header("ES256", ecJWK(t, k))
	for _, name := range []string{"jti", "htm", "htu", "iat"} {
		for kind, value := range map[string]any{"missing": nil, "an array": []string{"POST"}, "an object": object{}, "true": true, "empty": ""} {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				refused(t, forge(t, k, h, claims(object{name: value})), want())
			})
		}
	}
}

func TestDP06Signature(t *testing.T) {
	t.Parallel()
	k, other := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
	h := header("ES256", ecJWK(t, k))
	good := forge(t, k, h, claims(nil))
	at := strings.LastIndexByte(good, '.')
	for name, text := range map[string]string{
		"signed by another key":        forge(t, other, h, claims(nil)),
		"signature of other claims":    encode(t, h) + "." + encode(t, claims(object{"jti": "x"})) + good[at:],
		"signature of zeros":           good[:at+1] + b64(make([]byte, 64)),
		"signature too short":          good[:at+1] + b64(make([]byte, 63)),
		"signature too long":           good[:at+1] + b64(make([]byte, 65)),
		"signature in ASN.1":           good[:at+1] + b64(asn1Signature(t, k, good[:at])),
		"signature with trailing bits": good[:len(good)-1] + "_",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, text, want())
		})
	}
}

func asn1Signature(t *testing.T, k crypto.Signer, input string) []byte {
	t.Helper()
	sum := sum256(input)
	der, err := k.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func FuzzParse(f *testing.F) {
	k := ecKey(f, elliptic.P256())
	good := forge(f, k, header("ES256", ecJWK(f, k)), claims(nil))
	f.Add(good)
	f.Add(good + "," + good)
	f.Add(forge(f, k, header("ES256", with(ecJWK(f, k), object{"d": "AA"})), claims(nil)))
	f.Add(forge(f, k, header("RS256", object{"kty": "RSA", "n": "AQAB", "e": "AQAB"}), claims(nil)))
	f.Add(forge(f, k, header("EdDSA", object{"kty": "OKP", "crv": "Ed25519", "x": b64(make([]byte, 32))}), claims(nil)))
	f.Add("..")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := proof.Parse([]string{text}, want())
		if err == nil {
			if p.IsZero() || len(p.JKT()) != 43 || p.ID() == "" || len(p.ID()) > 256 || p.Expires().Before(noon()) {
				t.Errorf("accepted as %+v", p)
			}
			return
		}
		if !errors.Is(err, proof.ErrProof) || !p.IsZero() {
			t.Errorf("got %+v, error %v", p, err)
		}
	})
}
