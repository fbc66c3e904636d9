package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"
)

// What can be wrong with input. Every error of this package wraps exactly one.
var (
	// ErrSyntax says that the input is not what it should be.
	ErrSyntax = errors.New("input is malformed")
	// ErrLimit says that the input is larger than accepted.
	ErrLimit = errors.New("input is too large")
	// ErrForm says that a member has a value of the wrong kind.
	ErrForm = errors.New("member has the wrong form")
	// ErrEncrypted says that the token is a JWE (RFC 7516), not a JWS.
	ErrEncrypted = errors.New("token is encrypted")
)

// maxNumber bounds a number literal in bytes. A double needs 24.
const maxNumber = 64

// Limits bounds a JSON document. The zero Limits refuses everything.
type Limits struct {
	MaxBytes   int // the whole document
	MaxDepth   int // nested objects and arrays, the outermost included
	MaxMembers int // members of one object, or elements of one array
	MaxString  int // bytes of one string or name, decoded
	MaxValues  int // values of any kind in the whole document
}

// DefaultLimits bounds the payload of a token.
func DefaultLimits() Limits {
	return Limits{MaxBytes: MaxToken, MaxDepth: 16, MaxMembers: 256, MaxString: 8 << 10, MaxValues: 4096}
}

// ParseObject reads a document that is one JSON object. Values are
// map[string]any, []any, string, [json.Number], bool or nil. Strings share the
// memory of one copy of b. The time is linear in the length of b.
func ParseObject(b []byte, lim Limits) (map[string]any, error) {
	if len(b) > lim.MaxBytes {
		return nil, tooLarge("document bytes", lim.MaxBytes)
	}
	return parseObject(string(b), lim)
}

// rooms keeps most documents from allocating a stack.
var rooms = sync.Pool{New: func() any { return new([32]member) }}

// parseObject is ParseObject for text that is already a string.
func parseObject(s string, lim Limits) (map[string]any, error) {
	if len(s) > lim.MaxBytes {
		return nil, tooLarge("document bytes", lim.MaxBytes)
	}
	if !utf8.ValidString(s) {
		return nil, fmt.Errorf("%w: the text is not UTF-8", ErrSyntax)
	}
	room := rooms.Get().(*[32]member)
	defer func() {
		clear(room[:]) // nothing of one document is kept for the next
		rooms.Put(room)
	}()
	p := parser{s: s, lim: lim, stack: room[:0]}
	p.space()
	if !p.at('{') {
		return nil, p.fail("the document must be an object")
	}
	if err := p.count(); err != nil {
		return nil, err
	}
	m, err := p.object()
	if err != nil {
		return nil, err
	}
	if p.space(); p.i != len(s) {
		return nil, p.fail("data follows the document")
	}
	return m, nil
}

// parser walks text known to be valid UTF-8. Members of the objects that are
// open wait on the stack until their number is known.
type parser struct {
	s      string
	i      int
	lim    Limits
	depth  int
	values int
	stack  []member
}

// member is one member of an object, or one element of an array without name.
type member struct {
	name  string
	value any
}

func (p *parser) value() (any, error) {
	if err := p.count(); err != nil {
		return nil, err
	}
	if p.i == len(p.s) {
		return nil, p.fail("the document ends early")
	}
	switch c := p.s[p.i]; {
	case c == '{':
		return boxed(p.object())
	case c == '[':
		return boxed(p.array())
	case c == '"':
		return boxed(p.text())
	case c == '-' || isDigit(c):
		return boxed(p.number())
	case c == 't':
		return true, p.literal("true")
	case c == 'f':
		return false, p.literal("false")
	case c == 'n':
		return nil, p.literal("null")
	}
	return nil, p.fail("a value must follow")
}

