package aap

import "fmt"

const maxAction = 128

// Action names something an agent may do, such as "search.web". Actions are
// compared exactly, case included; there are no wildcards and no prefixes.
// The zero Action is not valid and matches nothing that was parsed.
type Action struct{ name string }

// ParseAction accepts 1 to 128 bytes: components joined by single dots, each a
// letter followed by letters, digits, dashes or underscores.
func ParseAction(s string) (Action, error) {
	if len(s) > maxAction {
		return Action{}, fmt.Errorf("%w of an action: %d", ErrLength, len(s))
	}
	start := true
	for i := range len(s) {
		c := s[i]
		switch {
		case isLetter(c):
			start = false
		case start:
			return Action{}, fmt.Errorf("%w: byte %d does not begin a component", ErrAction, i)
		case c == '.':
			start = true
		case !isDigit(c) && c != '-' && c != '_':
			return Action{}, fmt.Errorf("%w: byte %d is not allowed", ErrAction, i)
		}
	}
	if start {
		return Action{}, fmt.Errorf("%w: empty, or ends with a dot", ErrAction)
	}
	return Action{name: s}, nil
}

// MustAction parses a constant. It panics; it is for constants and tests only.
func MustAction(s string) Action {
	a, err := ParseAction(s)
	if err != nil {
		panic(err)
	}
	return a
}

func (a Action) String() string { return a.name }

// IsZero reports whether a was never parsed.
func (a Action) IsZero() bool { return a.name == "" }

// MarshalText returns the name as it was parsed.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.name), nil }

// UnmarshalText parses the name.
func (a *Action) UnmarshalText(b []byte) (err error) {
	*a, err = ParseAction(string(b))
	return err
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
