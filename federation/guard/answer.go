package guard

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/comity-auth/comity/federation/proof"
)

// Headers of answers.
const (
	// HeaderDecision names the event.
	HeaderDecision = "Comity-Decision"
	// HeaderStale says that a request was admitted on old knowledge of
	// revocations.
	HeaderStale = "Comity-Stale"
	// HeaderStatus is the status that a refusal stands for in forward-auth, where
	// proxies know 401 and 403 alone.
	HeaderStatus = "Comity-Status"
	// HeaderError is the error code, for proxies that drop the body.
	HeaderError = "Comity-Error"
	// HeaderApproval is the approval_reference, for proxies that drop the body.
	HeaderApproval = "Comity-Approval-Reference"
)

// body is the body of a refusal (RFC 6749 section 5.2, AAP draft-01).
type body struct {
	Error       string `json:"error,omitempty"`
	Description string `json:"error_description"`
	Correlation string `json:"error_correlation_id"`
	Approval    string `json:"approval_reference,omitempty"`
}

// answer writes a refusal, with the status given.
func (g *Guard) answer(w http.ResponseWriter, r *request, no *refusal, id string, status int) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set(HeaderDecision, id)
	if no.retryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((no.retryAfter+999_999_999)/1_000_000_000), 10))
	}
	if no.code != "" {
		h.Set(HeaderError, no.code)
	}
	if no.approval != "" {
		h.Set(HeaderApproval, headerText(no.approval))
	}
	if no.status == 400 || no.status == 401 || no.status == 403 {
		h.Set("WWW-Authenticate", g.challenge(r, no))
	}
	text, err := json.Marshal(body{no.code, no.say, id, no.approval})
	if err != nil {
		text = []byte(`{"error":"server_error"}`)
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}

// challenge is what RFC 6750 section 3 and RFC 9449 section 7.1 tell the client:
// by which scheme to try, what was wrong, and where to read more (RFC 9728
// section 5.1).
func (g *Guard) challenge(r *request, no *refusal) string {
	var params []string
	add := func(name, value string) {
		if value != "" {
			params = append(params, name+`="`+value+`"`)
		}
	}
	add("error", no.code)
	if no.code != "" {
		add("error_description", no.say)
	}
	add("scope", no.scope)
	add("resource_metadata", g.metadataURL(r))
	algs := `algs="` + strings.Join(proof.Algorithms(), " ") + `"`
	dpop := strings.TrimSpace("DPoP " + strings.Join(append(params, algs), ", "))
	bearer := strings.TrimSpace("Bearer " + strings.Join(params, ", "))
	switch {
	case no.reason == "no_credential" && !g.set.RequireProof:
		return dpop + ", " + bearer
	case no.reason == "no_credential", no.expected == "DPoP", g.set.RequireProof, presentedDPoP(r):
		return dpop
	}
	return bearer
}

func presentedDPoP(r *request) bool {
	for _, v := range r.header["Authorization"] {
		if scheme, _, _ := strings.Cut(v, " "); strings.EqualFold(scheme, "DPoP") {
			return true
		}
	}
	return false
}

// headerText writes a text so that it is one line of visible ASCII and no list:
// everything else, and the percent sign itself, percent-encoded (RFC 3986 section
// 2.1).
func headerText(s string) string {
	plain := func(c byte) bool { return c > ' ' && c < 0x7f && c != '%' && c != ',' && c != '"' && c != '\\' }
	i := 0
	for i < len(s) && plain(s[i]) {
		i++
	}
	if i == len(s) {
		return s
	}
	var b strings.Builder
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
