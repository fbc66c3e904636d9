package trust

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// compiled is one object as a snapshot holds it, whatever its kind.
type compiled struct {
	object  Object
	peer    *Peer
	res     *Resource
	client  *Client
	mapping *Mapping
	policy  *Policy
	fault   string
}

func (e compiled) suspended() bool {
	return e.peer != nil && e.peer.Status != Active || e.client != nil && e.client.Status != Active ||
		e.mapping != nil && e.mapping.Status != Active || e.policy != nil && e.policy.Status != Active
}

// Compile gives the snapshot that a state describes. With a whole state prev is
// where unchanged objects are taken from, compiled as they are; with a partial
// one it is what the state continues, and st.Since must be its revision. Prev
// may be nil for a whole state. An object that does not compile has no effect
// but to refuse, and stands in Faulty.
func (c *Compiler) Compile(prev *Snapshot, st State) (*Snapshot, error) {
	if prev != nil && prev.settings != c.settings {
		prev = nil
	}
	next := &Snapshot{}
	switch {
	case st.Since != 0 && (prev == nil || prev.revision != st.Since):
		return nil, fmt.Errorf("state continues revision %d, which is not at hand", st.Since)
	case st.Since != 0:
		*next = *prev
	}
	next.revision, next.revocations, next.settings, next.touched = st.Revision, st.Revocations, c.settings, nil
	b := newBuilder(next)
	for _, key := range st.Removed {
		if old, ok := next.objects.get(key); ok {
			b.unlink(old)
		}
	}
	for i, entry := range c.compileAll(prev, st.Objects) {
		o := st.Objects[i]
		if old, ok := next.objects.get(o.Key); ok {
			if st.Since != 0 && old.object.Hash == o.Hash && old.object.Order == o.Order {
				next.touched = append(next.touched, o.Key)
			}
			b.unlink(old)
		}
		b.link(entry)
	}
	sortBy(&b.mappings, func(m *Mapping) string { return m.Name })
	sortBy(&b.policies, func(p *Policy) string { return p.Name })
	sortBy(&b.workloads, func(c *Client) string { return c.ID.String() })
	sortBy(&b.owned, func(r *Resource) string { return r.Audience.String() })
	return next, nil
}

// sortBy gives the lists that were touched one order, whatever changes led to
// them. They belong to the new snapshot alone.
func sortBy[K comparable, T any](e *edit[K, []T], name func(T) string) {
	for k := range e.fresh {
		list, _ := e.to.get(k)
		slices.SortFunc(list, func(a, b T) int { return strings.Compare(name(a), name(b)) })
	}
}

// compileAll gives each object compiled, those that did not change as they
// were. It shares the work among processors.
func (c *Compiler) compileAll(prev *Snapshot, objects []Object) []compiled {
	out := make([]compiled, len(objects))
	workers := min(runtime.GOMAXPROCS(0), len(objects)/256+1)
	var next atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(objects)); i = next.Add(1) - 1 {
				entry, reused := c.reuse(prev, objects[i])
				if !reused {
					entry = c.compileObject(objects[i])
				}
				out[i] = entry
			}
		})
	}
	all.Wait()
	return out
}

func (c *Compiler) reuse(prev *Snapshot, o Object) (compiled, bool) {
	if prev == nil {
		return compiled{}, false
	}
	old, ok := prev.objects.get(o.Key)
	if !ok || old.object.Hash != o.Hash {
		return compiled{}, false
	}
	old.object.Order = o.Order
	return old, true
}

func (c *Compiler) compileObject(o Object) compiled {
	entry := compiled{object: o}
	// The body is kept by the store; what the snapshot needs of it is compiled.
	entry.object.Body = nil
	var n notes
	var err error
	switch o.Kind {
	case KindPeer:
		var s PeerSpec
		if err = strictJSON(o.Body, &s); err == nil {
			entry.peer = c.peer(s, &n)
		}
	case KindResource:
		var s ResourceSpec
		if err = strictJSON(o.Body, &s); err == nil {
			entry.res = c.resource(s, &n)
		}
	case KindClient:
		var s ClientSpec
		if err = strictJSON(o.Body, &s); err == nil {
			entry.client = c.client(s, &n)
		}
	case KindMapping:
		var s MappingSpec
		if err = strictJSON(o.Body, &s); err == nil {
			entry.mapping = c.mapping(s, &n)
		}
	case KindPolicy:
		var s PolicySpec
		if err = strictJSON(o.Body, &s); err == nil {
			entry.policy = c.policy(s, &n)
		}
	default:
		err = fmt.Errorf("unknown kind of object")
	}
	if err != nil {
		n.add("", "%s", err)
	} else if entry.name() != o.Name {
		n.add("", "the object says another name than it is kept under")
	}
	if len(n.list) > 0 {
		entry.fault = strings.TrimPrefix(n.list[0].path+": "+n.list[0].message, ": ")
	}
	return entry
}

