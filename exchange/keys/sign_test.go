package keys_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/ident"
)

// device is a signer outside the process: it shows its public half and signs.
// With answer set it gives that instead of a signature.
type device struct {
	crypto.Signer
	answer atomic.Pointer[[]byte]
	err    error
}

func (d *device) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if a := d.answer.Load(); a != nil {
		return *a, d.err
	}
	return d.Signer.Sign(r, digest, opts)
}

func TestSignedTokensVerify(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		alg  string
		from func(*testing.T, *keys.Options)
		size int
	}{
		{"accepts a generated ES256 key", keys.ES256, nil, 64},
		{"accepts a generated EdDSA key", keys.EdDSA, nil, 64},
		{"accepts a generated RS256 key, of 3,072 bits", keys.RS256, nil, 384},
		{"accepts a key file for ES256", keys.ES256, func(t *testing.T, o *keys.Options) { o.File = pemFile(t, generate(t, o.Algorithm)) }, 64},
		{"accepts a key file for EdDSA", keys.EdDSA, func(t *testing.T, o *keys.Options) { o.File = pemFile(t, generate(t, o.Algorithm)) }, 64},
		{"accepts a key file for RS256", keys.RS256, func(t *testing.T, o *keys.Options) { o.File = pemFile(t, generate(t, o.Algorithm)) }, 256},
		{"accepts a device for ES256", keys.ES256, func(t *testing.T, o *keys.Options) { o.Signer = &device{Signer: generate(t, o.Algorithm)} }, 64},
		{"accepts a device for EdDSA", keys.EdDSA, func(t *testing.T, o *keys.Options) { o.Signer = &device{Signer: generate(t, o.Algorithm)} }, 64},
		{"accepts a device for RS256", keys.RS256, func(t *testing.T, o *keys.Options) { o.Signer = &device{Signer: generate(t, o.Algorithm)} }, 256},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			opts := options(t, tc.alg)
			if tc.from != nil {
				tc.from(t, &opts)
			}
			r := open(t, &memStore{}, opts)
			token, kid := sign(t, r)
			payload, header := verify(t, r.PublicJWKS(), token)
			if got, want := string(payload), `{"sub":"acme/agent"}`; got != want {
				t.Errorf("payload = %s, want %s", got, want)
			}
			if header.KeyID != kid || kid != r.KeyIDs()[0] {
				t.Errorf("kid: header %q, returned %q, listed first %q, want one", header.KeyID, kid, r.KeyIDs()[0])
			}
			parts := strings.Split(token.Reveal(), ".")
			if sig, err := base64.RawURLEncoding.DecodeString(parts[2]); err != nil || len(sig) != tc.size {
				t.Errorf("signature: %d bytes, %v, want %d", len(sig), err, tc.size)
			}
			var fields map[string]string
			if raw, err := base64.RawURLEncoding.DecodeString(parts[0]); err != nil {
				t.Error(err)
			} else if err := json.Unmarshal(raw, &fields); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(map[string]string{"alg": tc.alg, "kid": kid, "typ": "at+jwt"}, fields); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
		})
	}
}

// The halves of an ES256 signature keep their leading zeros. One signature in
// 128 has one, so it takes a while until one comes up.
func TestES256SignatureIsAlways64Bytes(t *testing.T) {
	t.Parallel()
	r := open(t, &memStore{}, options(t, keys.ES256))
	for range 20_000 {
		token, _ := sign(t, r)
		sig, err := base64.RawURLEncoding.DecodeString(token.Reveal()[strings.LastIndexByte(token.Reveal(), '.')+1:])
		if err != nil || len(sig) != 64 {
			t.Fatalf("signature of %d bytes, %v, want 64", len(sig), err)
		}
		if sig[0] == 0 || sig[32] == 0 {
			verify(t, r.PublicJWKS(), token)
			return
		}
	}
	t.Error("no signature with a leading zero came up")
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	r := open(t, &memStore{}, options(t, keys.ES256))
	const secret = "s3cr3t-claim"
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name   string
		ctx    context.Context
		typ    string
		claims any
		want   error
	}{
		{"rejects an empty type", t.Context(), "", map[string]any{}, keys.ErrType},
		{"rejects a type with a quote", t.Context(), `at"jwt`, map[string]any{}, keys.ErrType},
		{"rejects a type with a blank", t.Context(), "at jwt", map[string]any{}, keys.ErrType},
		{"rejects a type beyond ASCII", t.Context(), "at+jwt\u00e9", map[string]any{}, keys.ErrType},
		{"rejects a type of 65 bytes", t.Context(), strings.Repeat("a", 65), map[string]any{}, keys.ErrType},
		{"rejects no claims", t.Context(), "at+jwt", nil, keys.ErrClaims},
		{"rejects claims that are a list", t.Context(), "at+jwt", []string{secret}, keys.ErrClaims},
		{"rejects claims that are a text", t.Context(), "at+jwt", secret, keys.ErrClaims},
		{"rejects claims that do not encode", t.Context(), "at+jwt", map[string]any{secret: math.Inf(1)}, keys.ErrClaims},
		{"rejects claims in broken JSON", t.Context(), "at+jwt", json.RawMessage(`{"sub":"` + secret), keys.ErrClaims},
		{"rejects claims whose encoder quotes them", t.Context(), "at+jwt", quoter(secret), keys.ErrClaims},
		{"rejects a cancelled request", cancelled, "at+jwt", map[string]any{}, context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			token, kid, err := r.Sign(tc.ctx, tc.typ, tc.claims)
			if !errors.Is(err, tc.want) {
				t.Fatalf("Sign error = %v, want %v", err, tc.want)
			}
			if !token.IsZero() || kid != "" {
				t.Errorf("Sign gave a token or a kid beside its error")
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error quotes a claim: %v", err)
			}
		})
	}
}

