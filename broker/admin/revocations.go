package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/strictyaml"
)

// Revocation says that whatever bears the handle and was issued before an
// instant is dead.
type Revocation struct {
	Seq     uint64    `json:"seq"`
	Handle  string    `json:"handle" doc:"What tokens carry in their lineage"`
	Kind    string    `json:"kind"`
	Before  time.Time `json:"before"`
	Expires time.Time `json:"expires" doc:"When nothing it could hit is alive any more, and it is forgotten"`
	By      string    `json:"by"`
	Comment string    `json:"comment,omitempty"`
	At      time.Time `json:"at"`
}

// revocationPage is a part of the revocations, the oldest first.
type revocationPage struct {
	// Head is the number of the newest revocation.
	Head  uint64       `json:"head"`
	Items []Revocation `json:"items"`
	// NextPageToken asks for the next page; empty on the last.
	NextPageToken string `json:"next_page_token,omitempty"`
}

// revocationRequest names what to revoke.
type revocationRequest struct {
	Kind    string `json:"kind" doc:"token, subject, agent, client, operator, mapping, policy, peer, peer-key, key or all"`
	Value   string `json:"value,omitempty" doc:"The jti, id, name or thumbprint, as records spell it; none for all"`
	Issuer  string `json:"issuer,omitempty" doc:"Of a token; default this broker"`
	Before  string `json:"before,omitempty" doc:"RFC 3339; default now. What was issued since stays alive"`
	Comment string `json:"comment,omitempty" doc:"Why, for the record: one line, at most 500 bytes; required for all"`
}

// Revoked says what a revocation did, or what it would do.
type Revoked struct {
	// Head is the number of the newest revocation afterwards, or now for a dry
	// run.
	Head    uint64    `json:"head"`
	DryRun  bool      `json:"dry_run"`
	Handle  string    `json:"handle"`
	Kind    string    `json:"kind"`
	Before  time.Time `json:"before"`
	Expires time.Time `json:"expires"`
	// Registered is whether the registry or the key ring holds what was named.
	// It is left out for kinds that neither lists, and says nothing about
	// tokens: what was removed can have left some.
	Registered *bool `json:"registered,omitempty"`
	// Since is from when on what was named had been spared so far, when it was
	// revoked before.
	Since time.Time `json:"since,omitzero"`
}

func (h *handler) revocationRoutes() []route {
	return []route{
		{method: "GET", path: "/revocations", id: "list-revocations", summary: "List what was revoked and is not forgotten yet",
			out: revocationPage{}, handle: h.getRevocations,
			params: []param{{name: "page_size", doc: "1 to 200; default 50"}, {name: "page_token", doc: "From the page before"}}},
		{method: "POST", path: "/revocations", id: "revoke", summary: "Revoke what bears a handle and was issued before an instant",
			in: revocationRequest{}, out: Revoked{}, handle: h.postRevocation,
			params: []param{{name: "dry_run", doc: "true: answer what would be revoked and change nothing", values: []string{"true", "false"}}}},
	}
}

func (h *handler) getRevocations(c *call) (*reply, error) {
	size, after := defaultPage, uint64(0)
	var err error
	if text := c.query.Get("page_size"); text != "" {
		if size, err = strconv.Atoi(text); err != nil || size < 1 || size > maxPage {
			return nil, newProblem("bad_request", "page_size must be a number from 1 to %d", maxPage)
		}
	}
	if text := c.query.Get("page_token"); text != "" {
		if after, err = strconv.ParseUint(text, 10, 63); err != nil {
			return nil, newProblem("bad_request", "page_token is not one of this list")
		}
	}
	list, head, err := h.opts.Store.Revocations(c.Context(), after, size+1)
	if err != nil {
		return nil, err
	}
	out := revocationPage{Head: head, Items: []Revocation{}}
	for _, r := range list[:min(len(list), size)] {
		out.Items = append(out.Items, Revocation{r.Seq, r.Handle.String(), string(r.Kind), r.Before, r.Expires, r.By, r.Comment, r.At})
	}
	if len(list) > size {
		out.NextPageToken = strconv.FormatUint(list[size-1].Seq, 10)
	}
	return &reply{body: out}, nil
}

// beforeSlack is how far in the future a cutoff may lie: what is meant to keep
// anything from being issued is a suspension.
const beforeSlack = time.Minute

// tokenSlack is how far behind the clock may be that a token to be revoked was
// stamped by. One token is named once, so nothing else is hit.
const tokenSlack = 5 * time.Minute

