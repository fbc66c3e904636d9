package aap

import (
	"errors"
	"fmt"
)

// The conditions this package reports. A message names the JSON path at fault
// and never a value, a member name of the sender's choosing included.
var (
	// ErrShape is the broad one: the claims are not what the profile says.
	// ErrNames, ErrLength, ErrAction and ErrConstraint refine it.
	ErrShape = errors.New("agent claims are malformed")
	// ErrNames: aap_* claim names where they are not accepted, or beside a
	// short name that says something else.
	ErrNames = fmt.Errorf("%w: claim names", ErrShape)
	// ErrLength: a string or a list is shorter or longer than allowed.
	ErrLength = fmt.Errorf("%w: length", ErrShape)
	// ErrAction: an action name outside the grammar.
	ErrAction = fmt.Errorf("%w: action name", ErrShape)
	// ErrConstraint: a constraint of the wrong type or out of range.
	ErrConstraint = fmt.Errorf("%w: constraint", ErrShape)
	// ErrDelegation: anything wrong with the delegation claim but its depth.
	// It stands apart from ErrShape because its protocol code does.
	ErrDelegation = errors.New("delegation claim is malformed")
	// ErrDepth: the delegation depth is over a limit, or would be.
	ErrDepth = errors.New("delegation depth is over a limit")
	// ErrNotIssuable: claims that may be read but must not be written.
	ErrNotIssuable = errors.New("claims must not be issued")
	// ErrKey: a pseudonym key that is missing or too short.
	ErrKey = errors.New("pseudonym key is not usable")
	// ErrKeep: a name that is not one of Keepable.
	ErrKeep = errors.New("not an identifier that may be kept")
	// ErrPolicyFile: a policy file that is not strict JSON or not to its form.
	ErrPolicyFile = errors.New("policy file is malformed")
)
