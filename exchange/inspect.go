package exchange

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/federation/wire"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
	"github.com/comity-auth/comity/trust/ident"
)

// ErrNotOwner says that a client asks to revoke a token of another client.
var ErrNotOwner = errors.New("the token was issued to another client")

// clockSlack is by how much the clocks of replicas may differ.
const clockSlack = 5 * time.Minute

// typeIntrospection is the typ of a signed answer (RFC 9701 section 5).
const typeIntrospection = "token-introspection+jwt"

// Introspection is what a caller may know of a token (RFC 7662 section 2.2).
type Introspection struct {
	Active bool
	// Members are the claims of an active token, as they stand in it, and
	// token_type. They are nil for any other.
	Members map[string]any
	// Signed is the answer as a JWT (RFC 9701), when that was asked for.
	Signed     ident.RawToken
	DecisionID string
}

// question is a request about one token by a client that proved who it is.
type question struct {
	token    ident.RawToken
	client   *trust.Client
	snapshot *trust.Snapshot
}

// Introspect says whether a token of ours is alive (RFC 7662), to the client it
// was issued to and to the client of the resource it is addressed to. To anybody
// else, and of anything else, the answer is that it is not. The error is always
// a *Fault. With signed the answer is a JWT for the caller alone.
func (s *Service) Introspect(ctx context.Context, req Request, signed bool) (*Introspection, error) {
	began, t := s.opts.Now(), s.begin(req)
	t.record.Event = "token.introspect"
	out, err := s.introspect(ctx, t, req, signed)
	if err == nil {
		out.DecisionID, err = s.conclude(ctx, t)
	}
	if err != nil {
		err = s.refuse(ctx, t, err)
	}
	s.observe(ctx, t, began)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) introspect(ctx context.Context, t *trail, req Request, signed bool) (*Introspection, error) {
	q, err := s.question(ctx, t, req)
	if err != nil {
		return nil, err
	}
	out := &Introspection{}
	if p, err := s.alive(ctx, t, q); err == nil && q.mayKnow(p.token) {
		out.Active, out.Members = true, members(p.token)
	} else if errors.Is(err, federation.ErrUnavailable) {
		return nil, err
	}
	t.note("answer", "active", fmt.Sprint(out.Active))
	if signed {
		out.Signed, err = s.signIntrospection(ctx, t, q.client, out)
	}
	return out, err
}

// alive proves a token of ours, and that it counts now. To be revoked a token need
// not: a suspension ends.
func (s *Service) alive(ctx context.Context, t *trail, q question) (*presented, error) {
	p, err := s.inspect(ctx, t, q)
	if err == nil {
		err = s.checkSuspended(t, q.snapshot, p)
	}
	return p, err
}

// members are the claims of a token as introspection gives them.
func members(token *federation.Token) map[string]any {
	out := map[string]any{}
	for k, v := range token.Claims() {
		out[k] = v
	}
	out["active"], out["token_type"] = true, "Bearer"
	if cnf, err := proof.ParseConfirmation(out); err != nil || cnf.JKT != "" {
		out["token_type"] = "DPoP"
	}
	return out
}

// signIntrospection gives the answer as a JWT that cannot pass for an access
// token: it has neither sub nor exp of its own.
func (s *Service) signIntrospection(ctx context.Context, t *trail, c *trust.Client, in *Introspection) (ident.RawToken, error) {
	answer := in.Members
	if answer == nil {
		answer = map[string]any{"active": false}
	}
	token, _, err := s.opts.Signer.Sign(ctx, typeIntrospection, map[string]any{
		"iss": s.opts.Settings.Issuer.String(), "aud": c.ID.String(), "iat": t.now.Unix(), "token_introspection": answer,
	})
	return token, err
}

// Revoke ends the life of a token and of all that descends from it (RFC 7009).
// Only the client that it was issued to may; what is unknown, malformed or dead
// already needs no revoking and is no error. When it returns without error the
// revocation is durable and this replica knows of it. The error is always a
// *Fault.
func (s *Service) Revoke(ctx context.Context, req Request) (decisionID string, err error) {
	began, t := s.opts.Now(), s.begin(req)
	t.record.Event = "token.revoke"
	if err = s.revoke(ctx, t, req); err == nil {
		decisionID, err = s.conclude(ctx, t)
	}
	if err != nil {
		err = s.refuse(ctx, t, err)
	}
	s.observe(ctx, t, began)
	return decisionID, err
}

