package aap

import (
	"cmp"
	"fmt"
	"strings"
)

// maxAmount bounds the digits of an amount, so that comparing is cheap.
const maxAmount = 40

// Amount is a decimal number, not negative, kept exactly: money does not
// survive floating point. The zero Amount is absent.
type Amount struct{ text string }

// ParseAmount accepts digits with an optional fraction and no exponent, at
// most 40 bytes.
func ParseAmount(s string) (Amount, error) {
	if s == "" || len(s) > maxAmount {
		return Amount{}, fmt.Errorf("%w: not an amount", ErrConstraint)
	}
	whole, frac, dotted := strings.Cut(s, ".")
	if whole == "" || dotted && frac == "" || !digits(whole) || !digits(frac) {
		return Amount{}, fmt.Errorf("%w: not an amount", ErrConstraint)
	}
	whole, frac = strings.TrimLeft(whole, "0"), strings.TrimRight(frac, "0")
	if whole == "" {
		whole = "0"
	}
	if frac != "" {
		whole += "." + frac
	}
	return Amount{text: whole}, nil
}

func digits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

func (a Amount) String() string { return a.text }

// IsZero reports whether the amount is absent, which 0 is not.
func (a Amount) IsZero() bool { return a.text == "" }

// Compare orders amounts by value: -1, 0 or +1. An absent amount is below all.
func (a Amount) Compare(b Amount) int {
	aw, af, _ := strings.Cut(a.text, ".")
	bw, bf, _ := strings.Cut(b.text, ".")
	// The text has no leading zeros, so the longer whole part is the larger,
	// and no trailing ones, so fractions compare as text.
	return cmp.Or(cmp.Compare(len(aw), len(bw)), strings.Compare(aw, bw), strings.Compare(af, bf))
}

// MarshalJSON writes a JSON number.
func (a Amount) MarshalJSON() ([]byte, error) {
	if a.IsZero() {
		return []byte("null"), nil
	}
	return []byte(a.text), nil
}
