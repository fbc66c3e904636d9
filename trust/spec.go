package trust

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// File is the registry as a trust file: one document, ordered lists. What a
// field leaves out takes the strictest default, which its comment states.
type File struct {
	Peers     []PeerSpec     `json:"peers,omitempty"`
	Resources []ResourceSpec `json:"resources,omitempty"`
	Clients   []ClientSpec   `json:"clients,omitempty"`
	Mappings  []MappingSpec  `json:"mappings,omitempty"`
	Policies  []PolicySpec   `json:"policies,omitempty"`
}

// PeerSpec describes an issuer whose tokens may be brought here.
type PeerSpec struct {
	// Name is a short handle, unique among peers; "self" is reserved.
	Name string `json:"name"`
	// Domain is the issuer's trust domain. Our own domain here makes it an
	// issuer inside our domain, without a boundary.
	Domain string `json:"domain"`
	// Kind is oidc (default) or spiffe.
	Kind string `json:"kind,omitempty"`
	// Issuer is compared with iss byte for byte. Required of kind oidc; one of kind
	// spiffe has none.
	Issuer string `json:"issuer,omitempty"`
	// Bundle is where the keys of a peer of kind spiffe come from.
	Bundle *BundleSpec `json:"bundle,omitempty"`
	// Discovery is auto (default: OIDC, then RFC 8414), jwks_uri or static.
	Discovery string `json:"discovery,omitempty"`
	// JWKSURI is where the keys are, when discovery is jwks_uri.
	JWKSURI string `json:"jwks_uri,omitempty"`
	// JWKS holds the keys, when discovery is static.
	JWKS *JWKSSpec `json:"jwks,omitempty"`
	// Audiences are what its tokens must be addressed to; default our issuer.
	Audiences []string `json:"audiences,omitempty"`
	// SharedAudience accepts tokens addressed to others besides us.
	SharedAudience bool `json:"shared_audience,omitempty"`
	// JWKSHosts are hosts its jwks_uri may be on besides the issuer's.
	JWKSHosts []string `json:"jwks_hosts,omitempty"`
	// TokenTypes are what may be presented; default access_token and jwt.
	TokenTypes []string `json:"token_types,omitempty"`
	// Grants are how its tokens may be presented; default token-exchange.
	Grants []string `json:"grants,omitempty"`
	// Algorithms default to ES256, RS256, PS256 and EdDSA.
	Algorithms []string `json:"algorithms,omitempty"`
	// Pins, when there are any, are the only keys accepted.
	Pins []PinSpec `json:"pins,omitempty"`
	// MaxTokenAge bounds the age of a token since its iat; default 1h.
	MaxTokenAge Duration `json:"max_token_age,omitzero"`
	// Leeway on exp; default 30s, at most 300s.
	Leeway Duration `json:"leeway,omitzero"`
	// SingleUse refuses a subject token presented before.
	SingleUse bool `json:"single_use,omitempty"`
	// AAPNames is short (default) or alias: accept aap_* claim names too.
	AAPNames string `json:"aap_names,omitempty"`
	// Status is active (default) or suspended.
	Status string `json:"status,omitempty"`
	// Expires ends the relationship unless it is renewed. Required.
	Expires Time `json:"expires,omitzero"`
}

// JWKSSpec is an inline JSON Web Key Set.
type JWKSSpec struct {
	Keys []map[string]any `json:"keys,omitempty"`
}

// BundleSpec says what a SPIFFE trust domain vouches with. Without an endpoint it
// is the keys alone.
type BundleSpec struct {
	// Endpoint is the URL of the bundle endpoint.
	Endpoint string `json:"endpoint,omitempty"`
	// Profile is https_web (default) or https_spiffe.
	Profile string `json:"profile,omitempty"`
	// EndpointID is the SPIFFE ID of an https_spiffe endpoint.
	EndpointID string `json:"endpoint_id,omitempty"`
	// Keys are those of the domain's bundle: all there are, or what proves an
	// https_spiffe endpoint to begin with.
	Keys []map[string]any `json:"keys,omitempty"`
}

// PinSpec is a key expected by its RFC 7638 thumbprint, optionally in a window.
// It may be written as the thumbprint alone.
type PinSpec struct {
	Thumbprint string `json:"thumbprint"`
	NotBefore  Time   `json:"not_before,omitzero"`
	NotAfter   Time   `json:"not_after,omitzero"`
}

