package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	maxRegistryBody = 64 << 20
	maxBody         = 1 << 20

	usualTimeout = 30 * time.Second
	longTimeout  = 10 * time.Minute
)

// route is one row of the table: what is answered, and all that may be asked.
type route struct {
	method  string
	path    string // a last segment "{name}:verb" is matched by its verb
	id      string // the operation's name, for clients made from the description
	summary string
	params  []param
	in, out any           // values of the types of the bodies; nil without one
	cap     int           // of the request body, in bytes; default maxBody
	timeout time.Duration // default usualTimeout
	yaml    bool          // answers in YAML too
	handle  func(*call) (*reply, error)
}

// param is a query parameter or, with header set, a header.
type param struct {
	name, doc string
	header    bool

	values []string // the closed set; empty: any text
}

// call is a request whose credential, parameters and size were checked.
type call struct {
	*http.Request
	query url.Values
	body  []byte
}

// reply is a response. Raw, with its media type, goes out as it is; otherwise
// Body is encoded.
type reply struct {
	status    int // default 200
	etag      string
	body      any
	raw       []byte
	mediaType string
}

func (h *handler) table() []route {
	rows := []route{
		{method: "GET", path: "/registry", id: "get-registry", summary: "The whole registry as a trust file",
			out: trustFile{}, yaml: true, params: []param{ifNoneMatch()}, handle: h.getRegistry},
		{method: "PUT", path: "/registry", id: "put-registry", summary: "Make the registry equal to a trust file",
			in: trustFile{}, out: Result{}, cap: maxRegistryBody, timeout: 2 * time.Minute,
			params: []param{ifMatch(), dryRun(), comment()}, handle: h.putRegistry},
	}
	rows = append(rows, h.objectRoutes()...)
	rows = append(rows, h.revocationRoutes()...)
	return append(rows, []route{
		{method: "POST", path: "/peers:probe", id: "probe-peer", summary: "What an issuer looks like from here; nothing is registered",
			in: probeRequest{}, out: Probe{}, handle: h.probe},
		{method: "POST", path: "/peers/{name}:refresh", id: "refresh-peer", summary: "Fetch a peer's keys now",
			out: PeerHealth{}, handle: h.refreshPeer},
		{method: "GET", path: "/health/peers", id: "get-peers-health", summary: "What is known of every peer's keys",
			out: peersHealth{}, handle: h.getPeersHealth},
		{method: "GET", path: "/decisions/{id}", id: "get-decision", summary: "One decision with every check",
			out: Decision{}, handle: h.getDecision},
		{method: "GET", path: "/keys", id: "list-keys", summary: "The broker's own keys, without what is secret of them",
			out: signingKeys{}, handle: h.getKeys},
		{method: "GET", path: "/audit/verify", id: "verify-audit", summary: "Prove the record: walk every chain",
			out: Verification{}, timeout: longTimeout, handle: h.verifyAudit},
		{method: "GET", path: "/openapi.json", id: "get-openapi", summary: "This description",
			out: map[string]any{}, handle: h.getOpenAPI},
		{method: "GET", path: "/problems/{code}", id: "get-problem", summary: "What a kind of problem means",
			out: explanation{}, handle: h.getProblem},
	}...)
}

// mount registers the table. ServeMux wants wildcards to be whole segments, so
// rows that end in a verb share a pattern and are told apart here.
func (h *handler) mount(table []route) {
	type key struct{ method, path string }
	rows := map[key][]route{}
	allow := map[string][]string{}
	for _, r := range table {
		path := prefix + r.path
		if base, _, verb := strings.Cut(path, "}:"); verb {
			path = base + "}"
		}
		rows[key{r.method, path}] = append(rows[key{r.method, path}], r)
		allow[path] = append(allow[path], r.method)
	}
	for k, list := range rows {
		h.mux.Handle(k.method+" "+k.path, h.serve(list))
	}
	for path, methods := range allow {
		slices.Sort(methods)
		methods = slices.Compact(methods)
		h.mux.Handle(path, h.wrongMethod(methods))
	}
	h.mux.Handle("/", h.refuse(newProblem("not_found", "there is nothing at this path")))
}