// name is what the object calls itself.
func (e *compiled) name() string {
	switch {
	case e.peer != nil:
		return e.peer.Name
	case e.res != nil:
		return e.res.Audience.String()
	case e.client != nil:
		return e.client.ID.String()
	case e.mapping != nil:
		return e.mapping.Name
	case e.policy != nil:
		return e.policy.Name
	}
	return ""
}

// strictJSON refuses members it does not know: a restriction that a newer
// version wrote must not be dropped by an older one.
func strictJSON(body []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("data follows the object")
	}
	return nil
}

// builder edits the indexes of a snapshot that nobody has seen yet.
type builder struct {
	objects   edit[Key, compiled]
	peers     edit[string, *Peer]
	issuers   edit[string, []*Peer]
	clients   edit[string, *Client]
	workloads edit[workload, []*Client]
	resources edit[string, *Resource]
	owned     edit[string, []*Resource]
	mappings  edit[route, []*Mapping]
	policies  edit[route, []*Policy]
	faulty    edit[Key, string]
}

func newBuilder(s *Snapshot) *builder {
	b := &builder{}
	b.objects.to, b.peers.to, b.issuers.to, b.clients.to = &s.objects, &s.peers, &s.issuers, &s.clients
	b.owned.to, b.workloads.to = &s.owned, &s.workloads
	b.resources.to, b.mappings.to, b.policies.to, b.faulty.to = &s.resources, &s.mappings, &s.policies, &s.faulty
	return b
}

func (b *builder) link(e compiled) {
	key := e.object.Key
	b.objects.set(key, e)
	if e.fault != "" {
		b.faulty.set(key, e.fault)
		return
	}
	switch {
	case e.peer != nil:
		b.peers.set(e.peer.Name, e.peer)
		enter(&b.issuers, e.peer.Issuer.String(), e.peer)
	case e.res != nil:
		b.resources.set(e.res.Audience.String(), e.res)
		if e.res.Client != "" {
			enter(&b.owned, e.res.Client, e.res)
		}
	case e.client != nil:
		b.clients.set(e.client.ID.String(), e.client)
		if e.client.Auth == AuthFederated {
			enter(&b.workloads, workload{e.client.Federated.Peer, e.client.Federated.Subject}, e.client)
		}
	case e.mapping != nil:
		for _, a := range e.mapping.Resources {
			enter(&b.mappings, route{e.mapping.Peer, a.String()}, e.mapping)
		}
	case e.policy != nil:
		for _, a := range e.policy.Resources {
			enter(&b.policies, route{e.policy.Operator, a.String()}, e.policy)
		}
	}
}

func (b *builder) unlink(e compiled) {
	key := e.object.Key
	b.objects.remove(key)
	if e.fault != "" {
		b.faulty.remove(key)
		return
	}
	switch {
	case e.peer != nil:
		b.peers.remove(e.peer.Name)
		drop(&b.issuers, e.peer.Issuer.String(), e.peer)
	case e.res != nil:
		b.resources.remove(e.res.Audience.String())
		if e.res.Client != "" {
			drop(&b.owned, e.res.Client, e.res)
		}
	case e.client != nil:
		b.clients.remove(e.client.ID.String())
		if e.client.Auth == AuthFederated {
			drop(&b.workloads, workload{e.client.Federated.Peer, e.client.Federated.Subject}, e.client)
		}
	case e.mapping != nil:
		for _, a := range e.mapping.Resources {
			drop(&b.mappings, route{e.mapping.Peer, a.String()}, e.mapping)
		}
	case e.policy != nil:
		for _, a := range e.policy.Resources {
			drop(&b.policies, route{e.policy.Operator, a.String()}, e.policy)
		}
	}
}

// enter adds to a list of the snapshot being built.
func enter[K comparable, T any](e *edit[K, []T], k K, v T) {
	e.set(k, append(mine(e, k), v))
}

func drop[K, T comparable](e *edit[K, []T], k K, gone T) {
	list := mine(e, k)
	if i := slices.Index(list, gone); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		e.remove(k)
		return
	}
	e.set(k, list)
}
