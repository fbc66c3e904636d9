package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/strictyaml"
)

// trustFile names the type in the description.
type trustFile = trust.File

// The parameters that operations share.

func ifMatch() param {
	return param{name: "If-Match", header: true,
		doc: "The ETag that was read: the registry's revision in quotes. 428 without it, 412 when the registry has moved. A dry run does without."}
}

func ifNoneMatch() param {
	return param{name: "If-None-Match", header: true, doc: "An ETag; 304 while it is current"}
}

func dryRun() param {
	return param{name: "dry_run", doc: "true: answer with the difference and change nothing", values: []string{"true", "false"}}
}

func comment() param {
	return param{name: "comment", doc: "Why, for the record: one line, at most 500 bytes"}
}

// Result says what a change did, or what it would do.
type Result struct {
	// Revision is the registry's after the change, or now for a dry run.
	Revision trust.Revision `json:"revision"`
	// Changed is whether the registry is, or would be, another one.
	Changed bool `json:"changed"`
	DryRun  bool `json:"dry_run"`
	// Differences are what the change adds, changes, moves to another place of
	// its list, and removes.
	Differences []trust.Difference `json:"differences"`
}

func etag(r trust.Revision) string { return `"` + strconv.FormatUint(uint64(r), 10) + `"` }

// load reads the whole registry from the store, not from the snapshot: what is
// edited is what is stored.
func (h *handler) load(ctx context.Context) (trust.State, *trust.File, error) {
	st, err := h.opts.Store.Load(ctx, 0)
	if err != nil {
		return st, nil, err
	}
	f, err := trust.FileOf(st)
	return st, f, err
}

func (h *handler) getRegistry(c *call) (*reply, error) {
	st, f, err := h.load(c.Context())
	if err != nil {
		return nil, err
	}
	return c.document("yaml", st.Revision, f)
}

// document answers with v in the form the client wants, or with 304.
func (c *call) document(def string, at trust.Revision, v any) (*reply, error) {
	out := &reply{etag: etag(at)}
	if match, err := parseETags(c.Header.Values("If-None-Match")); err == nil && match.holds(at) {
		out.status = http.StatusNotModified
		return out, nil
	}
	if c.wants(def) == "json" {
		out.body = v
		return out, nil
	}
	var err error
	out.mediaType = "application/yaml"
	out.raw, err = writeYAML(v)
	return out, err
}

func (h *handler) putRegistry(c *call) (*reply, error) {
	f, problems := h.opts.Compiler.ParseFile(c.body)
	if len(problems) == 0 && empty(f) && !hasDocument(c.body) {
		problems = strictyaml.Problems{{Message: "the document is empty; to empty the registry write {}"}}
	}
	if len(problems) > 0 {
		return nil, invalid(problems)
	}
	st, err := h.base(c)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(c.body)
	return h.change(c, st, f, hex.EncodeToString(digest[:]))
}

func empty(f *trust.File) bool {
	return len(f.Peers)+len(f.Resources)+len(f.Clients)+len(f.Mappings)+len(f.Policies) == 0
}

// hasDocument tells a document that says nothing from none at all: a file that
// was cut off must not empty the registry.
func hasDocument(text []byte) bool {
	var doc yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&doc)
	if errors.Is(err, io.EOF) {
		return false
	}
	return err == nil && len(doc.Content) > 0 && doc.Content[0].Kind == yaml.MappingNode
}

// base loads the state that a change is made on and holds it against If-Match.
func (h *handler) base(c *call) (trust.State, error) {
	match, err := parseETags(c.Header.Values("If-Match"))
	if err != nil {
		return trust.State{}, err
	}
	if len(match) == 0 && c.query.Get("dry_run") != "true" {
		return trust.State{}, newProblem("precondition_required", "send the ETag of what you read as If-Match")
	}
	st, err := h.opts.Store.Load(c.Context(), 0)
	if err != nil {
		return st, err
	}
	if len(match) > 0 && !match.holds(st.Revision) {
		p := newProblem("stale", "the registry is at revision %d", st.Revision)
		p.Revision = st.Revision
		return st, p
	}
	return st, nil
}

// change makes the registry equal to f, unless it is a dry run, and answers
// once the change is served.
func (h *handler) change(c *call, st trust.State, f *trust.File, document string) (*reply, error) {
	why := c.query.Get("comment")
	if len(why) > 500 || !utf8.ValidString(why) || strings.ContainsFunc(why, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, newProblem("bad_request", "comment must be one line of at most 500 bytes")
	}
	planned, diffs, err := trust.Plan(st, f)
	if err != nil {
		return nil, err
	}
	out := Result{Revision: st.Revision, Changed: !planned.IsEmpty(), DryRun: c.query.Get("dry_run") == "true",
		Differences: diffs}
	if out.Differences == nil {
		out.Differences = []trust.Difference{}
	}
	if out.DryRun || !out.Changed {
		return &reply{etag: etag(st.Revision), body: out}, nil
	}
	planned.By, planned.Origin, planned.Comment, planned.Document = "bootstrap", "api", why, document
	planned.At = h.opts.Now()
	// The caller may hang up now; the change is made and served all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), usualTimeout)
	defer cancel()
	if out.Revision, err = h.opts.Store.Apply(ctx, planned); err != nil {
		return nil, err
	}
	h.opts.Logger.InfoContext(ctx, "registry changed", "event", "registry.changed", "revision", out.Revision,
		"by", planned.By, "put", len(planned.Put), "removed", len(planned.Remove))
	if err := h.opts.Live.Await(ctx, trust.Fence{Revision: out.Revision}); err != nil {
		p := newProblem("not_served", "the registry is at revision %d; this broker does not serve it yet", out.Revision)
		p.Revision = out.Revision
		return nil, errors.Join(p, err)
	}
	return &reply{etag: etag(out.Revision), body: out}, nil
}

// eTags are those of a conditional header (RFC 9110 section 8.8.3).
type eTags []string

func (t eTags) holds(at trust.Revision) bool {
	for _, tag := range t {
		if tag == etag(at) {
			return true
		}
	}
	return false
}

// parseETags reads a list of entity tags. A weak one never matches, and "*" is
// refused: it would give up the protection that the header is for.
func parseETags(values []string) (eTags, error) {
	var out eTags
	for _, value := range values {
		for tag := range strings.SplitSeq(value, ",") {
			tag = strings.Trim(tag, " \t")
			opaque := strings.TrimPrefix(tag, "W/")
			if len(opaque) < 2 || opaque[0] != '"' || opaque[len(opaque)-1] != '"' || len(tag) > 64 {
				return nil, newProblem("bad_request", `If-Match takes a revision in quotes, such as "42"`)
			}
			out = append(out, tag)
		}
	}
	return out, nil
}

// writeYAML writes v as its JSON form would be, in YAML's block style. The
// order of members is that of the types.
func writeYAML(v any) ([]byte, error) {
	if f, ok := v.(interface{ YAML() ([]byte, error) }); ok {
		return f.YAML()
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	plain(&doc)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(&doc), enc.Close()); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return out.Bytes(), nil
}

// plain drops JSON's quotes and brackets; the encoder quotes again what needs
// it to stay text.
func plain(n *yaml.Node) {
	n.Style = 0
	if len(n.Content) == 0 && (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode) {
		n.Style = yaml.FlowStyle
	}
	for _, child := range n.Content {
		plain(child)
	}
}
