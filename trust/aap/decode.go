package aap

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"
)

const (
	maxDocument = 1 << 20
	maxNesting  = 16
)

// decodeStrict reads one JSON object and nothing after it. encoding/json alone
// takes repeated members, bad UTF-8 and floating-point numbers.
func decodeStrict(b []byte) (map[string]any, error) {
	if len(b) > maxDocument {
		return nil, errors.New("the document is too large")
	}
	if !utf8.Valid(b) {
		return nil, errors.New("the document is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the document")
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("the document is not an object")
	}
	return m, nil
}

func decodeValue(d *json.Decoder, nesting int) (any, error) {
	if nesting > maxNesting {
		return nil, errors.New("the document is nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		// The decoder's own text quotes the document.
		return nil, errors.New("the document is not JSON")
	}
	switch t {
	case json.Delim('{'):
		return decodeObject(d, nesting)
	case json.Delim('['):
		return decodeList(d, nesting)
	}
	return t, nil
}

func decodeObject(d *json.Decoder, nesting int) (map[string]any, error) {
	m := map[string]any{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errors.New("the document is not JSON")
		}
		if _, twice := m[name]; twice {
			return nil, errors.New("a member is repeated")
		}
		if m[name], err = decodeValue(d, nesting+1); err != nil {
			return nil, err
		}
	}
	return m, closing(d)
}

func decodeList(d *json.Decoder, nesting int) ([]any, error) {
	l := []any{}
	for d.More() {
		v, err := decodeValue(d, nesting+1)
		if err != nil {
			return nil, err
		}
		l = append(l, v)
	}
	return l, closing(d)
}

func closing(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return errors.New("the document is not JSON")
	}
	return nil
}
