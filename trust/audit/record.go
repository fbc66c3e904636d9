package audit

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Outcome is how a request ended. The zero Outcome is not valid.
type Outcome string

// The outcomes.
const (
	Allow Outcome = "allow" // a token was issued
	Deny  Outcome = "deny"  // the request was refused
	Error Outcome = "error" // the question could not be answered
	// Done says that something else than a token was asked for, and given.
	Done Outcome = "done"
)

// Result is how one check ended.
type Result string

// The results of a check.
const (
	Pass Result = "pass"
	Fail Result = "fail"
	Note Result = "note" // says something and decides nothing
)

// Check is one comparison on the way to a decision. Expected and Seen are safe
// to show to this domain's administrators and to nobody else.
type Check struct {
	Step     string `json:"step"`
	Name     string `json:"name"`
	Result   Result `json:"result"`
	Expected string `json:"expected,omitempty"`
	Seen     string `json:"seen,omitempty"`
}

// Token describes an issued token without being one.
type Token struct {
	ID       string    `json:"jti"`
	KeyID    string    `json:"kid,omitempty"`
	Subject  string    `json:"sub,omitempty"`
	Audience string    `json:"aud,omitempty"`
	Scope    string    `json:"scope,omitempty"`
	Actions  []string  `json:"actions,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
	// Confirmation is the thumbprint of the key that the token is bound to.
	Confirmation string   `json:"cnf,omitempty"`
	TraceID      string   `json:"trace_id,omitempty"`
	Lineage      []string `json:"lineage,omitempty"`
}

// Record is one decision. Times are UTC. Every string is capped and escaped
// when the record is encoded.
type Record struct {
	At       time.Time `json:"at"`
	Event    string    `json:"event"` // "token.exchange", "token.issue", ...
	Outcome  Outcome   `json:"outcome"`
	Reason   string    `json:"reason,omitempty"` // one of a closed set, such as "no_mapping"
	Error    string    `json:"error,omitempty"`  // the OAuth error code that the client saw
	Detail   string    `json:"detail,omitempty"` // the private cause
	Revision uint64    `json:"revision,omitempty"`

	Client   string `json:"client,omitempty"`
	Operator string `json:"operator,omitempty"`
	Peer     string `json:"peer,omitempty"`
	Mapping  string `json:"mapping,omitempty"`
	Policy   string `json:"policy,omitempty"`
	Agent    string `json:"agent,omitempty"`
	Target   string `json:"target,omitempty"`
	// Actor acts for the subject, and ActorPeer vouches for it.
	Actor     string `json:"actor,omitempty"`
	ActorPeer string `json:"actor_peer,omitempty"`

	// Foreign holds keyed digests of the other domain's identifiers, by kind:
	// "jti", "trace", "txn", "sid", "task", "sub". Joining them with the
	// other domain's log takes its values and this domain's key.
	Foreign map[string]string `json:"foreign,omitempty"`
	Issued  *Token            `json:"issued,omitempty"`

	Address   string  `json:"address,omitempty"`
	UserAgent string  `json:"user_agent,omitempty"`
	Checks    []Check `json:"checks,omitempty"`
}

const (
	maxText   = 1024
	maxChecks = 128
	cutMark   = "…"
)

// Encode gives the bytes that are stored, chained and exported: one line of
// JSON. Texts over 1,024 bytes are cut and end in a mark, invalid UTF-8 is
// replaced, control characters and line separators are escaped, and checks
// past the 128th are dropped with a note.
func (r *Record) Encode() ([]byte, error) {
	if r.At.IsZero() || r.Event == "" || r.Outcome == "" {
		return nil, fmt.Errorf("record lacks its time, event or outcome")
	}
	c := *r
	c.At = c.At.UTC()
	for _, s := range []*string{&c.Reason, &c.Error, &c.Detail, &c.Client, &c.Operator, &c.Peer, &c.Mapping,
		&c.Policy, &c.Agent, &c.Target, &c.Actor, &c.ActorPeer, &c.Address, &c.UserAgent} {
		*s = clip(*s)
	}
	if len(c.Checks) > maxChecks {
		c.Checks = append(c.Checks[:maxChecks:maxChecks], Check{Step: "record", Name: "checks_dropped", Result: Note,
			Seen: fmt.Sprint(len(r.Checks) - maxChecks)})
	}
	c.Checks = clipChecks(c.Checks)
	return json.Marshal(&c)
}

func clipChecks(in []Check) []Check {
	clean := true
	for i := range in {
		if needsClip(in[i].Expected) || needsClip(in[i].Seen) {
			clean = false
			break
		}
	}
	if clean {
		return in
	}
	out := make([]Check, len(in))
	for i, c := range in {
		c.Expected, c.Seen = clip(c.Expected), clip(c.Seen)
		out[i] = c
	}
	return out
}

func needsClip(s string) bool { return len(s) > maxText || !utf8.ValidString(s) }

func clip(s string) string {
	if !needsClip(s) {
		return s
	}
	if len(s) > maxText {
		cut := maxText
		for cut > maxText-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + cutMark
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Decode reads what Encode wrote.
func Decode(body []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("decode record: %w", err)
	}
	return &r, nil
}
