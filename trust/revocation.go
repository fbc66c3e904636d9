package trust

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// ErrRevocation says that a revocation is not one that can be kept.
var ErrRevocation = errors.New("not a revocation")

// Handle stands for one thing that a revocation can name, such as a token or a
// client. Tokens carry the handles of what they descend from in their lineage.
// It is opaque: only the broker that made it can tell what it stands for. The
// zero Handle stands for nothing.
type Handle [12]byte

// handleText is the length of a handle in its text form.
const handleText = 16

// ParseHandle reads the text form, which is unpadded base64url.
func ParseHandle(text string) (h Handle, err error) {
	if len(text) != handleText {
		return Handle{}, fmt.Errorf("%w: a handle has %d characters, not %d", ErrRevocation, handleText, len(text))
	}
	// The decoder skips line breaks, and then gives less.
	if n, err := base64.RawURLEncoding.Strict().Decode(h[:], []byte(text)); err != nil || n != len(h) {
		return Handle{}, fmt.Errorf("%w: the handle is not base64url", ErrRevocation)
	}
	return h, nil
}

func (h Handle) String() string { return base64.RawURLEncoding.EncodeToString(h[:]) }

// MarshalText gives the text form.
func (h Handle) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads the text form.
func (h *Handle) UnmarshalText(text []byte) (err error) {
	*h, err = ParseHandle(string(text))
	return err
}

// RevocationKind is what kind of thing a handle stands for.
type RevocationKind string

// The kinds. RevokeAll stands for everything this broker ever issued.
const (
	RevokeToken    RevocationKind = "token"
	RevokeSubject  RevocationKind = "subject"
	RevokeAgent    RevocationKind = "agent"
	RevokeClient   RevocationKind = "client"
	RevokeOperator RevocationKind = "operator"
	RevokeMapping  RevocationKind = "mapping"
	RevokePolicy   RevocationKind = "policy"
	RevokePeer     RevocationKind = "peer"
	RevokePeerKey  RevocationKind = "peer-key"
	RevokeKey      RevocationKind = "key"
	RevokeAll      RevocationKind = "all"
)

// RevocationKinds lists the kinds, the narrowest first.
func RevocationKinds() []RevocationKind {
	return []RevocationKind{RevokeToken, RevokeSubject, RevokeAgent, RevokeClient, RevokeOperator, RevokeMapping,
		RevokePolicy, RevokePeer, RevokePeerKey, RevokeKey, RevokeAll}
}

// Revocation says that whatever bears the handle and was issued before an
// instant is dead.
type Revocation struct {
	// Seq numbers the revocations of a registry from 1 without a gap. The store
	// gives it.
	Seq    uint64
	Handle Handle
	Kind   RevocationKind
	// Before counts in whole seconds, as the iat of a token does: see Cutoff.
	Before time.Time
	// Expires is when nothing issued before Before can be alive any more, so
	// that the revocation can be forgotten; see Settings.Forget.
	Expires time.Time
	// By says who revoked, Comment why.
	By, Comment string
	At          time.Time
}

// Cutoff is the first whole second that a revocation at the instant spares. A
// token states its issue in whole seconds, so what was issued in the same
// second, before or after, cannot be told apart and dies.
func Cutoff(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); !whole.Equal(t) {
		return whole.Add(time.Second)
	}
	return t
}

// Forget is when nothing that was issued before the instant can be alive: a
// subject token of the greatest age that a peer may be granted, presented late
// by its leeway, and what was issued for it.
func (s Settings) Forget(before time.Time) time.Time {
	return before.Add(s.MaxTTL + maxTokenAge + maxLeeway)
}

// MaxRevocations bounds how many one call of a store may make.
const MaxRevocations = 1000

// CheckRevocations reports, wrapping ErrRevocation, why a store must not keep
// the list.
func CheckRevocations(list []Revocation) error {
	if len(list) == 0 || len(list) > MaxRevocations {
		return fmt.Errorf("%w: %d at once, want 1 to %d", ErrRevocation, len(list), MaxRevocations)
	}
	for i := range list {
		r := &list[i]
		switch {
		case r.Handle == Handle{}:
			return fmt.Errorf("%w: no handle", ErrRevocation)
		case !slices.Contains(RevocationKinds(), r.Kind):
			return fmt.Errorf("%w: no such kind", ErrRevocation)
		case !r.Before.Equal(r.Before.Truncate(time.Second)) || r.Before.Unix() < 0 || r.Expires.Unix() > math.MaxUint32:
			return fmt.Errorf("%w: an instant that cannot be kept", ErrRevocation)
		case !r.Before.Before(r.Expires) || r.At.IsZero():
			return fmt.Errorf("%w: times are missing or out of order", ErrRevocation)
		}
	}
	return nil
}

// RevocationRecord is what the audit chain of the revocations holds of a list
// whose sequence numbers were given: who, when, and what by handle and kind.
func RevocationRecord(list []Revocation) ([]byte, error) {
	if err := CheckRevocations(list); err != nil {
		return nil, err
	}
	type entry struct {
		Seq    uint64         `json:"seq"`
		Kind   RevocationKind `json:"kind"`
		Handle Handle         `json:"handle"`
		Before time.Time      `json:"before"`
	}
	rec := struct {
		At          time.Time `json:"at"`
		Event       string    `json:"event"`
		By          string    `json:"by"`
		Comment     string    `json:"comment,omitempty"`
		Revocations []entry   `json:"revocations"`
	}{At: list[0].At.UTC(), Event: "revocation", By: list[0].By, Comment: list[0].Comment}
	for _, r := range list {
		rec.Revocations = append(rec.Revocations, entry{r.Seq, r.Kind, r.Handle, r.Before.UTC()})
	}
	return json.Marshal(rec)
}

