package demo

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/fetch"
	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust/ident"
)

// guarded is a resource server with the least check that is still honest: the
// broker's signature, the audience, the proof of possession, the capability.
type guarded struct {
	url      string
	broker   federation.Peer
	verifier *federation.Verifier
	keys     *federation.Keys
	fetcher  *fetch.Client
	server   *http.Server
	client   *agent
}

func newGuarded(issuer string, client *agent) (*guarded, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	fetcher, err := fetch.New(fetch.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		return nil, err
	}
	keys := federation.NewKeys(fetcher, federation.KeysOptions{})
	g := &guarded{url: "http://" + l.Addr().String(), fetcher: fetcher, keys: keys, client: client,
		verifier: federation.NewVerifier(keys, time.Now),
		broker: federation.Peer{Name: "globex", Fingerprint: "globex", Issuer: issuer, Discovery: federation.Auto,
			Algorithms: []jose.SignatureAlgorithm{jose.ES256}, Leeway: 10 * time.Second, MaxTokenAge: time.Hour}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /search", g.search)
	g.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = g.server.Serve(l) }()
	return g, nil
}

func (g *guarded) close() {
	_ = g.server.Close()
	g.keys.Close()
	g.fetcher.Close()
}

func (g *guarded) search(w http.ResponseWriter, r *http.Request) {
	status, code := http.StatusOK, ""
	if !g.allows(r) {
		status, code = http.StatusUnauthorized, "invalid_token"
		w.Header().Set("WWW-Authenticate", `DPoP error="invalid_token"`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "found": "three papers"})
}

func (g *guarded) allows(r *http.Request) bool {
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	raw := ident.NewRawToken(text)
	u, err := federation.Peek(raw)
	if err != nil {
		return false
	}
	token, err := g.verifier.Verify(r.Context(), u, g.broker, federation.Want{Types: []string{"at+jwt"}, Audiences: []string{archive}})
	if err != nil {
		return false
	}
	cnf, err := proof.ParseConfirmation(token.Claims())
	if err != nil || cnf.IsZero() != strings.EqualFold(scheme, "Bearer") {
		return false
	}
	if !cnf.IsZero() {
		p, err := proof.Parse(r.Header.Values("DPoP"), proof.Want{Method: r.Method, URLs: []string{g.url + r.URL.Path}, Now: time.Now(),
			Window: proof.Window, Algorithms: proof.Algorithms(), AccessToken: raw})
		if err != nil || !cnf.Satisfied(p.Confirmation()) {
			return false
		}
	}
	capabilities, _ := token.Claims()["capabilities"].([]any)
	for _, v := range capabilities {
		if c, ok := v.(map[string]any); ok && c["action"] == "archive.search" {
			return true
		}
	}
	return false
}

// get asks the resource, with a proof when there is a key.
func (g *guarded) get(ctx context.Context, key *proof.Signer, token, scheme string) answer {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url+"/search", nil)
	if err != nil {
		return answer{code: err.Error()}
	}
	req.Header.Set("Authorization", scheme+" "+token)
	if key != nil {
		p, err := key.Proof(http.MethodGet, g.url+"/search", proof.Options{AccessToken: ident.NewRawToken(token)})
		if err != nil {
			return answer{code: err.Error()}
		}
		req.Header.Set("DPoP", p)
	}
	return g.client.send(req)
}
