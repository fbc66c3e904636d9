package trust

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/comity-auth/comity/trust/strictyaml"
)

// Check reports everything that is wrong with a registry, references between
// its objects included. Lines may be nil.
func (c *Compiler) Check(f *File, lines strictyaml.Lines) strictyaml.Problems {
	k := &checker{compiler: c, lines: lines, seen: map[Key]string{}, issuers: map[string]string{}, peers: map[string]*Peer{}, workloads: map[workload]string{},
		resources: map[string]*Resource{}, clients: map[string]*Client{}, mappings: map[route]*served{}, policies: map[route]map[string]string{}}
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
	peers     map[string]*Peer
	workloads map[workload]string // federated clients by whom they are
	resources map[string]*Resource
	clients   map[string]*Client
	mappings  map[route]*served
	policies  map[route]map[string]string // agent type to policy
	problems  strictyaml.Problems
}

func (k *checker) object(at string, check func(*notes)) {
	var n notes
	check(&n)
	for _, note := range n.list {
		path := strings.TrimSuffix(at+"."+note.path, ".")
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
	p := k.compiler.peer(s, n)
	k.peers[s.Name] = p
	at, path := p.Issuer.String(), "issuer"
	if p.SPIFFE {
		path = "domain"
	}
	if first, dup := k.issuers[at]; dup && at != "" {
		n.add(path, "is registered already, for peer %s", first)
	}
	k.issuers[at] = s.Name
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
	k.clients[s.ID] = k.compiler.client(s, n)
	k.vouched(s, k.clients[s.ID], n)
	for _, name := range slices.Sorted(maps.Keys(s.KnownAs)) {
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
	k.overlap(n, s, m)
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
	if p.Status != Active {
		return
	}
	for i, a := range s.Resources {
		at := route{s.Operator, a}
		if k.policies[at] == nil {
			k.policies[at] = map[string]string{}
		}
		if first := clashing(k.policies[at], s.AgentType, s.Name); first != "" {
			n.add(fmt.Sprintf("resources[%d]", i), "policy %s is for the same agents and resource: neither would issue anything", first)
		}
		k.policies[at][s.AgentType] = s.Name
	}
}

// clashing finds who has the same narrowing already, or none, which covers all;
// and whoever has any, when this one has none.
func clashing(taken map[string]string, narrowing, name string) (first string) {
	for _, have := range []string{narrowing, ""} {
		if who, ok := taken[have]; ok && who != name {
			return who
		}
	}
	if narrowing == "" {
		for _, who := range taken {
			if who != name && (first == "" || who < first) {
				first = who
			}
		}
	}
	return first
}

// served remembers which conditions the mappings of one route have, by client.
type served struct {
	by  map[string]map[string]string // client to condition to mapping
	any map[string]string            // the same for every client that authenticates
}

// overlap finds two enforcing mappings that match together, always or whenever
// one of them matches, so that every such request is refused as ambiguous. Two
// different conditions cannot be compared here; the decision does.
func (k *checker) overlap(n *notes, s MappingSpec, m *Mapping) {
	if m.Status != Active || m.Shadow {
		return
	}
	when := strings.TrimSpace(s.When)
	for i, a := range s.Resources {
		at := route{s.Peer, a}
		if k.mappings[at] == nil {
			k.mappings[at] = &served{by: map[string]map[string]string{}, any: map[string]string{}}
		}
		if first := k.mappings[at].claim(s, when, k.clients); first != "" {
			n.add(fmt.Sprintf("resources[%d]", i), "mapping %s matches the same tokens for it: such requests would be refused as ambiguous", first)
		}
	}
}

// claim notes whom a mapping is for and gives another one that is in its way.
func (v *served) claim(s MappingSpec, when string, clients map[string]*Client) (first string) {
	clash := func(taken map[string]string) {
		if who := clashing(taken, when, s.Name); first == "" || who != "" && who < first {
			first = who
		}
	}
	for _, id := range s.Clients {
		if id == "*" {
			for client, taken := range v.by {
				if c := clients[client]; c == nil || c.Auth != AuthNone {
					clash(taken)
				}
			}
			clash(v.any)
			v.any[when] = s.Name
			continue
		}
		if v.by[id] == nil {
			v.by[id] = map[string]string{}
		}
		clash(v.by[id])
		if c := clients[id]; c == nil || c.Auth != AuthNone {
			clash(v.any)
		}
		v.by[id][when] = s.Name
	}
	return first
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
