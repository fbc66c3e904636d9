package main

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/exchange/keys"
	jose "github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

var updateGolden = flag.Bool("update", false, "write the golden files anew")

// unsigned is a token whose signature is nothing.
func unsigned(header, claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(header)) + "." + enc([]byte(claims)) + ".c2ln"
}

// What a person sees of a token, at one moment.
func TestInspectedTokens(t *testing.T) {
	t.Parallel()
	now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) string { return fmt.Sprint(now.Add(d).Unix()) }
	for _, tt := range []struct{ name, header, claims string }{
		{"agent", `{"alg":"ES256","typ":"at+jwt","kid":"key-1"}`, `{"jti":"j1","iss":"https://broker.globex.example","sub":"acme/3f",
			"aud":"https://archive.globex.example","client_id":"acme-agent","iat":` + at(-time.Minute) + `,"nbf":` + at(-time.Minute) + `,
			"exp":` + at(4*time.Minute) + `,"cnf":{"jkt":"thumb"},"agent":{"id":"acme-agent-1","type":"llm-autonomous"},
			"task":{"id":"t1","expires_at":` + at(time.Hour) + `},"capabilities":[{"action":"archive.search",
			"constraints":{"max_requests_per_hour":50,"domains_allowed":["a.example","b.example"]}},{"action":"archive.fetch"}],
			"lineage":[]}`},
		{"bearer", `{"alg":"RS256"}`, `{"iss":"https://as.acme.example","sub":"u","aud":["a","b"],"exp":` + at(-50*time.Hour) + `,
			"iat":` + at(-51*time.Hour) + `,"act":{"sub":"helper"},"email_verified":true,"middle_name":null,"empty":{},"n":1.50}`},
		{"hostile", `{"alg":"none","kid":"\u001b[31m"}`, `{"sub":"\u202egnp","line\nbreak":"a\nb","q":"say \"hi\"","pad":" x ","none":"",
			"exp":1e300,"iat":` + at(time.Hour) + `,"nbf":` + at(30*time.Minute) + `}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			seen, err := readToken(unsigned(tt.header, tt.claims))
			if err != nil {
				t.Fatal(err)
			}
			seen.note(now)
			var got bytes.Buffer
			if err := seen.print(&got, now); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "inspect", tt.name+".golden")
			if *updateGolden {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestInspectRefusesWhatIsNoToken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, stderr string }{
		{"an opaque token", "opaque", "can only be introspected"},
		{"an encrypted token", "a.b.c.d.e", "encrypted"},
		{"a header that is no base64url", "!.e30.x", "not base64url"},
		{"a header that is no object", "W10.e30.x", "not a JSON object"},
		{"a header that is null", "bnVsbA.e30.x", "not a JSON object"},
		{"claims with something behind them", "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{}{}`)) + ".x", "not a JSON object"},
		{"claims that break off", "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"a":`)) + ".x", "not a JSON object"},
		{"nothing", " \n", "nothing in it"},
		{"more than is read", strings.Repeat("a", maxSource+1), "larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			comity(t, tt.text, nil, "token", "inspect", "-").want(t, 1, "", tt.stderr)
		})
	}
}

// signer makes tokens of an issuer that publishes its keys.
type signer struct {
	key    crypto.Signer
	issuer string
	jwks   string // file
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	key, err := keys.Generate(keys.ES256)
	if err != nil {
		t.Fatal(err)
	}
	g, err := describeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(g.Public)
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{key: key, jwks: file(t, string(set))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, s.issuer, s.issuer+"/keys")
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) })
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	s.issuer = srv.URL
	return s
}

