package wire

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// maxDate is the last second of the year 9999 (RFC 3339 ends there).
	maxDate = 253402300799
	// maxInt is the largest integer that every JSON reader sees as it was
	// written (RFC 7493 section 2.2).
	maxInt = 1<<53 - 1
	// maxExponent is more than any date or integer within the bounds needs.
	maxExponent = 64
)

// String returns a member that must be a string if it is present. Null is
// present and is no string.
func String(m map[string]any, name string) (s string, present bool, err error) {
	return typed[string](m, name, "a string")
}

// Bool returns a member that must be true or false if it is present.
func Bool(m map[string]any, name string) (b, present bool, err error) {
	return typed[bool](m, name, "true or false")
}

// Object returns a member that must be an object if it is present.
func Object(m map[string]any, name string) (o map[string]any, present bool, err error) {
	return typed[map[string]any](m, name, "an object")
}

// Array returns a member that must be an array if it is present.
func Array(m map[string]any, name string) (a []any, present bool, err error) {
	return typed[[]any](m, name, "an array")
}

// Strings returns a member that must be an array of strings if it is present.
// The array may be empty.
func Strings(m map[string]any, name string) (list []string, present bool, err error) {
	a, present, err := Array(m, name)
	if err != nil || !present {
		return nil, present, err
	}
	list = make([]string, len(a))
	for i, v := range a {
		s, ok := v.(string)
		if !ok {
			return nil, true, wrongForm(name, "an array of strings")
		}
		list[i] = s
	}
	return list, true, nil
}

// StringOrStrings returns a member that must be a string or an array of at
// least one string if it is present, as aud is (RFC 7519 section 4.1.3).
func StringOrStrings(m map[string]any, name string) (list []string, present bool, err error) {
	if s, ok := m[name].(string); ok {
		return []string{s}, true, nil
	}
	list, present, err = Strings(m, name)
	if err != nil || present && len(list) == 0 {
		return nil, true, wrongForm(name, "a string or a filled array of strings")
	}
	return list, present, nil
}

// NumericDate returns a member that must be a date of RFC 7519 section 2 if it
// is present: seconds since 1970, from zero to the end of the year 9999.
// Fractions are rounded down.
func NumericDate(m map[string]any, name string) (t time.Time, present bool, err error) {
	n, present, err := typed[json.Number](m, name, "a number")
	if err != nil || !present {
		return time.Time{}, present, err
	}
	sec, ok := wholePart(string(n))
	if !ok || sec > maxDate {
		return time.Time{}, true, wrongForm(name, "a number of seconds from 0 to 253402300799")
	}
	return time.Unix(sec, 0), true, nil
}

// Int returns a member that must be an integer of at most 53 bits, written
// without fraction and exponent, if it is present.
func Int(m map[string]any, name string) (n int64, present bool, err error) {
	v, present, err := typed[json.Number](m, name, "a number")
	if err != nil || !present {
		return 0, present, err
	}
	n, ok := Whole(v)
	if !ok {
		return 0, true, wrongForm(name, "an integer of at most 53 bits")
	}
	return n, true, nil
}

// Whole reads a value, such as an element of an array, that must be an integer
// as [Int] describes it.
func Whole(v any) (n int64, ok bool) {
	literal, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(string(literal), 10, 64)
	if err != nil || n > maxInt || n < -maxInt {
		return 0, false
	}
	return n, true
}

// wholePart is the integer part of a JSON number that is not negative, computed
// on its digits: no float can round it up or wrap it around.
func wholePart(n string) (int64, bool) {
	mantissa, exponent := n, 0
	if i := strings.IndexAny(n, "eE"); i >= 0 {
		var err error
		exponent, err = strconv.Atoi(n[i+1:])
		if err != nil || exponent > maxExponent || exponent < -maxExponent {
			return 0, false
		}
		mantissa = n[:i]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	switch {
	case exponent > 0:
		fraction += strings.Repeat("0", max(0, exponent-len(fraction)))
		whole += fraction[:exponent]
	case exponent < 0:
		whole = "0" + whole[:max(0, len(whole)+exponent)]
	}
	v, err := strconv.ParseUint(whole, 10, 53)
	return int64(v), err == nil
}

// typed returns a member that must be a T if it is present.
func typed[T any](m map[string]any, name, kind string) (v T, present bool, err error) {
	raw, present := m[name]
	if !present {
		return v, false, nil
	}
	v, ok := raw.(T)
	if !ok {
		return v, true, wrongForm(name, kind)
	}
	return v, true, nil
}

// wrongForm names a member that our own code asked for.
func wrongForm(name, kind string) error {
	return fmt.Errorf("%w: %s must be %s", ErrForm, name, kind)
}
