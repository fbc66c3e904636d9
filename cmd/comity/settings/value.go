package settings

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/comity-auth/comity/trust/ident"
)

// input is a value before it is understood.
type input struct {
	text  string
	list  []string // items, when tag is tagList
	tag   string   // YAML tag of a scalar, tagList, or empty for plain text
	quote bool     // the value may be shown in a message
}

// tagList marks the input of a YAML sequence.
const tagList = "!!seq"

// maxShown bounds how much of a wrong value a message repeats.
const maxShown = 64

// assign parses the input into the key's field. The error is a sentence
// about the value alone; it repeats the value only where in.quote allows.
func (k Key) assign(in input) error {
	if err := k.fits(in); err != nil {
		return err
	}
	switch p := k.Field.(type) {
	case *string:
		return k.assignText(p, in)
	case *bool:
		return parseInto(p, in, strconv.ParseBool, "true or false")
	case *int:
		return parseInto(p, in, strconv.Atoi, "a whole number")
	case *time.Duration:
		return parseInto(p, in, parseDuration, `a duration such as "300s" or "24h", or a number of seconds`)
	case *[]string:
		*p = in.items()
		return nil
	case *[]netip.Prefix:
		return assignNetworks(p, in)
	case *ident.Domain:
		return assignIdentifier(p, in, ident.ParseDomain)
	case *ident.Issuer:
		return assignIdentifier(p, in, ident.ParseIssuer)
	case *ident.RawToken:
		*p = ident.NewRawToken(in.text)
		return nil
	}
	return errors.New("this key has a type that cannot be set")
}

// fits compares what YAML says the value is with what the key takes, so that
// an unquoted 10 never becomes the string "10" by luck.
func (k Key) fits(in input) error {
	want := []string{"!!str"}
	switch k.Field.(type) {
	case *bool:
		want = []string{"!!bool"}
	case *int:
		want = []string{"!!int"}
	case *time.Duration:
		want = []string{"!!str", "!!int"}
	case *[]string, *[]netip.Prefix, List:
		want = []string{tagList}
	}
	if in.tag == "" || slices.Contains(want, in.tag) {
		return nil
	}
	if in.tag == "!!null" {
		return errors.New("no value is given; leave the key out for its default")
	}
	return fmt.Errorf("expected %s, found %s", k.typeName(), tagName(in.tag))
}

func tagName(tag string) string {
	switch tag {
	case tagList:
		return "a list"
	case "!!map":
		return "a section"
	case "!!int", "!!float":
		return "a number (quote it to make it text)"
	case "!!bool":
		return "a truth value (quote it to make it text)"
	case "!!str":
		return "text"
	}
	return "a value of another kind (quote it to make it text)"
}

func (k Key) assignText(p *string, in input) error {
	if k.Enum != nil && !slices.Contains(k.Enum, in.text) {
		return fmt.Errorf("%smust be one of %s%s", in.shown(), strings.Join(k.Enum, ", "), didYouMean(in.text, k.Enum))
	}
	if i := strings.IndexFunc(in.text, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		return errors.New("holds a control character")
	}
	*p = in.text
	return nil
}

func parseInto[T any](p *T, in input, parse func(string) (T, error), want string) error {
	v, err := parse(in.text)
	if err != nil {
		return fmt.Errorf("%smust be %s", in.shown(), want)
	}
	*p = v
	return nil
}

func assignIdentifier[T any](p *T, in input, parse func(string) (T, error)) error {
	if in.text == "" { // absent; that it is required is said elsewhere
		var zero T
		*p = zero
		return nil
	}
	v, err := parse(in.text)
	if err != nil {
		return fmt.Errorf("%sis %w", in.shown(), err)
	}
	*p = v
	return nil
}

// parseDuration reads Go's syntax, or a plain number of seconds.
func parseDuration(s string) (time.Duration, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < 0 || n > math.MaxInt64/int64(time.Second) {
			return 0, errors.New("out of range")
		}
		return time.Duration(n) * time.Second, nil
	}
	return time.ParseDuration(s)
}

func assignNetworks(p *[]netip.Prefix, in input) error {
	var out []netip.Prefix
	for _, s := range in.items() {
		n, err := parseNetwork(s)
		if err != nil {
			return fmt.Errorf("%s%w", input{text: s, quote: in.quote}.shown(), err)
		}
		out = append(out, n)
	}
	*p = out
	return nil
}

// parseNetwork accepts a CIDR whose host bits are zero. One that covers every
// address is refused: a list that names everybody guards nothing.
func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.Prefix{}, fmt.Errorf("must be a network; one address is %s/%d", a, a.BitLen())
	}
	n, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, errors.New("must be a network such as 10.0.0.0/8")
	case n.Addr().Is4In6():
		return netip.Prefix{}, errors.New("must be written as an IPv4 network")
	case n.Bits() == 0:
		return netip.Prefix{}, errors.New("covers every address")
	case n != n.Masked():
		return netip.Prefix{}, fmt.Errorf("has host bits set; the network is %s", n.Masked())
	}
	return n, nil
}

// items is the list that the input holds; in plain text, commas separate.
func (in input) items() []string {
	if in.tag == tagList {
		return in.list
	}
	var out []string
	for s := range strings.SplitSeq(in.text, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// shown repeats the value for a message, followed by a space, or is empty.
func (in input) shown() string {
	if !in.quote {
		return ""
	}
	s := in.text
	if len(s) > maxShown {
		s = s[:maxShown] + "..."
	}
	return strconv.Quote(s) + " "
}

// typeName is how messages and the reference call the key's type.
func (k Key) typeName() string {
	if k.Enum != nil {
		return "one of " + strings.Join(k.Enum, ", ")
	}
	if k.Form != "" {
		return k.Form
	}
	switch k.Field.(type) {
	case *bool:
		return "true or false"
	case *int:
		return "number"
	case *time.Duration:
		return "duration"
	case *[]string:
		return "list"
	case *[]netip.Prefix:
		return "list of networks"
	case List:
		return "list of objects"
	}
	return "text"
}

func (k Key) isBool() bool {
	_, ok := k.Field.(*bool)
	return ok
}

// isSet reports whether the key's field holds anything.
func (k Key) isSet() bool {
	switch p := k.Field.(type) {
	case *string:
		return *p != ""
	case *bool:
		return *p
	case *[]string:
		return len(*p) > 0
	case *ident.RawToken:
		return !p.IsZero()
	}
	return true
}