func (p *parser) object() (map[string]any, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	base := len(p.stack)
	for more := !p.eat('}'); more; {
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		if more, err = p.push(base, member{name, v}, '}'); err != nil {
			return nil, err
		}
	}
	m := make(map[string]any, len(p.stack)-base)
	for _, e := range p.stack[base:] {
		m[e.name] = e.value
	}
	if len(m) != len(p.stack)-base {
		return nil, p.fail("an object has two members of one name")
	}
	p.leave(base)
	return m, nil
}

func (p *parser) array() ([]any, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	base := len(p.stack)
	for more := !p.eat(']'); more; {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		if more, err = p.push(base, member{value: v}, ']'); err != nil {
			return nil, err
		}
	}
	a := make([]any, len(p.stack)-base)
	for i, e := range p.stack[base:] {
		a[i] = e.value
	}
	p.leave(base)
	return a, nil
}

// enter goes behind an opening bracket.
func (p *parser) enter() error {
	if p.depth++; p.depth > p.lim.MaxDepth {
		return tooLarge("nesting", p.lim.MaxDepth)
	}
	p.i++
	p.space()
	return nil
}

func (p *parser) leave(base int) {
	p.stack = p.stack[:base]
	p.depth--
}

// push keeps a member and reports whether another one must follow it.
func (p *parser) push(base int, e member, closing byte) (bool, error) {
	if p.stack = append(p.stack, e); len(p.stack)-base > p.lim.MaxMembers {
		return false, tooLarge("members", p.lim.MaxMembers)
	}
	p.space()
	if p.eat(closing) {
		return false, nil
	}
	if !p.eat(',') {
		return false, p.fail("a comma or a closing bracket must follow")
	}
	p.space()
	return true, nil
}

// name reads a member's name and the colon behind it.
func (p *parser) name() (string, error) {
	if !p.at('"') {
		return "", p.fail("a member must begin with its name")
	}
	name, err := p.text()
	if err != nil {
		return "", err
	}
	p.space()
	if !p.eat(':') {
		return "", p.fail("a colon must follow the name")
	}
	p.space()
	return name, nil
}

// number reads the literal of RFC 8259 section 6 and leaves its range to the
// accessors.
func (p *parser) number() (json.Number, error) {
	start := p.i
	p.eat('-')
	if !p.eat('0') && !p.digits() {
		return "", p.fail("a digit must follow")
	}
	if p.eat('.') && !p.digits() {
		return "", p.fail("a digit must follow")
	}
	if p.eat('e') || p.eat('E') {
		if !p.eat('+') {
			p.eat('-')
		}
		if !p.digits() {
			return "", p.fail("a digit must follow")
		}
	}
	if p.i-start > maxNumber {
		return "", tooLarge("number bytes", maxNumber)
	}
	return json.Number(p.s[start:p.i]), nil
}

func (p *parser) digits() bool {
	start := p.i
	for p.i < len(p.s) && isDigit(p.s[p.i]) {
		p.i++
	}
	return p.i > start
}

func (p *parser) literal(word string) error {
	if !strings.HasPrefix(p.s[p.i:], word) {
		return p.fail("a value must follow")
	}
	p.i += len(word)
	return nil
}

func (p *parser) space() {
	for p.i < len(p.s) {
		if c := p.s[p.i]; c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return
		}
		p.i++
	}
}

func (p *parser) at(c byte) bool { return p.i < len(p.s) && p.s[p.i] == c }

func (p *parser) eat(c byte) bool {
	if !p.at(c) {
		return false
	}
	p.i++
	return true
}

func (p *parser) count() error {
	if p.values++; p.values > p.lim.MaxValues {
		return tooLarge("values", p.lim.MaxValues)
	}
	return nil
}

func (p *parser) fail(what string) error {
	return fmt.Errorf("%w: byte %d: %s", ErrSyntax, p.i, what)
}

func tooLarge(what string, limit int) error {
	return fmt.Errorf("%w: more than %d %s", ErrLimit, limit, what)
}

// boxed keeps a value that came with an error from being seen.
func boxed[T any](v T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
