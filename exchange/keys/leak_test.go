package keys_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/comity-auth/comity/exchange/keys"
)

// spellings lists how a secret would look if it were printed: the ways of fmt,
// of the encoders and of math/big, in a piece long enough to mean something.
func spellings(secret []byte) []string {
	piece := secret[:12] // whole base64 quanta
	numbers := strings.Trim(fmt.Sprintf("%d", piece), "[]")
	return []string{
		string(piece), hex.EncodeToString(piece), strings.ToUpper(hex.EncodeToString(piece)),
		base64.StdEncoding.EncodeToString(piece), base64.RawURLEncoding.EncodeToString(piece),
		numbers, strings.ReplaceAll(numbers, " ", ","), strings.Trim(fmt.Sprintf("%#v", piece), "[]byte{}"),
		new(big.Int).SetBytes(secret).String(),
	}
}

// prints gives everything that fmt, encoding/json and slog make of v, held
// directly, in an exported and in an unexported field.
func prints(t *testing.T, v any) string {
	t.Helper()
	var out bytes.Buffer
	type outer struct{ V any }
	type inner struct{ v any }
	text, js := slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))
	for _, held := range []any{v, outer{v}, &outer{v}, inner{v}, &inner{v}, []any{v}, map[string]any{"v": v}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", held)
		}
		if b, err := json.Marshal(held); err == nil {
			out.Write(b)
		}
		text.Info("held", "v", held)
		js.Info("held", "v", held)
	}
	return out.String()
}

// AU-07: no key material in anything that prints.
func TestNothingPrintsKeyMaterial(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "comity.seal")
	seal, err := keys.OpenSeal("file:" + path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(must(os.ReadFile(path)))
	secrets := map[string][]byte{"seal": must(base64.RawURLEncoding.DecodeString(strings.TrimSpace(strings.TrimPrefix(text, "comity-seal-v1:"))))}

	ed := generate(t, keys.EdDSA).(ed25519.PrivateKey)
	ec := generate(t, keys.ES256).(*ecdsa.PrivateKey)
	secrets["Ed25519 seed"], secrets["P-256 scalar"] = ed.Seed(), must(ec.Bytes())
	store := &memStore{}
	fileOpts := keys.Options{Algorithm: keys.ES256, Seal: seal, File: pemFile(t, ec), Now: now}
	signerOpts := keys.Options{Algorithm: keys.EdDSA, Seal: seal, Signer: ed, Now: now}
	stored := &memStore{}
	rings := []*keys.Ring{open(t, store, fileOpts), open(t, store, signerOpts), open(t, stored, keys.Options{Algorithm: keys.EdDSA, Seal: seal})}
	for _, rec := range slices.Concat(store.records, stored.records) {
		plain := must(seal.Open(rec))
		secrets["sealed "+string(rec.Use)+" "+rec.ID] = plain[len(plain)-32:] // the seed ends its PKCS#8
	}
	ids := rings[0].IDs()
	secrets["id key"] = rings[0].Derive(keys.LabelDecisionID, 32)

	shown := map[string]any{"seal": seal, "seal value": *seal, "options": fileOpts, "options pointer": &fileOpts,
		"ids": ids, "ids value": *ids, "records": store.records}
	for i, r := range rings {
		token, _ := sign(t, r)
		shown[fmt.Sprint("ring ", i)] = r
		shown[fmt.Sprint("info ", i)] = r.Info()
		shown[fmt.Sprint("set ", i)] = string(r.JWKS())
		shown[fmt.Sprint("token ", i)] = token
	}
	_, wrongSeal := newSeal(t).Open(store.records[0])
	_, wrongAlg := keys.Open(t.Context(), store, keys.Options{Algorithm: keys.RS256, Seal: seal, File: fileOpts.File})
	if wrongSeal == nil || wrongAlg == nil {
		t.Fatal("the errors to look at did not come up")
	}
	shown["wrong seal"], shown["wrong algorithm"] = wrongSeal, wrongAlg

	shown["options with a key"] = fmt.Sprintf("%v %+v %#v %s %x %d", signerOpts, &signerOpts, signerOpts, &signerOpts, signerOpts, signerOpts) +
		string(must(json.Marshal(signerOpts)))
	for what, v := range shown {
		out := prints(t, v)
		for name, secret := range secrets {
			for _, s := range spellings(secret) {
				if strings.Contains(out, s) {
					t.Errorf("%s prints the %s as %q", what, name, s)
				}
			}
		}
	}
	if raw := prints(t, ed); !strings.Contains(raw, spellings(ed)[5]) {
		t.Error("the search does not find a key that is printed")
	}
}
