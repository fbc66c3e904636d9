package federation

import (
	"fmt"
	"strconv"
	"strings"
)

// maxShown bounds what is repeated of a header parameter, in bytes.
const maxShown = 64

// Refusal is a check that did not hold, in a form fit for the record: it holds
// no claim value and no part of a token, only our own texts, lengths, times and
// the header's typ, alg and kid, escaped and cut. It wraps one of the errors of
// this package. Get it with errors.AsType[*Refusal].
type Refusal struct {
	// Check names what was looked at, such as "exp" or "signature".
	Check string
	// Expected is what would have been accepted.
	Expected string
	// Seen is what was there instead.
	Seen string

	err error
}

// Error is one line without line ends.
func (r *Refusal) Error() string {
	return fmt.Sprintf("%v: %s: want %s, got %s", r.err, r.Check, r.Expected, r.Seen)
}

// Unwrap returns the one error of this package that the refusal stands for.
func (r *Refusal) Unwrap() error { return r.err }

// shown repeats a header parameter: quoted, in ASCII and cut.
func shown(s string) string {
	if len(s) > maxShown {
		return strconv.QuoteToASCII(s[:maxShown]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// likeness says how a name that had to equal ours differs from it. Names are
// never equal but for spelling: this tells an administrator what to mend.
func likeness(got, want string) string {
	switch {
	case got == "":
		return "nothing"
	case strings.TrimSuffix(got, "/") == strings.TrimSuffix(want, "/"):
		return "the same but for a trailing slash"
	case strings.EqualFold(got, want):
		return "the same but for letter case"
	case want != "" && strings.HasPrefix(got, want):
		return fmt.Sprintf("the same and %d bytes more", len(got)-len(want))
	case strings.HasPrefix(want, got):
		return fmt.Sprintf("the same but for the last %d bytes", len(want)-len(got))
	}
	return fmt.Sprintf("another value of %d bytes", len(got))
}
