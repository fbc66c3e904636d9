package trust

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/comity-auth/comity/trust/strictyaml"
)

// flowWidth is how wide a list of plain values may be on one line.
const flowWidth = 72

// YAML writes the trust file: keys in the order of the types, what says nothing
// left out, always the same bytes for the same content. [Compiler.ParseFile]
// reads back the same objects.
func (f *File) YAML() ([]byte, error) {
	root, err := yamlNode(reflect.ValueOf(f).Elem())
	if err != nil {
		return nil, fmt.Errorf("write the trust file: %w", err)
	}
	if len(root.Content) == 0 {
		return []byte("{}\n"), nil
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, fmt.Errorf("write the trust file: %w", err)
	}
	return out.Bytes(), enc.Close()
}

// yamlNode gives the node for a specification or a part of one.
func yamlNode(v reflect.Value) (*yaml.Node, error) {
	if text, ok := v.Interface().(interface{ MarshalText() ([]byte, error) }); ok {
		b, err := text.MarshalText()
		return &yaml.Node{Kind: yaml.ScalarNode, Value: string(b)}, err
	}
	switch v.Kind() {
	case reflect.Pointer:
		return yamlNode(v.Elem())
	case reflect.Interface:
		if v.IsNil() {
			return &yaml.Node{Kind: yaml.ScalarNode, Value: "null"}, nil
		}
		return yamlNode(v.Elem())
	case reflect.Struct:
		return yamlStruct(v)
	case reflect.Slice:
		return yamlList(v)
	case reflect.Map:
		return yamlMap(v)
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(v.Interface())}, nil
	case reflect.String:
		if n, ok := v.Interface().(json.Number); ok {
			return yamlNumber(n)
		}
		return yamlText(v.String()), nil
	}
	return nil, fmt.Errorf("no form for a %s", v.Type())
}

// yamlText leaves it to the encoder to quote what would otherwise be read as
// something other than text, and keeps every text on one line.
func yamlText(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	if strings.ContainsAny(s, "\r\n") {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// yamlNumber keeps a number's digits, where YAML reads them as a number too.
func yamlNumber(num json.Number) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: num.String()}
	if tag := n.ShortTag(); tag != "!!int" && tag != "!!float" {
		return nil, fmt.Errorf("a number is too large to write")
	}
	return n, nil
}

func yamlStruct(v reflect.Value) (*yaml.Node, error) {
	out := &yaml.Node{Kind: yaml.MappingNode}
	_, short := v.Addr().Interface().(strictyaml.Scalar)
	for i := range v.NumField() {
		field := v.Field(i)
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name == "" || name == "-" || saysNothing(field) {
			short = short && i > 0
			continue
		}
		short = short && i == 0
		value, err := yamlNode(field)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out.Content = append(out.Content, yamlText(name), value)
	}
	if short {
		return out.Content[1], nil
	}
	return out, nil
}

// saysNothing reports whether a field is left out of the registry too.
func saysNothing(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Pointer:
		switch p := v.Interface().(type) {
		case *JWKSSpec:
			return unlessEmpty(p) == nil
		case *TLSSpec:
			return p == nil || *p == TLSSpec{}
		case *BoundarySpec:
			return p == nil || len(p.Keep) == 0
		}
	}
	return v.IsZero()
}

func yamlList(v reflect.Value) (*yaml.Node, error) {
	out := &yaml.Node{Kind: yaml.SequenceNode}
	plain, width := true, 0
	for i := range v.Len() {
		item, err := yamlNode(v.Index(i))
		if err != nil {
			return nil, fmt.Errorf("%d: %w", i, err)
		}
		plain = plain && item.Kind == yaml.ScalarNode
		width += len(item.Value) + 2
		out.Content = append(out.Content, item)
	}
	if plain && width <= flowWidth {
		out.Style = yaml.FlowStyle
	}
	return out, nil
}

func yamlMap(v reflect.Value) (*yaml.Node, error) {
	byName := map[string]reflect.Value{}
	for it := v.MapRange(); it.Next(); {
		byName[it.Key().String()] = it.Value()
	}
	out := &yaml.Node{Kind: yaml.MappingNode}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		value, err := yamlNode(byName[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out.Content = append(out.Content, yamlText(name), value)
	}
	return out, nil
}
