package trust

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/strictyaml"
)

// schema is a JSON Schema (draft 2020-12), with the keywords used here in the
// order in which they are written.
type schema struct {
	Schema      string    `json:"$schema,omitempty"`
	Title       string    `json:"title,omitempty"`
	Description string    `json:"description,omitempty"`
	AnyOf       []*schema `json:"anyOf,omitempty"`
	Type        string    `json:"type,omitempty"`
	Enum        []string  `json:"enum,omitempty"`
	Format      string    `json:"format,omitempty"`
	Pattern     string    `json:"pattern,omitempty"`
	Minimum     *int      `json:"minimum,omitempty"`
	Maximum     *int      `json:"maximum,omitempty"`
	MinItems    int       `json:"minItems,omitempty"`
	Items       *schema   `json:"items,omitempty"`
	Properties  *ordered  `json:"properties,omitempty"`
	Required    []string  `json:"required,omitempty"`
	Additional  any       `json:"additionalProperties,omitempty"`
}

// ordered keeps properties in the order of a type's fields.
type ordered struct {
	names   []string
	schemas []*schema
}

// MarshalJSON writes an object.
func (o *ordered) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, name := range o.names {
		if i > 0 {
			out = append(out, ',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(o.schemas[i])
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, key...), ':'), value...)
	}
	return append(out, '}'), nil
}

// TrustSchema is the JSON Schema (draft 2020-12) of a trust file, for editors.
// It holds what can be said of each value by itself; [Compiler.ParseFile] is the
// judge of the rest.
func TrustSchema() []byte {
	root := schemaOf(reflect.TypeFor[File](), "")
	root.Schema = "https://json-schema.org/draft/2020-12/schema"
	root.Title = "Comity trust file"
	root.Description = "What a domain believes: peers, resources, clients, mappings and policies. A field left out takes its strictest default."
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil // cannot happen: every part is built from the types above
	}
	return append(out, '\n')
}

// schemaOf describes a type as it stands at path, whose indexes are left out.
func schemaOf(t reflect.Type, path string) *schema {
	s := plainSchema(t, path)
	if words, ok := schemaWords[path]; ok {
		s.Enum = words
		if s.Items != nil {
			s.Enum, s.Items.Enum = nil, words
		}
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[strictyaml.Scalar]()) {
		s = &schema{AnyOf: []*schema{{Type: "string"}, s}}
	}
	return s
}

func plainSchema(t reflect.Type, path string) *schema {
	switch t {
	case reflect.TypeFor[Time]():
		return &schema{Type: "string", Format: "date-time"}
	case reflect.TypeFor[Duration]():
		return &schema{Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(h|m|s|ms|us|ns))+$`}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), path)
	case reflect.Struct:
		return structSchema(t, path)
	case reflect.Slice:
		return &schema{Type: "array", Items: schemaOf(t.Elem(), path)}
	case reflect.Map:
		if t.Elem().Kind() == reflect.String {
			return &schema{Type: "object", Additional: &schema{Type: "string"}}
		}
		return &schema{Type: "object"}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Int:
		least, most := 0, maxDepth // the only whole numbers there are
		return &schema{Type: "integer", Minimum: &least, Maximum: &most}
	}
	return &schema{Type: "string"}
}

func structSchema(t reflect.Type, path string) *schema {
	s := &schema{Type: "object", Properties: &ordered{}, Additional: false}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		at := strings.TrimPrefix(path+"."+name, ".")
		field := schemaOf(t.Field(i).Type, at)
		field.Description = schemaTexts[at]
		if required[at] {
			s.Required = append(s.Required, name)
			if field.Type == "array" {
				field.MinItems = 1
			}
		}
		s.Properties.names = append(s.Properties.names, name)
		s.Properties.schemas = append(s.Properties.schemas, field)
	}
	return s
}

// required are the fields that have no default.
var required = map[string]bool{
	"peers.name": true, "peers.domain": true, "peers.expires": true, "peers.pins.thumbprint": true,
	"resources.audience": true,
	"clients.id":         true, "clients.auth": true, "clients.expires": true, "clients.agent.id": true, "clients.agent.type": true,
	"clients.federated.peer": true, "clients.federated.subject": true,
	"mappings.name": true, "mappings.peer": true, "mappings.clients": true, "mappings.resources": true,
	"mappings.scopes.scope": true, "mappings.capabilities.action": true,
	"mappings.actors.issuer": true, "mappings.actors.subject": true,
	"policies.name": true, "policies.operator": true, "policies.resources": true, "policies.capabilities": true,
	"policies.capabilities.action": true,
}

// schemaWords are the closed sets, without the values this version refuses.
var schemaWords = map[string][]string{
	"peers.kind":           {"oidc", "spiffe"},
	"peers.discovery":      {"auto", "jwks_uri", "static"},
	"peers.token_types":    {"access_token", "jwt", "id_token"},
	"peers.grants":         peerGrants,
	"peers.bundle.profile": {"https_web", "https_spiffe"},
	"peers.algorithms":     signatureAlgorithms,
	"peers.aap_names":      {"short", "alias"},
	"peers.status":         {string(Active), string(Suspended)},
	"clients.auth": {string(AuthPrivateKeyJWT), string(AuthSecretBasic), string(AuthSecretPost), string(AuthNone),
		string(AuthTLS), string(AuthSelfSignedTLS), string(AuthFederated)},
	"clients.federated.credential": {"token", "certificate"},
	"clients.grants":               {GrantTokenExchange, GrantClientCredentials, GrantJWTBearer},
	"clients.proof":                proofWords,
	"clients.status":               {string(Active), string(Suspended)},
	"mappings.presenter":           {"subject", "any"},
	"mappings.authority":           {"token", "mapping"},
	"mappings.carried":             {"refuse", "ignore"},
	"mappings.proof":               proofWords,
	"mappings.mode":                {"enforce", "shadow"},
	"mappings.status":              {string(Active), string(Suspended)},
	"mappings.boundary.keep":       aap.Keepable(),
	"policies.proof":               proofWords,
	"policies.status":              {string(Active), string(Suspended)},
}

var proofWords = []string{string(ProofRequired), string(ProofOptional), string(ProofDPoP), string(ProofMTLS), string(ProofBoth)}
