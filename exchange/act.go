package exchange

import (
	"fmt"
	"strings"

	"github.com/comity-auth/comity/federation/wire"
	"github.com/comity-auth/comity/trust"
)

// maxActors bounds how deep act may be nested, in what comes in and in what is
// issued.
const maxActors = trust.MaxActors

// readAct reads the act claim (RFC 8693 section 4.1), current actor first. An
// actor without iss is one of the issuer's own. Without the claim there is none.
func readAct(claims map[string]any, issuer string) ([]trust.Actor, error) {
	var out []trust.Actor
	for {
		act, has, err := wire.Object(claims, "act")
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: act", ErrClaimForm)
		case !has:
			return out, nil
		case len(out) == maxActors:
			return nil, fmt.Errorf("%w: act is nested deeper than %d", ErrClaimForm, maxActors)
		}
		sub, hasSub, err := wire.String(act, "sub")
		if err != nil || !hasSub || sub == "" || len(sub) > 255 {
			return nil, fmt.Errorf("%w: act.sub", ErrClaimForm)
		}
		iss, hasIss, err := wire.String(act, "iss")
		if err != nil || len(iss) > 512 || strings.ContainsFunc(iss, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("%w: act.iss", ErrClaimForm)
		}
		if !hasIss {
			iss = issuer
		}
		out = append(out, trust.Actor{Issuer: iss, Subject: sub})
		claims = act
	}
}

// actClaim is the act claim of an issued token.
type actClaim struct {
	Issuer  string    `json:"iss"`
	Subject string    `json:"sub"`
	Act     *actClaim `json:"act,omitempty"`
}

// nestAct writes actors, current one first.
func nestAct(actors []trust.Actor) *actClaim {
	if len(actors) == 0 {
		return nil
	}
	return &actClaim{Issuer: actors[0].Issuer, Subject: actors[0].Subject, Act: nestAct(actors[1:])}
}
