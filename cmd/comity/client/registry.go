package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/comity-auth/comity/trust"
)

const prefix = "/admin/v1"

// Media types of documents.
const (
	YAML = "application/yaml"
	JSON = "application/json"
)

// Result is what a change did or would do.
type Result struct {
	Revision    trust.Revision     `json:"revision"`
	Changed     bool               `json:"changed"`
	DryRun      bool               `json:"dry_run"`
	Differences []trust.Difference `json:"differences"`
}

// Page is a part of a list.
type Page struct {
	Revision      trust.Revision    `json:"revision"`
	Items         []json.RawMessage `json:"items"`
	NextPageToken string            `json:"next_page_token,omitempty"`
}

// ETag is the entity tag of a revision.
func ETag(r trust.Revision) string { return `"` + strconv.FormatUint(uint64(r), 10) + `"` }

// GetRegistry asks for the whole registry.
func GetRegistry(mediaType string) Request {
	return Request{Method: http.MethodGet, Path: prefix + "/registry", Accept: mediaType}
}

// Document is a trust file or an object to be sent.
type Document struct {
	Body      []byte
	MediaType string
	File      string // where the body came from; may be empty
}

// DiffRegistry asks how the registry differs from a trust file.
func DiffRegistry(d Document) Request {
	return Request{Method: http.MethodPut, Path: prefix + "/registry", Query: url.Values{"dry_run": {"true"}},
		Body: d.Body, MediaType: d.MediaType, BodyFile: d.File}
}

// PutRegistry makes the registry equal to a trust file, unless it has moved
// from the revision that ifMatch names.
func PutRegistry(d Document, ifMatch, comment string) Request {
	r := DiffRegistry(d)
	r.Query, r.IfMatch = commented(comment), ifMatch
	return r
}

func commented(comment string) url.Values {
	if comment == "" {
		return nil
	}
	return url.Values{"comment": {comment}}
}

// ListObjects asks for a page of the objects of a kind, named in the plural.
func ListObjects(plural, pageToken string) Request {
	q := url.Values{"page_size": {"200"}}
	if pageToken != "" {
		q.Set("page_token", pageToken)
	}
	return Request{Method: http.MethodGet, Path: prefix + "/" + plural, Query: q}
}

func objectPath(plural, name string) string {
	return prefix + "/" + plural + "/" + url.PathEscape(name)
}

// GetObject asks for one object.
func GetObject(plural, name, mediaType string) Request {
	return Request{Method: http.MethodGet, Path: objectPath(plural, name), Accept: mediaType}
}

// PutObject adds or replaces one object.
func PutObject(plural, name string, d Document, ifMatch string) Request {
	return Request{Method: http.MethodPut, Path: objectPath(plural, name), IfMatch: ifMatch,
		Body: d.Body, MediaType: d.MediaType, BodyFile: d.File}
}

// DeleteObject removes one object.
func DeleteObject(plural, name, ifMatch string) Request {
	return Request{Method: http.MethodDelete, Path: objectPath(plural, name), IfMatch: ifMatch}
}

// ProbePeer asks what an issuer looks like from the broker.
func ProbePeer(issuer string) (Request, error) {
	return probe(map[string]string{"issuer": issuer})
}

// ProbeBundle asks what the bundle endpoint of a SPIFFE trust domain looks like
// from the broker.
func ProbeBundle(domain, endpoint string) (Request, error) {
	return probe(map[string]string{"trust_domain": domain, "bundle_endpoint": endpoint})
}

func probe(of map[string]string) (Request, error) {
	body, err := json.Marshal(of)
	if err != nil {
		return Request{}, fmt.Errorf("name the peer to probe: %w", err)
	}
	return Request{Method: http.MethodPost, Path: prefix + "/peers:probe", Body: body, MediaType: JSON}, nil
}

// RefreshPeer asks the broker to fetch a peer's keys now.
func RefreshPeer(name string) Request {
	return Request{Method: http.MethodPost, Path: objectPath("peers", name) + ":refresh"}
}
