package exchange

import (
	"errors"
	"time"

	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/clientcert"
	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/audit"
)

// The error codes of the token endpoint (RFC 6749 section 5.2, RFC 8693 section
// 2.2.2, RFC 8707 section 2, RFC 9449 section 5).
const (
	InvalidRequest       = "invalid_request"
	InvalidGrant         = "invalid_grant" // what invalid_request is on the jwt-bearer leg (RFC 7523 section 3.1)
	InvalidClient        = "invalid_client"
	UnauthorizedClient   = "unauthorized_client"
	UnsupportedGrantType = "unsupported_grant_type"
	InvalidTarget        = "invalid_target"
	InvalidScope         = "invalid_scope"
	InvalidDPoPProof     = "invalid_dpop_proof"
	UseDPoPNonce         = "use_dpop_nonce"
	Unavailable          = "temporarily_unavailable"
	TooManyRequests      = "too_many_requests" // sent as temporarily_unavailable with status 429
	ServerError          = "server_error"
)

// Fault is a request that got no token. Only Code, Public, RetryAfter and
// DecisionID may reach the client; the cause is for the record.
type Fault struct {
	Code   string
	Public string
	// RetryAfter is when the same request could succeed; zero when it never will.
	RetryAfter time.Duration
	// DecisionID names the record; empty when the refusal was not recorded.
	DecisionID string
	// Nonce is the one to make the next proof with; empty when none is asked for.
	Nonce string

	reason  string
	outcome audit.Outcome
	cause   error
}

// Error is for logs of this domain; it may hold what clients must not see.
func (f *Fault) Error() string { return f.Code + ": " + f.cause.Error() }

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.cause }

// Reason is the short name of the cause, of a closed set.
func (f *Fault) Reason() string { return f.reason }

// The fixed sentences. They hold only characters that RFC 6749 section 5.2
// allows and never anything of the request.
const (
	sayRequest  = "The request is malformed."
	sayGrantBad = "The assertion is not acceptable."
	saySubject  = "The subject_token is not acceptable."
	sayTarget   = "The target is not available to this request."
	sayScope    = "The requested scope or capability is not available."
	sayClient   = "Client authentication failed."
	sayGrant    = "The client may not use this grant."
	sayProof    = "The DPoP proof is missing or not acceptable."
	sayLater    = "The request cannot be answered now. Try again later."
	sayTooMany  = "Too many requests. Try again later."
	sayFailed   = "The request could not be completed."
	sayTask     = "The request needs task_id and task_purpose."
	sayDepth    = "The subject_token may not be delegated further."
	sayLifetime = "Too little lifetime is left."
)

// retryUnavailable is what Retry-After says when nothing better is known.
const retryUnavailable = 2 * time.Second

// meaning is what a condition means to a client.
type meaning struct {
	is     error
	reason string
	code   string
	public string
}

