package proof_test

import (
	"crypto/elliptic"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust/ident"
)

func TestDP07Method(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	for _, htm := range []string{"GET", "post", "Post", "POST ", " POST", "P", "POSTS"} {
		refused(t, forge(t, k, header("ES256", ecJWK(t, k)), claims(object{"htm": htm})), want())
	}
}

func TestDP08URLOfAnother(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	for _, htu := range []string{
		"https://other.example/token",
		"https://broker.globex.example/other",
		"http://broker.globex.example/token",
		"https://broker.globex.example/token/",
		"https://broker.globex.example//token",
		"https://broker.globex.example/Token",
		"https://broker.globex.example/%74oken",
		"https://broker.globex.example/./token",
		"https://broker.globex.example/x/../token",
		"https://broker.globex.example/token;x",
		"https://broker.globex.example",
		"https://broker.globex.example/",
		"https://broker.globex.example:8443/token",
		"https://broker.globex.example:80/token",
		"https://broker.globex.example:0443/token",
		"https://broker.globex.example./token",
		"https://user@broker.globex.example/token",
		"https://broker.globex.example@evil.example/token",
		"https://evil.example/https://broker.globex.example/token",
		"https://evil.example?https://broker.globex.example/token",
		"https://evil.example#@broker.globex.example/token",
		`https://broker.globex.example\@evil.example/token`,
		"//broker.globex.example/token",
		"broker.globex.example/token",
		"/token",
		"https:/broker.globex.example/token",
		"https:///token",
		"https://broker.globex.example/token ",
		" https://broker.globex.example/token",
		"ftp://broker.globex.example/token",
		"https://broker.globex.example\x00/token",
	} {
		t.Run(htu, func(t *testing.T) {
			t.Parallel()
			refused(t, forge(t, k, header("ES256", ecJWK(t, k)), claims(object{"htu": htu})), want())
		})
	}
}

func TestDP09EquivalentURL(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	h := header("ES256", ecJWK(t, k))
	for _, tt := range []struct{ ours, htu string }{
		{tokenURL, "https://broker.globex.example/token?a=b"},
		{tokenURL, "https://broker.globex.example/token#frag"},
		{tokenURL, "https://broker.globex.example/token?a=b#frag?c"},
		{tokenURL, "HTTPS://Broker.GLOBEX.example/token"},
		{tokenURL, "https://broker.globex.example:443/token"},
		{tokenURL, "https://broker.globex.example:/token"},
		{"https://Broker.Globex.example:443/token", tokenURL},
		{"https://broker.globex.example/data?page=2", "https://broker.globex.example/data"},
		{"https://broker.globex.example", "https://broker.globex.example/"},
		{"http://127.0.0.1:8080/token", "http://127.0.0.1:8080/token"},
		{"http://127.0.0.1/token", "http://127.0.0.1:80/token"},
		{"http://[::1]:8080/token", "http://[::1]:8080/token"},
		{"http://[::FF]/token", "http://[::ff]:80/token"},
	} {
		t.Run(tt.htu, func(t *testing.T) {
			t.Parallel()
			w := want()
			w.URLs = []string{"https://unrelated.example/", tt.ours}
			if _, err := proof.Parse([]string{forge(t, k, h, claims(object{"htu": tt.htu}))}, w); err != nil {
				t.Errorf("htu %q for %q: %v", tt.htu, tt.ours, err)
			}
		})
	}
}

func TestDP11IssuedAt(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	h := header("ES256", ecJWK(t, k))
	now := noon().Unix()
	for name, tt := range map[string]struct {
		changes object
		ok      bool
	}{
		"accepts 10 s ago":              {object{"iat": now - 10}, true},
		"accepts 10 s ahead":            {object{"iat": now + 10}, true},
		"accepts 60 s ago":              {object{"iat": now - 60}, true},
		"accepts a fraction":            {object{"iat": float64(now) + 0.5}, true},
		"rejects 61 s ago":              {object{"iat": now - 61}, false},
		"rejects 11 s ahead":            {object{"iat": now + 11}, false},
		"rejects an hour ago":           {object{"iat": now - 3600}, false},
		"rejects an hour ahead":         {object{"iat": now + 3600}, false},
		"rejects milliseconds":          {object{"iat": now * 1000}, false},
		"rejects text":                  {object{"iat": "1795262400"}, false},
		"rejects zero":                  {object{"iat": 0}, false},
		"rejects negative":              {object{"iat": -now}, false},
		"rejects beyond 64 bits":        {object{"iat": 1e300}, false},
		"accepts an exp to come":        {object{"exp": now + 120}, true},
		"rejects an exp that is over":   {object{"iat": now - 50, "exp": now - 20}, false},
		"rejects an exp that is text":   {object{"exp": "never"}, false},
		"rejects an nbf to come":        {object{"nbf": now + 60}, false},
		"rejects an nbf that is text":   {object{"nbf": "now"}, false},
		"accepts an nbf that is passed": {object{"nbf": now}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := proof.Parse([]string{forge(t, k, h, claims(tt.changes))}, want())
			if (err == nil) != tt.ok || err != nil && !errors.Is(err, proof.ErrProof) {
				t.Errorf("error %v, want accepted %v", err, tt.ok)
			}
		})
	}
}

func TestDP11WindowIsNeverWiderThanAMinute(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	old := forge(t, k, header("ES256", ecJWK(t, k)), claims(object{"iat": noon().Unix() - 61}))
	w := want()
	w.Window = time.Hour
	refused(t, old, w)
	w.Window = 5 * time.Second
	refused(t, forge(t, k, header("ES256", ecJWK(t, k)), claims(object{"iat": noon().Unix() - 6})), w)
}

