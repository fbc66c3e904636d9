package federation_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/comity-auth/comity/federation"
)

const metaIssuer = "https://as.acme.example/t1"

func metaPeer() federation.Peer {
	return federation.Peer{Name: "acme", Fingerprint: "m", Issuer: metaIssuer, Discovery: federation.Auto,
		JWKSHosts: []string{"keys.acme.example", "pinned.example:8443"}}
}

func metadata(t testing.TB, o map[string]any) []byte {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// DS-02: the issuer in the metadata is the registered one, byte for byte.
func TestDS02IssuerInMetadata(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, issuer string
		want         error
		hint         string
	}{
		{"accepts the same", metaIssuer, nil, ""},
		{"rejects a trailing slash", metaIssuer + "/", federation.ErrMisconfigured, "trailing slash"},
		{"rejects another case", "https://as.acme.example/T1", federation.ErrMisconfigured, "case"},
		{"rejects another host", "https://as.evil.example/t1", federation.ErrMisconfigured, ""},
		{"rejects another path", "https://as.acme.example/t2", federation.ErrMisconfigured, ""},
		{"rejects the parent", "https://as.acme.example", federation.ErrMisconfigured, ""},
		{"rejects the default port written out", "https://as.acme.example:443/t1", federation.ErrMisconfigured, ""},
		{"rejects an escape", "https://as.acme.example/%741", federation.ErrMisconfigured, ""},
		{"rejects http", "http://as.acme.example/t1", federation.ErrMisconfigured, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			doc := metadata(t, map[string]any{"issuer": tc.issuer, "jwks_uri": "https://as.acme.example/jwks"})
			m, err := federation.ParseMetadata(doc, metaPeer())
			if !errors.Is(err, tc.want) {
				t.Fatalf("ParseMetadata = %v, want %v", err, tc.want)
			}
			if err != nil && !strings.Contains(err.Error(), tc.hint) {
				t.Errorf("ParseMetadata = %q, want a hint at %q", err, tc.hint)
			}
			if err != nil && strings.Contains(err.Error(), tc.issuer) {
				t.Errorf("ParseMetadata = %q, which repeats the document", err)
			}
			if m == nil || m.Issuer != tc.issuer {
				t.Errorf("ParseMetadata = %+v, want what the document says", m)
			}
		})
	}
}

// DS-03: where a discovered key set may be.
func TestDS03KeySetURI(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, uri string
		want      error
	}{
		{"accepts the issuer's host", "https://as.acme.example/jwks", nil},
		{"accepts the default port written out", "https://as.acme.example:443/jwks", nil},
		{"accepts another case of the host", "https://AS.acme.example/jwks", nil},
		{"accepts a query", "https://as.acme.example/jwks?v=1", nil},
		{"accepts a registered host", "https://keys.acme.example/jwks", nil},
		{"accepts a registered host with its port", "https://pinned.example:8443/jwks", nil},
		{"rejects a registered host on another port", "https://pinned.example/jwks", federation.ErrMisconfigured},
		{"rejects another port", "https://as.acme.example:8443/jwks", federation.ErrMisconfigured},
		{"rejects another host", "https://as.evil.example/jwks", federation.ErrMisconfigured},
		{"rejects a host below", "https://x.as.acme.example/jwks", federation.ErrMisconfigured},
		{"rejects a host that begins alike", "https://as.acme.example.evil.example/jwks", federation.ErrMisconfigured},
		{"rejects a dot behind", "https://as.acme.example./jwks", federation.ErrMisconfigured},
		{"rejects http", "http://as.acme.example/jwks", federation.ErrMisconfigured},
		{"rejects http on loopback", "http://127.0.0.1/jwks", federation.ErrMisconfigured},
		{"rejects userinfo", "https://as.acme.example@as.evil.example/jwks", federation.ErrMisconfigured},
		{"rejects userinfo on the right host", "https://a:b@as.acme.example/jwks", federation.ErrMisconfigured},
		{"rejects a fragment", "https://as.acme.example/jwks#a", federation.ErrMisconfigured},
		{"rejects a path only", "/jwks", federation.ErrMisconfigured},
		{"rejects a scheme-relative URL", "//as.acme.example/jwks", federation.ErrMisconfigured},
		{"rejects file", "file:///etc/passwd", federation.ErrMisconfigured},
		{"rejects data", "data:application/json,{}", federation.ErrMisconfigured},
		{"rejects no host", "https:///jwks", federation.ErrMisconfigured},
		{"rejects a backslash", `https://as.evil.example\@as.acme.example/jwks`, federation.ErrMisconfigured},
		{"rejects a line end", "https://as.acme.example/\njwks", federation.ErrMisconfigured},
		{"rejects nothing at all", "", federation.ErrUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			doc := metadata(t, map[string]any{"issuer": metaIssuer, "jwks_uri": tc.uri})
			if _, err := federation.ParseMetadata(doc, metaPeer()); !errors.Is(err, tc.want) {
				t.Errorf("ParseMetadata = %v, want %v", err, tc.want)
			}
		})
	}
}