func (s *signer) token(t *testing.T, claims map[string]any) string {
	t.Helper()
	id, err := keys.Thumbprint(s.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestInspectVerifiesOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	s, stranger := newSigner(t), newSigner(t)
	claims := func(change func(map[string]any)) map[string]any {
		c := map[string]any{"iss": s.issuer, "aud": []string{"a", "b"}, "exp": time.Now().Add(time.Hour).Unix()}
		if change != nil {
			change(c)
		}
		return c
	}
	good := s.token(t, claims(nil))
	tampered := good[:len(good)-5] + "AAAAA"
	for _, tt := range []struct {
		name, token string
		args        []string
		problem     string // empty: verified
	}{
		{"verifies with a key set from a file", good, []string{"--jwks", s.jwks}, ""},
		{"verifies with a key set from a URL", good, []string{"--jwks", s.issuer + "/keys"}, ""},
		{"verifies with the keys of the issuer", good, []string{"--issuer", s.issuer, "--audience", "b"}, ""},
		{"refuses a changed token", tampered, []string{"--jwks", s.jwks}, "the signature is wrong"},
		{"refuses the key of somebody else", stranger.token(t, claims(nil)), []string{"--jwks", s.jwks}, "none of the keys"},
		{"refuses an unsigned token", unsigned(`{"alg":"none"}`, `{"exp":4000000000}`), []string{"--jwks", s.jwks}, "algorithm for public keys"},
		{"refuses a symmetric algorithm", unsigned(`{"alg":"HS256"}`, `{"exp":4000000000}`), []string{"--jwks", s.jwks}, "algorithm for public keys"},
		{"refuses another issuer", stranger.token(t, claims(nil)), []string{"--issuer", stranger.issuer}, "another issuer"},
		{"refuses another audience", good, []string{"--jwks", s.jwks, "--audience", "c"}, "another audience"},
		{"refuses an expired token", s.token(t, claims(func(c map[string]any) { c["exp"] = time.Now().Add(-time.Minute).Unix() })),
			[]string{"--jwks", s.jwks}, "expired"},
		{"refuses a token without an end", s.token(t, claims(func(c map[string]any) { delete(c, "exp") })), []string{"--jwks", s.jwks}, "until when"},
		{"refuses a token of the future", s.token(t, claims(func(c map[string]any) { c["nbf"] = time.Now().Add(time.Hour).Unix() })),
			[]string{"--jwks", s.jwks}, "not valid yet"},
		{"refuses when there is no key set", good, []string{"--jwks", filepath.Join(t.TempDir(), "absent")}, "key set"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := comity(t, tt.token, nil, append([]string{"token", "inspect", "-", "--json"}, tt.args...)...)
			var seen inspected
			if err := json.Unmarshal([]byte(got.stdout), &seen); err != nil {
				t.Fatalf("%+v: %v", got, err)
			}
			if verified := tt.problem == ""; seen.Verified != verified || !strings.Contains(seen.Problem, tt.problem) ||
				verified && (got.code != 0 || seen.Key == "") || !verified && (got.code != 1 || !strings.Contains(got.stderr, "does not hold")) {
				t.Errorf("verified = %v, problem %q, code %d, stderr %q", seen.Verified, seen.Problem, got.code, got.stderr)
			}
		})
	}
	t.Run("says that nothing was verified", func(t *testing.T) {
		t.Parallel()
		got := comity(t, good, nil, "token", "inspect", "-")
		if got.code != 0 || !strings.HasPrefix(got.stdout, "not verified: ") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("says with which key it was verified", func(t *testing.T) {
		t.Parallel()
		got := comity(t, good, nil, "token", "inspect", "-", "--jwks", s.jwks)
		if got.code != 0 || !strings.HasPrefix(got.stdout, "verified with key ") {
			t.Errorf("%+v", got)
		}
	})
	t.Run("takes no audience without keys", func(t *testing.T) {
		t.Parallel()
		comity(t, good, nil, "token", "inspect", "-", "--audience", "a").want(t, 2, "", "proves nothing")
	})
}

func FuzzReadToken(f *testing.F) {
	f.Add(unsigned(`{"alg":"ES256"}`, `{"exp":1,"aud":["a"],"cnf":{"jkt":"x"}}`))
	f.Add("..")
	f.Add(unsigned(`{}`, `{"a":{"b":[{"c":[1,[2]]}]},"\u0000":"\u001b"}`))
	now := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, text string) {
		seen, err := readToken(text)
		if err != nil {
			return
		}
		seen.note(now)
		var out bytes.Buffer
		if err := seen.print(&out, now); err != nil {
			t.Fatal(err)
		}
		if i := bytes.IndexFunc(out.Bytes(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 }); i >= 0 {
			t.Errorf("control character in %q", out.String())
		}
	})
}
