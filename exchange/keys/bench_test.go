package keys_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/trust/audit"
)

// accessToken is a claim set as an exchange across domains makes it.
type accessToken struct {
	Issuer   string            `json:"iss"`
	Subject  string            `json:"sub"`
	Audience string            `json:"aud"`
	Expires  int64             `json:"exp"`
	Issued   int64             `json:"iat"`
	ID       string            `json:"jti"`
	Client   string            `json:"client_id"`
	Scope    string            `json:"scope"`
	Confirm  map[string]string `json:"cnf"`
	Lineage  []string          `json:"lineage"`
}

func claims() *accessToken {
	return &accessToken{"https://broker.globex.example", "acme/8f1c2f0e6b9d4e2a", "https://archive.globex.example",
		1800000300, 1800000000, "6f0d3c1b2a4958677685940312233445", "acme-agent", "archive.read archive.search",
		map[string]string{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"},
		[]string{"q1w2e3r4t5y6u7i8", "a1s2d3f4g5h6j7k8", "z1x2c3v4b5n6m7q8"}}
}

// BenchmarkBareES256 is the floor under BenchmarkSignES256.
func BenchmarkBareES256(b *testing.B) {
	key := generate(b, keys.ES256).(*ecdsa.PrivateKey)
	digest := sha256.Sum256([]byte("input"))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ecdsa.Sign(rand.Reader, key, digest[:]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSignOverhead is Sign without the signature itself: a device answers
// at once. It is to stay under 6 us.
func BenchmarkSignOverhead(b *testing.B) {
	d := &device{Signer: generate(b, keys.ES256)}
	opts := options(b, keys.ES256)
	opts.Signer = d
	r, c := open(b, &memStore{}, opts), claims()
	answer, err := d.Signer.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
	if err != nil {
		b.Fatal(err)
	}
	d.answer.Store(&answer)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := r.Sign(b.Context(), "at+jwt", c); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareEdDSA is the floor under BenchmarkSignEdDSA.
func BenchmarkBareEdDSA(b *testing.B) {
	key := generate(b, keys.EdDSA).(ed25519.PrivateKey)
	input := make([]byte, 700)
	b.ReportAllocs()
	for b.Loop() {
		ed25519.Sign(key, input)
	}
}

func BenchmarkSignES256(b *testing.B) { benchmarkSign(b, keys.ES256) }
func BenchmarkSignEdDSA(b *testing.B) { benchmarkSign(b, keys.EdDSA) }

func benchmarkSign(b *testing.B, alg string) {
	r, c := open(b, &memStore{}, options(b, alg)), claims()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := r.Sign(b.Context(), "at+jwt", c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecisionID(b *testing.B) {
	ids, pos := newIDs(b, 1), audit.Position{Writer: 3, Seq: 1 << 20}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := ids.Open(ids.Seal(pos)); !ok {
			b.Fatal("an id does not open")
		}
	}
}
