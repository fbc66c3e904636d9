package guard_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust/ident"
)

func TestRV12Credentials(t *testing.T) {
	t.Parallel()
	w := middleware(t, options(t))
	good := sign(t, nil, claims())
	scoped := claims().with("agent", nil).with("task", nil).with("capabilities", nil).with("delegation", nil).with("audit", nil)
	for _, tt := range []struct {
		name, path    string
		authorization []string
		status        int
		code, said    string // what the challenge says
	}{
		{"asks for a token where there is none", "/search", nil, 401, "", `Bearer resource_metadata=`},
		{"names both schemes where there is none", "/search", nil, 401, "", `DPoP resource_metadata=`},
		{"tells no error where there is none", "/nowhere", nil, 401, "", `Bearer resource_metadata=`},
		{"refuses another scheme", "/search", []string{"Basic YTpi"}, 401, "", "Bearer"},
		{"refuses no token behind the scheme", "/search", []string{"Bearer "}, 400, "invalid_request", `error="invalid_request"`},
		{"RV-18: refuses two Authorization headers", "/search", []string{"Bearer " + good, "Bearer " + good}, 400, "invalid_request", `error="invalid_request"`},
		{"RV-18: does not look for a token in the query", "/search?access_token=" + good, nil, 401, "", "Bearer"},
		{"RV-18: refuses a token in the query beside the header's", "/search?access_token=" + good, []string{"Bearer " + good}, 400, "invalid_request", ""},
		{"RV-18: whatever its name is encoded as", "/search?%61ccess_token=x", []string{"Bearer " + good}, 400, "invalid_request", ""},
		{"refuses a token that is none", "/search", []string{"Bearer x"}, 401, "invalid_token", `Bearer error="invalid_token"`},
		{"refuses text behind the token", "/search", []string{"Bearer " + good + " x"}, 401, "invalid_token", ""},
		{"X27: refuses 16 KiB and a byte unread", "/search", []string{"Bearer " + strings.Repeat("a", 16<<10+1)}, 401, "invalid_token", ""},
		{"refuses another audience", "/search", []string{"Bearer " + sign(t, nil, claims().with("aud", "https://other.example"))}, 401, "invalid_token", "audience"},
		{"refuses an audience that ours begins with", "/search", []string{"Bearer " + sign(t, nil, claims().with("aud", audience[:len(audience)-1]))}, 401, "invalid_token", ""},
		{"refuses an expired token", "/search", []string{"Bearer " + sign(t, nil, claims().with("exp", now.Add(-31*time.Second).Unix()))}, 401, "invalid_token", "expired"},
		{"refuses a token that is not valid yet", "/search", []string{"Bearer " + sign(t, nil, claims().with("nbf", now.Add(31*time.Second).Unix()))}, 401, "invalid_token", "not valid yet"},
		{"refuses an issuer that is not configured", "/search", []string{"Bearer " + sign(t, nil, claims().with("iss", "https://other.example"))}, 401, "invalid_token", ""},
		{"refuses a token without jti", "/search", []string{"Bearer " + sign(t, nil, claims().with("jti", nil))}, 401, "invalid_token", ""},
		{"refuses a token without iat", "/search", []string{"Bearer " + sign(t, nil, claims().with("iat", nil))}, 401, "invalid_token", ""},
		{"refuses an ID token's type", "/search", []string{"Bearer " + sign(t, map[jose.HeaderKey]any{"typ": "JWT", "kid": "k1"}, claims())}, 401, "invalid_token", ""},
		{"refuses a signed introspection", "/search", []string{"Bearer " + sign(t, map[jose.HeaderKey]any{"typ": "token-introspection+jwt", "kid": "k1"}, claims())}, 401, "invalid_token", ""},
		{"refuses a page of the revocation feed", "/search", []string{"Bearer " + sign(t, map[jose.HeaderKey]any{"typ": "revocation-feed+jwt", "kid": "k1"}, claims())}, 401, "invalid_token", ""},
		{"refuses a token that lacks the scope", "/reports", []string{"Bearer " + sign(t, nil, scoped.with("scope", "reports.write"))}, 403, "insufficient_scope", `scope="reports.read"`},
		{"refuses a scope that only begins alike", "/reports", []string{"Bearer " + sign(t, nil, scoped.with("scope", "reports.readall"))}, 403, "insufficient_scope", ""},
		{"refuses a scope that is a list", "/reports", []string{"Bearer " + sign(t, nil, scoped.with("scope", []any{"reports.read"}))}, 401, "invalid_token", ""},
		{"refuses a token without agent claims where an action is asked for", "/search", []string{"Bearer " + sign(t, nil, scoped.with("scope", "search.web"))}, 401, "invalid_token", ""},
		{"tells a good token that there is no route", "/nowhere", []string{"Bearer " + good}, 403, "aap_invalid_capability", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := w.request(http.MethodGet, tt.path, nil)
			r.Header["Authorization"] = tt.authorization
			a := w.send(r)
			w.wantRefused(t, a, tt.status, tt.code)
			if got := a.header.Get("WWW-Authenticate"); !strings.Contains(got, tt.said) {
				t.Errorf("WWW-Authenticate %q, want it to say %q", got, tt.said)
			}
			if a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("Cache-Control %q, want no-store", a.header.Get("Cache-Control"))
			}
		})
	}
	for _, tt := range []struct {
		name, path, authorization string
	}{
		{"admits a bearer token", "/search", "Bearer " + good},
		{"admits the scheme in small letters", "/search", "bearer " + good},
		{"admits more blanks behind the scheme", "/search", "Bearer   " + good},
		{"X03: admits an audience among others", "/search", "Bearer " + sign(t, nil, claims().with("aud", []any{"https://other.example", audience}))},
		{"admits a scope where the token has no capabilities", "/reports", "Bearer " + sign(t, nil, scoped.with("scope", "reports.read other"))},
		{"admits a scope where route and token know both", "/documents/7", "Bearer " + sign(t, nil, scoped.with("scope", "docs.read"))},
		{"admits a scope beside capabilities where the route has no action", "/reports", "Bearer " + sign(t, nil, claims().with("scope", "reports.read"))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := w.request(http.MethodGet, tt.path, nil)
			r.Header.Set("Authorization", tt.authorization)
			w.wantAdmitted(t, w.send(r))
		})
	}
}

