package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/comity-auth/comity/trust/strictyaml"
)

// prefix is where the API begins.
const prefix = "/admin/v1"

// describe makes the OpenAPI 3.1 document of the table. It is made once and is
// the same for every host name.
func describe(table []route) ([]byte, error) {
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{Title: "Comity admin API", Version: "1",
			Description: "Reads and changes the trust registry of one domain. Every operation needs the admin token."},
		Components: &huma.Components{
			Schemas:         huma.NewMapRegistry("#/components/schemas/", schemaName),
			SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}},
		},
		Security: []map[string][]string{{"token": {}}},
	}
	problem := &huma.Response{Description: "What went wrong (RFC 9457)", Content: map[string]*huma.MediaType{
		"application/problem+json": {Schema: schemaOf(doc, Problem{})}}}
	for _, r := range table {
		op := &huma.Operation{OperationID: r.id, Method: r.method, Path: prefix + r.path, Summary: r.summary,
			Responses: map[string]*huma.Response{"default": problem}}
		op.Parameters = parameters(r)
		if r.in != nil {
			op.RequestBody = &huma.RequestBody{Required: true, Content: content(doc, r.in, true)}
		}
		ok := &huma.Response{Description: http.StatusText(http.StatusOK)}
		if slices.ContainsFunc(r.params, func(p param) bool { return p.header }) {
			ok.Headers = map[string]*huma.Param{"ETag": {Description: "The registry's revision in quotes", Schema: &huma.Schema{Type: huma.TypeString}}}
		}
		if r.out != nil {
			ok.Content = content(doc, r.out, r.yaml)
		}
		op.Responses[strconv.Itoa(http.StatusOK)] = ok
		doc.AddOperation(op)
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("admin: describe the API: %w", err)
	}
	return text, nil
}

// schemaName keeps apart the two types that are called Problem.
func schemaName(t reflect.Type, hint string) string {
	if t == reflect.TypeFor[strictyaml.Problem]() {
		return "Defect"
	}
	return huma.DefaultSchemaNamer(t, hint)
}

func schemaOf(doc *huma.OpenAPI, v any) *huma.Schema {
	return doc.Components.Schemas.Schema(reflect.TypeOf(v), true, "")
}

func content(doc *huma.OpenAPI, v any, yaml bool) map[string]*huma.MediaType {
	out := map[string]*huma.MediaType{"application/json": {Schema: schemaOf(doc, v)}}
	if yaml {
		out["application/yaml"] = &huma.MediaType{Schema: schemaOf(doc, v)}
	}
	return out
}

func parameters(r route) []*huma.Param {
	var out []*huma.Param
	for segment := range strings.SplitSeq(r.path, "/") {
		if name, found := strings.CutPrefix(segment, "{"); found {
			name, _, _ = strings.Cut(name, "}")
			out = append(out, &huma.Param{Name: name, In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
		}
	}
	for _, p := range r.params {
		in := "query"
		if p.header {
			in = "header"
		}
		schema := &huma.Schema{Type: huma.TypeString}
		for _, v := range p.values {
			schema.Enum = append(schema.Enum, v)
		}
		out = append(out, &huma.Param{Name: p.name, In: in, Description: p.doc, Schema: schema})
	}
	return out
}

func (h *handler) getOpenAPI(*call) (*reply, error) {
	return &reply{raw: h.openapi, mediaType: "application/json"}, nil
}

func (h *handler) getProblem(c *call) (*reply, error) {
	e, known := problemKinds()[c.PathValue("code")]
	if !known {
		return nil, newProblem("not_found", "there is no such kind of problem")
	}
	return &reply{body: e}, nil
}
