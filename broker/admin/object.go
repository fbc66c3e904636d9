package admin

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/strictyaml"
)

// Page is a part of a list. Every page carries the revision that it is of.
type Page[T any] struct {
	Revision trust.Revision `json:"revision"`
	Items    []T            `json:"items"`
	// NextPageToken asks for the next page; empty on the last.
	NextPageToken string `json:"next_page_token,omitempty"`
}

const (
	defaultPage = 50
	maxPage     = 200
)

// collection is one kind of object: where a trust file lists it, and the
// member that names it.
type collection[T any] struct {
	h      *handler
	kind   trust.Kind
	plural string
	field  string
	list   func(*trust.File) *[]T
	name   func(*T) *string
}

func (h *handler) objectRoutes() []route {
	return slices.Concat(
		collection[trust.PeerSpec]{h, trust.KindPeer, "peers", "name",
			func(f *trust.File) *[]trust.PeerSpec { return &f.Peers }, func(s *trust.PeerSpec) *string { return &s.Name }}.routes(),
		collection[trust.ResourceSpec]{h, trust.KindResource, "resources", "audience",
			func(f *trust.File) *[]trust.ResourceSpec { return &f.Resources }, func(s *trust.ResourceSpec) *string { return &s.Audience }}.routes(),
		collection[trust.ClientSpec]{h, trust.KindClient, "clients", "id",
			func(f *trust.File) *[]trust.ClientSpec { return &f.Clients }, func(s *trust.ClientSpec) *string { return &s.ID }}.routes(),
		collection[trust.MappingSpec]{h, trust.KindMapping, "mappings", "name",
			func(f *trust.File) *[]trust.MappingSpec { return &f.Mappings }, func(s *trust.MappingSpec) *string { return &s.Name }}.routes(),
		collection[trust.PolicySpec]{h, trust.KindPolicy, "policies", "name",
			func(f *trust.File) *[]trust.PolicySpec { return &f.Policies }, func(s *trust.PolicySpec) *string { return &s.Name }}.routes(),
	)
}

func (o collection[T]) routes() []route {
	var spec T
	one := "/" + o.plural + "/{name}"
	kind := string(o.kind)
	return []route{
		{method: "GET", path: "/" + o.plural, id: "list-" + o.plural, summary: "List the " + o.plural, out: Page[T]{}, handle: o.page,
			params: []param{{name: "page_size", doc: "1 to 200; default 50"}, {name: "page_token", doc: "From the page before"}}},
		{method: "GET", path: one, id: "get-" + kind, summary: "One " + kind, out: spec, yaml: true,
			params: []param{ifNoneMatch()}, handle: o.get},
		{method: "PUT", path: one, id: "put-" + kind, summary: "Add or replace one " + kind, in: spec, out: Result{},
			params: []param{ifMatch(), dryRun(), comment()}, handle: o.put},
		{method: "DELETE", path: one, id: "delete-" + kind, summary: "Remove one " + kind, out: Result{},
			params: []param{ifMatch(), dryRun(), comment()}, handle: o.remove},
	}
}

// find gives the place of the named object, or -1.
func (o collection[T]) find(list []T, name string) int {
	return slices.IndexFunc(list, func(s T) bool { return *o.name(&s) == name })
}

func (o collection[T]) missing() error {
	return newProblem("not_found", "no %s of that name is registered", o.kind)
}

func (o collection[T]) get(c *call) (*reply, error) {
	st, f, err := o.h.load(c.Context())
	if err != nil {
		return nil, err
	}
	list := *o.list(f)
	i := o.find(list, c.PathValue("name"))
	if i < 0 {
		return nil, o.missing()
	}
	return c.document("json", st.Revision, list[i])
}

