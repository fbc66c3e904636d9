package aap

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits beyond those the draft states, so that no claim is unbounded.
const (
	maxText    = 1024
	maxURI     = 2048
	maxList    = 256
	maxSeconds = 253402300799 // the last second of the year 9999
	maxInteger = 1<<53 - 1    // the largest that every JSON reader keeps exact
)

// faults keeps the first thing that was wrong.
type faults struct{ first error }

// object reads the members of one JSON object. It knows where it stands, so a
// path is put together only when there is something to report.
type object struct {
	faults *faults
	within *object
	name   string
	index  int   // place in a list, or -1
	as     error // reported in place of ErrShape, ErrLength and ErrAction
	m      map[string]any
}

func newObject(m map[string]any) *object {
	return &object{faults: &faults{}, index: -1, m: m}
}

func (o *object) path() string {
	if o.within == nil {
		return o.name
	}
	p := o.name
	if up := o.within.path(); up != "" {
		p = up + "." + p
	}
	if o.index >= 0 {
		p += "[" + strconv.Itoa(o.index) + "]"
	}
	return p
}

func (o *object) fail(is error, name, what string) {
	if o.faults.first != nil {
		return
	}
	if o.as != nil {
		is = o.as
	}
	p := o.path()
	if p != "" && name != "" {
		p += "."
	}
	o.faults.first = fmt.Errorf("%w: %s%s %s", is, p, name, what)
}

func (o *object) child(name string, index int, m map[string]any) *object {
	return &object{faults: o.faults, within: o, name: name, index: index, as: o.as, m: m}
}

// object returns a member that must be an object, or nil when it is absent.
func (o *object) object(name string) *object {
	v, ok := o.m[name]
	if !ok {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		o.fail(ErrShape, name, "is not an object")
		return nil
	}
	return o.child(name, -1, m)
}

// list returns a member that must be a list, or nil when it is absent.
func (o *object) list(name string) []any {
	v, ok := o.m[name]
	if !ok {
		return nil
	}
	l, ok := v.([]any)
	if !ok {
		o.fail(ErrShape, name, "is not a list")
		return nil
	}
	if len(l) > maxList {
		o.fail(ErrLength, name, "has too many entries")
		return nil
	}
	if l == nil {
		return []any{}
	}
	return l
}

// need reports a member that must be there and is not.
func (o *object) need(name string) bool {
	if _, ok := o.m[name]; ok {
		return true
	}
	o.fail(ErrShape, name, "is missing")
	return false
}

// text reads an optional string of 1 to limit characters.
func (o *object) text(name string, limit int) string {
	v, ok := o.m[name]
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		o.fail(ErrShape, name, "is not a string")
		return ""
	}
	if s == "" || len(s) > limit && utf8.RuneCountInString(s) > limit {
		o.fail(ErrLength, name, "is too short or too long")
		return ""
	}
	return s
}

// id reads an optional string as text does and refuses control characters,
// which have no place in a name and one in every log injection.
func (o *object) id(name string, limit int) string {
	s := o.text(name, limit)
	if strings.IndexFunc(s, unprintable) >= 0 {
		o.fail(ErrShape, name, "holds a control character")
	}
	return s
}

func unprintable(r rune) bool {
	return r == '\u2028' || r == '\u2029' || r == utf8.RuneError || unicode.IsControl(r)
}

// needID reads a string that must be there.
func (o *object) needID(name string, limit int) string {
	if !o.need(name) {
		return ""
	}
	return o.id(name, limit)
}

// oneOf reads an optional string from a closed set.
func (o *object) oneOf(name string, allowed ...string) string {
	s := o.text(name, maxText)
	if s != "" && !slices.Contains(allowed, s) {
		o.fail(ErrShape, name, "is not one of the values allowed")
	}
	return s
}

// ids reads an optional list of strings, each as id does.
func (o *object) ids(name string, limit int) []string {
	l := o.list(name)
	if l == nil {
		return nil
	}
	out := make([]string, 0, len(l))
	for i, v := range l {
		s, ok := v.(string)
		switch {
		case !ok:
			o.fail(ErrShape, name, "has entry "+strconv.Itoa(i)+" that is not a string")
		case s == "" || len(s) > limit && utf8.RuneCountInString(s) > limit:
			o.fail(ErrLength, name, "has entry "+strconv.Itoa(i)+" too short or too long")
		case strings.IndexFunc(s, unprintable) >= 0:
			o.fail(ErrShape, name, "has entry "+strconv.Itoa(i)+" with a control character")
		}
		out = append(out, s)
	}
	return out
}

// actions reads an optional list of action names, dropping repetitions.
func (o *object) actions(name string) []Action {
	l := o.list(name)
	if l == nil {
		return nil
	}
	out := make([]Action, 0, len(l))
	for i, v := range l {
		s, ok := v.(string)
		if !ok {
			o.fail(ErrShape, name, "has entry "+strconv.Itoa(i)+" that is not a string")
			continue
		}
		a, err := ParseAction(s)
		if err != nil {
			o.failAction(err, name+"["+strconv.Itoa(i)+"]")
			continue
		}
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// failAction reports what ParseAction said; it says positions, never text.
func (o *object) failAction(err error, name string) {
	o.fail(err, name, "is not an action name")
}

// boolean reads an optional boolean; absent is false.
func (o *object) boolean(name string) bool {
	v, ok := o.m[name]
	if !ok {
		return false
	}
	b, ok := v.(bool)
	if !ok {
		o.fail(ErrShape, name, "is not a boolean")
	}
	return b
}

// integer reads an optional integer from low to high.
func (o *object) integer(name string, low, high int64) (n int64, ok bool) {
	v, ok := o.m[name]
	if !ok {
		return 0, false
	}
	num, ok := v.(json.Number)
	if !ok {
		o.fail(ErrShape, name, "is not a number")
		return 0, false
	}
	n, err := strconv.ParseInt(string(num), 10, 64)
	if err != nil {
		o.fail(ErrShape, name, "is not an integer")
		return 0, false
	}
	if n < low || n > high {
		o.fail(ErrShape, name, "is out of range")
		return 0, false
	}
	return n, true
}

// seconds reads an optional time in seconds since the epoch; zero is absent.
func (o *object) seconds(name string) int64 {
	n, _ := o.integer(name, 1, maxSeconds)
	return n
}

// timestamp reads an optional time in either of its two forms.
func (o *object) timestamp(name string) Timestamp {
	s, ok := o.m[name].(string)
	if !ok {
		if n := o.seconds(name); n != 0 {
			return Timestamp{t: time.Unix(n, 0).UTC()}
		}
		return Timestamp{}
	}
	t, ok := parseInstant(s)
	if !ok {
		o.fail(ErrShape, name, "is not an RFC 3339 time")
	}
	return Timestamp{t: t, text: true}
}

// window reads an optional time window, whose two ends are both required.
func (o *object) window(name string) *TimeWindow {
	w := o.object(name)
	if w == nil {
		return nil
	}
	out := &TimeWindow{}
	for _, end := range []struct {
		name string
		at   *time.Time
	}{{"start", &out.Start}, {"end", &out.End}} {
		s, _ := w.m[end.name].(string)
		t, ok := parseInstant(s)
		if !ok {
			w.fail(ErrShape, end.name, "is not an RFC 3339 time")
		}
		*end.at = t
	}
	return out
}