// UnmarshalScalar reads the short form.
func (p *PinSpec) UnmarshalScalar(s string) error { p.Thumbprint = s; return nil }

// ResourceSpec is an audience a token may be issued for.
type ResourceSpec struct {
	Audience string `json:"audience"`
	Name     string `json:"name,omitempty"`
	// Scopes and Actions are the vocabulary that tokens for it may carry. They
	// do not overlap.
	Scopes  []string `json:"scopes,omitempty"`
	Actions []string `json:"actions,omitempty"`
	// Client is the resource's own client: it may introspect, and may exchange
	// tokens addressed to the resource.
	Client string `json:"client,omitempty"`
	// Peer says which peer this is, when it is another domain's broker.
	Peer string `json:"peer,omitempty"`
}

// ClientSpec is a client of this broker.
type ClientSpec struct {
	ID string `json:"id"`
	// Auth is the one method the client authenticates with. Required.
	Auth    string    `json:"auth"`
	JWKS    *JWKSSpec `json:"jwks,omitempty"`
	JWKSURI string    `json:"jwks_uri,omitempty"`
	// SecretHash is "sha256:" and the hex SHA-256 of a generated secret.
	// A second one may stand beside it while a secret is replaced.
	SecretHash  string `json:"secret_hash,omitempty"`
	SecretHash2 string `json:"secret_hash_2,omitempty"`
	// TLS says what certificate a tls_client_auth client shows.
	TLS *TLSSpec `json:"tls,omitempty"`
	// Federated says who vouches for a federated client, and as whom.
	Federated *FederatedSpec `json:"federated,omitempty"`
	// Grants are the grant types it may use; default token-exchange.
	Grants []string `json:"grants,omitempty"`
	// Operator is the organisation responsible for the client.
	Operator string     `json:"operator,omitempty"`
	Agent    *AgentSpec `json:"agent,omitempty"`
	// KnownAs is this client's identifier at each peer.
	KnownAs map[string]string `json:"known_as,omitempty"`
	// Proof is required (default), optional, dpop, mtls or both.
	Proof  string `json:"proof,omitempty"`
	Status string `json:"status,omitempty"`
	// Expires ends the registration unless it is renewed. Required.
	Expires Time `json:"expires,omitzero"`
}

// TLSSpec says what is in a certificate, exactly one of its first four members,
// and who vouches for that (RFC 8705 section 2.1.2).
type TLSSpec struct {
	SubjectDN string `json:"subject_dn,omitempty"`
	SANDNS    string `json:"san_dns,omitempty"`
	SANURI    string `json:"san_uri,omitempty"`
	SANIP     string `json:"san_ip,omitempty"`
	// CA holds one or more authorities, in PEM.
	CA string `json:"ca,omitempty"`
}

// FederatedSpec says which workload a client without a secret of its own is.
type FederatedSpec struct {
	// Peer vouches; its grants hold client-authentication.
	Peer string `json:"peer"`
	// Subject is the exact sub of the workload's tokens, or its SPIFFE ID.
	Subject string `json:"subject"`
	// Credential is token (default) or certificate: an X.509-SVID.
	Credential string `json:"credential,omitempty"`
}

// AgentSpec is the agent that a client is.
type AgentSpec struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
	Model   string `json:"model,omitempty"`
}