// Revoked is one entry of the feed that resource servers follow.
type Revoked struct {
	Seq    uint64
	Handle Handle

	cutoff
}

// cutoff is what is remembered of a revocation, in seconds since 1970: good
// until 2106, and half the memory of two instants.
type cutoff struct{ before, expires uint32 }

// Before is what the bearers of the handle must not have been issued before.
func (r Revoked) Before() time.Time { return time.Unix(int64(r.before), 0).UTC() }

// revocations is what a snapshot knows of them. Snapshots share it: they copy
// the pieces of the set that differ, and what a later one adds to the log lies
// beyond the end that an earlier one sees.
type revocations struct {
	set shards[Handle, cutoff]
	log []Revoked // in order of Seq
	// swept is when what expired was last taken out.
	swept time.Time
}

// sweepEvery is how often expired revocations are looked for.
const sweepEvery = time.Minute

// due reports whether enough has expired that a new set is worth its making.
func (r *revocations) due(now time.Time) bool {
	if now.Sub(r.swept) < sweepEvery {
		return false
	}
	gone, second := 0, seconds(now)
	for i := range r.log {
		if r.log[i].expires < second {
			gone++
		}
	}
	return gone > 0 && gone >= len(r.log)/16
}

// without is the revocations without those that have expired.
func (r *revocations) without(now time.Time) revocations {
	out := revocations{swept: now}
	second := seconds(now)
	out.log = make([]Revoked, 0, len(r.log))
	e := edit[Handle, cutoff]{to: &out.set}
	for _, one := range r.log {
		if one.expires >= second {
			out.enter(&e, one)
		}
	}
	return out
}

// enter adds to a set and a log that nobody has seen yet.
func (r *revocations) enter(e *edit[Handle, cutoff], one Revoked) {
	r.log = append(r.log, one)
	if have, ok := r.set.get(one.Handle); ok {
		one.before, one.expires = max(one.before, have.before), max(one.expires, have.expires)
	}
	e.set(one.Handle, one.cutoff)
}

// seconds is an instant as a cutoff holds it.
func seconds(t time.Time) uint32 { return uint32(min(max(t.Unix(), 0), math.MaxUint32)) }

// revocationPage is how many revocations one question to the source asks for.
const revocationPage = 10_000

// followRevocations gives next, which nobody has seen yet, what prev knew and
// all that the source has beyond it.
func (l *Live) followRevocations(ctx context.Context, prev, next *Snapshot, head uint64) error {
	now := l.opts.Now()
	next.revoked, next.revocations = revocations{swept: now}, 0
	if prev != nil && head >= prev.revocations { // otherwise of another life of the registry, before a restore
		next.revoked, next.revocations = prev.revoked, prev.revocations
	}
	if next.revoked.due(now) {
		next.revoked = next.revoked.without(now)
	}
	e := edit[Handle, cutoff]{to: &next.revoked.set}
	for after := next.revocations; after < head; {
		list, reached, err := l.askRevocations(ctx, after)
		if err != nil {
			return fmt.Errorf("load the revocations: %w", err)
		}
		for i := range list {
			r := &list[i]
			next.revoked.enter(&e, Revoked{Seq: r.Seq, Handle: r.Handle, cutoff: cutoff{seconds(r.Before), seconds(r.Expires)}})
		}
		if len(list) < revocationPage {
			next.revocations = reached
			return nil
		}
		after = list[len(list)-1].Seq
		next.revocations = after
	}
	return nil
}

func (l *Live) askRevocations(ctx context.Context, after uint64) ([]Revocation, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, l.opts.Timeout)
	defer cancel()
	return l.source.Revocations(ctx, after, revocationPage)
}

// Revoked reports whether something is dead that was issued at the instant and
// bears the handles, and the latest instant that one of them was revoked at.
// What says no time of issue, the zero time, is dead with any of its handles. A
// text that is no handle stands for nothing.
func (s *Snapshot) Revoked(handles []string, issued time.Time) (before time.Time, dead bool) {
	if len(s.revoked.log) == 0 {
		return time.Time{}, false
	}
	for _, text := range handles {
		h, err := ParseHandle(text)
		if err != nil {
			continue
		}
		if c, ok := s.revoked.set.get(h); ok {
			if at := time.Unix(int64(c.before), 0).UTC(); at.After(before) {
				before = at
			}
		}
	}
	return before, before.After(issued)
}

// RevokedSince lists up to limit of the revocations after seq that have not
// expired, in order, and whether there are more. The list must not be changed.
func (s *Snapshot) RevokedSince(seq uint64, limit int) (list []Revoked, more bool) {
	from, _ := slices.BinarySearchFunc(s.revoked.log, seq+1, func(r Revoked, seq uint64) int { return cmp.Compare(r.Seq, seq) })
	list = s.revoked.log[from:]
	if len(list) > limit {
		return list[:limit:limit], true
	}
	return slices.Clip(list), false
}

// Registered reports whether an object of the key is in the registry, in effect
// or not.
func (s *Snapshot) Registered(k Key) bool { _, ok := s.objects.get(k); return ok }
