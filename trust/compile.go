package trust

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	jose "github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/ident"
)

// Defaults of what a trust file leaves out.
const (
	defaultMaxTokenAge = time.Hour
	defaultLeeway      = 30 * time.Second
	maxLeeway          = 5 * time.Minute
	defaultMaxDepth    = 1
	maxDepth           = 10
	maxCapabilities    = 16
)

// Compiler turns specifications into what decisions are made on. The validator
// and the running broker use the same one, so they cannot disagree. It is safe
// for concurrent use.
type Compiler struct {
	settings Settings
	env      *cel.Env
}

// NewCompiler prepares a compiler for one broker.
func NewCompiler(s Settings) (*Compiler, error) {
	if s.Domain.IsZero() || s.Issuer.IsZero() || s.TTL <= 0 || s.MaxTTL < s.TTL || s.MinTTL > s.TTL {
		return nil, fmt.Errorf("compiler settings are incomplete or contradict each other")
	}
	env, err := newConditionEnv()
	if err != nil {
		return nil, fmt.Errorf("prepare conditions: %w", err)
	}
	return &Compiler{settings: s, env: env}, nil
}

// notes collects what is wrong with one object, by path inside it.
type notes struct{ list []note }

type note struct{ path, message string }

func (n *notes) add(path, format string, args ...any) {
	n.list = append(n.list, note{path, fmt.Sprintf(format, args...)})
}

// check notes err at path and reports whether there was none.
func (n *notes) check(path string, err error) bool {
	if err != nil {
		n.add(path, "%s", err)
	}
	return err == nil
}

// choice gives the value or its default, and notes one that is not in the list.
func (n *notes) choice(path, value, def string, allowed ...string) string {
	if value == "" {
		value = def
	}
	if !slices.Contains(allowed, value) {
		n.add(path, "want one of %s", strings.Join(allowed, ", "))
	}
	return value
}

// later notes values that the design has and this version does not do yet, so
// that they refuse rather than be ignored.
func (n *notes) later(path string, used bool) {
	if used {
		n.add(path, "this version does not support it yet")
	}
}

func (n *notes) status(path, value string) Status {
	return Status(n.choice(path, value, string(Active), string(Active), string(Suspended)))
}

func (n *notes) proof(path, value string) Proof {
	if value == "mtls" || value == "both" {
		n.later(path, true)
		return ProofRequired
	}
	return Proof(n.choice(path, value, string(ProofRequired), string(ProofRequired), string(ProofOptional), string(ProofDPoP)))
}

func (n *notes) keys(path string, set *JWKSSpec) []byte {
	if set == nil || len(set.Keys) == 0 {
		return nil
	}
	body, err := json.Marshal(set)
	if !n.check(path, err) {
		return nil
	}
	for i, k := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k", "oth"} {
			if _, has := k[private]; has {
				n.add(fmt.Sprintf("%s.keys[%d]", path, i), "holds private or symmetric key material; give the public key")
			}
		}
		raw, err := json.Marshal(k)
		if n.check(path, err) {
			var jwk jose.JSONWebKey
			if jwk.UnmarshalJSON(raw) != nil || !jwk.Valid() {
				n.add(fmt.Sprintf("%s.keys[%d]", path, i), "is not a valid public JWK")
			}
		}
	}
	return body
}

var signatureAlgorithms = []string{"ES256", "RS256", "PS256", "EdDSA", "ES384", "ES512", "RS384", "RS512", "PS384", "PS512"}

