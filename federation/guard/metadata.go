package guard

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/comity-auth/comity/federation/proof"
)

// wellKnown is where a protected resource's metadata is (RFC 9728 section 3).
const wellKnown = "/.well-known/oauth-protected-resource"

// metadata is the document of RFC 9728 section 2.
type metadata struct {
	Resource      string   `json:"resource"`
	Servers       []string `json:"authorization_servers"`
	Scopes        []string `json:"scopes_supported,omitempty"`
	Methods       []string `json:"bearer_methods_supported"`
	ProofAlgs     []string `json:"dpop_signing_alg_values_supported"`
	ProofRequired bool     `json:"dpop_bound_access_tokens_required,omitempty"`
	Certificates  bool     `json:"tls_client_certificate_bound_access_tokens"`
}

// describe makes the document; nil when the audience is no URL and so can have
// none.
func (s *settings) describe() []byte {
	if s.resource == nil {
		return nil
	}
	doc := metadata{Resource: s.Audience, Methods: []string{"header"}, ProofAlgs: proof.Algorithms(), ProofRequired: s.RequireProof, Certificates: true}
	for _, i := range s.Issuers {
		doc.Servers = append(doc.Servers, i.Issuer)
	}
	for _, r := range s.routes.All() {
		for _, scope := range r.Scopes.List() {
			if !slices.Contains(doc.Scopes, scope) {
				doc.Scopes = append(doc.Scopes, scope)
			}
		}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return nil
	}
	return text
}

// metadataPath is the path of the document: that of the resource goes behind the
// well-known one (RFC 9728 section 3.1).
func (s *settings) metadataPath() string {
	return wellKnown + strings.TrimSuffix(s.resource.EscapedPath(), "/")
}

// metadataURL is where the client finds the document; empty when there is none.
func (g *Guard) metadataURL(r *request) string {
	if g.document == nil {
		return ""
	}
	base := g.set.resource.Scheme + "://" + g.set.resource.Host
	return base + g.set.metadataPath()
}

// Metadata serves the metadata of RFC 9728 at its path, and 404 everywhere else,
// for where ForwardAuth is used. Middleware serves the document by itself.
func (g *Guard) Metadata() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.serveMetadata(w, r) {
			http.NotFound(w, r)
		}
	})
}

// serveMetadata answers the request if it is for the document.
func (g *Guard) serveMetadata(w http.ResponseWriter, r *http.Request) bool {
	if g.document == nil || r.URL.EscapedPath() != g.set.metadataPath() || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "max-age=300")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(g.document)
	return true
}
