package proof_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"

	"github.com/comity-auth/comity/federation/proof"
)

func TestRFC7638Example(t *testing.T) {
	t.Parallel()
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	modulus, err := base64.RawURLEncoding.DecodeString(n)
	if err != nil {
		t.Fatal(err)
	}
	got, err := proof.Thumbprint(&rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537})
	if want := "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"; err != nil || got != want {
		t.Errorf("Thumbprint = %q, error %v, want %q", got, err, want)
	}
}

// RFC 8037 appendix A.3.
func TestRFC8037Example(t *testing.T) {
	t.Parallel()
	x, err := base64.RawURLEncoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	got, err := proof.Thumbprint(ed25519.PublicKey(x))
	if want := "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"; err != nil || got != want {
		t.Errorf("Thumbprint = %q, error %v, want %q", got, err, want)
	}
}

func TestDP04RefusesJWK(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	good := ecJWK(t, k)
	x, y := good["x"].(string), good["y"].(string)
	scalar, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, jwk := range map[string]any{
		"missing":                nil,
		"null":                   []any{nil}[0],
		"a string":               "key",
		"a list":                 []any{good},
		"empty":                  object{},
		"with d":                 with(good, object{"d": b64(scalar)}),
		"with an empty d":        with(good, object{"d": ""}),
		"with d that is a list":  with(good, object{"d": []int{}}),
		"with p":                 with(good, object{"p": "AQ"}),
		"with oth":               with(good, object{"oth": []int{}}),
		"with k":                 with(good, object{"k": "AQ"}),
		"oct":                    object{"kty": "oct", "k": "c2VjcmV0"},
		"oct without k":          object{"kty": "oct"},
		"kty missing":            with(good, object{"kty": nil}),
		"kty in lower case":      with(good, object{"kty": "ec"}),
		"kty OKP":                with(good, object{"kty": "OKP"}),
		"crv missing":            with(good, object{"crv": nil}),
		"crv of another curve":   with(good, object{"crv": "P-384"}),
		"crv secp256k1":          with(good, object{"crv": "secp256k1"}),
		"x missing":              with(good, object{"x": nil}),
		"y missing":              with(good, object{"y": nil}),
		"y a number":             with(good, object{"y": 7}),
		"point off the curve":    with(good, object{"y": x}),
		"point swapped":          with(good, object{"x": y, "y": x}),
		"point at zero":          with(good, object{"x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}),
		"x beyond the field":     with(good, object{"x": b64([]byte(strings.Repeat("\xff", 32)))}),
		"x with a leading zero":  with(good, object{"x": "AA" + x}),
		"x padded":               with(good, object{"x": x + "="}),
		"x with trailing bits":   with(good, object{"x": bump(x)}),
		"x with a line end":      with(good, object{"x": x[:10] + "\n" + x[10:]}),
		"x in the wrong letters": with(good, object{"x": strings.Repeat("+", 43)}),
		"x one byte short":       with(good, object{"x": b64(make([]byte, 31))}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := with(header("ES256", good), object{"jwk": jwk})
			if name == "null" {
				h["jwk"] = nil
			}
			refused(t, forge(t, k, h, claims(nil)), want())
		})
	}
}

// bump sets a bit behind the last byte of a base64url text.
func bump(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, s[len(s)-1])
	return s[:len(s)-1] + string(alphabet[last|1])
}

func TestDP04RefusesRSA(t *testing.T) {
	t.Parallel()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := rsaJWK(k)
	big8200 := make([]byte, 1025)
	big8200[0], big8200[1024] = 0xff, 1
	for name, changes := range map[string]object{
		"n missing":             {"n": nil},
		"n empty":               {"n": ""},
		"n of 2047 bits":        {"n": b64(append([]byte{0x7f}, k.N.Bytes()[1:]...))},
		"n of 1024 bits":        {"n": b64(k.N.Bytes()[128:])},
		"n of 8200 bits":        {"n": b64(big8200)},
		"n with a leading zero": {"n": b64(append([]byte{0}, k.N.Bytes()...))},
		"n even":                {"n": b64(append(k.N.Bytes()[:255], 2))},
		"n padded":              {"n": good["n"].(string) + "=="},
		"e missing":             {"e": nil},
		"e empty":               {"e": ""},
		"e one":                 {"e": "AQ"},
		"e three":               {"e": "Aw"},
		"e even":                {"e": b64([]byte{1, 0, 2})},
		"e 65535":               {"e": b64([]byte{0xff, 0xff})},
		"e with a leading zero": {"e": b64([]byte{0, 1, 0, 1})},
		"e of 32 bits":          {"e": b64([]byte{0x80, 0, 0, 1})},
		"e of 64 bits":          {"e": b64([]byte{0x40, 0, 0, 0, 0, 0, 0, 1})},
		"e with trailing bits":  {"e": "AQAC"},
		"with d":                {"d": "AQ"},
		"with dp":               {"dp": "AQ"},
		"with dq":               {"dq": "AQ"},
		"with qi":               {"qi": "AQ"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, alg := range []string{"RS256", "PS256"} {
				refused(t, forge(t, k, header(alg, with(good, changes)), claims(nil)), want())
			}
		})
	}
	// One RSA scheme does not pass for the other.
	h := header("RS256", good)
	input := encode(t, h) + "." + encode(t, claims(nil))
	refused(t, input+"."+b64(signature(t, k, "PS256", input)), want())
}

