package trust

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/comity-auth/comity/trust/ident"
)

func (c *Compiler) client(s ClientSpec, n *notes) *Client {
	cl := &Client{Fingerprint: fingerprint(s.ID, s.JWKS, s.JWKSURI), JWKSURI: s.JWKSURI, Grants: s.Grants, Operator: s.Operator, Agent: s.Agent,
		KnownAs: s.KnownAs, Expires: s.Expires.Time}
	var err error
	cl.ID, err = ident.ParseClientID(s.ID)
	n.check("id", err)
	cl.JWKS = n.keys("jwks", s.JWKS)
	c.clientAuth(s, cl, n)
	some(n, "grants", s.Grants)
	if s.Grants == nil {
		cl.Grants = []string{GrantTokenExchange}
	}
	for i, g := range s.Grants {
		at := fmt.Sprintf("grants[%d]", i)
		n.choice(at, g, g, GrantTokenExchange, GrantClientCredentials, GrantJWTBearer)
	}
	if slices.Contains(cl.Grants, GrantClientCredentials) {
		if s.Agent == nil || s.Operator == "" {
			n.add("grants", "client_credentials needs the client's operator and agent")
		}
		if cl.Auth == AuthNone {
			n.add("grants", "client_credentials is not for a client that does not authenticate")
		}
	}
	if len(s.Operator) > maxOperator || !visible(s.Operator) {
		n.add("operator", "want at most %d visible characters", maxOperator)
	}
	if s.Agent != nil {
		n.agent(s.Agent, s.Operator)
	}
	for _, peer := range slices.Sorted(maps.Keys(s.KnownAs)) {
		if s.KnownAs[peer] == "" {
			n.add("known_as."+peer, "is empty")
		}
	}
	cl.Proof = n.proof("proof", s.Proof)
	cl.Status = n.status("status", s.Status)
	if s.Expires.IsZero() {
		n.add("expires", "is missing: a registration ends unless it is renewed")
	}
	return cl
}

func (n *notes) agent(a *AgentSpec, operator string) {
	if a.ID == "" || len(a.ID) > 128 || !visible(a.ID) {
		n.add("agent.id", "want 1 to 128 visible characters")
	}
	if a.Type == "" || len(a.Type) > 64 || !visible(a.Type) {
		n.add("agent.type", "want 1 to 64 visible characters")
	}
	for _, f := range [][2]string{{"agent.name", a.Name}, {"agent.version", a.Version}, {"agent.model", a.Model}} {
		if len(f[1]) > 256 || !visible(f[1]) {
			n.add(f[0], "want at most 256 visible characters")
		}
	}
	if operator == "" {
		n.add("operator", "is missing: an agent has somebody who answers for it")
	}
	// The agent is the sub of its own tokens, and "peer/" begins those of a
	// peer's subjects (RFC 9700 section 4.15).
	if head, _, found := strings.Cut(a.ID, "/"); found {
		if _, err := ident.ParseName(head); err == nil {
			n.add("agent.id", "could be taken for a subject of a peer named %s", head)
		}
	}
}

func (c *Compiler) clientAuth(s ClientSpec, cl *Client, n *notes) {
	method := n.choice("auth", s.Auth, "", string(AuthPrivateKeyJWT), string(AuthSecretBasic), string(AuthSecretPost), string(AuthNone),
		string(AuthTLS), string(AuthSelfSignedTLS), string(AuthFederated))
	cl.Auth = ClientAuth(method)
	hasSecret := s.SecretHash != "" || s.SecretHash2 != ""
	switch cl.Auth {
	case AuthPrivateKeyJWT:
		if (cl.JWKS == nil) == (s.JWKSURI == "") {
			n.add("jwks", "private_key_jwt needs either jwks or jwks_uri")
		}
		if s.JWKSURI != "" {
			n.uri("jwks_uri", s.JWKSURI)
		}
	case AuthSecretBasic, AuthSecretPost:
		if !hasSecret {
			n.add("secret_hash", "is missing; comity client secret makes one")
		}
	case AuthTLS:
		cl.Certificate = n.clientTLS(s.TLS)
	case AuthSelfSignedTLS:
		if cl.JWKS == nil {
			n.add("jwks", "self_signed_tls_client_auth needs the certificate's key in jwks")
		}
		cl.Certificate = n.registered(cl.JWKS)
	case AuthFederated:
		cl.Federated = n.federated(s.Federated)
	}
	if cl.Auth != AuthFederated && s.Federated != nil {
		n.add("federated", "is only for auth: federated")
	}
	switch {
	case cl.Auth == AuthSelfSignedTLS && s.JWKSURI != "":
		n.add("jwks_uri", "is only for private_key_jwt")
	case cl.Auth != AuthPrivateKeyJWT && cl.Auth != AuthSelfSignedTLS && (cl.JWKS != nil || s.JWKSURI != ""):
		n.add("jwks", "is only for private_key_jwt and self_signed_tls_client_auth")
	}
	if cl.Auth != AuthTLS && s.TLS != nil && *s.TLS != (TLSSpec{}) {
		n.add("tls", "is only for tls_client_auth")
	}
	if cl.Auth != AuthSecretBasic && cl.Auth != AuthSecretPost && hasSecret {
		n.add("secret_hash", "is only for client_secret_basic and client_secret_post")
	}
	cl.SecretHashes = n.secretHash(nil, "secret_hash", s.SecretHash)
	cl.SecretHashes = n.secretHash(cl.SecretHashes, "secret_hash_2", s.SecretHash2)
}

func (n *notes) secretHash(to [][32]byte, path, text string) [][32]byte {
	if text == "" {
		return to
	}
	digits, ok := strings.CutPrefix(text, "sha256:")
	sum, err := hex.DecodeString(digits)
	if !ok || err != nil || len(sum) != 32 {
		n.add(path, "want sha256: and 64 hex digits, as comity client secret prints")
		return to
	}
	return append(to, [32]byte(sum))
}
