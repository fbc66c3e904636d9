package exchange

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/ident"
)

// Grant types, as the grant_type parameter spells them.
const (
	GrantTokenExchange     = "urn:ietf:params:oauth:grant-type:token-exchange"
	GrantClientCredentials = "client_credentials"
	GrantJWTBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// What a client assertion is, as client_assertion_type spells it.
const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	svidType      = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
)

// What a request itself can be wrong in.
var (
	ErrMalformed       = errors.New("the request is malformed")
	ErrRepeated        = fmt.Errorf("%w: a parameter is repeated", ErrMalformed)
	ErrMissing         = fmt.Errorf("%w: a parameter is missing", ErrMalformed)
	ErrGrantType       = errors.New("the grant type is not supported")
	ErrTokenType       = fmt.Errorf("%w: a token type is not supported", ErrMalformed)
	ErrResource        = errors.New("a resource or audience is malformed")
	ErrScopeSyntax     = errors.New("a scope is malformed")
	ErrSeveralMethods  = fmt.Errorf("%w: more than one client authentication method", ErrMalformed)
	ErrClientMismatch  = fmt.Errorf("%w: client_id names another client than the credentials", ErrMalformed)
	ErrTooManyRequests = errors.New("too many requests")

	// What a body can be wrong in before it has parameters.
	ErrBodySize  = fmt.Errorf("%w: the body is too large", ErrMalformed)
	ErrMediaType = fmt.Errorf("%w: the body is not of the form's media type", ErrMalformed)
	ErrForm      = fmt.Errorf("%w: the form cannot be read", ErrMalformed)
	ErrQuery     = fmt.Errorf("%w: the URL has a query", ErrMalformed)
)

const (
	maxTargets    = 8
	maxActions    = 32
	maxCredential = 16 << 10 // bytes of a token or assertion
	maxSecret     = 1024
)

// Request is one token request as it came in. Everything in it is untrusted.
type Request struct {
	// Form is the decoded body: every value of every parameter.
	Form map[string][]string
	// Defect is why there is no form, one of this package's sentinels: such a
	// request is refused for it, and recorded like any other.
	Defect error
	// Authorization and DPoP are all values of the headers of these names.
	Authorization []string
	DPoP          []string
	// Certificates are those that the client showed over mutual TLS, its own
	// first, whose key it has proved to hold. CertificateDefect is why there
	// are none although it showed some: it wraps clientcert.ErrForm.
	Certificates      []*x509.Certificate
	CertificateDefect error
	Address           netip.Addr
	UserAgent         string
}

// asked is a request that is well formed. Only wellFormed makes one.
type asked struct {
	grant string // as trust files spell it
	// resources and audiences are the distinct targets named by each parameter.
	resources  []ident.Audience
	audiences  []ident.Audience
	scopes     ident.Scopes
	actions    []aap.Action
	ttl        time.Duration
	task       trust.Task
	credential credential

	subjectToken     ident.RawToken
	subjectType      ident.TokenType
	actorToken       ident.RawToken // zero when nobody acts for the subject
	actorType        ident.TokenType
	requestedType    ident.TokenType
	hasRequestedType bool
	dpop             []string
	certificates     []*x509.Certificate
	// certificateDefect is why certificates that were shown do not count.
	certificateDefect error
	// operator and agentType may repeat what the client is registered with.
	operator, agentType string
	from                trust.Requester
}

// mayRepeat are the parameters that RFC 8693 section 2.1 allows repeatedly.
var mayRepeat = []string{"resource", "audience"}

// parameters gives the single value of a parameter; sent empty counts as
// omitted (RFC 6749 section 3.2).
type parameters map[string][]string