// quoter is a claim set whose encoder fails and says what it holds.
type quoter string

func (q quoter) MarshalJSON() ([]byte, error) { return nil, errors.New("cannot encode " + string(q)) }

func TestSignRefusesWhatIsNoSignature(t *testing.T) {
	t.Parallel()
	order := new(big.Int).Lsh(big.NewInt(1), 256)
	half := bytes.Repeat([]byte{0x11}, 32)
	der := func(r, s *big.Int) []byte {
		b, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := der(big.NewInt(5), big.NewInt(7))
	for _, tc := range []struct {
		name   string
		alg    string
		answer []byte
	}{
		{"rejects nothing", keys.ES256, []byte{}},
		{"rejects r and s side by side", keys.ES256, append(half, half...)},
		{"rejects r = 0", keys.ES256, der(big.NewInt(0), big.NewInt(7))},
		{"rejects s = 0", keys.ES256, der(big.NewInt(5), big.NewInt(0))},
		{"rejects a negative r", keys.ES256, der(big.NewInt(-5), big.NewInt(7))},
		{"rejects r of 257 bits", keys.ES256, der(order, big.NewInt(7))},
		{"rejects s of 257 bits", keys.ES256, der(big.NewInt(5), order)},
		{"rejects a padded r", keys.ES256, []byte{0x30, 7, 2, 2, 0, 5, 2, 1, 7}},
		{"rejects an empty r", keys.ES256, []byte{0x30, 5, 2, 0, 2, 1, 7}},
		{"rejects a missing s", keys.ES256, []byte{0x30, 3, 2, 1, 5}},
		{"rejects a third number", keys.ES256, []byte{0x30, 9, 2, 1, 5, 2, 1, 7, 2, 1, 9}},
		{"rejects bytes behind the sequence", keys.ES256, append(good, 0)},
		{"rejects a number longer than the rest", keys.ES256, []byte{0x30, 6, 2, 33, 5, 2, 1, 7}},
		{"rejects a long-form length", keys.ES256, []byte{0x30, 0x81, 6, 2, 1, 5, 2, 1, 7}},
		{"rejects 63 bytes for EdDSA", keys.EdDSA, bytes.Repeat([]byte{1}, 63)},
		{"rejects 255 bytes for RS256", keys.RS256, bytes.Repeat([]byte{1}, 255)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := &device{Signer: generate(t, tc.alg)}
			opts := options(t, tc.alg)
			opts.Signer = d
			r := open(t, &memStore{}, opts)
			d.answer.Store(&tc.answer)
			if token, _, err := r.Sign(t.Context(), "at+jwt", map[string]any{}); !errors.Is(err, keys.ErrSignature) || !token.IsZero() {
				t.Errorf("Sign error = %v, want ErrSignature and no token", err)
			}
		})
	}
}

func TestSignReportsWhatTheDeviceReports(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{keys.ES256, keys.EdDSA, keys.RS256} {
		d := &device{Signer: generate(t, alg), err: errDown}
		opts := options(t, alg)
		opts.Signer = d
		r := open(t, &memStore{}, opts)
		d.answer.Store(new([]byte))
		if _, _, err := r.Sign(t.Context(), "at+jwt", map[string]any{}); !errors.Is(err, errDown) {
			t.Errorf("%s: Sign error = %v, want the device's", alg, err)
		}
	}
}

// Every type gets its own header, also beyond those that are remembered.
func TestHeadersOfManyTypes(t *testing.T) {
	t.Parallel()
	r := open(t, &memStore{}, options(t, keys.EdDSA))
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			typ := fmt.Sprintf("type-%d", i)
			for range 2 {
				token, _, err := r.Sign(t.Context(), typ, struct{}{})
				if err != nil {
					t.Error(err)
					return
				}
				if _, header := verify(t, r.PublicJWKS(), token); header.ExtraHeaders["typ"] != typ {
					t.Errorf("typ = %v, want %s", header.ExtraHeaders["typ"], typ)
				}
			}
		})
	}
	wg.Wait()
}

// RV-20: a rotation under load loses no token; each verifies in the set that is
// served when it arrives.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	store, opts := &memStore{}, options(t, keys.ES256)
	r := open(t, store, opts)
	first := r.KeyIDs()[0]
	next := sealed(t, opts.Seal, generate(t, keys.ES256), trust.KeyPublished)
	store.add(next)
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	tokens := make(chan ident.RawToken)
	var signers sync.WaitGroup
	for range 4 {
		signers.Go(func() {
			for range 50 {
				token, _, err := r.Sign(t.Context(), "at+jwt", struct{}{})
				if err != nil {
					t.Error(err)
					return
				}
				tokens <- token
			}
		})
	}
	go func() { signers.Wait(); close(tokens) }()
	seen, got := map[string]bool{}, 0
	for token := range tokens {
		_, header := verify(t, r.PublicJWKS(), token)
		seen[header.KeyID] = true
		if got++; got == 50 {
			store.edit(func(rs []trust.KeyRecord) []trust.KeyRecord {
				for i := range rs {
					switch rs[i].ID {
					case first:
						rs[i].State = trust.KeyRetiring
					case next.ID:
						rs[i].State = trust.KeyActive
					}
				}
				return rs
			})
			if err := r.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !seen[first] || !seen[next.ID] || got != 200 {
		t.Errorf("%d tokens, by first key %v, by next key %v, want 200 and both", got, seen[first], seen[next.ID])
	}
}
