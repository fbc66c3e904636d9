package trust_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/ident"
)

func object(t testing.TB, kind trust.Kind, name, body string) trust.Object {
	t.Helper()
	if !json.Valid([]byte(body)) {
		t.Fatalf("not JSON: %s", body)
	}
	return trust.NewObject(trust.Key{Kind: kind, Name: name}, 1, []byte(body))
}

const goodPeer = `{"name":"p","domain":"p.example","issuer":"https://p.example","expires":"2027-11-21T00:00:00Z"}`

func TestFaultyObjectsAreInertAndListed(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, body, why string }{
		{"a member of a newer version", strings.Replace(goodPeer, "{", `{"quorum":2,`, 1), "unknown field"},
		{"a nested member of a newer version", strings.Replace(goodPeer, "{", `{"pins":[{"thumbprint":"x","hsm":true}],`, 1), "unknown field"},
		{"a member of the wrong type", strings.Replace(goodPeer, "{", `{"leeway":5,`, 1), ""},
		{"a value outside its set", strings.Replace(goodPeer, "{", `{"status":"on",`, 1), "status"},
		{"no expiry", `{"name":"p","domain":"p.example","issuer":"https://p.example"}`, "expires"},
		{"null", `null`, ""},
		{"a list", `[]`, ""},
		{"another name than its key", strings.Replace(goodPeer, `"name":"p"`, `"name":"q"`, 1), "another name"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s, err := newCompiler(t).Compile(nil, trust.State{Revision: 1, Objects: []trust.Object{object(t, trust.KindPeer, "p", row.body)}})
			if err != nil {
				t.Fatal(err)
			}
			if s.Peer("p") != nil || s.Peer("q") != nil || s.PeerByIssuer("https://p.example") != nil {
				t.Error("the faulty peer is known")
			}
			why, listed := s.Faulty()["peer/p"]
			if !listed || !strings.Contains(why, row.why) {
				t.Errorf("Faulty = %v, want peer/p with %q", s.Faulty(), row.why)
			}
		})
	}
	s, err := newCompiler(t).Compile(nil, trust.State{Revision: 1, Objects: []trust.Object{
		object(t, "star", "x", "{}"), object(t, trust.KindPeer, "p", goodPeer), {Key: trust.Key{Kind: trust.KindPeer, Name: "two"}, Body: []byte("{}{}")}}})
	if err != nil || s.Peer("p") == nil || len(s.Faulty()) != 2 {
		t.Errorf("Compile = %v, faulty %v; want the good peer and two faults", err, s.Faulty())
	}
}

// A peer must not be able to take another's place by the order of loading.
func TestTwoPeersOfOneIssuerDoNotCount(t *testing.T) {
	t.Parallel()
	a, b := object(t, trust.KindPeer, "p", goodPeer), object(t, trust.KindPeer, "q", strings.Replace(goodPeer, `"name":"p"`, `"name":"q"`, 1))
	c := newCompiler(t)
	first, err := c.Compile(nil, trust.State{Revision: 1, Objects: []trust.Object{a}})
	if err != nil || first.PeerByIssuer("https://p.example") == nil {
		t.Fatalf("one peer is not found (%v)", err)
	}
	both, err := c.Compile(first, trust.State{Revision: 2, Since: 1, Objects: []trust.Object{b}})
	if err != nil || both.PeerByIssuer("https://p.example") != nil || len(both.Faulty()) != 2 {
		t.Errorf("two peers of one issuer: %v, faulty %v", both.PeerByIssuer("https://p.example"), both.Faulty())
	}
	left, err := c.Compile(both, trust.State{Revision: 3, Since: 2, Removed: []trust.Key{a.Key}})
	if err != nil || left.PeerByIssuer("https://p.example") != left.Peer("q") || left.Peer("q") == nil || len(left.Faulty()) != 0 {
		t.Errorf("the one that is left is not found; faulty %v", left.Faulty())
	}
}

