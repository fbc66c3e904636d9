package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newTokenInspectCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show what a token says, without trusting it",
		Long: `Show what a token says, without trusting it.

FILE is - for stdin, or env:NAME. Nothing that a token says counts before its
signature was verified; with --jwks or --issuer it is, and then a token that
does not hold makes the exit code 1.`,
		Example: `  comity token inspect token.txt
  comity token issue ... | comity token inspect -
  comity token inspect token.txt --issuer https://broker.globex.example --audience https://archive.globex.example`,
		Args: cobra.ExactArgs(1),
	}
	var v verification
	cmd.Flags().StringVar(&v.jwks, "jwks", "", "verify with the key set in this file or at this URL")
	cmd.Flags().StringVar(&v.issuer, "issuer", "", "verify with the keys that this issuer publishes, and that it is the issuer")
	cmd.Flags().StringVar(&v.audience, "audience", "", "verify that the token is for this audience")
	cmd.Flags().StringVar(&v.caFile, "ca-file", "", "PEM certificates to trust besides the system's")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := v.check(); err != nil {
			return err
		}
		text, err := readSource(cmd, a.env, args[0])
		if err != nil {
			return err
		}
		return inspect(cmd, a, &v, text)
	}
	return cmd
}

func inspect(cmd *cobra.Command, a *app, v *verification, text string) error {
	now := time.Now()
	seen, err := readToken(text)
	if err != nil {
		return err
	}
	if v.wanted() {
		seen.verify(cmd.Context(), v, text, now)
	}
	seen.note(now)
	if a.json {
		err = printJSON(cmd.OutOrStdout(), seen)
	} else {
		err = seen.print(cmd.OutOrStdout(), now)
	}
	if err == nil && v.wanted() && !seen.Verified {
		return withExit(exitFailure, fmt.Errorf("the token does not hold: %s", seen.Problem))
	}
	return err
}

// inspected is what a token says.
type inspected struct {
	Verified bool `json:"verified"`
	// Key is the thumbprint of the key that verified it, if one did.
	Key     string   `json:"verified_by,omitempty"`
	Problem string   `json:"problem,omitempty"` // why verification failed
	Header  object   `json:"header"`
	Claims  object   `json:"claims"`
	Notes   []string `json:"notes"`
}

type object map[string]any

// verify notes whether the token holds now.
func (t *inspected) verify(ctx context.Context, v *verification, text string, now time.Time) {
	key, err := v.prove(ctx, text)
	if err == nil {
		t.Key = key
		err = v.claims(t.Claims, now)
	}
	if err != nil {
		t.Problem = err.Error()
		return
	}
	t.Verified = true
}

// readToken takes a compact JWS (RFC 7515 section 7.1) apart and proves
// nothing.
func readToken(text string) (*inspected, error) {
	parts := strings.Split(text, ".")
	switch {
	case len(parts) == 5:
		return nil, fmt.Errorf("the token is encrypted (RFC 7516); only who it is for can read it")
	case len(parts) != 3:
		return nil, fmt.Errorf("this is no JWT; an opaque token can only be introspected")
	}
	t := &inspected{Notes: []string{}}
	for _, part := range []struct {
		name, text string
		into       *object
	}{{"header", parts[0], &t.Header}, {"payload", parts[1], &t.Claims}} {
		data, err := decodePart(part.text)
		if err != nil {
			return nil, fmt.Errorf("the %s of the token is not base64url", part.name)
		}
		dec := json.NewDecoder(strings.NewReader(string(data)))
		dec.UseNumber()
		if err := dec.Decode(part.into); err != nil || *part.into == nil || dec.More() {
			return nil, fmt.Errorf("the %s of the token is not a JSON object", part.name)
		}
	}
	return t, nil
}

// note gathers what a reader should not overlook.
func (t *inspected) note(now time.Time) {
	add := func(format string, args ...any) { t.Notes = append(t.Notes, fmt.Sprintf(format, args...)) }
	if alg, _ := t.Header["alg"].(string); strings.EqualFold(alg, "none") || strings.HasPrefix(alg, "HS") {
		add("alg %s: no party that only has public keys can verify it", oneLine(alg))
	}
	expires, hasExpiry := instant(t.Claims["exp"])
	issued, hasIssued := instant(t.Claims["iat"])
	from, hasFrom := instant(t.Claims["nbf"])
	switch {
	case t.Claims["exp"] == nil:
		add("it never expires: there is no exp")
	case !hasExpiry:
		add("its exp is no date: nobody should accept it")
	case !now.Before(expires):
		add("expired %s ago", duration(now.Sub(expires)))
	default:
		add("expires in %s", duration(expires.Sub(now)))
	}
	if hasFrom && now.Before(from) {
		add("not valid before %s from now", duration(from.Sub(now)))
	}
	if hasIssued && issued.After(now.Add(time.Minute)) {
		add("issued %s in the future: a clock is wrong", duration(issued.Sub(now)))
	}
	t.noteHolder(add)
}

func (t *inspected) noteHolder(add func(string, ...any)) {
	confirmation, _ := t.Claims["cnf"].(map[string]any)
	if len(confirmation) == 0 {
		add("bearer: whoever holds it can use it")
	}
	if jkt, ok := confirmation["jkt"].(string); ok {
		add("bound to the DPoP key with thumbprint %s", oneLine(jkt))
	}
	if _, ok := confirmation["x5t#S256"]; ok {
		add("bound to a TLS client certificate")
	}
	if actor, ok := t.Claims["act"].(map[string]any); ok {
		if subject, ok := actor["sub"].(string); ok {
			add("delegated: %s acts", oneLine(subject))
		}
	}
	if audience, ok := t.Claims["aud"].([]any); ok && len(audience) > 1 {
		add("for %d audiences: each of them can use it at the others", len(audience))
	}
}