func (s *Service) revoke(ctx context.Context, t *trail, req Request) error {
	q, err := s.question(ctx, t, req)
	if err != nil {
		return err
	}
	p, err := s.inspect(ctx, t, q)
	switch {
	case errors.Is(err, federation.ErrUnavailable):
		return err
	case err != nil:
		t.note("answer", "revoked", "nothing: the token is not alive here")
		return nil
	case !q.owns(p.token):
		return t.fail("answer", "client_id", "the authenticated client", "another", ErrNotOwner)
	}
	handle, err := trust.ParseHandle(s.Handle(string(trust.RevokeToken), p.token.ID()))
	if err != nil {
		return err
	}
	// Replicas' clocks differ: what descends from the token may say a later iat.
	before := trust.Cutoff(t.now.Add(clockSlack))
	head, err := s.opts.Revoker.Revoke(ctx, []trust.Revocation{{Handle: handle, Kind: trust.RevokeToken, Before: before,
		Expires: s.opts.Settings.Forget(before), By: "client " + q.client.ID.String(), Comment: "RFC 7009", At: t.now}})
	if err != nil {
		return fmt.Errorf("%w: revoke: %w", trust.ErrUnavailable, err)
	}
	t.pass("answer", "revoked", "the token and what descends from it", handle.String())
	return s.opts.Registry.Await(ctx, trust.Fence{Revision: q.snapshot.Revision(), Revocations: head})
}

// question reads a request about a token, and proves who asks.
func (s *Service) question(ctx context.Context, t *trail, req Request) (question, error) {
	var q question
	if err := s.admit(t, s.global, "global", "", quotaPerSecond(s.opts.Limits.GlobalPerSecond)); err != nil {
		return q, err
	}
	p := parameters(req.Form)
	c, err := readCredential(p, req)
	switch {
	case req.Defect != nil:
		err = req.Defect
	case err != nil:
	case p.checkRepeated() != nil:
		err = ErrRepeated
	case p.get("token") == "":
		err = fmt.Errorf("%w: token", ErrMissing)
	case len(p.get("token")) > maxCredential:
		err = fmt.Errorf("%w: token is longer than %d bytes", ErrMalformed, maxCredential)
	}
	if err != nil {
		return q, t.fail("request", "parameters", "a token and one client authentication method", err.Error(), err)
	}
	if q.snapshot, err = s.opts.Registry.Snapshot(); err != nil {
		return q, err
	}
	is, err := s.recognise(ctx, t, c, q.snapshot)
	if err != nil {
		return q, err
	}
	q.client = is.client
	if q.client.Auth == trust.AuthNone {
		return q, t.fail("client", "authentication", "a client that authenticates", "one that does not", ErrClientMethod)
	}
	q.token = ident.NewRawToken(p.get("token"))
	return q, nil
}

// inspect proves a token of ours and that it is alive, whoever it is addressed
// to.
func (s *Service) inspect(ctx context.Context, t *trail, q question) (*presented, error) {
	u, err := federation.Peek(q.token)
	if err != nil {
		return nil, t.refused("token", err)
	}
	if u.Issuer() != s.opts.Settings.Issuer.String() {
		return nil, t.fail("token", "iss", "this broker", "another issuer", ErrIssuerUnknown)
	}
	want := federation.Want{Types: []string{"at+jwt"}, RequireID: true}
	if c, err := wire.ParseCompact(q.token.Reveal()); err == nil {
		want.Audiences, _, _ = wire.StringOrStrings(c.Payload, "aud")
	}
	p := &presented{role: "token"}
	if p.token, err = s.opts.Verifier.Verify(ctx, u, s.self(), want); err != nil {
		return nil, t.refused("token", err)
	}
	p.id = p.token.ID()
	if err := s.checkRevoked(t, q.snapshot, p); err != nil {
		return nil, err
	}
	if client := q.snapshot.Client(clientOf(p.token)); !client.Usable(t.now) {
		return nil, t.fail("token", "client_id", "a client in use", "another", ErrClientUnknown)
	}
	return p, nil
}

func clientOf(token *federation.Token) string {
	id, _, _ := wire.String(token.Claims(), "client_id")
	return id
}

func (q *question) owns(token *federation.Token) bool { return clientOf(token) == q.client.ID.String() }

// mayKnow reports whether the caller is a party to the token.
func (q *question) mayKnow(token *federation.Token) bool {
	return q.owns(token) || slices.ContainsFunc(token.Audience(), func(aud string) bool {
		r := q.snapshot.Resource(aud)
		return r != nil && r.Client == q.client.ID.String()
	})
}

// conclude makes the record of an answer durable, and uses up what proved the
// caller.
func (s *Service) conclude(ctx context.Context, t *trail) (string, error) {
	t.record.Outcome = audit.Done
	out, err := s.opts.Ledger.Commit(ctx, trust.Entry{Record: t.record, IfReplayed: t.replayed(), Once: t.once, Seen: t.seen})
	switch {
	case err != nil:
		return "", err
	case out.Status == trust.Replayed:
		return "", &replay{kind: out.Replay, at: out.At}
	}
	t.final = s.ids.Seal(out.At)
	return t.final, nil
}