// An empty entry in the list of hosts opens nothing.
func TestDS03EmptyHostEntry(t *testing.T) {
	t.Parallel()
	p := metaPeer()
	p.JWKSHosts = []string{"", ":443"}
	doc := metadata(t, map[string]any{"issuer": metaIssuer, "jwks_uri": "https://:443/jwks"})
	if _, err := federation.ParseMetadata(doc, p); !errors.Is(err, federation.ErrMisconfigured) {
		t.Errorf("ParseMetadata = %v, want ErrMisconfigured", err)
	}
}

func TestMetadataForm(t *testing.T) {
	t.Parallel()
	const good = `{"issuer":"https://as.acme.example/t1","jwks_uri":"https://as.acme.example/jwks"`
	for _, tc := range []struct{ name, doc string }{
		{"rejects nothing", ``},
		{"rejects HTML", `<html>`},
		{"rejects null", `null`},
		{"rejects an array", `[` + good + `}]`},
		{"rejects truncation", good},
		{"rejects data behind", good + `}{}`},
		{"rejects a repeated issuer", good + `,"issuer":"https://as.acme.example/t1"}`},
		{"rejects an issuer in capitals", `{"ISSUER":"https://as.acme.example/t1","jwks_uri":"https://as.acme.example/jwks"}`},
		{"rejects a list of issuers", `{"issuer":["https://as.acme.example/t1"],"jwks_uri":"https://as.acme.example/jwks"}`},
		{"rejects no issuer", `{"jwks_uri":"https://as.acme.example/jwks"}`},
		{"rejects no key set", `{"issuer":"https://as.acme.example/t1"}`},
		{"rejects an empty key set address", `{"issuer":"https://as.acme.example/t1","jwks_uri":""}`},
		{"rejects null for a key set", `{"issuer":"https://as.acme.example/t1","jwks_uri":null}`},
		{"rejects more than 100 KiB", good + `}` + strings.Repeat(" ", 100<<10)},
		{"rejects depth", good + `,"x":` + strings.Repeat("[", 17) + strings.Repeat("]", 17) + `}`},
	} {
		if m, err := federation.ParseMetadata([]byte(tc.doc), metaPeer()); !errors.Is(err, federation.ErrUnavailable) || m != nil {
			t.Errorf("%s: ParseMetadata = %v, %v, want ErrUnavailable", tc.name, m, err)
		}
	}
}

