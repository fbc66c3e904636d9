package proof_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust/ident"
)

func TestSignerMakesWhatParseAccepts(t *testing.T) {
	t.Parallel()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for alg, k := range map[string]crypto.Signer{
		"ES256": ecKey(t, elliptic.P256()), "ES384": ecKey(t, elliptic.P384()), "EdDSA": ed, "RS256": rs,
	} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			s, err := proof.NewSigner(k)
			if err != nil {
				t.Fatal(err)
			}
			w := want()
			w.AccessToken, w.NoAccessToken = ident.NewRawToken("token"), false
			w.Nonce = func(n string) bool { return n == "n-1" }
			seen := map[string]bool{}
			for range 20 { // halves of a signature are short now and then
				text, err := s.Proof("POST", tokenURL+"?q=1#f", proof.Options{Now: noon(), AccessToken: w.AccessToken, Nonce: "n-1"})
				if err != nil {
					t.Fatal(err)
				}
				p, err := proof.Parse([]string{text}, w)
				if err != nil {
					t.Fatal(err)
				}
				if p.JKT() != s.JKT() || p.Algorithm() != alg || s.Algorithm() != alg {
					t.Errorf("got %q by %s, want %q by %s", p.JKT(), p.Algorithm(), s.JKT(), alg)
				}
				seen[p.ID()] = true
			}
			if len(seen) != 20 {
				t.Errorf("%d different ids in 20 proofs", len(seen))
			}
		})
	}
}

// A proof goes over a real connection as one header.
func TestProofOverHTTP(t *testing.T) {
	t.Parallel()
	s, err := proof.GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		need := proof.Want{
			Method: r.Method, URLs: []string{"http://" + r.Host + r.URL.Path}, Now: noon(),
			Window: proof.Window, Algorithms: []string{"ES256"}, NoAccessToken: true,
		}
		p, err := proof.Parse(r.Header.Values("DPoP"), need)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		io.WriteString(w, p.JKT())
	}))
	t.Cleanup(server.Close)
	send := func(proofs ...string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/token?x=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range proofs {
			r.Header.Add("DPoP", p)
		}
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	text, err := s.Proof("POST", server.URL+"/token", proof.Options{Now: noon()})
	if err != nil {
		t.Fatal(err)
	}
	if code, body := send(text); code != http.StatusOK || body != s.JKT() {
		t.Errorf("one proof: %d %s", code, body)
	}
	if code, body := send(text, text); code != http.StatusBadRequest {
		t.Errorf("two proofs: %d %s", code, body)
	}
	if code, body := send(); code != http.StatusBadRequest {
		t.Errorf("no proof: %d %s", code, body)
	}
}

func TestSignerRefusesKeys(t *testing.T) {
	t.Parallel()
	if _, err := proof.NewSigner(nil); !errors.Is(err, proof.ErrKey) {
		t.Errorf("without a key: %v, want ErrKey", err)
	}
	if _, err := proof.NewSigner(ecKey(t, elliptic.P521())); !errors.Is(err, proof.ErrKey) {
		t.Errorf("P-521: %v, want ErrKey", err)
	}
}

func TestSignerRefusesRequests(t *testing.T) {
	t.Parallel()
	s, err := proof.GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]string{{"", tokenURL}, {"POST", ""}, {"POST", "/token"}, {"POST", "ftp://a/b"}, {"POST", "https://?x"}} {
		if text, err := s.Proof(r[0], r[1], proof.Options{}); err == nil || text != "" {
			t.Errorf("Proof(%q, %q) = %q, want an error", r[0], r[1], text)
		}
	}
}

// strange is a key service that does not answer as it should.
type strange struct {
	*ecdsa.PrivateKey
	answer []byte
	err    error
}

func (s strange) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return s.answer, s.err }

func TestSignerSurvivesStrangeKeys(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	down := errors.New("key service is down")
	for name, s := range map[string]strange{
		"an error":                  {k, nil, down},
		"nothing":                   {k, nil, nil},
		"no ASN.1":                  {k, []byte("signature"), nil},
		"trailing data":             {k, append(asn1Signature(t, k, "x"), 0), nil},
		"halves of another curve":   {k, asn1Signature(t, ecKey(t, elliptic.P521()), "x"), nil},
		"a negative half":           {k, []byte{0x30, 6, 2, 1, 0xff, 2, 1, 1}, nil},
		"a signature of other data": {k, asn1Signature(t, k, "x"), nil},
	} {
		signer, err := proof.NewSigner(s)
		if err != nil {
			t.Fatal(err)
		}
		text, err := signer.Proof("POST", tokenURL, proof.Options{Now: noon()})
		if name == "a signature of other data" {
			refused(t, text, want())
			continue
		}
		if err == nil || text != "" || s.err != nil && !errors.Is(err, down) {
			t.Errorf("%s: %q, error %v", name, text, err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	s, err := proof.GenerateSigner()
	if err != nil {
		b.Fatal(err)
	}
	text, err := s.Proof("POST", tokenURL, proof.Options{Now: noon()})
	if err != nil {
		b.Fatal(err)
	}
	headers, w := []string{text}, want()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := proof.Parse(headers, w); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareVerify is what of BenchmarkParse cannot be saved.
func BenchmarkBareVerify(b *testing.B) {
	k := ecKey(b, elliptic.P256())
	sum := sha256.Sum256([]byte("x"))
	r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	rb, sb := r.Bytes(), s.Bytes()
	b.ReportAllocs()
	for b.Loop() {
		if !ecdsa.Verify(&k.PublicKey, sum[:], new(big.Int).SetBytes(rb), new(big.Int).SetBytes(sb)) {
			b.Fatal("wrong")
		}
	}
}

func BenchmarkRefuseEarly(b *testing.B) {
	headers, w := []string{"eyJhbGciOiJFUzI1NiJ9.e30.AA"}, want()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := proof.Parse(headers, w); err == nil {
			b.Fatal("accepted")
		}
	}
}

func BenchmarkMake(b *testing.B) {
	s, err := proof.GenerateSigner()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Proof("POST", tokenURL, proof.Options{Now: noon()}); err != nil {
			b.Fatal(err)
		}
	}
}
