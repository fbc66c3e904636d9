package trust

import (
	"bytes"
	"crypto/sha256"
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
	maxTokenAge        = 24 * time.Hour
	defaultMaxDepth    = 1
	maxDepth           = 10
	// grantLife is how long a grant for another domain may wait to be redeemed.
	grantLife       = time.Minute
	maxCapabilities = 16
	maxOperator     = 256
)

// Compiler turns specifications into what decisions are made on. The validator
// and the running broker use the same one, so they cannot disagree. It is safe
// for concurrent use.
type Compiler struct {
	settings Settings
	env      *cel.Env
	known    memo
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

func (n *notes) status(path, value string) Status {
	return Status(n.choice(path, value, string(Active), string(Active), string(Suspended)))
}

func (n *notes) proof(path, value string) Proof {
	return Proof(n.choice(path, value, string(ProofRequired), string(ProofRequired), string(ProofOptional), string(ProofDPoP),
		string(ProofMTLS), string(ProofBoth)))
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

func (c *Compiler) condition(path, source string, want *cel.Type, n *notes) *condition {
	if source == "" {
		return nil
	}
	if strings.TrimSpace(source) == "" {
		n.add(path, "is blank")
		return nil
	}
	cond, err := c.known.condition(source, want, func() (*condition, error) { return compileCondition(c.env, source, want) })
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
		unknown := c.ceiling.Unknown()
		for _, name := range unknown {
			n.add(path+".constraints."+name, "no constraint of that name is known")
		}
		if n.check(path+".constraints", err) && len(unknown) == 0 {
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

// fingerprint identifies what keys are found by. Parts always have a JSON form.
func fingerprint(parts ...any) string {
	text, _ := json.Marshal(parts)
	return fmt.Sprintf("%x", sha256.Sum256(text))
}