func TestCompileRefusesAStateItCannotContinue(t *testing.T) {
	t.Parallel()
	c := newCompiler(t)
	s, _ := c.Compile(nil, trust.State{Revision: 5})
	for name, prev := range map[string]*trust.Snapshot{"nothing before": nil, "another revision before": s} {
		if _, err := c.Compile(prev, trust.State{Revision: 8, Since: 7}); err == nil {
			t.Errorf("%s: a state since 7 was compiled", name)
		}
	}
}

func TestCompilerSettingsMustFit(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*trust.Settings){
		"no domain":         func(s *trust.Settings) { s.Domain = ident.Domain{} },
		"no issuer":         func(s *trust.Settings) { s.Issuer = ident.Issuer{} },
		"no ttl":            func(s *trust.Settings) { s.TTL = 0 },
		"max_ttl below ttl": func(s *trust.Settings) { s.MaxTTL = time.Minute },
		"min_ttl above ttl": func(s *trust.Settings) { s.MinTTL = 6 * time.Minute },
	} {
		set := settings()
		change(&set)
		if _, err := trust.NewCompiler(set); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestUnchangedObjectsAreReused(t *testing.T) {
	t.Parallel()
	f := parse(t, research("scopes: [archive.read]"))
	c := newCompiler(t)
	st := stateOf(t, f, 1)
	one, err := c.Compile(nil, st)
	if err != nil {
		t.Fatal(err)
	}
	f.Peers[1].Status = "suspended"
	change, _, err := trust.Plan(st, f)
	if err != nil {
		t.Fatal(err)
	}
	for name, next := range map[string]trust.State{
		"in part":  {Revision: 2, Since: 1, Objects: change.Put},
		"as whole": applied(st, change),
	} {
		two, err := c.Compile(one, next)
		if err != nil {
			t.Fatal(err)
		}
		if one.Peer("acme") != two.Peer("acme") || one.Client("lax") != two.Client("lax") || one.Resource(archive) != two.Resource(archive) {
			t.Errorf("%s: unchanged objects were compiled anew", name)
		}
		if one.Peer("branch") == two.Peer("branch") || two.Peer("branch").Status != trust.Suspended || one.Peer("branch").Status != trust.Active {
			t.Errorf("%s: the changed peer is not the new one, or the old snapshot changed", name)
		}
	}
	set := settings()
	set.TTL = time.Minute
	other, _ := trust.NewCompiler(set)
	if three, err := other.Compile(one, st); err != nil || three.Peer("acme") == one.Peer("acme") {
		t.Errorf("objects compiled under other settings were reused (%v)", err)
	}
}

// answers is what a snapshot says to a set of questions.
func answers(t testing.TB, s *trust.Snapshot) string {
	var b strings.Builder
	fmt.Fprintln(&b, s.Faulty())
	for _, peer := range []string{"p0", "p1", "p2", "p3"} {
		for _, client := range []string{"c0", "c1", "c2", "c3"} {
			for _, target := range []string{archive, "https://other.globex.example"} {
				for n := range 2 {
					p, c := s.Peer(peer), s.Client(client)
					if p == nil || c == nil {
						fmt.Fprintln(&b, peer, client, p == nil, c == nil)
						continue
					}
					a := &trust.Ask{Now: now, Grant: trust.GrantTokenExchange, Client: c, Peer: p, Targets: []ident.Audience{ident.MustAudience(target)}, DPoP: true,
						Subject: trust.Party{Subject: "s", Holder: c.KnownAs[peer], Claims: map[string]any{"n": json.Number(fmt.Sprint(n)), "x": "y"}, Expires: now.Add(time.Hour),
							Scopes: ident.MustScopes("archive.read a b")}, Names: names(t)}
					g, checks, err := s.Decide(a)
					fmt.Fprintln(&b, peer, client, target, n, g.Subject, g.Scopes, g.Expires, err, checks)
				}
			}
		}
	}
	for _, peer := range []string{"p0", "p1", "p2", "p3"} {
		if p := s.PeerByIssuer("https://" + peer + ".example"); p != nil {
			fmt.Fprintln(&b, p.Name, p.Status)
		}
	}
	return b.String()
}

// Whatever sequence of changes led here, the snapshot is that of the content.
func TestIncrementalEqualsWhole(t *testing.T) {
	t.Parallel()
	c := newCompiler(t)
	rapid.Check(t, func(rt *rapid.T) {
		st := trust.State{}
		var snap *trust.Snapshot
		var old []*trust.Snapshot
		var said []string
		for range rapid.IntRange(1, 5).Draw(rt, "steps") {
			change, _, err := trust.Plan(st, drawFile(rt))
			if err != nil {
				rt.Fatal(err)
			}
			part := trust.State{Revision: st.Revision + 1, Since: st.Revision, Objects: change.Put, Removed: change.Remove}
			st = applied(st, change)
			if rapid.Bool().Draw(rt, "breaks one") && len(st.Objects) > 0 {
				i := rapid.IntRange(0, len(st.Objects)-1).Draw(rt, "broken")
				bad := trust.NewObject(st.Objects[i].Key, st.Objects[i].Order, []byte(`{"novel":true}`))
				st.Objects[i] = bad
				part.Objects = append(slices.Clone(part.Objects), bad)
			}
			if part.Since == 0 {
				part = st
			}
			if snap, err = c.Compile(snap, part); err != nil {
				rt.Fatal(err)
			}
			shuffled := st
			shuffled.Objects = rapid.Permutation(st.Objects).Draw(rt, "load order")
			whole, err := c.Compile(nil, shuffled)
			if err != nil {
				rt.Fatal(err)
			}
			got, want := answers(t, snap), answers(t, whole)
			if diff := cmp.Diff(want, got); diff != "" {
				rt.Fatalf("incremental differs from whole (-whole +incremental):\n%s", diff)
			}
			old, said = append(old, snap), append(said, got)
		}
		for i := range old {
			if got := answers(t, old[i]); got != said[i] {
				rt.Fatalf("snapshot %d changed after later ones were compiled", i)
			}
		}
	})
}

func TestSnapshotsNeverChangeUnderReaders(t *testing.T) {
	t.Parallel()
	c := newCompiler(t)
	f := parse(t, research("scopes: [archive.read]", "when: subject.claims.level >= 3"))
	st := stateOf(t, f, 1)
	first, err := c.Compile(nil, st)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a := ask(t, first, scoped("archive.read"))
				a.Subject.Claims = map[string]any{"level": json.Number("3")}
				if _, _, err := first.Decide(a); err != nil {
					t.Errorf("Decide = %v", err)
					return
				}
				for range first.ResourcesOf("archive-api") {
				}
				first.Faulty()
			}
		})
	}
	snap := first
	for rev := range 50 {
		f.Mappings[0].Status = []string{"suspended", "active"}[rev%2]
		f.Resources[0].Name = fmt.Sprint(rev)
		change, _, err := trust.Plan(st, f)
		if err != nil {
			t.Fatal(err)
		}
		part := trust.State{Revision: st.Revision + 1, Since: st.Revision, Objects: change.Put}
		st = applied(st, change)
		if snap, err = c.Compile(snap, part); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	readers.Wait()
	if snap.Revision() != 51 || first.Revision() != 1 {
		t.Errorf("revisions = %d and %d", snap.Revision(), first.Revision())
	}
}

