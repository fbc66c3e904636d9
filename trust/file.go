package trust

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/comity-auth/comity/trust/strictyaml"
)

// maxFile bounds a trust file, in bytes.
const maxFile = 64 << 20

// ParseFile reads a trust file and checks everything that can be checked
// without the network. It returns all problems at once, each with its line;
// the file is usable only when there are none.
func (c *Compiler) ParseFile(text []byte) (*File, strictyaml.Problems) {
	if len(text) > maxFile {
		return nil, strictyaml.Problems{{Message: fmt.Sprintf("the file is larger than %d bytes", maxFile)}}
	}
	var f File
	lines, problems := strictyaml.Decode(text, &f)
	if len(problems) == 0 && len(lines) == 0 {
		// A file that was cut off or not mounted must not empty a registry.
		return nil, strictyaml.Problems{{Message: "the file is empty; write {} for an empty registry"}}
	}
	known := coverage(problems)
	for _, p := range c.Check(&f, lines) {
		// What did not decode cannot be judged, but the rest can.
		if !known.covers(p.Path) {
			problems = append(problems, p)
		}
	}
	if len(problems) > 0 {
		problems.Sort()
		return nil, problems
	}
	return &f, nil
}

type covered map[string]bool

func coverage(ps strictyaml.Problems) covered {
	c := make(covered, len(ps))
	for _, p := range ps {
		c[p.Path] = true
	}
	return c
}

// covers reports whether a problem is known at the path or at what it is part of.
func (c covered) covers(path string) bool {
	for ; path != ""; path = path[:max(0, strings.LastIndexAny(path, ".["))] {
		if c[path] {
			return true
		}
	}
	return false
}

// errPartial says that a state only tells what changed.
var errPartial = errors.New("the state is not whole")

// Objects gives the registry's entries for the file, with canonical bodies.
// What is written and says nothing, such as an empty list, is left out.
func (f *File) Objects() ([]Object, error) {
	var out []Object
	seen := map[Key]bool{}
	err := f.each(func(key Key, spec any) error {
		if seen[key] {
			return fmt.Errorf("%s: stands twice", key)
		}
		seen[key] = true
		body, err := json.Marshal(spec)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		out = append(out, NewObject(key, 0, body))
		return nil
	})
	return out, err
}

func (f *File) each(do func(Key, any) error) error {
	for _, s := range f.Peers {
		s.JWKS = unlessEmpty(s.JWKS)
		if err := do(Key{KindPeer, s.Name}, s); err != nil {
			return err
		}
	}
	for _, s := range f.Resources {
		if err := do(Key{KindResource, s.Audience}, s); err != nil {
			return err
		}
	}
	for _, s := range f.Clients {
		s.JWKS = unlessEmpty(s.JWKS)
		if s.TLS != nil && *s.TLS == (TLSSpec{}) {
			s.TLS = nil
		}
		if err := do(Key{KindClient, s.ID}, s); err != nil {
			return err
		}
	}
	for _, s := range f.Mappings {
		if s.Boundary != nil && len(s.Boundary.Keep) == 0 {
			s.Boundary = nil
		}
		if err := do(Key{KindMapping, s.Name}, s); err != nil {
			return err
		}
	}
	for _, s := range f.Policies {
		if err := do(Key{KindPolicy, s.Name}, s); err != nil {
			return err
		}
	}
	return nil
}

func unlessEmpty(set *JWKSSpec) *JWKSSpec {
	if set == nil || len(set.Keys) == 0 {
		return nil
	}
	return set
}

// FileOf gives the trust file that a whole state is the content of.
func FileOf(st State) (*File, error) {
	if st.Since != 0 {
		return nil, errPartial
	}
	objects := slices.Clone(st.Objects)
	slices.SortStableFunc(objects, byOrder)
	var f File
	for _, o := range objects {
		var err error
		switch o.Kind {
		case KindPeer:
			err = appendSpec(&f.Peers, o)
		case KindResource:
			err = appendSpec(&f.Resources, o)
		case KindClient:
			err = appendSpec(&f.Clients, o)
		case KindMapping:
			err = appendSpec(&f.Mappings, o)
		case KindPolicy:
			err = appendSpec(&f.Policies, o)
		default:
			err = fmt.Errorf("unknown kind")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Key, err)
		}
	}
	return &f, nil
}

func appendSpec[T any](list *[]T, o Object) error {
	var s T
	if err := strictJSON(o.Body, &s); err != nil {
		return err
	}
	*list = append(*list, s)
	return nil
}

func byOrder(a, b Object) int {
	switch {
	case a.Order != b.Order && a.Kind == b.Kind:
		if a.Order < b.Order {
			return -1
		}
		return 1
	case a.Kind != b.Kind:
		return strings.Compare(string(a.Kind), string(b.Kind))
	}
	return strings.Compare(a.Name, b.Name)
}