func (c *Compiler) peer(s PeerSpec, fingerprint string, n *notes) *Peer {
	p := &Peer{Name: s.Name, Fingerprint: fingerprint, JWKSURI: s.JWKSURI, JWKSHosts: s.JWKSHosts, Audiences: s.Audiences,
		Shared: s.SharedAudience, Pins: s.Pins, SingleUse: s.SingleUse, Expires: s.Expires.Time,
		MaxAge: time.Duration(s.MaxTokenAge), Leeway: time.Duration(s.Leeway)}
	var err error
	if _, err = ident.ParseName(s.Name); n.check("name", err) && s.Name == Self {
		n.add("name", "self stands for this broker")
	}
	if p.Domain, err = ident.ParseDomain(s.Domain); n.check("domain", err) {
		p.Foreign = p.Domain != c.settings.Domain
	}
	if n.choice("kind", s.Kind, "oidc", "oidc", "spiffe") == "spiffe" {
		n.later("kind", true)
	}
	if p.Issuer, err = ident.ParseIssuer(s.Issuer); n.check("issuer", err) && p.Issuer == c.settings.Issuer {
		n.add("issuer", "is this broker's own; write mappings with peer: self instead")
	}
	p.JWKS = n.keys("jwks", s.JWKS)
	p.Discovery = n.choice("discovery", s.Discovery, "auto", "auto", "jwks_uri", "static")
	switch {
	case p.Discovery == "static" && p.JWKS == nil:
		n.add("jwks", "static discovery needs at least one key")
	case p.Discovery == "jwks_uri":
		_, err := ident.ParseIssuer(strings.SplitN(s.JWKSURI, "?", 2)[0])
		if err != nil {
			n.add("jwks_uri", "want an https URI")
		}
	case p.Discovery != "jwks_uri" && s.JWKSURI != "":
		n.add("jwks_uri", "is only for discovery: jwks_uri")
	case p.Discovery != "static" && p.JWKS != nil:
		n.add("jwks", "is only for discovery: static")
	}
	c.peerTokens(s, p, n)
	c.peerTimes(s, p, n)
	p.Status = n.status("status", s.Status)
	return p
}

func (c *Compiler) peerTokens(s PeerSpec, p *Peer, n *notes) {
	if len(p.Audiences) == 0 {
		p.Audiences = []string{c.settings.Issuer.String()}
	}
	for i, a := range s.Audiences {
		_, err := ident.ParseAudience(a)
		n.check(fmt.Sprintf("audiences[%d]", i), err)
	}
	p.TokenTypes = []ident.TokenType{ident.AccessToken, ident.JWT}
	if s.TokenTypes != nil {
		p.TokenTypes = nil
	}
	for i, name := range s.TokenTypes {
		t, err := ident.ParseTokenTypeName(name)
		if n.check(fmt.Sprintf("token_types[%d]", i), err) {
			p.TokenTypes = append(p.TokenTypes, t)
		}
	}
	p.Grants = []string{GrantTokenExchange}
	if s.Grants != nil {
		p.Grants = s.Grants
	}
	for i, g := range s.Grants {
		at := fmt.Sprintf("grants[%d]", i)
		n.choice(at, g, g, GrantTokenExchange, "jwt-bearer", "id-jag")
		n.later(at, g == "jwt-bearer" || g == "id-jag")
	}
	algs := s.Algorithms
	if algs == nil {
		algs = signatureAlgorithms[:4]
	}
	for i, a := range algs {
		n.choice(fmt.Sprintf("algorithms[%d]", i), a, a, signatureAlgorithms...)
		p.Algorithms = append(p.Algorithms, jose.SignatureAlgorithm(a))
	}
	for i, pin := range s.Pins {
		if len(pin.Thumbprint) != 43 || strings.ContainsAny(pin.Thumbprint, "+/=") {
			n.add(fmt.Sprintf("pins[%d]", i), "want an RFC 7638 SHA-256 thumbprint in base64url")
		}
	}
	p.AAPAlias = n.choice("aap_names", s.AAPNames, "short", "short", "alias") == "alias"
}

func (c *Compiler) peerTimes(s PeerSpec, p *Peer, n *notes) {
	if s.Leeway == 0 {
		p.Leeway = defaultLeeway
	}
	if p.Leeway > maxLeeway {
		n.add("leeway", "is at most 300s")
	}
	if s.MaxTokenAge == 0 {
		p.MaxAge = defaultMaxTokenAge
	}
	if p.MaxAge > 24*time.Hour {
		n.add("max_token_age", "is at most 24h")
	}
	if s.Expires.IsZero() {
		n.add("expires", "is missing: a relationship ends unless it is renewed")
	}
}