// page lists a part. A token names the last object of the page before, so a
// change in between neither repeats nor skips what it did not touch.
func (o collection[T]) page(c *call) (*reply, error) {
	size, after, err := o.paging(c)
	if err != nil {
		return nil, err
	}
	st, f, err := o.h.load(c.Context())
	if err != nil {
		return nil, err
	}
	list := *o.list(f)
	from := 0
	if after != "" {
		if from = o.find(list, after) + 1; from == 0 {
			return nil, newProblem("bad_request", "page_token is not one of this list, or what it named is gone")
		}
	}
	out := Page[T]{Revision: st.Revision, Items: list[from:min(from+size, len(list))]}
	if out.Items == nil {
		out.Items = []T{}
	}
	if from+size < len(list) {
		out.NextPageToken = o.token(*o.name(&out.Items[size-1]))
	}
	return &reply{etag: etag(st.Revision), body: out}, nil
}

func (o collection[T]) token(name string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(o.plural + "\x00" + name))
}

func (o collection[T]) paging(c *call) (size int, after string, err error) {
	size = defaultPage
	if text := c.query.Get("page_size"); text != "" {
		if size, err = strconv.Atoi(text); err != nil || size < 1 || size > maxPage {
			return 0, "", newProblem("bad_request", "page_size must be a number from 1 to %d", maxPage)
		}
	}
	if text := c.query.Get("page_token"); text != "" {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
		plural, name, _ := strings.Cut(string(raw), "\x00")
		if err != nil || plural != o.plural || name == "" {
			return 0, "", newProblem("bad_request", "page_token is not one of this list, or what it named is gone")
		}
		after = name
	}
	return size, after, nil
}

func (o collection[T]) put(c *call) (*reply, error) {
	var spec T
	lines, problems := strictyaml.Decode(c.body, &spec)
	name := c.PathValue("name")
	if own := o.name(&spec); *own == "" {
		*own = name
	} else if *own != name {
		problems = append(problems, strictyaml.Problem{Line: lines.At(o.field), Path: o.field,
			Message: "is not the name in the address; an object cannot be renamed"})
	}
	if len(problems) == 0 && !hasDocument(c.body) {
		problems = strictyaml.Problems{{Message: "the document is empty"}}
	}
	if len(problems) > 0 {
		return nil, invalid(problems)
	}
	st, err := o.h.base(c)
	if err != nil {
		return nil, err
	}
	f, err := trust.FileOf(st)
	if err != nil {
		return nil, err
	}
	list := o.list(f)
	i := o.find(*list, name)
	if i < 0 {
		i = len(*list)
		*list = append(*list, spec)
	}
	(*list)[i] = spec
	if problems := o.check(f, i, lines); len(problems) > 0 {
		return nil, invalid(problems)
	}
	return o.h.change(c, st, f, "")
}

// check checks the whole registry with the object in its place. Paths inside
// the object are told as the sender wrote them.
func (o collection[T]) check(f *trust.File, at int, lines strictyaml.Lines) strictyaml.Problems {
	place := fmt.Sprintf("%s[%d]", o.plural, at)
	moved := strictyaml.Lines{}
	for path, line := range lines {
		if path == "" {
			moved[place] = line
		} else {
			moved[place+"."+path] = line
		}
	}
	problems := o.h.opts.Compiler.Check(f, moved)
	for i := range problems {
		if rest, inside := strings.CutPrefix(problems[i].Path, place+"."); inside {
			problems[i].Path = rest
		}
	}
	return problems
}

func (o collection[T]) remove(c *call) (*reply, error) {
	st, err := o.h.base(c)
	if err != nil {
		return nil, err
	}
	f, err := trust.FileOf(st)
	if err != nil {
		return nil, err
	}
	list := o.list(f)
	i := o.find(*list, c.PathValue("name"))
	if i < 0 {
		return nil, o.missing()
	}
	*list = slices.Delete(*list, i, i+1)
	// What still refers to the object is named by its own path.
	if problems := o.h.opts.Compiler.Check(f, nil); len(problems) > 0 {
		return nil, invalid(problems)
	}
	return o.h.change(c, st, f, "")
}
