package guard

import (
	"errors"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust/aap"
)

// The error codes of RFC 6750 section 3.1, of the token endpoint where they
// fit, and of AAP draft-01.
const (
	InvalidRequest         = "invalid_request"
	InvalidToken           = "invalid_token"
	InsufficientScope      = "insufficient_scope"
	RequestTooLarge        = "request_too_large"
	Unavailable            = "temporarily_unavailable"
	ServerError            = "server_error"
	InvalidCapability      = "aap_invalid_capability"
	DomainNotAllowed       = "aap_domain_not_allowed"
	CapabilityExpired      = "aap_capability_expired"
	ApprovalRequired       = "aap_approval_required"
	ExcessiveDelegation    = "aap_excessive_delegation"
	InvalidDelegationChain = "aap_invalid_delegation_chain"
	TaskMismatch           = "aap_task_mismatch"
	AgentNotRecognized     = "aap_agent_not_recognized"
	InvalidContext         = "aap_invalid_context"
	ConstraintViolation    = "aap_constraint_violation"
)

// retryUnavailable is what Retry-After says when nothing better is known.
const retryUnavailable = 2 * time.Second

// refusal is a request that is not admitted. Status, code and say are for the
// client and hold nothing of the request or the token; the rest is for the event.
type refusal struct {
	status int
	code   string // empty when no credential was presented (RFC 6750 section 3.1)
	say    string
	// reason is a name of a closed set; check, expected and seen say more, in our
	// own words.
	reason, check, expected, seen string

	retryAfter time.Duration
	approval   string // the approval_reference, when the token has one
	scope      string // what the route asks for
}

// meaning is what a reason means to the client.
type meaning struct {
	reason string
	status int
	code   string
	say    string
}

// meanings maps every reason to its one answer.
var meanings = []meaning{
	{"no_credential", 401, "", "The request needs an access token."},
	{"credential_form", 400, InvalidRequest, "The request is malformed."},
	{"several_credentials", 400, InvalidRequest, "The request carries more than one credential."},
	{"path_form", 400, InvalidRequest, "The request path is not in normal form."},
	{"method_override", 400, InvalidRequest, "The request names two methods."},

	{"proxy_untrusted", 403, InvalidRequest, "The request did not come by a trusted proxy."},
	{"proxy_headers", 403, InvalidRequest, "The proxy does not say what it was asked."},

	{"token_malformed", 401, InvalidToken, "The access token is malformed."},
	{"token_type", 401, InvalidToken, "The token is not an access token."},
	{"algorithm", 401, InvalidToken, "The access token is not acceptable."},
	{"issuer", 401, InvalidToken, "The access token is from an issuer that is not accepted."},
	{"key_unknown", 401, InvalidToken, "The access token is not acceptable."},
	{"signature", 401, InvalidToken, "The access token is not acceptable."},
	{"expired", 401, InvalidToken, "The access token has expired."},
	{"not_yet_valid", 401, InvalidToken, "The access token is not valid yet."},
	{"too_old", 401, InvalidToken, "The access token is too old."},
	{"audience", 401, InvalidToken, "The access token is for another audience."},
	{"claims", 401, InvalidToken, "The access token lacks a required claim or has a malformed one."},
	{"revoked", 401, InvalidToken, "The access token was revoked."},
	{"scheme", 401, InvalidToken, "The access token is presented with the wrong scheme."},
	{"unbound", 401, InvalidToken, "The access token is not bound to a key."},
	{"binding", 401, InvalidToken, "The access token is bound to another key."},
	{"proof", 401, InvalidToken, "The DPoP proof is missing or not acceptable."},
	{"proof_replayed", 401, InvalidToken, "The DPoP proof was used before."},

	{"agent", 403, AgentNotRecognized, "The agent is not recognised."},
	{"model", 403, AgentNotRecognized, "The agent is not recognised."},
	{"attestation", 403, AgentNotRecognized, "The agent is not recognised."},
	{"task", 403, TaskMismatch, "The request is outside the task."},
	{"delegation_depth", 403, ExcessiveDelegation, "The delegation depth is over a limit."},
	{"delegation_chain", 403, InvalidDelegationChain, "The delegation chain is not valid."},
	{"context", 403, InvalidContext, "The request is outside the context of the token."},

	{"no_route", 403, InvalidCapability, "The token has no capability for the request."},
	{"capability", 403, InvalidCapability, "The token has no capability for the request."},
	{"scope", 403, InsufficientScope, "The token lacks the scope for the request."},

	{"domain", 403, DomainNotAllowed, "The target of the request is not allowed."},
	{"time_window", 403, CapabilityExpired, "The capability is outside its time window."},
	{"capability_depth", 403, ExcessiveDelegation, "The delegation depth is over a limit."},
	{"request_size", 413, RequestTooLarge, "The request is too large."},
	{"approval_threshold", 403, ApprovalRequired, "The request requires human approval."},
	{"address", 403, ConstraintViolation, "The request violates a constraint of the token."},
	{"method", 403, ConstraintViolation, "The request violates a constraint of the token."},
	{"classification", 403, ConstraintViolation, "The request violates a constraint of the token."},
	{"region", 403, ConstraintViolation, "The request violates a constraint of the token."},
	{"encryption", 403, ConstraintViolation, "The request violates a constraint of the token."},
	{"resource", 403, ConstraintViolation, "The request violates a constraint of the token."},
	{"unknown_constraint", 403, ConstraintViolation, "The request violates a constraint of the token."},
	{"response_size", 403, ConstraintViolation, "The request violates a constraint of the token."},
	{"rate_limit", 429, ConstraintViolation, "The rate limit of the token is exceeded."},
	{"approval", 403, ApprovalRequired, "The action requires human approval."},

	{"feed_stale", 503, Unavailable, sayLater},
	{"keys_unavailable", 503, Unavailable, sayLater},
	{"counters_unavailable", 503, Unavailable, sayLater},
	{"once_unavailable", 503, Unavailable, sayLater},
}

