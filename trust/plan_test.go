package trust_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/comity-auth/comity/trust"
)

// applied gives the state that a change makes of another.
func applied(st trust.State, c trust.Change) trust.State {
	out := trust.State{Revision: st.Revision + 1}
	gone := map[trust.Key]bool{}
	for _, k := range c.Remove {
		gone[k] = true
	}
	for _, o := range c.Put {
		gone[o.Key] = true
	}
	for _, o := range st.Objects {
		if !gone[o.Key] {
			out.Objects = append(out.Objects, o)
		}
	}
	out.Objects = append(out.Objects, c.Put...)
	return out
}

// holdsOrder fails when two objects of a kind share an order, or the state does
// not read back as the file.
func holdsOrder(t interface{ Fatalf(string, ...any) }, st trust.State, f *trust.File) {
	at := map[trust.Kind]map[int64]string{}
	for _, o := range st.Objects {
		if at[o.Kind] == nil {
			at[o.Kind] = map[int64]string{}
		}
		if other, taken := at[o.Kind][o.Order]; taken {
			t.Fatalf("%s and %s share order %d", other, o.Name, o.Order)
		}
		at[o.Kind][o.Order] = o.Name
	}
	back, err := trust.FileOf(st)
	if err != nil {
		t.Fatalf("FileOf: %v", err)
	}
	want, _ := f.Objects()
	got, err := back.Objects()
	if err != nil {
		t.Fatalf("Objects: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("the state does not read back as the file (-want +got):\n%s", diff)
	}
}

func peersNamed(names ...string) *trust.File {
	f := &trust.File{}
	for _, n := range names {
		f.Peers = append(f.Peers, trust.PeerSpec{Name: n, Domain: n + ".example", Issuer: "https://" + n + ".example"})
	}
	return f
}

func TestPlanTellsWhatDiffers(t *testing.T) {
	t.Parallel()
	st := stateOf(t, peersNamed("a", "b", "c"), 7)
	to := peersNamed("a", "c", "d")
	to.Peers[1].Status = "suspended"
	to.Peers[1].Algorithms = []string{"ES256"}
	change, diffs, err := trust.Plan(st, to)
	if err != nil {
		t.Fatal(err)
	}
	type line struct {
		Op, Object string
		Fields     []trust.FieldChange
	}
	var got []line
	for _, d := range diffs {
		got = append(got, line{d.Op, d.Object, d.Fields})
	}
	want := []line{
		{"change", "peer/c", []trust.FieldChange{{Path: "algorithms", After: `["ES256"]`}, {Path: "status", After: `"suspended"`}}},
		{"add", "peer/d", nil},
		{"remove", "peer/b", nil},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
	if change.Base != 7 || len(change.Put) != 2 || len(change.Remove) != 1 {
		t.Errorf("change = %+v", change)
	}
	holdsOrder(t, applied(st, change), to)
}

func TestFieldChangesGoIntoObjects(t *testing.T) {
	t.Parallel()
	from, to := peersNamed(), peersNamed()
	from.Clients = []trust.ClientSpec{{ID: "c", KnownAs: map[string]string{"a": "x", "b": "y"}}}
	to.Clients = []trust.ClientSpec{{ID: "c", KnownAs: map[string]string{"b": "z"}}}
	_, diffs, err := trust.Plan(stateOf(t, from, 1), to)
	want := []trust.FieldChange{{Path: "known_as.a", Before: `"x"`}, {Path: "known_as.b", Before: `"y"`, After: `"z"`}}
	if err != nil || len(diffs) != 1 || !cmp.Equal(want, diffs[0].Fields) {
		t.Errorf("Plan = %+v, %v, want fields %v", diffs, err, want)
	}
}

func TestPlanKeepsPlaces(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		from, to []string
		put      []string
	}{
		{"same file changes nothing", []string{"a", "b", "c"}, []string{"a", "b", "c"}, nil},
		{"insertion in the middle touches one", []string{"a", "b", "c"}, []string{"a", "x", "b", "c"}, []string{"x"}},
		{"insertion in front touches one", []string{"a", "b"}, []string{"x", "a", "b"}, []string{"x"}},
		{"insertion at the end touches one", []string{"a", "b"}, []string{"a", "b", "x"}, []string{"x"}},
		{"the last one moved to the front is all that moves", []string{"a", "b", "c", "d"}, []string{"d", "a", "b", "c"}, []string{"d"}},
		{"the first one moved to the end is all that moves", []string{"a", "b", "c", "d"}, []string{"b", "c", "d", "a"}, []string{"a"}},
		{"removal moves nobody", []string{"a", "b", "c"}, []string{"a", "c"}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			st, to := stateOf(t, peersNamed(row.from...), 1), peersNamed(row.to...)
			change, diffs, err := trust.Plan(st, to)
			if err != nil {
				t.Fatal(err)
			}
			var put []string
			for _, o := range change.Put {
				put = append(put, o.Name)
			}
			if !cmp.Equal(row.put, put) {
				t.Errorf("put %v, want %v", put, row.put)
			}
			if len(diffs) != len(change.Put)+len(change.Remove) {
				t.Errorf("%d differences for %d objects", len(diffs), len(change.Put)+len(change.Remove))
			}
			holdsOrder(t, applied(st, change), to)
		})
	}
}