func TestResourcesOfFollowsChanges(t *testing.T) {
	t.Parallel()
	f := parse(t, world)
	c := newCompiler(t)
	st := stateOf(t, f, 1)
	one, _ := c.Compile(nil, st)
	f.Resources[1].Client = "archive-api"
	change, _, _ := trust.Plan(st, f)
	two, _ := c.Compile(one, trust.State{Revision: 2, Since: 1, Objects: change.Put})
	three, _ := c.Compile(two, trust.State{Revision: 3, Since: 2, Removed: []trust.Key{{Kind: trust.KindResource, Name: archive}}})
	for i, want := range [][]string{{archive}, {archive, "https://other.globex.example"}, {"https://other.globex.example"}} {
		var got []string
		for r := range []*trust.Snapshot{one, two, three}[i].ResourcesOf("archive-api") {
			got = append(got, r.Audience.String())
		}
		if !cmp.Equal(got, want) {
			t.Errorf("snapshot %d: resources %v, want %v", i+1, got, want)
		}
	}
}

func TestZeroSnapshotRefuses(t *testing.T) {
	t.Parallel()
	var s trust.Snapshot
	a := &trust.Ask{Now: now, Grant: trust.GrantTokenExchange, Targets: []ident.Audience{ident.MustAudience(archive)}}
	if _, _, err := s.Decide(a); !errors.Is(err, trust.ErrNoMapping) {
		t.Errorf("Decide = %v", err)
	}
	if s.Peer("acme") != nil || s.Client("x") != nil || s.PeerByIssuer("") != nil || s.Resource("") != nil {
		t.Error("the zero snapshot knows somebody")
	}
}