func (c *Compiler) resource(s ResourceSpec, n *notes) *Resource {
	r := &Resource{Name: s.Name, Client: s.Client, Peer: s.Peer, Actions: make(map[aap.Action]bool, len(s.Actions))}
	var err error
	r.Audience, err = ident.ParseAudience(s.Audience)
	n.check("audience", err)
	r.Scopes, err = ident.NewScopes(s.Scopes)
	n.check("scopes", err)
	for i, name := range s.Actions {
		at := fmt.Sprintf("actions[%d]", i)
		a, err := aap.ParseAction(name)
		switch {
		case !n.check(at, err):
		case r.Actions[a]:
			n.add(at, "is repeated")
		case r.Scopes.Has(name):
			n.add(at, "is a scope of the resource too; the two must not overlap")
		default:
			r.Actions[a] = true
		}
	}
	return r
}

func (c *Compiler) client(s ClientSpec, fingerprint string, n *notes) *Client {
	cl := &Client{Fingerprint: fingerprint, JWKSURI: s.JWKSURI, Grants: s.Grants, Operator: s.Operator, Agent: s.Agent,
		KnownAs: s.KnownAs, Expires: s.Expires.Time}
	var err error
	cl.ID, err = ident.ParseClientID(s.ID)
	n.check("id", err)
	cl.JWKS = n.keys("jwks", s.JWKS)
	c.clientAuth(s, cl, n)
	if s.Grants == nil {
		cl.Grants = []string{GrantTokenExchange}
	}
	for i, g := range s.Grants {
		at := fmt.Sprintf("grants[%d]", i)
		n.choice(at, g, g, GrantTokenExchange, GrantClientCredentials, "jwt-bearer")
		n.later(at, g == "jwt-bearer")
	}
	if slices.Contains(cl.Grants, GrantClientCredentials) {
		if s.Agent == nil || s.Operator == "" {
			n.add("grants", "client_credentials needs the client's operator and agent")
		}
		if cl.Auth == AuthNone {
			n.add("grants", "client_credentials is not for a client that does not authenticate")
		}
	}
	if a := s.Agent; a != nil {
		if a.ID == "" || len(a.ID) > 128 || a.Type == "" || len(a.Type) > 64 {
			n.add("agent", "needs an id of 1 to 128 and a type of 1 to 64 characters")
		}
		if s.Operator == "" || len(s.Operator) > 256 {
			n.add("operator", "an agent needs an operator of 1 to 256 characters")
		}
	}
	cl.Proof = n.proof("proof", s.Proof)
	cl.Status = n.status("status", s.Status)
	if s.Expires.IsZero() {
		n.add("expires", "is missing: a registration ends unless it is renewed")
	}
	return cl
}

func (c *Compiler) clientAuth(s ClientSpec, cl *Client, n *notes) {
	method := n.choice("auth", s.Auth, "", string(AuthPrivateKeyJWT), string(AuthSecretBasic), string(AuthSecretPost), string(AuthNone),
		"tls_client_auth", "self_signed_tls_client_auth", "federated")
	n.later("auth", strings.Contains(method, "tls_client_auth") || method == "federated")
	cl.Auth = ClientAuth(method)
	hasSecret := s.SecretHash != "" || s.SecretHash2 != ""
	switch cl.Auth {
	case AuthPrivateKeyJWT:
		if (cl.JWKS == nil) == (s.JWKSURI == "") {
			n.add("jwks", "private_key_jwt needs either jwks or jwks_uri")
		}
		if s.JWKSURI != "" {
			if _, err := ident.ParseIssuer(strings.SplitN(s.JWKSURI, "?", 2)[0]); err != nil {
				n.add("jwks_uri", "want an https URI")
			}
		}
	case AuthSecretBasic, AuthSecretPost:
		if !hasSecret {
			n.add("secret_hash", "is missing; comity client secret makes one")
		}
	}
	if cl.Auth != AuthPrivateKeyJWT && (cl.JWKS != nil || s.JWKSURI != "") {
		n.add("jwks", "is only for private_key_jwt")
	}
	if cl.Auth != AuthSecretBasic && cl.Auth != AuthSecretPost && hasSecret {
		n.add("secret_hash", "is only for client_secret_basic and client_secret_post")
	}
	for path, text := range map[string]string{"secret_hash": s.SecretHash, "secret_hash_2": s.SecretHash2} {
		if text == "" {
			continue
		}
		digits, ok := strings.CutPrefix(text, "sha256:")
		sum, err := hex.DecodeString(digits)
		if !ok || err != nil || len(sum) != 32 {
			n.add(path, "want sha256: and 64 hex digits, as comity client secret prints")
			continue
		}
		cl.SecretHashes = append(cl.SecretHashes, [32]byte(sum))
	}
}