func TestPlanRenumbersWhenThereIsNoRoom(t *testing.T) {
	t.Parallel()
	st := stateOf(t, peersNamed("a", "b"), 1)
	for i := range st.Objects {
		st.Objects[i].Order = int64(i + 1)
	}
	to := peersNamed("a", "x", "b")
	change, _, err := trust.Plan(st, to)
	if err != nil || len(change.Put) != 3 {
		t.Fatalf("Plan puts %d, %v, want 3", len(change.Put), err)
	}
	holdsOrder(t, applied(st, change), to)
}

func TestPlanRefusesWhatItCannotCompare(t *testing.T) {
	t.Parallel()
	if _, _, err := trust.Plan(trust.State{Revision: 4, Since: 3}, peersNamed("a")); err == nil {
		t.Error("a partial state was planned on")
	}
	if _, err := trust.FileOf(trust.State{Revision: 4, Since: 3}); err == nil {
		t.Error("a partial state was exported")
	}
	if _, _, err := trust.Plan(trust.State{}, peersNamed("a", "a")); err == nil {
		t.Error("a file with two objects of one name was planned")
	}
	if _, err := trust.FileOf(trust.State{Objects: []trust.Object{{Key: trust.Key{Kind: "star", Name: "x"}, Body: []byte("{}")}}}); err == nil {
		t.Error("an unknown kind was exported")
	}
	if _, err := trust.FileOf(trust.State{Objects: []trust.Object{{Key: trust.Key{Kind: trust.KindPeer, Name: "x"}, Body: []byte(`{"name":"x","novel":1}`)}}}); err == nil {
		t.Error("an object with a member of a newer version was exported without it")
	}
}

// Whatever the steps, orders never collide and the state reads as the file.
func TestOrdersNeverCollide(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		st := trust.State{}
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			all := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
			picked := rapid.Permutation(all).Draw(rt, "order")[:rapid.IntRange(0, len(all)).Draw(rt, "count")]
			to := peersNamed(picked...)
			change, _, err := trust.Plan(st, to)
			if err != nil {
				rt.Fatal(err)
			}
			st = applied(st, change)
			if rapid.Bool().Draw(rt, "squeeze") { // as if long in use
				slices.SortFunc(st.Objects, func(a, b trust.Object) int { return int(a.Order - b.Order) })
				for i := range st.Objects {
					st.Objects[i].Order = int64(i+1) * rapid.Int64Range(1, 3).Draw(rt, "gap")
				}
				slices.SortFunc(st.Objects, func(a, b trust.Object) int { return int(a.Order - b.Order) })
				last := int64(0)
				for i := range st.Objects {
					last = max(last+1, st.Objects[i].Order)
					st.Objects[i].Order = last
				}
				if back, err := trust.FileOf(st); err != nil {
					rt.Fatal(err)
				} else {
					to = back
				}
			}
			holdsOrder(rt, st, to)
		}
	})
}