// X23: scope is nothing beside capabilities, wherever the route has an action.
func TestX23ScopeIsIgnoredBesideCapabilities(t *testing.T) {
	t.Parallel()
	w := middleware(t, options(t))
	w.wantRefused(t, w.get("/documents/7", sign(t, nil, claims().with("scope", "docs.read documents.read"))), 403, "aap_invalid_capability")
}

// X05: algorithm and key come from the configuration.
func TestX05Algorithms(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Issuers[0].Algorithms = []string{"RS256"}
	w := middleware(t, o)
	w.wantRefused(t, w.get("/search", sign(t, nil, claims())), 401, "invalid_token")

	w = middleware(t, options(t))
	none := "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + strings.Split(sign(t, nil, claims()), ".")[1] + "."
	w.wantRefused(t, w.get("/search", none), 401, "invalid_token")
	other, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: keySet(t, signing().Public())},
		&jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{"typ": "at+jwt", "kid": "k1"}})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := other.Sign([]byte(`{"iss":"` + asIssuer + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	w.wantRefused(t, w.get("/search", text), 401, "invalid_token")
}

// X01, X02: the aap_* names are read only where an issuer is said to use them.
func TestX01X02AliasNames(t *testing.T) {
	t.Parallel()
	long := object{}
	for name, v := range claims() {
		switch name {
		case "agent", "task", "capabilities", "delegation", "audit":
			long["aap_"+name] = v
		default:
			long[name] = v
		}
	}
	strict := middleware(t, options(t))
	strict.wantRefused(t, strict.get("/search", sign(t, nil, long)), 401, "invalid_token")
	o := options(t)
	o.Issuers[0].AliasNames = true
	lenient := middleware(t, o)
	lenient.wantAdmitted(t, lenient.get("/search", sign(t, nil, long)))
	both := claims().with("aap_agent", object{"id": "other", "type": "x", "operator": "org:example"})
	for _, w := range []*world{strict, lenient} {
		w.wantRefused(t, w.get("/search", sign(t, nil, both)), 401, "invalid_token")
	}
	broken := object(long).with("aap_delegation", object{"depth": 2, "max_depth": 1, "chain": []any{"a", "b", "c"}, "parent_jti": "p"})
	lenient.wantRefused(t, lenient.get("/search", sign(t, nil, broken)), 403, "aap_excessive_delegation")
}

// bound is a token bound to a proof key, and the key.
func bound(t *testing.T, base object) (string, *proof.Signer) {
	t.Helper()
	key, err := proof.GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	return sign(t, nil, base.with("cnf", object{"jkt": key.JKT()})), key
}

func (w *world) prove(key *proof.Signer, method, url, token string) string {
	w.t.Helper()
	p, err := key.Proof(method, url, proof.Options{AccessToken: ident.NewRawToken(token), Now: now})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// proofNow is a proof of this moment.
func proofNow(t *testing.T, key *proof.Signer, url, token string) string {
	t.Helper()
	p, err := key.Proof(http.MethodGet, url, proof.Options{AccessToken: ident.NewRawToken(token)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDP20DP21Proofs(t *testing.T) {
	t.Parallel()
	w := middleware(t, options(t))
	token, key := bound(t, claims())
	other, err := proof.GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	plain := sign(t, nil, claims())
	at := w.url + "/search"
	late, err := key.Proof("GET", at, proof.Options{AccessToken: ident.NewRawToken(token), Now: now.Add(-2 * time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	noToken, err := key.Proof("GET", at, proof.Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, scheme, token string
		proofs              []string
	}{
		{"DP-20: refuses a bound token as Bearer", "Bearer", token, []string{w.prove(key, "GET", at, token)}},
		{"DP-20: refuses an unbound token as DPoP", "DPoP", plain, []string{w.prove(key, "GET", at, plain)}},
		{"DP-21: refuses no proof", "DPoP", token, nil},
		{"DP-21: refuses a proof without ath", "DPoP", token, []string{noToken}},
		{"DP-21: refuses the ath of another token", "DPoP", token, []string{w.prove(key, "GET", at, plain)}},
		{"DP-21: refuses a proof by another key", "DPoP", token, []string{w.prove(other, "GET", at, token)}},
		{"DP-21: refuses a proof for the token endpoint", "DPoP", token, []string{w.prove(key, "POST", asIssuer+"/token", token)}},
		{"refuses a proof for another method", "DPoP", token, []string{w.prove(key, "POST", at, token)}},
		{"refuses a proof for another path", "DPoP", token, []string{w.prove(key, "GET", w.url+"/reports", token)}},
		{"refuses an old proof", "DPoP", token, []string{late}},
		{"refuses two proofs", "DPoP", token, []string{w.prove(key, "GET", at, token), w.prove(key, "GET", at, token)}},
		{"refuses two proofs in one header", "DPoP", token, []string{w.prove(key, "GET", at, token) + "," + w.prove(key, "GET", at, token)}},
		{"refuses what is no proof", "DPoP", token, []string{"x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := w.request(http.MethodGet, "/search", nil)
			r.Header.Set("Authorization", tt.scheme+" "+tt.token)
			r.Header["Dpop"] = tt.proofs
			a := w.send(r)
			w.wantRefused(t, a, 401, "invalid_token")
			if c := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(c, "DPoP error=") && tt.name != "DP-20: refuses an unbound token as DPoP" {
				t.Errorf("WWW-Authenticate %q, want the scheme DPoP", c)
			}
		})
	}
	p := w.prove(key, "GET", at+"?q=1#f", token)
	ask := func(scheme string) answer {
		r := w.request(http.MethodGet, "/search?url=x", nil)
		r.Header.Set("Authorization", scheme+" "+token)
		r.Header.Set("DPoP", p)
		return w.send(r)
	}
	w.wantAdmitted(t, ask("dpop"))
	t.Run("refuses a proof that was used", func(t *testing.T) { w.wantRefused(t, ask("DPoP"), 401, "invalid_token") })
}

// A stranger who has no key cannot use up proofs of one who has.
func TestReplayedProofOfAnotherKeyIsItsOwn(t *testing.T) {
	t.Parallel()
	w := middleware(t, options(t))
	for range 2 {
		token, key := bound(t, claims())
		r := w.request(http.MethodGet, "/search", nil)
		r.Header.Set("Authorization", "DPoP "+token)
		r.Header.Set("DPoP", w.prove(key, "GET", w.url+"/search", token))
		w.wantAdmitted(t, w.send(r))
	}
}

func TestPublicURLIsWhatProofsAreFor(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.PublicURL = "https://api.example.com/v1"
	w := middleware(t, o)
	token, key := bound(t, claims())
	for url, status := range map[string]int{
		"https://api.example.com/v1/search": 200, "https://API.example.com:443/v1/search": 200, "https://api.example.com/search": 401, w.url + "/search": 401,
	} {
		r := w.request(http.MethodGet, "/search", nil)
		r.Header.Set("Authorization", "DPoP "+token)
		r.Header.Set("DPoP", w.prove(key, "GET", url, token))
		if a := w.send(r); a.status != status {
			t.Errorf("a proof for %s: answer %d %s, want %d", url, a.status, a.body, status)
		}
	}
}

// A host that a client names counts for nothing unless a trusted proxy says it.
func TestForwardedHostCountsFromTrustedProxiesAlone(t *testing.T) {
	t.Parallel()
	for _, trusted := range []bool{false, true} {
		o := options(t)
		if trusted {
			o.TrustedProxies = loopback
		}
		w := middleware(t, o)
		token, key := bound(t, claims())
		r := w.request(http.MethodGet, "/search", nil)
		r.Header.Set("Authorization", "DPoP "+token)
		r.Header.Set("DPoP", w.prove(key, "GET", "https://elsewhere.example/search", token))
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("X-Forwarded-Host", "elsewhere.example")
		want := map[bool]int{false: 401, true: 200}[trusted]
		if a := w.send(r); a.status != want {
			t.Errorf("trusted %v: answer %d %s, want %d", trusted, a.status, a.body, want)
		}
	}
}

func TestRequiredProofRefusesBearerTokens(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.RequireProof = true
	w := middleware(t, o)
	a := w.get("/search", sign(t, nil, claims()))
	w.wantRefused(t, a, 401, "invalid_token")
	if c := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(c, "DPoP ") || strings.Contains(c, "Bearer") {
		t.Errorf("WWW-Authenticate %q, want DPoP alone", c)
	}
	r := w.request(http.MethodGet, "/search", nil)
	if c := w.send(r).header.Get("WWW-Authenticate"); strings.Contains(c, "Bearer") {
		t.Errorf("WWW-Authenticate %q, want DPoP alone", c)
	}
}

// A binding that is not understood is no bearer token.
func TestUnknownConfirmationIsRefused(t *testing.T) {
	t.Parallel()
	w := middleware(t, options(t))
	for _, cnf := range []any{object{"jwk": object{}}, object{"jkt": 7}, object{}, "x", object{"kid": "a"}} {
		w.wantRefused(t, w.get("/search", sign(t, nil, claims().with("cnf", cnf))), 401, "invalid_token")
	}
}

func TestInsecurePublicRoutes(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Routes = append(o.Routes, publicRoute)
	w := middleware(t, o)
	seen := w.wantAdmitted(t, w.send(w.request(http.MethodGet, "/status", nil)))
	if !seen.Grant.Public || seen.Header.Get(guard.HeaderAgent) != "" {
		t.Errorf("grant %+v, want a public one", seen.Grant)
	}
	// RV-16: nobody else is let through for what it calls itself.
	r := w.request(http.MethodGet, "/search", nil)
	r.Header.Set("User-Agent", "kube-probe/1.30")
	w.wantRefused(t, w.send(r), 401, "")
}