func (c *Compiler) mapping(s MappingSpec, n *notes) *Mapping {
	m := &Mapping{Name: s.Name, Peer: s.Peer, Clients: map[string]bool{}, TTL: time.Duration(s.TTL), MaxDepth: defaultMaxDepth,
		Keep: map[string]bool{}}
	_, err := ident.ParseName(s.Name)
	n.check("name", err)
	if s.Peer == "" {
		n.add("peer", "is missing")
	}
	if len(s.Clients) == 0 {
		n.add("clients", "is missing: name who may bring such a token")
	}
	for _, id := range s.Clients {
		if id == "*" {
			m.AnyClient = true
			continue
		}
		m.Clients[id] = true
	}
	m.Resources = n.audiences("resources", s.Resources)
	m.AnyPresenter = n.choice("presenter", s.Presenter, "subject", "subject", "any") == "any"
	m.ByIdentity = n.choice("authority", s.Authority, "token", "token", "mapping") == "mapping"
	m.IgnoreCarry = n.choice("carried", s.Carried, "refuse", "refuse", "ignore") == "ignore"
	if m.ByIdentity && strings.TrimSpace(s.When) == "" {
		n.add("when", "is missing: authority: mapping entitles by identity alone, so it has to say whose")
	}
	if s.Carried != "" && !m.ByIdentity {
		n.add("carried", "is only for authority: mapping")
	}
	m.When = c.condition("when", s.When, cel.BoolType, n)
	m.Subject = c.condition("subject", s.Subject, cel.StringType, n)
	for i, r := range s.Scopes {
		m.Scopes = append(m.Scopes, n.scopeRule(fmt.Sprintf("scopes[%d]", i), r))
	}
	m.Capabilities = n.capabilities("capabilities", s.Capabilities)
	if len(m.Scopes)+len(m.Capabilities) == 0 {
		n.add("scopes", "a mapping without scopes and capabilities can grant nothing")
	}
	m.TTL = c.ttl(s.TTL, n)
	if s.MaxDepth != nil {
		m.MaxDepth = *s.MaxDepth
	}
	if m.MaxDepth < 0 || m.MaxDepth > maxDepth {
		n.add("max_depth", "want 0 to %d", maxDepth)
	}
	if s.Proof != "" {
		m.Proof = n.proof("proof", s.Proof)
	}
	n.later("actors", len(s.Actors) > 0)
	if s.Boundary != nil {
		for i, name := range s.Boundary.Keep {
			if !slices.Contains(aap.Keepable(), name) {
				n.add(fmt.Sprintf("boundary.keep[%d]", i), "want one of %s", strings.Join(aap.Keepable(), ", "))
			}
			m.Keep[name] = true
		}
	}
	m.Shadow = n.choice("mode", s.Mode, "enforce", "enforce", "shadow") == "shadow"
	m.Status = n.status("status", s.Status)
	return m
}

func (c *Compiler) condition(path, source string, want *cel.Type, n *notes) *condition {
	if strings.TrimSpace(source) == "" {
		return nil
	}
	cond, err := compileCondition(c.env, source, want)
	n.check(path, err)
	return cond
}

func (c *Compiler) ttl(d Duration, n *notes) time.Duration {
	switch ttl := time.Duration(d); {
	case ttl == 0:
		return c.settings.TTL
	case ttl > c.settings.MaxTTL:
		n.add("ttl", "is above the configured tokens.max_ttl of %s", c.settings.MaxTTL)
		return c.settings.MaxTTL
	case ttl < c.settings.MinTTL:
		n.add("ttl", "is below the configured tokens.min_ttl of %s", c.settings.MinTTL)
		return ttl
	default:
		return ttl
	}
}