// roundTrip exports a file and reads it back.
func roundTrip(t interface {
	Helper()
	Fatalf(string, ...any)
}, c *trust.Compiler, f *trust.File) []byte {
	t.Helper()
	change, _, err := trust.Plan(trust.State{}, f)
	if err != nil {
		t.Fatalf("Plan: %v", err)
	}
	st := trust.State{Revision: 1, Objects: change.Put}
	exported, err := trust.FileOf(st)
	if err != nil {
		t.Fatalf("FileOf: %v", err)
	}
	text, err := exported.YAML()
	if err != nil {
		t.Fatalf("YAML: %v", err)
	}
	again, problems := c.ParseFile(text)
	if len(problems) > 0 {
		t.Fatalf("the export has problems:\n%s\n%s", problems.Error(), text)
	}
	next, diffs, err := trust.Plan(st, again)
	if err != nil || !next.IsEmpty() || len(diffs) > 0 {
		t.Fatalf("the export differs: %+v, %v\n%s", diffs, err, text)
	}
	text2, err := again.YAML()
	if err != nil || !bytes.Equal(text, text2) {
		t.Fatalf("the second export has other bytes (%v):\n%s\n%s", err, text, text2)
	}
	return text
}

func TestExportReadsBackUnchanged(t *testing.T) {
	t.Parallel()
	c := newCompiler(t)
	for name, text := range map[string]string{"sample": sample(t), "world": world, "empty": "{}",
		"mapping": research("capabilities: [{action: archive.search, constraints: {max_requests_per_hour: 5, domains_allowed: [a.example]}}]")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			roundTrip(t, c, parse(t, text))
		})
	}
}

func TestExportIsFormattedForReading(t *testing.T) {
	t.Parallel()
	got := string(roundTrip(t, newCompiler(t), parse(t, worldWith("mappings", "name: m", "peer: self", "clients: [lax]",
		"resources: [https://archive.globex.example]", "when: subject.sub == \"a\" || subject.sub == 'b'",
		"capabilities: [archive.search, {action: archive.fetch, from: [a.b]}]", "max_depth: 0", "ttl: 90s"))))
	const want = `mappings:
  - name: m
    peer: self
    clients: [lax]
    when: subject.sub == "a" || subject.sub == 'b'
    resources: ['https://archive.globex.example']
    capabilities:
      - archive.search
      - action: archive.fetch
        from: [a.b]
    ttl: 1m30s
    max_depth: 0
`
	if i := bytes.Index([]byte(got), []byte("mappings:")); i < 0 || got[i:] != want {
		t.Errorf("export ends in\n%s\nwant\n%s", got[max(i, 0):], want)
	}
}

// Texts that YAML would read as something else, and numbers to their last digit.
func TestExportOfAwkwardValues(t *testing.T) {
	t.Parallel()
	c := newCompiler(t)
	text := rapid.OneOf(rapid.SampledFrom([]string{"true", "null", "~", "0x1", "1e3", "2027-11-21", "- a", "a: b", "a #b", "#", "'", `"`, "\\", " x ",
		"yes", "<<", "*a", "&a", "!x", "%", "@", "`", "{", "[", "|", ">", "a\nb", "a\r\nb", "\t", "é", "日本", "\u2028", "\u0085", "\ufeff", "a\x7f", "?", "-", "...", "---"}),
		rapid.String())
	number := rapid.OneOf(rapid.Map(rapid.Int64(), func(i int64) string { return fmt.Sprint(i) }), rapid.SampledFrom([]string{"1.0", "1.50", "-0", "1e3", "1E+5", "0.1"}))
	rapid.Check(t, func(rt *rapid.T) {
		f := parse(t, sample(t))
		f.Resources[0].Name = text.Draw(rt, "name")
		f.Clients[0].KnownAs["acme"] = text.Filter(func(s string) bool { return s != "" }).Draw(rt, "known as")
		jwk := f.Clients[0].JWKS.Keys[0]
		jwk["x-note"] = text.Draw(rt, "note")
		jwk[text.Filter(func(s string) bool { return len(s) > 3 }).Draw(rt, "member")] = []any{json.Number(number.Draw(rt, "number")), true, nil,
			map[string]any{text.Draw(rt, "inner"): text.Draw(rt, "value")}}
		roundTrip(rt, c, f)
	})
}

