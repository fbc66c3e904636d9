package wire

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// text reads a string. Without escapes it is a part of the document's memory.
func (p *parser) text() (string, error) {
	p.i++
	start, ascii := p.i, true
	for ; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '"':
			s := p.s[start:p.i]
			if len(s) > p.lim.MaxString {
				return "", tooLarge("string bytes", p.lim.MaxString)
			}
			if !ascii && hasNoncharacter(s) {
				return "", p.fail("a string holds a noncharacter")
			}
			p.i++
			return s, nil
		case c == '\\':
			return p.escaped(start)
		case c < ' ':
			return "", p.fail("a string holds a bare control character")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return "", p.fail("a string does not end")
}

// escaped goes on with a string that began at start and has an escape at p.i.
func (p *parser) escaped(start int) (string, error) {
	out := append(make([]byte, 0, p.i-start+32), p.s[start:p.i]...)
	for p.i < len(p.s) {
		if len(out) > p.lim.MaxString {
			return "", tooLarge("string bytes", p.lim.MaxString)
		}
		c := p.s[p.i]
		p.i++
		switch {
		case c == '"':
			s := string(out)
			if hasNoncharacter(s) {
				return "", p.fail("a string holds a noncharacter")
			}
			return s, nil
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
		case c < ' ':
			return "", p.fail("a string holds a bare control character")
		default:
			out = append(out, c)
		}
	}
	return "", p.fail("a string does not end")
}

// escape reads what follows a backslash.
func (p *parser) escape() (rune, error) {
	if p.i == len(p.s) {
		return 0, p.fail("a string does not end")
	}
	c := p.s[p.i]
	p.i++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		return p.codePoint()
	}
	return 0, p.fail("no such escape")
}

// codePoint reads four hexadecimal digits, and the other half of a surrogate
// pair. Half a pair is no character (RFC 7493 section 2.1).
func (p *parser) codePoint() (rune, error) {
	r, ok := p.hex4()
	if !ok {
		return 0, p.fail("four hexadecimal digits must follow")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if !p.eat('\\') || !p.eat('u') {
		return 0, p.fail("half a surrogate pair")
	}
	low, ok := p.hex4()
	if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
		return 0, p.fail("half a surrogate pair")
	}
	return r, nil
}

func (p *parser) hex4() (rune, bool) {
	if len(p.s)-p.i < 4 {
		return 0, false
	}
	digits := p.s[p.i : p.i+4]
	for i := range len(digits) {
		if c := digits[i]; !isDigit(c) && !('a' <= c && c <= 'f') && !('A' <= c && c <= 'F') {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(digits, 16, 16)
	p.i += 4
	return rune(n), err == nil
}

// hasNoncharacter reports code points that RFC 7493 section 2.1 keeps out of
// strings: they are reserved for ever and some software drops them.
func hasNoncharacter(s string) bool {
	for _, r := range s {
		if r&0xFFFE == 0xFFFE || 0xFDD0 <= r && r <= 0xFDEF {
			return true
		}
	}
	return false
}
