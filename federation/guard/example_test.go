package guard_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"time"

	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/guard/route"
	"github.com/comity-auth/comity/fixtures/peer"
)

// A service with one route: the guard decides who gets to the handler, and the
// handler reads from the context who that is.
func ExampleGuard_Middleware() {
	issuer, err := peer.New(peer.Options{}) // in your service: your domain's broker
	if err != nil {
		panic(err)
	}
	defer issuer.Close()

	g, err := guard.New(guard.Options{
		Audience: "https://archive.globex.example",
		Issuers:  []guard.Issuer{{Issuer: issuer.URL(), InsecureNoRevocations: true}}, // a broker has a feed: leave this out
		Routes:   []route.Spec{{Match: "GET /documents/{id}", Action: "archive.fetch", Classification: "internal"}},
		Leeway:   30 * time.Second,
		Egress:   []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, // for an issuer on loopback
	})
	if err != nil {
		panic(err)
	}
	defer g.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { _ = g.Run(ctx) }() // follows keys and revocations

	mux := http.NewServeMux()
	mux.HandleFunc("GET /documents/{id}", func(w http.ResponseWriter, r *http.Request) {
		grant, _ := guard.FromContext(r.Context())
		fmt.Fprintf(w, "document %s for %s, task %s", r.PathValue("id"), grant.Agent.Agent.ID, grant.Agent.Task.ID)
	})
	server := httptest.NewServer(g.Middleware(mux))
	defer server.Close()

	token := issuer.Token("https://archive.globex.example", peer.Overrides{
		Header: map[string]any{"typ": "at+jwt"},
		Claims: map[string]any{
			"agent":        map[string]any{"id": "agent-1", "type": "llm-autonomous", "operator": "org:acme"},
			"task":         map[string]any{"id": "task-7", "purpose": "find papers"},
			"capabilities": []any{map[string]any{"action": "archive.fetch", "constraints": map[string]any{"data_classification_max": "internal"}}},
		},
	})
	for _, authorization := range []string{"Bearer " + token, ""} {
		fmt.Println(ask(server.URL+"/documents/42", authorization))
	}
	// Output:
	// 200 document 42 for agent-1, task task-7
	// 401 The request needs an access token.
}

func ask(url, authorization string) string {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	body := answer{body: string(text)}
	if say := body.field("error_description"); say != "" {
		return fmt.Sprint(res.StatusCode, " ", say)
	}
	return fmt.Sprint(res.StatusCode, " ", strings.TrimSpace(body.body))
}
