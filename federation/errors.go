package federation

import "errors"

// What can be wrong with a token or with the peer that should vouch for it.
// Every error of this package wraps exactly one of these. ErrUnavailable and
// ErrMisconfigured say that the question could not be answered; all others
// say that the token is refused.
var (
	ErrMalformed     = errors.New("token is malformed")
	ErrType          = errors.New("token is of another type")
	ErrAlgorithm     = errors.New("token uses an algorithm that is not accepted")
	ErrIssuer        = errors.New("token is from another issuer")
	ErrUnknownKey    = errors.New("token is signed with an unknown key")
	ErrSignature     = errors.New("token signature is wrong")
	ErrExpired       = errors.New("token has expired")
	ErrNotYetValid   = errors.New("token is not valid yet")
	ErrTooOld        = errors.New("token is older than accepted")
	ErrLifetime      = errors.New("token lives longer than accepted")
	ErrAudience      = errors.New("token is not addressed to us")
	ErrClaims        = errors.New("token lacks a claim or has one of the wrong form")
	ErrUnavailable   = errors.New("keys are not available")
	ErrMisconfigured = errors.New("peer metadata contradicts its registration")
)