// large is a registry with the given number of peers and five mappings for each,
// every one with a condition of its own.
func large(peers int) *trust.File {
	var exp trust.Time
	exp.Time = expiry
	f := manyPeers(peers)
	f.Resources = []trust.ResourceSpec{{Audience: archive, Scopes: []string{"archive.read"}, Actions: []string{"archive.search"}}}
	f.Clients = []trust.ClientSpec{{ID: "acme-agent", Auth: "none", Operator: "org:acme", Agent: &trust.AgentSpec{ID: "a", Type: "t"}, Expires: exp, KnownAs: map[string]string{"p000000": "agent@acme"}}}
	for i := range f.Peers {
		f.Peers[i].Expires = exp
		for j := range 5 {
			f.Mappings = append(f.Mappings, trust.MappingSpec{Name: fmt.Sprintf("m%06d-%d", i, j), Peer: f.Peers[i].Name, Clients: []string{"acme-agent"}, Resources: []string{archive},
				When:         fmt.Sprintf("subject.claims.department == \"d%d-%d\" && subject.claims.level >= %d", i, j, j),
				Capabilities: []trust.CapabilityRule{{Action: "archive.search", Constraints: map[string]any{"max_requests_per_hour": 50}}}})
		}
	}
	return f
}

// A compiler remembers what it checked, so each round has one of its own.
func BenchmarkCompileWhole(b *testing.B) {
	for _, peers := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("%d peers %d mappings", peers, 5*peers), func(b *testing.B) {
			st := stateOf(b, large(peers), 1)
			b.ReportAllocs()
			var c *trust.Compiler
			var s *trust.Snapshot
			before := resident()
			for b.Loop() {
				c = newCompiler(b)
				var err error
				if s, err = c.Compile(nil, st); err != nil || len(s.Faulty()) > 0 {
					b.Fatal(err, len(s.Faulty()))
				}
			}
			b.ReportMetric(float64(resident()-before)/(1<<20), "MiB-held")
			runtime.KeepAlive(c)
			runtime.KeepAlive(s)
		})
	}
}

func resident() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkCompileOneChange(b *testing.B) {
	f := large(10_000)
	st := stateOf(b, f, 1)
	c := newCompiler(b)
	s, err := c.Compile(nil, st)
	if err != nil {
		b.Fatal(err)
	}
	f.Mappings[777].When = "subject.claims.department == 'other'"
	change, _, err := trust.Plan(st, f)
	if err != nil || len(change.Put) != 1 {
		b.Fatal(err, len(change.Put))
	}
	part := trust.State{Revision: 2, Since: 1, Objects: change.Put}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Compile(s, part); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	s := compile(b, research("when: subject.claims.department == 'research'",
		"capabilities: [{action: archive.search, from: [search.web], constraints: {max_requests_per_hour: 50}}]", "scopes: [{scope: archive.read, from: ['docs:read']}]"))
	a := ask(b, s, scoped("docs:read"), agent(can("search.web", aap.Constraints{MaxRequestsPerHour: 100})), asking("", "archive.search"))
	a.Subject.Claims = map[string]any{"department": "research", "sub": "alice", "exp": json.Number("1800000000")}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Decide(a); err != nil {
			b.Fatal(err)
		}
	}
}
