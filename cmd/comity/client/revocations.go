package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// Revocation names what to revoke.
type Revocation struct {
	Kind    string `json:"kind"`
	Value   string `json:"value,omitempty"`
	Issuer  string `json:"issuer,omitempty"`
	Before  string `json:"before,omitempty"` // RFC 3339; empty for now
	Comment string `json:"comment,omitempty"`
}

// Revoke asks to revoke what bears a handle. A dry one only tells what it would
// do.
func Revoke(r Revocation, dry bool) (Request, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return Request{}, fmt.Errorf("name what to revoke: %w", err)
	}
	out := Request{Method: http.MethodPost, Path: prefix + "/revocations", Body: body, MediaType: JSON}
	if dry {
		out.Query = url.Values{"dry_run": {"true"}}
	}
	return out, nil
}