// DS-35: only issuer and jwks_uri are required.
func TestDS35SparseMetadata(t *testing.T) {
	t.Parallel()
	base := func(more map[string]any) map[string]any {
		more["issuer"], more["jwks_uri"] = metaIssuer, "https://as.acme.example/jwks"
		return more
	}
	for _, tc := range []struct {
		name string
		doc  map[string]any
		algs int
	}{
		{"accepts the two members", base(map[string]any{}), 0},
		{"accepts SPIRE style", base(map[string]any{"authorization_endpoint": "", "response_types_supported": []string{"id_token"},
			"subject_types_supported": []string{}, "id_token_signing_alg_values_supported": []string{"RS256", "ES256", "ES384"}}), 3},
		{"accepts Kubernetes style", base(map[string]any{"response_types_supported": []string{"id_token"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"}}), 1},
		{"accepts GitHub style", base(map[string]any{"subject_types_supported": []string{"public", "pairwise"},
			"response_types_supported": []string{"id_token"}, "claims_supported": []string{"sub", "aud"},
			"id_token_signing_alg_values_supported": []string{"RS256"}, "scopes_supported": []string{"openid"}}), 1},
		{"accepts members of an odd form", base(map[string]any{"scopes_supported": "openid", "token_endpoint": 7}), 0},
	} {
		m, err := federation.ParseMetadata(metadata(t, tc.doc), metaPeer())
		if err != nil || m.JWKSURI != "https://as.acme.example/jwks" {
			t.Errorf("%s: ParseMetadata = %+v, %v", tc.name, m, err)
			continue
		}
		if got := len(m.Advertised.IDTokenSigningAlgValuesSupported); got != tc.algs {
			t.Errorf("%s: %d algorithms, want %d", tc.name, got, tc.algs)
		}
	}
}

// Which documents are asked for, and which of them decides.
func TestDocumentOrder(t *testing.T) {
	t.Parallel()
	other := map[string]any{"issuer": "https://other.example", "jwks_uri": "https://other.example/jwks"}
	for _, tc := range []struct {
		name, path    string
		openID, oauth func(issuer string) (int, any)
		want          error
		paths         []string
	}{
		{"OpenID Connect answers first", "", isGood, isGood, nil, []string{openIDPath}},
		{"RFC 8414 answers when OpenID Connect has none", "", isMissing, isGood, nil, []string{openIDPath, oauthPath}},
		{"OpenID Connect appends, RFC 8414 inserts", "/t1", isMissing, isGood, nil, []string{"/t1" + openIDPath, oauthPath + "/t1"}},
		{"a slash at the end is dropped", "/t1/", isMissing, isGood, nil, []string{"/t1" + openIDPath, oauthPath + "/t1"}},
		{"a lone slash is dropped", "/", isMissing, isGood, nil, []string{openIDPath, oauthPath}},
		{"a document that is no metadata is passed over", "", isText, isGood, nil, []string{openIDPath, oauthPath}},
		{"a server error is passed over", "", isError, isGood, nil, []string{openIDPath, oauthPath}},
		{"a contradiction is not passed over", "", func(string) (int, any) { return 200, other }, isGood,
			federation.ErrMisconfigured, []string{openIDPath}},
		{"a contradiction in the second counts", "", isMissing, func(string) (int, any) { return 200, other },
			federation.ErrMisconfigured, []string{openIDPath, oauthPath}},
		{"none is unavailable", "", isMissing, isMissing, federation.ErrUnavailable, []string{openIDPath, oauthPath}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			i := newFakeIssuer("a")
			host := i.listen(t).url
			i.url += tc.path
			i.router = func(path string) (int, any, bool) {
				switch path {
				case tc.paths[0]:
					code, doc := tc.openID(i.url)
					return code, doc, true
				case tc.paths[len(tc.paths)-1]:
					code, doc := tc.oauth(i.url)
					return code, doc, true
				}
				return 0, nil, false
			}
			k := keysOver(t, nil, federation.KeysOptions{})
			wantKey(t, k, i.peer(), "a", tc.want)
			for _, path := range tc.paths {
				if i.hits(path) == 0 {
					t.Errorf("%s was not asked for", path)
				}
			}
			if len(tc.paths) == 1 && i.hits(oauthPath) != 0 {
				t.Error("the second document was asked for too")
			}
			if want := host + tc.paths[len(tc.paths)-1]; tc.want == nil && k.HealthOf(i.peer()).Document != want {
				t.Errorf("Document = %s, want %s", k.HealthOf(i.peer()).Document, want)
			}
		})
	}
}

func isGood(issuer string) (int, any) {
	host := issuer[:len("http://")+strings.Index(issuer[len("http://"):]+"/", "/")]
	return http.StatusOK, map[string]any{"issuer": issuer, "jwks_uri": host + "/jwks"}
}
func isMissing(string) (int, any) { return http.StatusNotFound, "none" }
func isError(string) (int, any)   { return http.StatusNotImplemented, "none" }
func isText(string) (int, any)    { return http.StatusOK, "welcome" }

// DS-02 end to end: the contradiction stands until it is mended.
func TestDS02MisconfiguredPeer(t *testing.T) {
	t.Parallel()
	i := newFakeIssuer("a").listen(t)
	i.meta = map[string]any{"issuer": i.url + "/", "jwks_uri": i.url + "/jwks"}
	k := keysOver(t, nil, federation.KeysOptions{})
	for range 3 {
		wantKey(t, k, i.peer(), "a", federation.ErrMisconfigured)
	}
	if m, s := i.hits(openIDPath), i.hits("/jwks"); m != 1 || s != 0 {
		t.Errorf("fetches = %d of metadata and %d of keys, want 1 and 0", m, s)
	}
	if h := k.HealthOf(i.peer()); h.LastResult != federation.FetchMisconfigured || h.Up() {
		t.Errorf("health = %+v, want misconfigured", h)
	}
	i.set(func() { i.meta = nil })
	if err := k.Refresh(t.Context(), i.peer()); err != nil {
		t.Errorf("Refresh = %v", err)
	}
	wantKey(t, k, i.peer(), "a", nil)
}

// DS-03, DS-04 end to end: the keys elsewhere are not even asked for.
func TestDS03ForeignKeySetIsNotFetched(t *testing.T) {
	t.Parallel()
	canary, i := newFakeIssuer("a").listen(t), newFakeIssuer("a").listen(t)
	i.meta = map[string]any{"issuer": i.url, "jwks_uri": canary.url + "/jwks"}
	k := keysOver(t, nil, federation.KeysOptions{})
	wantKey(t, k, i.peer(), "a", federation.ErrMisconfigured)
	if canary.hits("/jwks") != 0 {
		t.Error("a key set on another host was fetched")
	}
}

func TestRegisteredAddressesThatMayNotBeFetched(t *testing.T) {
	t.Parallel()
	k := keysOver(t, nil, federation.KeysOptions{})
	for _, p := range []federation.Peer{
		{Issuer: "http://as.acme.example", Discovery: federation.Auto},
		{Issuer: "https://10.0.0.1", Discovery: federation.Auto},
		{Issuer: "https://a@as.acme.example", Discovery: federation.Auto},
		{Issuer: "https://as.acme.example?x", Discovery: federation.Auto},
		{Issuer: "as.acme.example", Discovery: federation.Auto},
		{Issuer: metaIssuer, Discovery: federation.AtURI},
		{Issuer: metaIssuer, Discovery: federation.AtURI, JWKSURI: "http://as.acme.example/jwks"},
		{Issuer: metaIssuer, Discovery: federation.AtURI, JWKSURI: "https://169.254.169.254/jwks"},
		{Issuer: metaIssuer, Discovery: "guess"},
		{Issuer: metaIssuer},
	} {
		p.Fingerprint = p.Issuer + " " + p.JWKSURI + " " + string(p.Discovery)
		wantKey(t, k, p, "a", federation.ErrMisconfigured)
	}
}

// FuzzParseMetadata checks that what is accepted keeps the promises, for any
// document.
func FuzzParseMetadata(f *testing.F) {
	for _, seed := range []string{
		`{"issuer":"https://as.acme.example/t1","jwks_uri":"https://as.acme.example/jwks"}`,
		`{"issuer":"https://as.acme.example/t1","jwks_uri":"https://keys.acme.example/jwks","scopes_supported":["a"]}`,
		`{"issuer":"https://as.acme.example/t1/","jwks_uri":"https://as.acme.example/jwks"}`,
		`{"issuer":"https://as.acme.example/t1","jwks_uri":"http://127.0.0.1/jwks"}`,
		`{"issuer":"https://as.acme.example/t1","jwks_uri":"https://as.acme.example@x/jwks"}`,
		`{"issuer":"https://as.acme.example/t1","JWKS_URI":"https://as.evil.example/","jwks_uri":"https://as.acme.example/"}`,
		`{"issuer":1}`, `[]`, ``, `{"issuer":"\ud800"}`,
	} {
		f.Add([]byte(seed))
	}
	p := metaPeer()
	f.Fuzz(func(t *testing.T, doc []byte) {
		m, err := federation.ParseMetadata(doc, p)
		if err != nil {
			if !errors.Is(err, federation.ErrUnavailable) && !errors.Is(err, federation.ErrMisconfigured) {
				t.Fatalf("ParseMetadata = %v, which is of no class", err)
			}
			return
		}
		if m.Issuer != p.Issuer {
			t.Fatalf("accepted issuer %q", m.Issuer)
		}
		rest, ok := strings.CutPrefix(strings.ToLower(m.JWKSURI), "https://")
		host, _, _ := strings.Cut(rest, "/")
		host, _, _ = strings.Cut(host, "?")
		switch host {
		case "as.acme.example", "as.acme.example:443", "as.acme.example:",
			"keys.acme.example", "keys.acme.example:443", "keys.acme.example:", "pinned.example:8443":
		default:
			ok = false
		}
		if !ok {
			t.Fatalf("accepted jwks_uri %q", m.JWKSURI)
		}
	})
}