func (p parameters) get(name string) string {
	if v := p[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (p parameters) all(name string) []string {
	return slices.DeleteFunc(slices.Clone(p[name]), func(s string) bool { return s == "" })
}

func (p parameters) checkRepeated() error {
	for name, values := range p {
		if len(values) > 1 && !slices.Contains(mayRepeat, name) {
			return ErrRepeated
		}
	}
	return nil
}

// wellFormed is step 1: it needs nothing but the request.
func (s *Service) wellFormed(t *trail, req Request) (asked, error) {
	if err := s.admit(t, s.global, "global", "", quotaPerSecond(s.opts.Limits.GlobalPerSecond)); err != nil {
		return asked{}, err
	}
	if req.Defect != nil {
		return asked{}, t.fail("request", "body", "a form within the limits", req.Defect.Error(), req.Defect)
	}
	p := parameters(req.Form)
	var a asked
	if err := p.checkRepeated(); err != nil {
		return a, t.fail("request", "parameters", "each at most once", "a repeated one", err)
	}
	var err error
	if a.credential, err = readCredential(p, req); err != nil {
		return a, t.fail("request", "credentials", "one client authentication method", err.Error(), err)
	}
	switch p.get("grant_type") {
	case GrantTokenExchange:
		a.grant = trust.GrantTokenExchange
		err = a.readExchange(p)
	case GrantClientCredentials:
		a.grant = trust.GrantClientCredentials
	case GrantJWTBearer:
		a.grant = trust.GrantJWTBearer
		err = a.readAssertion(p)
	case "":
		err = fmt.Errorf("%w: grant_type", ErrMissing)
	default:
		err = ErrGrantType
	}
	t.event(a.grant)
	if err == nil {
		err = a.readTargets(p)
	}
	if err == nil {
		err = a.readWishes(p)
	}
	if err != nil {
		return a, t.fail("request", "parameters", "well formed", err.Error(), err)
	}
	t.ignored(p)
	a.operator, a.agentType = p.get("operator"), p.get("agent_type")
	a.dpop = req.DPoP
	a.certificates, a.certificateDefect = a.credential.certificates, a.credential.certificateDefect
	a.from = trust.Requester{Address: req.Address}
	t.pass("request", "parameters", "well formed", a.grant)
	return a, nil
}

// readExchange reads the parameters of RFC 8693 section 2.1.
func (a *asked) readExchange(p parameters) error {
	token := p.get("subject_token")
	switch {
	case token == "":
		return fmt.Errorf("%w: subject_token", ErrMissing)
	case p.get("subject_token_type") == "":
		return fmt.Errorf("%w: subject_token_type", ErrMissing)
	case p.get("actor_token") != "" && p.get("actor_token_type") == "":
		return fmt.Errorf("%w: actor_token_type", ErrMissing)
	case p.get("actor_token") == "" && p.get("actor_token_type") != "":
		return fmt.Errorf("%w: actor_token_type without actor_token", ErrMalformed)
	case len(token) > maxCredential || len(p.get("actor_token")) > maxCredential:
		return fmt.Errorf("%w: a token is longer than %d bytes", ErrMalformed, maxCredential)
	}
	a.subjectToken = ident.NewRawToken(token)
	var err error
	if a.subjectType, err = ident.ParseTokenType(p.get("subject_token_type")); err != nil {
		return fmt.Errorf("%w: subject_token_type", ErrTokenType)
	}
	if actor := p.get("actor_token"); actor != "" {
		a.actorToken = ident.NewRawToken(actor)
		if a.actorType, err = ident.ParseTokenType(p.get("actor_token_type")); err != nil {
			return fmt.Errorf("%w: actor_token_type", ErrTokenType)
		}
	}
	a.requestedType = ident.AccessToken
	if want := p.get("requested_token_type"); want != "" {
		a.hasRequestedType = true
		if a.requestedType, err = ident.ParseRequestedTokenType(want); err != nil {
			return fmt.Errorf("%w: requested_token_type", ErrTokenType)
		}
	}
	return nil
}

// readAssertion reads the grant of RFC 7523 section 2.1, which is a subject
// token by another name.
func (a *asked) readAssertion(p parameters) error {
	token := p.get("assertion")
	switch {
	case token == "":
		return fmt.Errorf("%w: assertion", ErrMissing)
	case len(token) > maxCredential:
		return fmt.Errorf("%w: assertion is longer than %d bytes", ErrMalformed, maxCredential)
	}
	a.subjectToken, a.subjectType, a.requestedType = ident.NewRawToken(token), ident.JWT, ident.AccessToken
	return nil
}

// readTargets collects the distinct resources (RFC 8707) and audiences.
func (a *asked) readTargets(p parameters) error {
	resources, audiences := p.all("resource"), p.all("audience")
	if len(resources)+len(audiences) > maxTargets {
		return fmt.Errorf("%w: more than %d", ErrResource, maxTargets)
	}
	var err error
	if a.resources, err = distinct(resources, ident.ParseResource); err == nil {
		a.audiences, err = distinct(audiences, ident.ParseAudience)
	}
	return err
}

func distinct(texts []string, parse func(string) (ident.Audience, error)) ([]ident.Audience, error) {
	var out []ident.Audience
	for _, text := range texts {
		target, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrResource, err)
		}
		if !slices.Contains(out, target) {
			out = append(out, target)
		}
	}
	return out, nil
}

// targets are all that was named, each once.
func (a *asked) targets() []ident.Audience {
	out := slices.Clone(a.resources)
	for _, t := range a.audiences {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// readWishes reads what the caller would like of the result.
func (a *asked) readWishes(p parameters) (err error) {
	if a.scopes, err = ident.ParseScopes(p.get("scope")); err != nil {
		return fmt.Errorf("%w: %w", ErrScopeSyntax, err)
	}
	names := strings.FieldsFunc(p.get("capabilities"), func(r rune) bool { return r == ',' || r == ' ' })
	if len(names) > maxActions {
		return fmt.Errorf("%w: more than %d capabilities", ErrMalformed, maxActions)
	}
	for _, name := range names {
		action, err := aap.ParseAction(name)
		if err != nil {
			return fmt.Errorf("%w: capabilities: %w", ErrMalformed, err)
		}
		if !slices.Contains(a.actions, action) {
			a.actions = append(a.actions, action)
		}
	}
	if text := p.get("requested_ttl"); text != "" {
		seconds, err := strconv.ParseUint(text, 10, 31)
		if err != nil || seconds == 0 {
			return fmt.Errorf("%w: requested_ttl is a number of seconds above 0", ErrMalformed)
		}
		a.ttl = time.Duration(seconds) * time.Second
	}
	a.task = trust.Task{ID: p.get("task_id"), Purpose: p.get("task_purpose")}
	if len(a.task.ID) > 128 || len(a.task.Purpose) > 256 {
		return fmt.Errorf("%w: task_id has at most 128 and task_purpose at most 256 bytes", ErrMalformed)
	}
	return nil
}