func (h *handler) wrongMethod(methods []string) http.Handler {
	p := newProblem("method_not_allowed", "the path takes %s", strings.Join(methods, ", "))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", strings.Join(methods, ", "))
		h.fail(w, r, p)
	})
}

// serve answers with the row whose verb the path ends in.
func (h *handler) serve(rows []route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, row := range rows {
			wildcard, verb, has := strings.Cut(row.path[strings.LastIndexByte(row.path, '/')+1:], "}:")
			if has {
				name, found := strings.CutSuffix(r.PathValue(wildcard[1:]), ":"+verb)
				if !found {
					continue
				}
				r.SetPathValue(wildcard[1:], name)
			}
			h.answer(w, r, row)
			return
		}
		h.fail(w, r, newProblem("not_found", "there is nothing at this path"))
	})
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, row route) {
	if sw, ok := w.(*statusWriter); ok {
		sw.route = row.method + " " + prefix + row.path
	}
	ctx, cancel := context.WithTimeout(r.Context(), cmp.Or(row.timeout, usualTimeout))
	defer cancel()
	c, err := readCall(w, r.WithContext(ctx), row)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	out, err := row.handle(c)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if out.etag != "" {
		w.Header().Set("ETag", out.etag)
	}
	raw, mediaType := out.raw, out.mediaType
	if raw == nil && out.body != nil {
		mediaType = "application/json"
		if raw, err = json.Marshal(out.body); err != nil {
			h.fail(w, r, err)
			return
		}
	}
	h.write(w, cmp.Or(out.status, http.StatusOK), mediaType, raw)
}

// readCall checks the parameters against the row and reads the body.
func readCall(w http.ResponseWriter, r *http.Request, row route) (*call, error) {
	c := &call{Request: r}
	var err error
	if c.query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return nil, newProblem("bad_request", "the query is malformed")
	}
	for name, values := range c.query {
		i := slices.IndexFunc(row.params, func(p param) bool { return !p.header && p.name == name })
		switch {
		case i < 0:
			return nil, newProblem("bad_request", "the query holds a parameter that is not known here")
		case len(values) > 1:
			return nil, newProblem("bad_request", "%s is repeated", name)
		case row.params[i].values != nil && !slices.Contains(row.params[i].values, values[0]):
			return nil, newProblem("bad_request", "%s must be one of %s", name, strings.Join(row.params[i].values, ", "))
		}
	}
	if row.in == nil {
		return c, nil
	}
	if err := checkMediaType(r); err != nil {
		return nil, err
	}
	c.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, int64(cmp.Or(row.cap, maxBody))))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, newProblem("too_large", "the body may have at most %d bytes", cmp.Or(row.cap, maxBody))
	}
	if err != nil {
		return nil, newProblem("bad_request", "the body broke off")
	}
	return c, nil
}

// checkMediaType asks for a type that a cross-site form cannot send.
func checkMediaType(r *http.Request) error {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains([]string{"application/yaml", "application/json", "application/x-yaml", "text/yaml"}, mediaType) {
		return newProblem("unsupported_media_type", "the body must be application/yaml or application/json")
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return newProblem("unsupported_media_type", "the body must not be compressed")
	}
	return nil
}

// wants picks YAML or JSON by the Accept header; what is not named there
// counts as the default.
func (c *call) wants(def string) string {
	for part := range strings.SplitSeq(c.Header.Get("Accept"), ",") {
		switch mediaType, _, _ := mime.ParseMediaType(part); mediaType {
		case "application/json":
			return "json"
		case "application/yaml", "application/x-yaml", "text/yaml":
			return "yaml"
		case "*/*":
			return def
		}
	}
	return def
}
