package aap

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Model names the model behind an agent. The draft writes an object, the
// schema a string; both are read, a string is written.
type Model struct {
	Text                  string // set when the claim was a string
	Provider, ID, Version string // set when the claim was an object
}

// IsZero reports whether no model was named.
func (m Model) IsZero() bool { return m == Model{} }

// String is the form that is written: the text, or "provider/id@version" with
// the parts that are there.
func (m Model) String() string {
	if m.Text != "" {
		return m.Text
	}
	s := m.ID
	if m.Provider != "" {
		s = m.Provider + "/" + s
	}
	if m.Version != "" {
		s += "@" + m.Version
	}
	return s
}

// Matches reports whether an entry of a deny list names this model: in full,
// or without the provider, or without the version, whatever the case. It errs
// on the side of matching, so it does not serve allow lists.
func (m Model) Matches(denied string) bool {
	if m.IsZero() || denied == "" {
		return false
	}
	full := m.String()
	noVersion, _, _ := strings.Cut(full, "@")
	for _, name := range []string{full, noVersion, afterSlash(full), afterSlash(noVersion)} {
		if strings.EqualFold(name, denied) {
			return true
		}
	}
	return m.Text == "" && (strings.EqualFold(m.ID, denied) || strings.EqualFold(m.Provider, denied))
}

func afterSlash(s string) string {
	if _, rest, ok := strings.Cut(s, "/"); ok {
		return rest
	}
	return s
}

// MarshalText writes the string form.
func (m Model) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the string form.
func (m *Model) UnmarshalText(b []byte) error {
	*m = Model{Text: string(b)}
	return nil
}

// Timestamp is an instant that the sources write either as seconds since the
// epoch or as RFC 3339 text; it is written the way it was read.
// The zero Timestamp is absent.
type Timestamp struct {
	t    time.Time
	text bool
}

// Seconds is a timestamp written as seconds since the epoch.
func Seconds(t time.Time) Timestamp { return Timestamp{t: t.UTC().Truncate(time.Second)} }

// Time is the instant, in UTC.
func (t Timestamp) Time() time.Time { return t.t }

// IsZero reports whether the timestamp is absent.
func (t Timestamp) IsZero() bool { return t.t.IsZero() }

// Equal reports whether both name the same instant, however written.
func (t Timestamp) Equal(o Timestamp) bool { return t.t.Equal(o.t) }

// MarshalJSON writes the form that was read.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	if t.text {
		return json.Marshal(t.t)
	}
	return strconv.AppendInt(nil, t.t.Unix(), 10), nil
}

// TimeWindow is an absolute range of time: Start is inside, End is not.
type TimeWindow struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

// Contains reports whether now is inside. A window whose end is not after its
// start contains nothing.
func (w TimeWindow) Contains(now time.Time) bool {
	return !now.Before(w.Start) && now.Before(w.End)
}

// parseInstant reads RFC 3339 section 5.6. Package time also takes one-digit
// hours, commas and zones beyond a day, so the form is checked first.
func parseInstant(s string) (time.Time, bool) {
	if !rfc3339Form(s) {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, false
	}
	t = t.UTC()
	if y := t.Year(); y < 1 || y > 9999 || t.IsZero() {
		return time.Time{}, false // could not be written again, or would read as absent
	}
	return t, true
}

func rfc3339Form(s string) bool {
	const form = "0000-00-00T00:00:00"
	if len(s) <= len(form) || !sameForm(s[:len(form)], form) {
		return false
	}
	s = s[len(form):]
	if s[0] == '.' {
		rest := strings.TrimLeft(s[1:], "0123456789")
		if n := len(s) - 1 - len(rest); n == 0 || n > 9 {
			return false
		}
		s = rest
	}
	return s == "Z" || sameForm(s, "+00:00") && s[1:3] < "24" && s[4:] < "60" ||
		sameForm(s, "-00:00") && s[1:3] < "24" && s[4:] < "60"
}

// sameForm reports whether s has a digit where form has one and is form elsewhere.
func sameForm(s, form string) bool {
	if len(s) != len(form) {
		return false
	}
	for i := range len(s) {
		if isDigit(form[i]) != isDigit(s[i]) || !isDigit(s[i]) && s[i] != form[i] {
			return false
		}
	}
	return true
}

// Classification orders data by how closely it is held.
// The zero Classification is no label at all.
type Classification uint8

// The labels, from the least to the most closely held.
const (
	Public Classification = iota + 1
	Internal
	Confidential
	Restricted
)

func classificationNames() []string {
	return []string{"public", "internal", "confidential", "restricted"}
}

// ParseClassification reads a label.
func ParseClassification(s string) (Classification, error) {
	n, ok := ordinal(s, classificationNames())
	if !ok {
		return 0, fmt.Errorf("%w: not a data classification", ErrConstraint)
	}
	return Classification(n), nil
}

func (c Classification) String() string { return nameOf(int(c), classificationNames()) }

// MarshalText writes the label.
func (c Classification) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a label.
func (c *Classification) UnmarshalText(b []byte) (err error) {
	*c, err = ParseClassification(string(b))
	return err
}

// Level orders how closely an agent is overseen. The zero Level is unstated
// and the least strict.
type Level uint8

// The levels, from the least to the most strict.
const (
	LevelNone Level = iota + 1
	LevelNotification
	LevelApproval
	LevelSupervised
)

func levelNames() []string { return []string{"none", "notification", "approval", "supervised"} }

// ParseLevel reads a level.
func ParseLevel(s string) (Level, error) {
	n, ok := ordinal(s, levelNames())
	if !ok {
		return 0, fmt.Errorf("%w: not an oversight level", ErrShape)
	}
	return Level(n), nil
}

func (l Level) String() string { return nameOf(int(l), levelNames()) }

// MarshalText writes the level.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads a level.
func (l *Level) UnmarshalText(b []byte) (err error) {
	*l, err = ParseLevel(string(b))
	return err
}

// ordinal is the 1-based place of s among the names.
func ordinal(s string, names []string) (int, bool) {
	for i, n := range names {
		if s == n {
			return i + 1, true
		}
	}
	return 0, false
}

func nameOf(n int, names []string) string {
	if n < 1 || n > len(names) {
		return ""
	}
	return names[n-1]
}