func (h *handler) postRevocation(c *call) (*reply, error) {
	var in revocationRequest
	lines, problems := strictyaml.Decode(c.body, &in)
	now := h.opts.Now()
	before := in.check(now, func(path, format string, args ...any) {
		problems = append(problems, strictyaml.Problem{Line: lines.At(path), Path: path, Message: fmt.Sprintf(format, args...)})
	})
	if len(problems) > 0 {
		return nil, invalid(problems)
	}
	s, err := h.opts.Live.Snapshot()
	if err != nil {
		return nil, err
	}
	handle, err := trust.ParseHandle(h.opts.Handle(in.Kind, in.name(s.Settings().Issuer.String())))
	if err != nil {
		return nil, err
	}
	r := trust.Revocation{Handle: handle, Kind: trust.RevocationKind(in.Kind), Before: before, Expires: s.Settings().Forget(later(before, now)),
		By: "bootstrap", Comment: in.Comment, At: now}
	out := Revoked{Head: s.Fence().Revocations, DryRun: c.query.Get("dry_run") == "true", Handle: handle.String(), Kind: in.Kind,
		Before: r.Before, Expires: r.Expires, Registered: h.registered(s, &in)}
	out.Since, _ = s.Revoked([]string{out.Handle}, time.Time{})
	if out.DryRun {
		return &reply{body: out}, nil
	}
	out.Head, err = h.revoke(c.Context(), r)
	return &reply{body: out}, err
}

// revoke answers once this broker refuses what was revoked.
func (h *handler) revoke(ctx context.Context, r trust.Revocation) (uint64, error) {
	// The caller may hang up now; the revocation is made and served all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), usualTimeout)
	defer cancel()
	head, err := h.opts.Store.Revoke(ctx, []trust.Revocation{r})
	if err != nil {
		return 0, err
	}
	h.opts.Logger.WarnContext(ctx, "revoked", "event", "revocation", "seq", head, "kind", string(r.Kind), "handle", r.Handle.String(),
		"before", r.Before, "by", r.By)
	if err := h.opts.Live.Await(ctx, trust.Fence{Revocations: head}); err != nil {
		return 0, errors.Join(newProblem("not_served", "revocation %d is durable; this broker does not serve it yet", head), err)
	}
	return head, nil
}

// check reports every defect, and gives the cutoff.
func (in *revocationRequest) check(now time.Time, report func(path, format string, args ...any)) time.Time {
	kinds := trust.RevocationKinds()
	if !slices.Contains(kinds, trust.RevocationKind(in.Kind)) {
		report("kind", "must be one of %s", join(kinds))
	}
	switch all := in.Kind == string(trust.RevokeAll); {
	case all && in.Value != "":
		report("value", "does not go with all")
	case all && in.Comment == "":
		report("comment", "is required to revoke everything")
	case !all && (in.Value == "" || !oneLine(in.Value, 1024)):
		report("value", "must be one line of 1 to 1024 bytes")
	}
	if in.Issuer != "" && (in.Kind != string(trust.RevokeToken) || strings.Contains(in.Issuer, " ") || !oneLine(in.Issuer, 1024)) {
		report("issuer", "must be the issuer of a token")
	}
	if !oneLine(in.Comment, 500) {
		report("comment", "must be one line of at most 500 bytes")
	}
	before := now
	if in.Kind == string(trust.RevokeToken) {
		before = now.Add(tokenSlack)
	}
	if in.Before != "" {
		var err error
		if before, err = time.Parse(time.RFC3339, in.Before); err != nil || before.Unix() < 1 {
			report("before", "must be an instant such as 2026-11-21T12:00:00Z")
		} else if before.After(now.Add(beforeSlack)) {
			report("before", "lies in the future; to keep tokens from being issued, suspend instead")
		}
	}
	return trust.Cutoff(before).UTC()
}

func oneLine(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func join[T ~string](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return strings.Join(out, ", ")
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// name is what the handle is made of.
func (in *revocationRequest) name(ours string) string {
	if in.Issuer != "" && in.Issuer != ours {
		return in.Issuer + " " + in.Value
	}
	return in.Value
}

// registered looks for what is named; nil where nothing lists it.
func (h *handler) registered(s *trust.Snapshot, in *revocationRequest) *bool {
	found := false
	switch kind := trust.RevocationKind(in.Kind); kind {
	case trust.RevokeClient, trust.RevokeMapping, trust.RevokePolicy, trust.RevokePeer:
		found = s.Registered(trust.Key{Kind: trust.Kind(kind), Name: in.Value})
	case trust.RevokeOperator, trust.RevokeAgent:
		for c := range s.Clients {
			found = found || kind == trust.RevokeOperator && c.Operator == in.Value ||
				kind == trust.RevokeAgent && c.Agent != nil && c.Agent.ID == in.Value
		}
		if kind == trust.RevokeAgent && !found {
			return nil // agents of other domains are not registered
		}
	case trust.RevokeKey:
		for _, k := range h.opts.Ring.Info() {
			found = found || k.ID == in.Value
		}
	default:
		return nil
	}
	return &found
}
