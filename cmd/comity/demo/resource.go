package demo

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/guard/route"
	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust/ident"
)

// guarded is the archive: a handler that knows nothing of tokens, behind the
// guard.
type guarded struct {
	url    string
	guard  *guard.Guard
	server *http.Server
	client *agent
	stop   context.CancelFunc
	done   chan struct{}
}

// newGuarded runs the archive, which accepts tokens of one broker alone.
func newGuarded(ctx context.Context, issuer string, client *agent) (*guarded, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &guarded{url: "http://" + l.Addr().String(), client: client, done: make(chan struct{})}
	g.guard, err = guard.New(guard.Options{
		Audience: archive,
		Issuers:  []guard.Issuer{{Issuer: issuer}},
		Routes: []route.Spec{
			{Match: "GET /search", Action: "archive.search", Target: "query:site"},
			{Match: "DELETE /documents/{id}", Action: "archive.delete"},
		},
		Leeway: 10 * time.Second,
		Egress: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.stop = stop
	go func() { defer close(g.done); _ = g.guard.Run(following) }() // until it is stopped
	mux := http.NewServeMux()
	mux.HandleFunc("GET /search", search)
	g.server = &http.Server{Handler: g.guard.Middleware(mux), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = g.server.Serve(l) }()
	return g, nil
}

func (g *guarded) close() {
	_ = g.server.Close()
	g.stop()
	<-g.done
	g.guard.Close()
}

func search(w http.ResponseWriter, r *http.Request) {
	grant, _ := guard.FromContext(r.Context())
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"found": "three papers", "for": grant.Agent.Agent.ID})
}

// get searches the papers' site.
func (g *guarded) get(ctx context.Context, key *proof.Signer, token, scheme string) answer {
	return g.ask(ctx, key, http.MethodGet, "/search?site="+url.QueryEscape("https://papers.example/"), token, scheme)
}

// ask asks the resource, with a proof when there is a key.
func (g *guarded) ask(ctx context.Context, key *proof.Signer, method, target, token, scheme string) answer {
	req, err := http.NewRequestWithContext(ctx, method, g.url+target, nil)
	if err != nil {
		return answer{code: err.Error()}
	}
	req.Header.Set("Authorization", scheme+" "+token)
	if key != nil {
		p, err := key.Proof(method, g.url+target, proof.Options{AccessToken: ident.NewRawToken(token)})
		if err != nil {
			return answer{code: err.Error()}
		}
		req.Header.Set("DPoP", p)
	}
	return g.client.send(req)
}
