package demo

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/fixtures/peer"
)

// agent is a client with one key to authenticate with at each broker, and one
// to bind its tokens to.
type agent struct {
	id    string
	http  *http.Client
	key   *proof.Signer
	login map[string]*peer.Key // by issuer
}

// answer is what came back for one request.
type answer struct {
	status   int
	code     string // the OAuth error
	token    string
	kind     string
	life     int64
	decision string
	approval string // the approval_reference of a refusal
	retry    string // Retry-After, in seconds
	payload  string // the token's claims, as JSON
	claims   map[string]any
}

// said is the answer in a few words.
func (a answer) said() string {
	if a.code != "" {
		return fmt.Sprintf("%d %s", a.status, a.code)
	}
	return fmt.Sprint(a.status)
}

// claim reads a member of the token, by path.
func (a answer) claim(path ...string) string {
	var v any = a.claims
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	s, _ := v.(string)
	return s
}

// actions lists what the token may be used for.
func (a answer) actions() string {
	list, _ := a.claims["capabilities"].([]any)
	var names []string
	for _, v := range list {
		if c, ok := v.(map[string]any); ok {
			names = append(names, fmt.Sprint(c["action"]))
		}
	}
	return strings.Join(names, " ")
}

// request sends one token request with a fresh client assertion, and a fresh
// proof when there is a key.
func (a *agent) request(ctx context.Context, at *domain, key *proof.Signer, pairs ...string) answer {
	form := url.Values{
		"client_id":             {a.id},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {a.login[at.issuer].Assertion(a.id, at.issuer, peer.Overrides{})},
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	endpoint := at.issuer + "/token"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{code: err.Error()}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if key != nil {
		p, err := key.Proof(http.MethodPost, endpoint, proof.Options{})
		if err != nil {
			return answer{code: err.Error()}
		}
		req.Header.Set("DPoP", p)
	}
	return a.send(req)
}

func (a *agent) send(req *http.Request) answer {
	res, err := a.http.Do(req)
	if err != nil {
		return answer{code: err.Error()}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return answer{code: err.Error()}
	}
	var body struct {
		Token string `json:"access_token"`
		Kind  string `json:"token_type"`
		Life  int64  `json:"expires_in"`
		Error string `json:"error"`
		Where string `json:"approval_reference"`
	}
	if err := json.Unmarshal(text, &body); err != nil {
		return answer{status: res.StatusCode, code: "not JSON"}
	}
	out := answer{status: res.StatusCode, code: body.Error, token: body.Token, kind: body.Kind, life: body.Life,
		decision: res.Header.Get("Comity-Decision"), approval: body.Where, retry: res.Header.Get("Retry-After")}
	if parts := strings.Split(body.Token, "."); len(parts) == 3 {
		claims, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err == nil && json.Unmarshal(claims, &out.claims) == nil {
			out.payload = string(claims)
		}
	}
	return out
}