// Until Expires a proof can pass, so its use must be remembered; after, it cannot.
func TestExpiresCoversEveryMomentOfAcceptance(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	text := []string{forge(t, k, header("ES256", ecJWK(t, k)), claims(nil))}
	w := want()
	p, err := proof.Parse(text, w)
	if err != nil {
		t.Fatal(err)
	}
	for w.Now = noon().Add(-time.Minute); w.Now.Before(noon().Add(3 * time.Minute)); w.Now = w.Now.Add(time.Second) {
		if _, err := proof.Parse(text, w); err == nil && !w.Now.Before(p.Expires()) {
			t.Fatalf("accepted at %v, after Expires %v", w.Now, p.Expires())
		}
	}
}

func TestDP17ID(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	h := header("ES256", ecJWK(t, k))
	for name, jti := range map[string]any{
		"10 KiB":               strings.Repeat("a", 10<<10),
		"257 bytes":            strings.Repeat("a", 257),
		"empty":                "",
		"number":               7,
		"list":                 []string{"a"},
		"line end":             "a\nb",
		"NUL":                  "a\x00",
		"DEL":                  "a\x7f",
		"letters beyond ASCII": "\u00e4",
		"bidirectional":        "a\u202eb",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, forge(t, k, h, claims(object{"jti": jti})), want())
		})
	}
	for _, jti := range []string{"a", strings.Repeat("a", 256), "with blank", "~!\"#"} {
		p, err := proof.Parse([]string{forge(t, k, h, claims(object{"jti": jti}))}, want())
		if err != nil || p.ID() != jti {
			t.Errorf("jti of %d bytes: got %q, error %v", len(jti), p.ID(), err)
		}
	}
}

func TestDP21AccessTokenDigest(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	h := header("ES256", ecJWK(t, k))
	const token = "the-access-token"
	sum := sum256(token)
	ath := b64(sum[:])
	w := want()
	w.AccessToken, w.NoAccessToken = ident.NewRawToken(token), false
	if _, err := proof.Parse([]string{forge(t, k, h, claims(object{"ath": ath}))}, w); err != nil {
		t.Errorf("with the digest of the token: %v", err)
	}
	for name, value := range map[string]any{
		"missing": nil, "empty": "", "of another token": b64(make([]byte, 32)), "padded": ath + "=", "the token itself": token,
		"a number": 1, "shortened": ath[:42],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, forge(t, k, h, claims(object{"ath": value})), w)
		})
	}
}

// The nonce claim counts only where nonces are asked for, and then always.
func TestNonce(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	h := header("ES256", ecJWK(t, k))
	w := want()
	w.Nonce = func(n string) bool { return n == "current" }
	if _, err := proof.Parse([]string{forge(t, k, h, claims(object{"nonce": "current"}))}, w); err != nil {
		t.Errorf("current nonce: %v", err)
	}
	for _, nonce := range []any{nil, "", "old", 5, strings.Repeat("n", 257)} {
		_, err := proof.Parse([]string{forge(t, k, h, claims(object{"nonce": nonce}))}, w)
		if !errors.Is(err, proof.ErrNonce) || !errors.Is(err, proof.ErrProof) {
			t.Errorf("nonce %.10v: %v, want ErrNonce", nonce, err)
		}
	}
	if _, err := proof.Parse([]string{forge(t, k, h, claims(object{"nonce": "whatever"}))}, want()); err != nil {
		t.Errorf("a nonce nobody asked for: %v", err)
	}
}

func TestZeroWantRefuses(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	good := forge(t, k, header("ES256", ecJWK(t, k)), claims(nil))
	refused(t, good, proof.Want{})
	for name, change := range map[string]func(*proof.Want){
		"without a method":       func(w *proof.Want) { w.Method = "" },
		"without URLs":           func(w *proof.Want) { w.URLs = nil },
		"with an empty URL":      func(w *proof.Want) { w.URLs = []string{""} },
		"without a time":         func(w *proof.Want) { w.Now = time.Time{} },
		"without a window":       func(w *proof.Want) { w.Window = 0 },
		"without algorithms":     func(w *proof.Want) { w.Algorithms = nil },
		"without a token":        func(w *proof.Want) { w.NoAccessToken = false },
		"with and without token": func(w *proof.Want) { w.AccessToken = ident.NewRawToken("t") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := want()
			change(&w)
			refused(t, good, w)
		})
	}
}

// No error may carry what the proof says, since errors are recorded.
func TestErrorsHoldNoContent(t *testing.T) {
	t.Parallel()
	k := ecKey(t, elliptic.P256())
	const secret = "s3cr3t-content"
	jwk := ecJWK(t, k)
	for _, text := range []string{
		secret,
		forge(t, k, with(header("ES256", jwk), object{"typ": secret}), claims(nil)),
		forge(t, k, with(header("ES256", jwk), object{"alg": secret}), claims(nil)),
		forge(t, k, header("ES256", with(jwk, object{"x": secret})), claims(nil)),
		forge(t, k, header("ES256", with(jwk, object{"d": secret})), claims(nil)),
		forge(t, k, header("ES256", with(jwk, object{"kty": secret})), claims(nil)),
		forge(t, k, header("ES256", jwk), claims(object{"htm": secret})),
		forge(t, k, header("ES256", jwk), claims(object{"htu": secret})),
		forge(t, k, header("ES256", jwk), claims(object{"iat": secret})),
		forge(t, k, header("ES256", jwk), claims(object{"jti": secret + "\n"})),
	} {
		_, err := proof.Parse([]string{text}, want())
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("error %v, want one without the content", err)
		}
	}
}