func (c *Compiler) policy(s PolicySpec, n *notes) *Policy {
	p := &Policy{Name: s.Name, Operator: s.Operator, AgentType: s.AgentType, TTL: c.ttl(s.TTL, n)}
	_, err := ident.ParseName(s.Name)
	n.check("name", err)
	if s.Operator == "" || len(s.Operator) > 256 {
		n.add("operator", "want 1 to 256 characters")
	}
	p.Resources = n.audiences("resources", s.Resources)
	if p.Capabilities = n.capabilities("capabilities", s.Capabilities); len(p.Capabilities) == 0 {
		n.add("capabilities", "is missing: a policy without capabilities grants nothing")
	}
	for i, r := range s.Capabilities {
		if r.From != nil {
			n.add(fmt.Sprintf("capabilities[%d].from", i), "is for mappings: a policy translates nothing")
		}
	}
	if s.MaxDepth != nil {
		p.MaxDepth = *s.MaxDepth
	}
	if p.MaxDepth < 0 || p.MaxDepth > maxDepth {
		n.add("max_depth", "want 0 to %d", maxDepth)
	}
	if s.Proof != "" {
		p.Proof = n.proof("proof", s.Proof)
	}
	if s.Oversight != nil {
		numbers, err := jsonNumbers(s.Oversight)
		if n.check("oversight", err) {
			p.Oversight, err = aap.ParseOversight(numbers)
			n.check("oversight", err)
		}
	}
	if s.Audit != nil {
		p.Audit = &aap.Audit{}
		n.strict("audit", s.Audit, p.Audit)
		if p.Audit.TraceID != "" || p.Audit.TraceIDScope != "" || p.Audit.SessionID != "" {
			n.add("audit", "the broker sets trace and session identifiers itself")
		}
	}
	p.Status = n.status("status", s.Status)
	return p
}

// strict reads free-form content into a claim type, refusing unknown members.
func (n *notes) strict(path string, from map[string]any, into any) {
	raw, err := json.Marshal(from)
	if !n.check(path, err) {
		return
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	n.check(path, dec.Decode(into))
}

func (n *notes) audiences(path string, list []string) []ident.Audience {
	if len(list) == 0 {
		n.add(path, "is missing")
	}
	var out []ident.Audience
	for i, text := range list {
		a, err := ident.ParseAudience(text)
		at := fmt.Sprintf("%s[%d]", path, i)
		if n.check(at, err) && slices.Contains(out, a) {
			n.add(at, "is repeated")
		}
		out = append(out, a)
	}
	return out
}

func (n *notes) scopeRule(path string, r ScopeRule) scopeRule {
	n.check(path, ident.ParseScope(r.Scope))
	from := r.From
	if from == nil {
		from = []string{r.Scope}
	}
	if len(from) == 0 {
		n.add(path+".from", "is empty: nothing would entitle to the scope")
	}
	for i, f := range from {
		n.check(fmt.Sprintf("%s.from[%d]", path, i), ident.ParseScope(f))
	}
	return scopeRule{scope: r.Scope, from: from}
}

func (n *notes) capabilities(path string, rules []CapabilityRule) []capabilityRule {
	if len(rules) > maxCapabilities {
		n.add(path, "at most %d", maxCapabilities)
	}
	var out []capabilityRule
	for i, r := range rules {
		out = append(out, n.capability(fmt.Sprintf("%s[%d]", path, i), r))
	}
	return out
}

func (n *notes) capability(path string, r CapabilityRule) capabilityRule {
	var c capabilityRule
	var err error
	c.action, err = aap.ParseAction(r.Action)
	n.check(path+".action", err)
	from := r.From
	if from == nil {
		from = []string{r.Action}
	}
	if len(from) == 0 {
		n.add(path+".from", "is empty: nothing would entitle to the action")
	}
	for i, f := range from {
		at := fmt.Sprintf("%s.from[%d]", path, i)
		if scope, ok := strings.CutPrefix(f, "scope:"); ok {
			n.check(at, ident.ParseScope(scope))
			c.fromScopes = append(c.fromScopes, scope)
			continue
		}
		_, err := aap.ParseAction(f)
		n.check(at, err)
		c.from = append(c.from, f)
	}
	numbers, err := jsonNumbers(r.Constraints)
	if n.check(path+".constraints", err) {
		c.ceiling, err = aap.ParseConstraints(numbers)
		if n.check(path+".constraints", err) {
			n.check(path+".constraints", c.ceiling.CheckIssuable())
		}
	}
	return c
}

// jsonNumbers gives content the form that a strict JSON parser gives it.
func jsonNumbers(m map[string]any) (map[string]any, error) {
	if m == nil {
		return map[string]any{}, nil
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var out map[string]any
	return out, dec.Decode(&out)
}
