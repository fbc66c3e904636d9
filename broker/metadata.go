package broker

import (
	"encoding/json"
	"net/http"

	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/trust/ident"
)

// serverMetadata is RFC 8414 section 2 and what OpenID Connect clients insist
// on. It never says who is trusted.
type serverMetadata struct {
	Issuer             string   `json:"issuer"`
	TokenEndpoint      string   `json:"token_endpoint"`
	JWKSURI            string   `json:"jwks_uri"`
	Introspection      string   `json:"introspection_endpoint"`
	Revocation         string   `json:"revocation_endpoint"`
	IntrospectionAlgs  []string `json:"introspection_signing_alg_values_supported"`
	InspectAuthMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	RevokeAuthMethods  []string `json:"revocation_endpoint_auth_methods_supported"`
	GrantTypes         []string `json:"grant_types_supported"`
	ResponseTypes      []string `json:"response_types_supported"`
	SubjectTypes       []string `json:"subject_types_supported"`
	IDTokenAlgorithms  []string `json:"id_token_signing_alg_values_supported"`
	ChallengeMethods   []string `json:"code_challenge_methods_supported"`
	AuthMethods        []string `json:"token_endpoint_auth_methods_supported"`
	AuthAlgorithms     []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	DPoPAlgorithms     []string `json:"dpop_signing_alg_values_supported"`
	CertificateBound   bool     `json:"tls_client_certificate_bound_access_tokens"`
	MTLSAliases        *aliases `json:"mtls_endpoint_aliases,omitempty"`
	AAPProfile         string   `json:"aap_profile"`
	AAPClaims          []string `json:"aap_claims_supported"`
	SubjectTokenTypes  []string `json:"subject_token_types_supported"`
	RequestedTypes     []string `json:"requested_token_types_supported"`
	ChainingTypes      []string `json:"identity_chaining_requested_token_types_supported"`
	GrantProfiles      []string `json:"authorization_grant_profiles_supported"`
	ServiceDescription string   `json:"service_documentation,omitempty"`
}

// aliases are the endpoints for clients with certificates (RFC 8705 section 5).
// They are the same as for all: certificates are asked for and never insisted on.
type aliases struct {
	Token         string `json:"token_endpoint"`
	Introspection string `json:"introspection_endpoint"`
	Revocation    string `json:"revocation_endpoint"`
}

func metadata(o Options) ([]byte, error) {
	issuer, algorithm := o.Issuer, o.Algorithm
	methods := []string{"private_key_jwt", "client_secret_basic", "client_secret_post", "tls_client_auth", "self_signed_tls_client_auth",
		"spiffe_jwt", "spiffe_x509"}
	var mtls *aliases
	if o.MutualTLS {
		mtls = &aliases{TokenURL(issuer), issuer.String() + pathIntrospect, issuer.String() + pathRevoke}
	}
	return json.Marshal(serverMetadata{
		Introspection:      issuer.String() + pathIntrospect,
		Revocation:         issuer.String() + pathRevoke,
		IntrospectionAlgs:  []string{algorithm},
		InspectAuthMethods: methods,
		RevokeAuthMethods:  methods,
		Issuer:             issuer.String(),
		TokenEndpoint:      TokenURL(issuer),
		JWKSURI:            issuer.String() + pathJWKS,
		GrantTypes:         []string{exchange.GrantTokenExchange, exchange.GrantClientCredentials, exchange.GrantJWTBearer},
		ResponseTypes:      []string{},
		SubjectTypes:       []string{"public", "pairwise"},
		IDTokenAlgorithms:  []string{algorithm},
		ChallengeMethods:   []string{"S256"},
		AuthMethods:        append(methods, "none"),
		AuthAlgorithms:     exchange.AssertionAlgorithms(),
		DPoPAlgorithms:     exchange.ProofAlgorithms(),
		CertificateBound:   true,
		MTLSAliases:        mtls,
		AAPProfile:         "draft-01",
		AAPClaims:          []string{"agent", "task", "capabilities", "oversight", "delegation", "context", "audit"},
		SubjectTokenTypes:  []string{ident.AccessToken.String(), ident.JWT.String(), ident.IDToken.String()},
		RequestedTypes:     []string{ident.AccessToken.String(), ident.JWT.String(), ident.IDJAG.String()},
		ChainingTypes:      []string{ident.JWT.String(), ident.IDJAG.String()},
		GrantProfiles:      []string{"urn:ietf:params:oauth:grant-profile:id-jag"},
	})
}

func (h *handler) describe(w http.ResponseWriter, _ *http.Request) {
	publish(w, "application/json", "public, max-age=300", h.metadata)
}

func (h *handler) jwks(w http.ResponseWriter, _ *http.Request) {
	publish(w, "application/jwk-set+json", "public, max-age=60", h.opts.JWKS())
}

func publish(w http.ResponseWriter, kind, caching string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", kind)
	header.Set("Cache-Control", caching)
	header.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(body)
}

// live says that the process answers, and nothing about what it depends on.
func (h *handler) live(w http.ResponseWriter, _ *http.Request) { status(w, nil) }

func (h *handler) ready(w http.ResponseWriter, _ *http.Request) { status(w, h.opts.Ready()) }

func status(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"status":"unavailable"}`))
		return
	}
	_, _ = w.Write([]byte(`{"status":"ok"}`))
}

func (h *handler) about(w http.ResponseWriter, _ *http.Request) {
	h.write(w, http.StatusOK, map[string]string{
		"service":  "comity",
		"issuer":   h.opts.Issuer.String(),
		"metadata": h.opts.Issuer.String() + pathASMetadata,
	})
}