// MappingSpec says what a token of a peer turns into here.
type MappingSpec struct {
	Name string `json:"name"`
	// Peer is the peer whose tokens these are, or self.
	Peer string `json:"peer"`
	// Clients may bring such a token; ["*"]: any registered client that
	// authenticates. Required.
	Clients []string `json:"clients"`
	// Presenter is subject (default: the token was issued to this client) or any.
	Presenter string `json:"presenter,omitempty"`
	// When is a CEL condition; default true.
	When string `json:"when,omitempty"`
	// Resources are the audiences it reaches. Required.
	Resources []string `json:"resources"`
	// Subject is a CEL expression for the local part of sub; default a stable
	// pseudonym.
	Subject string `json:"subject,omitempty"`
	// Authority is token (default: what the token carries bounds the result) or
	// mapping (the identity alone entitles; needs when).
	Authority string `json:"authority,omitempty"`
	// Carried says what to do, with authority mapping, about a token that
	// carries scopes or capabilities: refuse (default) or ignore.
	Carried      string           `json:"carried,omitempty"`
	Scopes       []ScopeRule      `json:"scopes,omitempty"`
	Capabilities []CapabilityRule `json:"capabilities,omitempty"`
	// TTL bounds the life of what is issued; default the configured tokens.ttl.
	TTL Duration `json:"ttl,omitzero"`
	// MaxDepth bounds the delegation depth of what is issued; default 1.
	MaxDepth *int `json:"max_depth,omitempty"`
	// Proof is required (default), optional, dpop, mtls or both.
	Proof    string        `json:"proof,omitempty"`
	Actors   []ActorRule   `json:"actors,omitempty"`
	Boundary *BoundarySpec `json:"boundary,omitempty"`
	// Mode is enforce (default) or shadow: evaluated and recorded, never granting.
	Mode   string `json:"mode,omitempty"`
	Status string `json:"status,omitempty"`
}

// ScopeRule yields a local scope. It may be written as the scope alone.
type ScopeRule struct {
	Scope string `json:"scope"`
	// From are the foreign scopes that entitle; default the same name.
	From []string `json:"from,omitempty"`
}

// UnmarshalScalar reads the short form.
func (r *ScopeRule) UnmarshalScalar(s string) error { r.Scope = s; return nil }

// CapabilityRule yields a local capability, with a ceiling. It may be written
// as the action alone.
type CapabilityRule struct {
	Action string `json:"action"`
	// From are the foreign actions, or scope:NAME, that entitle; default the
	// same name.
	From        []string       `json:"from,omitempty"`
	Constraints map[string]any `json:"constraints,omitempty"`
}

// UnmarshalScalar reads the short form.
func (r *CapabilityRule) UnmarshalScalar(s string) error { r.Action = s; return nil }

// ActorRule names who may act for a subject.
type ActorRule struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

// BoundarySpec lets identifiers across the boundary after all.
type BoundarySpec struct {
	Keep []string `json:"keep,omitempty"`
}

// PolicySpec says what this domain issues to its own agents.
type PolicySpec struct {
	Name string `json:"name"`
	// Operator selects the clients it is for.
	Operator string `json:"operator"`
	// AgentType, when set, selects among them those whose agent is of the type.
	AgentType string `json:"agent_type,omitempty"`
	// Resources are the audiences it reaches. Required.
	Resources    []string         `json:"resources"`
	Capabilities []CapabilityRule `json:"capabilities"`
	TTL          Duration         `json:"ttl,omitzero"`
	// MaxDepth is how often what is issued may be delegated; default 0.
	MaxDepth  *int           `json:"max_depth,omitempty"`
	Oversight map[string]any `json:"oversight,omitempty"`
	Audit     map[string]any `json:"audit,omitempty"`
	// Proof is required, optional, dpop, mtls or both; default what the client's is.
	Proof  string `json:"proof,omitempty"`
	Status string `json:"status,omitempty"`
}

// Duration is a time.Duration written as Go writes it, such as "300s".
type Duration time.Duration

// UnmarshalText reads "300s", "1h30m" and the like, always above zero: a zero
// would read as the default, which is more.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v <= 0 {
		return errors.New("want a duration above zero, such as 300s or 1h")
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the shortest form: "1h" rather than "1h0m0s".
func (d Duration) MarshalText() ([]byte, error) {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return []byte(s), nil
}

// Time is an instant in RFC 3339, kept in UTC to the second.
type Time struct{ time.Time }

// UnmarshalText reads RFC 3339.
func (t *Time) UnmarshalText(b []byte) error {
	v, err := time.Parse(time.RFC3339, string(b))
	if err != nil {
		return errors.New("want a time such as 2027-11-21T00:00:00Z")
	}
	t.Time = v.UTC().Truncate(time.Second)
	return nil
}

// MarshalText writes RFC 3339.
func (t Time) MarshalText() ([]byte, error) {
	return []byte(t.UTC().Format(time.RFC3339)), nil
}

// UnmarshalJSON and MarshalJSON keep the embedded type's own out of the way.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	return t.UnmarshalText([]byte(s))
}

// MarshalJSON writes RFC 3339 in quotes.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(`"` + t.UTC().Format(time.RFC3339) + `"`), nil
}
