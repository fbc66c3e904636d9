package keys_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/comity-auth/comity/exchange/keys"
)

// What a device answers is taken if and only if it is the one DER form of two
// positive numbers of at most 256 bits, and then the token holds those numbers.
func FuzzES256Signature(f *testing.F) {
	d := &device{Signer: generate(f, keys.ES256)}
	opts := options(f, keys.ES256)
	opts.Signer = d
	r := open(f, &memStore{}, opts)
	type pair struct{ R, S *big.Int }
	top := new(big.Int).Lsh(big.NewInt(1), 255)
	for _, p := range []pair{{big.NewInt(1), big.NewInt(2)}, {top, big.NewInt(0x80)}, {top, top}, {big.NewInt(0), top}} {
		f.Add(must(asn1.Marshal(p)))
	}
	f.Add([]byte{0x30, 7, 2, 2, 0, 5, 2, 1, 7})
	f.Fuzz(func(t *testing.T, answer []byte) {
		d.answer.Store(&answer)
		token, _, err := r.Sign(t.Context(), "at+jwt", struct{}{})
		var want pair
		_, derErr := asn1.Unmarshal(answer, &want)
		valid := derErr == nil && bytes.Equal(must(asn1.Marshal(want)), answer) &&
			want.R.Sign() > 0 && want.S.Sign() > 0 && want.R.BitLen() <= 256 && want.S.BitLen() <= 256
		if valid != (err == nil) || err != nil && !errors.Is(err, keys.ErrSignature) {
			t.Fatalf("Sign error = %v for %x, valid = %v", err, answer, valid)
		}
		if !valid {
			return
		}
		parts := strings.Split(token.Reveal(), ".")
		got := must(base64.RawURLEncoding.DecodeString(parts[2]))
		if exp := append(want.R.FillBytes(make([]byte, 32)), want.S.FillBytes(make([]byte, 32))...); !bytes.Equal(got, exp) {
			t.Errorf("signature %x, want %x", got, exp)
		}
	})
}
