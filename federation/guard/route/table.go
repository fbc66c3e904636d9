package route

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/ident"
)

// ErrRoute says that a route cannot be used.
var ErrRoute = errors.New("route cannot be used")

// Spec is a route as it is configured. What is left out takes the strictest
// reading.
type Spec struct {
	// Match is a method and a path pattern of net/http, such as
	// "GET /documents/{id}". GET matches HEAD too; of several patterns that match
	// the most specific counts.
	Match string
	// Action is what a token must have a capability for; Scope, space-separated,
	// is what a token without capabilities must have instead. At least one.
	Action string
	Scope  string

	// Target, Region and Amount extract what constraints are held against: the
	// URL the request makes the resource go to, an ISO 3166-1 alpha-2 code, and
	// a decimal number. A constraint whose input cannot be extracted denies.
	Target string
	Region string
	Amount string
	// Classification labels what the route gives access to: public, internal,
	// confidential or restricted. Without a label a token that is limited to one
	// is refused.
	Classification string

	// InsecureIgnoreUnknownConstraints admits tokens whose constraints the guard
	// does not know, and so does not enforce, and names them in the log.
	InsecureIgnoreUnknownConstraints bool
	// InsecureIgnoreResponseSize admits tokens with max_response_size where it
	// cannot be enforced: in forward-auth mode.
	InsecureIgnoreResponseSize bool
	// InsecurePublic admits requests without a token. The other fields but Match
	// must be empty then.
	InsecurePublic bool
}

// Route is a Spec that was read.
type Route struct {
	// Match is the pattern as it was configured: a name of a closed set.
	Match                  string
	Action                 aap.Action
	Scopes                 ident.Scopes
	Target, Region, Amount Extractor
	Classification         aap.Classification
	IgnoreUnknown          bool
	IgnoreResponseSize     bool
	Public                 bool
}

// Table finds routes. It is immutable and safe for concurrent use.
type Table struct {
	mux    *http.ServeMux
	routes []*Route
}

// ServeHTTP is never called: a table's mux only finds.
func (r *Route) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusInternalServerError)
}

// NewTable reads routes. Errors wrap ErrRoute and name every route that is
// wrong.
func NewTable(specs []Spec) (*Table, error) {
	t := &Table{mux: http.NewServeMux()}
	var errs []error
	for i, s := range specs {
		r, err := read(s)
		if err == nil {
			err = t.add(r)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%w: routes[%d] %q: %w", ErrRoute, i, s.Match, err))
			continue
		}
		t.routes = append(t.routes, r)
	}
	if len(specs) == 0 {
		errs = append(errs, fmt.Errorf("%w: there is none", ErrRoute))
	}
	return t, errors.Join(errs...)
}

// Check reports what is wrong with the route by itself, in words that go behind
// its name.
func (s Spec) Check() error {
	r, err := read(s)
	if err != nil {
		return err
	}
	return (&Table{mux: http.NewServeMux()}).add(r)
}

// add takes what net/http reports about a pattern, a conflict included, by a
// panic.
func (t *Table) add(r *Route) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	t.mux.Handle(r.Match, r)
	return nil
}

func read(s Spec) (*Route, error) {
	r := &Route{Match: s.Match, IgnoreUnknown: s.InsecureIgnoreUnknownConstraints,
		IgnoreResponseSize: s.InsecureIgnoreResponseSize, Public: s.InsecurePublic}
	method, pattern, ok := strings.Cut(s.Match, " ")
	if !ok || !slices.Contains(methods, method) || !strings.HasPrefix(pattern, "/") {
		return nil, fmt.Errorf("want a method and a path, such as %q", "GET /documents/{id}")
	}
	if s.InsecurePublic {
		if bare := (Spec{Match: s.Match, InsecurePublic: true}); s != bare {
			return nil, errors.New("a public route asks for nothing else")
		}
		return r, nil
	}
	if s.Action == "" && s.Scope == "" {
		return nil, errors.New("names neither an action nor a scope")
	}
	var errs []error
	note := func(field string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
		}
	}
	var err error
	if s.Action != "" {
		r.Action, err = aap.ParseAction(s.Action)
		note("action", err)
	}
	r.Scopes, err = ident.ParseScopes(s.Scope)
	note("scope", err)
	r.Target, err = ParseExtractor(s.Target)
	note("target", err)
	r.Region, err = ParseExtractor(s.Region)
	note("region", err)
	r.Amount, err = ParseExtractor(s.Amount)
	note("amount", err)
	if s.Classification != "" {
		r.Classification, err = aap.ParseClassification(s.Classification)
		note("classification", err)
	}
	return r, errors.Join(errs...)
}

// methods are those that a route can be for: those of the profile's
// allowed_methods. HEAD comes with GET.
var methods = []string{http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPatch, http.MethodPost, http.MethodPut}

// Find gives the route of a request, if there is one.
func (t *Table) Find(method string, p Path) (*Route, bool) {
	if p.IsZero() {
		return nil, false
	}
	h, _ := t.mux.Handler(&http.Request{Method: method, URL: &url.URL{Path: p.decoded}})
	r, ok := h.(*Route) // of a redirect that net/http offers instead, nothing
	return r, ok
}

// All lists the routes in the order they were configured.
func (t *Table) All() []*Route { return slices.Clone(t.routes) }