// Points of small order are public keys without a private one: anybody can
// make their signatures, so a token bound to one is bound to nobody.
func TestDP04RefusesWeakEd25519(t *testing.T) {
	t.Parallel()
	one := make([]byte, 32)
	one[0] = 1
	h := header("EdDSA", object{"kty": "OKP", "crv": "Ed25519", "x": b64(one)})
	input := encode(t, h) + "." + encode(t, claims(nil))
	forged := append(one, make([]byte, 32)...)
	if !ed25519.Verify(one, []byte(input), forged) {
		t.Fatal("the forgery that this test is about does not work")
	}
	refused(t, input+"."+b64(forged), want())

	for _, point := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000080",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	} {
		x, err := hex.DecodeString(point)
		if err != nil {
			t.Fatal(err)
		}
		h := header("EdDSA", object{"kty": "OKP", "crv": "Ed25519", "x": b64(x)})
		_, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		text := forge(t, k, h, claims(nil))
		refused(t, text, want())
		if _, err := proof.Parse([]string{text}, want()); !strings.Contains(err.Error(), "not a valid key") {
			t.Errorf("%s: %v, want the key refused before the signature", point, err)
		}
		if _, err := proof.Thumbprint(ed25519.PublicKey(x)); err == nil {
			t.Errorf("%s has a thumbprint", point)
		}
	}
}

func TestDP04RefusesOtherOKP(t *testing.T) {
	t.Parallel()
	public, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := object{"kty": "OKP", "crv": "Ed25519", "x": b64(public)}
	for name, changes := range map[string]object{
		"crv X25519":         {"crv": "X25519"},
		"crv Ed448":          {"crv": "Ed448"},
		"x missing":          {"x": nil},
		"x of 31 bytes":      {"x": b64(public[:31])},
		"x of 33 bytes":      {"x": b64(append(public[:32:32], 0))},
		"with d":             {"d": b64(k.Seed())},
		"kty EC":             {"kty": "EC"},
		"x of trailing bits": {"x": bump(b64(public))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, forge(t, k, header("EdDSA", with(good, changes)), claims(nil)), want())
		})
	}
}

func TestThumbprintRefusesOtherKeys(t *testing.T) {
	t.Parallel()
	for name, k := range map[string]crypto.PublicKey{
		"nothing":         nil,
		"P-224":           ecKey(t, elliptic.P224()).Public(),
		"P-521":           ecKey(t, elliptic.P521()).Public(),
		"short Ed25519":   ed25519.PublicKey{1, 2},
		"RSA without n":   &rsa.PublicKey{E: 65537},
		"RSA of 64 bits":  &rsa.PublicKey{N: big.NewInt(1<<62 + 1), E: 65537},
		"symmetric bytes": []byte("secret"),
	} {
		if got, err := proof.Thumbprint(k); err == nil || got != "" {
			t.Errorf("%s: %q, error %v, want refused", name, got, err)
		}
	}
}

// Only the last few encodings below 2^255 are no keys, not all that end alike.
func TestEd25519KeysNearTheEndOfTheField(t *testing.T) {
	t.Parallel()
	x := []byte(strings.Repeat("\xff", 32))
	x[15], x[31] = 0xfe, 0x7f
	if got, err := proof.Thumbprint(ed25519.PublicKey(x)); err != nil || len(got) != 43 {
		t.Errorf("Thumbprint = %q, error %v", got, err)
	}
}