const sayLater = "The request cannot be judged now. Try again later."

// refuse is the refusal for a reason; of one that the table lacks, the fixed
// answer for what went wrong here.
func refuse(reason, check, expected, seen string) *refusal {
	r := &refusal{status: 500, code: ServerError, say: "The request could not be judged.",
		reason: reason, check: check, expected: expected, seen: seen}
	for _, m := range meanings {
		if m.reason == reason {
			r.status, r.code, r.say = m.status, m.code, m.say
		}
	}
	if r.status == 503 {
		r.retryAfter = retryUnavailable
	}
	return r
}

// causes maps what lower layers report to reasons. The first that matches
// counts.
var causes = []struct {
	is     error
	reason string
}{
	{federation.ErrUnavailable, "keys_unavailable"},
	{federation.ErrMisconfigured, "keys_unavailable"},
	{federation.ErrMalformed, "token_malformed"},
	{federation.ErrType, "token_type"},
	{federation.ErrAlgorithm, "algorithm"},
	{federation.ErrIssuer, "issuer"},
	{federation.ErrUnknownKey, "key_unknown"},
	{federation.ErrSignature, "signature"},
	{federation.ErrExpired, "expired"},
	{federation.ErrNotYetValid, "not_yet_valid"},
	{federation.ErrTooOld, "too_old"},
	{federation.ErrLifetime, "too_old"},
	{federation.ErrAudience, "audience"},
	{federation.ErrClaims, "claims"},
	{proof.ErrConfirmation, "claims"},
	{proof.ErrProof, "proof"},
	{aap.ErrDepth, "delegation_depth"},
	{aap.ErrDelegation, "delegation_chain"},
	{aap.ErrShape, "claims"},
}

// refuseFor is the refusal for an error of a lower layer.
func refuseFor(err error, check, expected string) *refusal {
	reason := "internal"
	for _, c := range causes {
		if errors.Is(err, c.is) {
			reason = c.reason
			break
		}
	}
	if seen, ok := errors.AsType[*federation.Refusal](err); ok {
		return refuse(reason, seen.Check, seen.Expected, seen.Seen)
	}
	return refuse(reason, check, expected, err.Error())
}

// withScope says what the route asks for, which is no secret: the metadata
// lists it.
func (r *refusal) withScope(scope string) *refusal {
	r.scope = scope
	return r
}
