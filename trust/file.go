package trust

import (
	"encoding/json"
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
	if len(problems) > 0 {
		// What did not decode cannot be judged, but the rest can.
		seen := map[string]bool{}
		for _, p := range problems {
			seen[p.Path] = true
		}
		for _, p := range c.Check(&f, lines) {
			if !seen[p.Path] {
				problems = append(problems, p)
			}
		}
		problems.Sort()
		return nil, problems
	}
	if problems = c.Check(&f, lines); len(problems) > 0 {
		return nil, problems
	}
	return &f, nil
}

// Check reports everything that is wrong with a registry, references between
// its objects included. Lines may be nil.
func (c *Compiler) Check(f *File, lines strictyaml.Lines) strictyaml.Problems {
	k := &checker{compiler: c, lines: lines, seen: map[Key]string{}, resources: map[string]*Resource{}}
	k.names(f)
	for i, s := range f.Peers {
		k.object(fmt.Sprintf("peers[%d]", i), func(n *notes) { k.peer(s, n) })
	}
	for i, s := range f.Resources {
		k.object(fmt.Sprintf("resources[%d]", i), func(n *notes) { k.resource(s, n) })
	}
	for i, s := range f.Clients {
		k.object(fmt.Sprintf("clients[%d]", i), func(n *notes) { k.client(s, n) })
	}
	for i, s := range f.Mappings {
		k.object(fmt.Sprintf("mappings[%d]", i), func(n *notes) { k.mapping(s, n) })
	}
	for i, s := range f.Policies {
		k.object(fmt.Sprintf("policies[%d]", i), func(n *notes) { k.policy(s, n) })
	}
	k.problems.Sort()
	return k.problems
}

type checker struct {
	compiler  *Compiler
	lines     strictyaml.Lines
	seen      map[Key]string // where each object stands
	issuers   map[string]string
	resources map[string]*Resource
	problems  strictyaml.Problems
}

func (k *checker) object(at string, check func(*notes)) {
	var n notes
	check(&n)
	for _, note := range n.list {
		path := at + "." + note.path
		k.problems = append(k.problems, strictyaml.Problem{Line: k.lines.At(path), Path: path, Message: note.message})
	}
}

// names finds repeated names before anything refers to them.
func (k *checker) names(f *File) {
	add := func(kind Kind, name, at, field string) {
		key := Key{kind, name}
		if first, dup := k.seen[key]; dup {
			path := at + "." + field
			k.problems = append(k.problems, strictyaml.Problem{Line: k.lines.At(path), Path: path,
				Message: "is taken already, by " + first})
			return
		}
		k.seen[key] = at
	}
	for i, s := range f.Peers {
		add(KindPeer, s.Name, fmt.Sprintf("peers[%d]", i), "name")
	}
	for i, s := range f.Resources {
		add(KindResource, s.Audience, fmt.Sprintf("resources[%d]", i), "audience")
	}
	for i, s := range f.Clients {
		add(KindClient, s.ID, fmt.Sprintf("clients[%d]", i), "id")
	}
	for i, s := range f.Mappings {
		add(KindMapping, s.Name, fmt.Sprintf("mappings[%d]", i), "name")
	}
	for i, s := range f.Policies {
		add(KindPolicy, s.Name, fmt.Sprintf("policies[%d]", i), "name")
	}
}

// refers notes a reference to an object that is not there.
func (k *checker) refers(n *notes, path string, kind Kind, name string) bool {
	if _, ok := k.seen[Key{kind, name}]; !ok {
		n.add(path, "no %s of that name is registered", kind)
		return false
	}
	return true
}

func (k *checker) peer(s PeerSpec, n *notes) {
	k.compiler.peer(s, "", n)
	if k.issuers == nil {
		k.issuers = map[string]string{}
	}
	if first, dup := k.issuers[s.Issuer]; dup && s.Issuer != "" {
		n.add("issuer", "is registered already, for peer %s", first)
	}
	k.issuers[s.Issuer] = s.Name
}

func (k *checker) resource(s ResourceSpec, n *notes) {
	k.resources[s.Audience] = k.compiler.resource(s, n)
	if s.Client != "" {
		k.refers(n, "client", KindClient, s.Client)
	}
	if s.Peer != "" {
		k.refers(n, "peer", KindPeer, s.Peer)
	}
}

func (k *checker) client(s ClientSpec, n *notes) {
	k.compiler.client(s, "", n)
	for name := range s.KnownAs {
		k.refers(n, "known_as."+name, KindPeer, name)
	}
}

func (k *checker) mapping(s MappingSpec, n *notes) {
	m := k.compiler.mapping(s, n)
	if s.Peer != "" && s.Peer != Self {
		k.refers(n, "peer", KindPeer, s.Peer)
	}
	for i, id := range s.Clients {
		if id != "*" {
			k.refers(n, fmt.Sprintf("clients[%d]", i), KindClient, id)
		}
	}
	for i, a := range s.Resources {
		k.refers(n, fmt.Sprintf("resources[%d]", i), KindResource, a)
	}
	for i, r := range m.Scopes {
		if !k.vocabulary(s.Resources, func(res *Resource) bool { return res.Scopes.Has(r.scope) }) {
			n.add(fmt.Sprintf("scopes[%d]", i), "is in the vocabulary of none of the mapping's resources")
		}
	}
	k.actions(n, s.Resources, m.Capabilities)
}

func (k *checker) policy(s PolicySpec, n *notes) {
	p := k.compiler.policy(s, n)
	for i, a := range s.Resources {
		k.refers(n, fmt.Sprintf("resources[%d]", i), KindResource, a)
	}
	k.actions(n, s.Resources, p.Capabilities)
}

func (k *checker) actions(n *notes, audiences []string, rules []capabilityRule) {
	for i, r := range rules {
		if !k.vocabulary(audiences, func(res *Resource) bool { return res.Actions[r.action] }) {
			n.add(fmt.Sprintf("capabilities[%d].action", i), "is in the vocabulary of none of the named resources")
		}
	}
}

// vocabulary reports whether one of the resources that are registered has it;
// resources that are not registered are reported elsewhere.
func (k *checker) vocabulary(audiences []string, has func(*Resource) bool) bool {
	known := false
	for _, a := range audiences {
		if res := k.resources[a]; res != nil {
			if known = true; has(res) {
				return true
			}
		}
	}
	return !known
}

// Objects gives the registry's entries for the file, with canonical bodies.
func (f *File) Objects() ([]Object, error) {
	var out []Object
	err := f.each(func(key Key, spec any) error {
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
		if err := do(Key{KindClient, s.ID}, s); err != nil {
			return err
		}
	}
	for _, s := range f.Mappings {
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

// FileOf gives the trust file that a whole state is the content of.
func FileOf(st State) (*File, error) {
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