// meanings maps what lower layers report to OAuth. The first that matches
// counts, so what refines stands before what it refines. A test holds it
// against every exported sentinel of the packages below.
var meanings = []meaning{
	{ErrTooManyRequests, "rate_limited", TooManyRequests, sayTooMany},
	{trust.ErrStale, "registry_stale", Unavailable, sayLater},
	{trust.ErrOverloaded, "ledger_overloaded", Unavailable, sayLater},
	{trust.ErrUnavailable, "store_unavailable", Unavailable, sayLater},
	{federation.ErrUnavailable, "keys_unavailable", Unavailable, sayLater},

	{ErrSeveralMethods, "several_client_methods", InvalidRequest, sayRequest},
	{ErrClientMismatch, "client_mismatch", InvalidRequest, sayRequest},
	{ErrClientUnknown, "client_unknown", InvalidClient, sayClient},
	{ErrClientMethod, "client_method", InvalidClient, sayClient},
	{ErrClientPeer, "client_peer", InvalidClient, sayClient},
	{ErrClientCredential, "client_credential", InvalidClient, sayClient},
	{clientcert.ErrForm, "client_credential", InvalidClient, sayClient},
	{federation.ErrCertificate, "client_credential", InvalidClient, sayClient},
	{ErrNotOwner, "not_the_token_owner", UnauthorizedClient, "The token was issued to another client."},
	{ErrClientGrant, "client_grant", UnauthorizedClient, sayGrant},

	{ErrGrantType, "grant_type", UnsupportedGrantType, "The grant type is not supported."},
	{ErrResource, "target_malformed", InvalidTarget, sayTarget},
	{ErrScopeSyntax, "scope_malformed", InvalidScope, sayScope},
	{ErrRepeated, "parameter_repeated", InvalidRequest, "A parameter is repeated."},
	{ErrMissing, "parameter_missing", InvalidRequest, "A required parameter is missing."},
	{ErrTokenType, "token_type", InvalidRequest, "The token type is not supported."},
	{ErrClientClaims, "client_claims", InvalidRequest, sayRequest},
	{ErrBodySize, "body_size", InvalidRequest, "The request body is too large."},
	{ErrMediaType, "media_type", InvalidRequest, "The request body must be application/x-www-form-urlencoded."},
	{ErrForm, "form", InvalidRequest, sayRequest},
	{ErrQuery, "query", InvalidRequest, "Parameters belong in the request body."},
	{trust.ErrChain, "act_and_chain", InvalidRequest, saySubject},
	{trust.ErrActor, "actor", InvalidRequest, "The actor_token is not acceptable."},
	{ErrMalformed, "malformed", InvalidRequest, sayRequest},

	{proof.ErrNonce, "proof_nonce", UseDPoPNonce, "The DPoP proof needs the nonce of the DPoP-Nonce header."},
	{proof.ErrProof, "proof_invalid", InvalidDPoPProof, sayProof},
	{trust.ErrProof, "proof_missing", InvalidDPoPProof, sayProof},
	{trust.ErrCertificate, "certificate_missing", InvalidRequest, "The request needs a client certificate."},

	{ErrIssuerUnknown, "issuer_unknown", InvalidRequest, saySubject},
	{ErrIssuerUnusable, "issuer_unusable", InvalidRequest, saySubject},
	{ErrPeerGrant, "peer_grant", InvalidRequest, saySubject},
	{ErrPeerTokenType, "peer_token_type", InvalidRequest, saySubject},
	{ErrTokenKind, "token_kind", InvalidRequest, saySubject},
	{ErrNotKnownThere, "client_not_known_at_peer", InvalidRequest, saySubject},
	{ErrForeignResource, "audience", InvalidRequest, saySubject},
	{ErrGrantClient, "grant_client", InvalidRequest, saySubject},
	{ErrGrantTarget, "grant_target", InvalidTarget, sayTarget},
	{ErrNotKnownAbroad, "client_not_known_abroad", InvalidTarget, sayTarget},
	{ErrBinding, "binding", InvalidRequest, saySubject},
	{proof.ErrConfirmation, "confirmation", InvalidRequest, saySubject},
	{ErrClaimForm, "claim_form", InvalidRequest, saySubject},
	{ErrRevoked, "revoked", InvalidRequest, saySubject},
	{ErrSuspended, "suspended", InvalidRequest, saySubject},
	{federation.ErrMalformed, "token_malformed", InvalidRequest, saySubject},
	{federation.ErrType, "token_kind", InvalidRequest, saySubject},
	{federation.ErrAlgorithm, "algorithm", InvalidRequest, saySubject},
	{federation.ErrIssuer, "issuer", InvalidRequest, saySubject},
	{federation.ErrUnknownKey, "key_unknown", InvalidRequest, saySubject},
	{federation.ErrSignature, "signature", InvalidRequest, saySubject},
	{federation.ErrExpired, "expired", InvalidRequest, saySubject},
	{federation.ErrNotYetValid, "not_yet_valid", InvalidRequest, saySubject},
	{federation.ErrTooOld, "too_old", InvalidRequest, saySubject},
	{federation.ErrLifetime, "lifetime", InvalidRequest, saySubject},
	{federation.ErrAudience, "audience", InvalidRequest, saySubject},
	{federation.ErrClaims, "claims", InvalidRequest, saySubject},
	{federation.ErrMisconfigured, "peer_misconfigured", InvalidRequest, saySubject},
	{aap.ErrShape, "agent_claims", InvalidRequest, saySubject},
	{aap.ErrDelegation, "agent_claims", InvalidRequest, saySubject},

	{trust.ErrTarget, "target", InvalidTarget, sayTarget},
	{trust.ErrNoMapping, "no_mapping", InvalidTarget, sayTarget},
	{trust.ErrAmbiguous, "ambiguous_mapping", InvalidTarget, sayTarget},
	{trust.ErrNoPolicy, "no_policy", InvalidTarget, sayTarget},
	{trust.ErrPresenter, "presenter", InvalidRequest, saySubject},
	{trust.ErrCarried, "carried_authority", InvalidRequest, saySubject},
	{trust.ErrScope, "scope", InvalidScope, sayScope},
	{trust.ErrSubject, "subject_unmappable", InvalidRequest, saySubject},
	{trust.ErrTask, "task", InvalidRequest, sayTask},
	{trust.ErrAgent, "agent_unregistered", UnauthorizedClient, sayGrant},
	{trust.ErrDepth, "delegation_depth", InvalidRequest, sayDepth},
	{trust.ErrLifetime, "lifetime", InvalidRequest, sayLifetime},

	{trust.ErrBoundary, "boundary", ServerError, sayFailed},
	{ErrUnissuable, "unissuable", ServerError, sayFailed},
	{keys.ErrNoKey, "no_signing_key", Unavailable, sayLater},
}

// classify says what an error means to a client; an unknown one means nothing
// but that it was ours.
func classify(err error) *Fault {
	if r, ok := errors.AsType[*replay](err); ok {
		return replayFault(r)
	}
	f := &Fault{Code: ServerError, Public: sayFailed, reason: "internal", cause: err}
	for i := range meanings {
		if m := &meanings[i]; errors.Is(err, m.is) {
			f.Code, f.Public, f.reason = m.code, m.public, m.reason
			break
		}
	}
	f.outcome = audit.Deny
	if f.Code == ServerError || f.Code == Unavailable {
		f.outcome = audit.Error
	}
	switch limit, ok := errors.AsType[*limitError](err); {
	case ok:
		f.RetryAfter = limit.after
	case f.Code == Unavailable:
		f.RetryAfter = retryUnavailable
	}
	return f
}

// asGrant says a refusal of the subject as the jwt-bearer leg has to.
func (f *Fault) asGrant() *Fault {
	if f.Code == InvalidRequest && (f.Public == saySubject || f.Public == sayDepth || f.Public == sayLifetime) {
		f.Code, f.Public = InvalidGrant, sayGrantBad
	}
	return f
}

// replayFault says what it means that something was used before.
func replayFault(r *replay) *Fault {
	f := &Fault{Code: InvalidRequest, Public: saySubject, reason: "replayed", outcome: audit.Deny, cause: r}
	switch r.kind {
	case trust.OnceAssertion:
		f.Code, f.Public = InvalidClient, sayClient
	case trust.OnceProof:
		f.Code, f.Public = InvalidDPoPProof, sayProof
	}
	return f
}

// reasonOf is the short name of what an error means.
func reasonOf(err error) string { return classify(err).reason }