// Any file that the parser accepts survives storing and exporting.
func TestExportOfDrawnFiles(t *testing.T) {
	t.Parallel()
	c := newCompiler(t)
	rapid.Check(t, func(rt *rapid.T) { roundTrip(rt, c, drawFile(rt)) })
}

func some[T any](g *rapid.Generator[T], rt *rapid.T, name string) (v T) {
	if rapid.Bool().Draw(rt, "has "+name) {
		v = g.Draw(rt, name)
	}
	return v
}

// drawFile draws a file without problems, around the world's resources.
func drawFile(rt *rapid.T) *trust.File {
	var t trust.Time
	t.Time = expiry
	f := &trust.File{Resources: []trust.ResourceSpec{{Audience: archive, Scopes: []string{"archive.read", "archive.list"}, Actions: []string{"archive.search", "archive.fetch"}},
		{Audience: "https://other.globex.example", Scopes: []string{"archive.read"}, Actions: []string{"archive.search"}}}}
	words := func(list ...string) *rapid.Generator[string] { return rapid.SampledFrom(list) }
	for i := range rapid.IntRange(1, 4).Draw(rt, "peers") {
		f.Peers = append(f.Peers, trust.PeerSpec{Name: fmt.Sprintf("p%d", i), Domain: words("acme.example", "globex.example").Draw(rt, "domain"),
			Issuer: fmt.Sprintf("https://p%d.example", i), Expires: t, Status: some(words("active", "suspended"), rt, "status"),
			Leeway:     some(rapid.Map(rapid.Int64Range(1, 300), func(s int64) trust.Duration { return trust.Duration(s * 1e9) }), rt, "leeway"),
			TokenTypes: some(rapid.SliceOfN(words("jwt", "access_token", "id_token"), 1, 3), rt, "types"), SingleUse: rapid.Bool().Draw(rt, "single use")})
	}
	for i := range rapid.IntRange(1, 4).Draw(rt, "clients") {
		f.Clients = append(f.Clients, trust.ClientSpec{ID: fmt.Sprintf("c%d", i), Auth: "none", Expires: t, Proof: some(words("required", "optional", "dpop"), rt, "proof"),
			KnownAs: some(rapid.MapOf(rapid.Map(rapid.IntRange(0, len(f.Peers)-1), func(i int) string { return fmt.Sprintf("p%d", i) }), rapid.StringMatching(`[ -~]{1,20}`)), rt, "known as")})
	}
	for i := range rapid.IntRange(0, 4).Draw(rt, "mappings") {
		f.Mappings = append(f.Mappings, trust.MappingSpec{Name: fmt.Sprintf("m%d", i), Peer: f.Peers[rapid.IntRange(0, len(f.Peers)-1).Draw(rt, "peer")].Name,
			Clients: []string{f.Clients[rapid.IntRange(0, len(f.Clients)-1).Draw(rt, "client")].ID}, Resources: []string{words(archive, "https://other.globex.example").Draw(rt, "resource")},
			When:     fmt.Sprintf("subject.claims.n == %d && subject.claims[%q] != 'x'", i, rapid.StringMatching(`[a-z'"#: ]{1,8}`).Draw(rt, "claim")),
			Scopes:   []trust.ScopeRule{{Scope: "archive.read", From: some(rapid.SliceOfN(rapid.StringMatching(`[!#-\[\]-~]{1,12}`), 1, 3), rt, "from")}},
			MaxDepth: some(rapid.Map(rapid.IntRange(0, 10), func(n int) *int { return &n }), rt, "depth"), Mode: some(words("shadow", "enforce"), rt, "mode")})
	}
	return f
}

func manyPeers(n int) *trust.File {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("p%06d", i)
	}
	return peersNamed(list...)
}

func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{5_000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := manyPeers(n)
			st := stateOf(b, f, 1)
			r := rand.New(rand.NewPCG(1, 2))
			for range 100 {
				f.Peers = slices.Insert(f.Peers, r.IntN(len(f.Peers)), trust.PeerSpec{Name: fmt.Sprintf("new%d", r.Uint64())})
			}
			b.ReportAllocs()
			for b.Loop() {
				if change, _, err := trust.Plan(st, f); err != nil || len(change.Put) != 100 {
					b.Fatalf("Plan puts %d, %v, want 100", len(change.Put), err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/object")
		})
	}
}
