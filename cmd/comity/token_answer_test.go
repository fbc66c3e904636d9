package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTokenExchange(t *testing.T) {
	t.Parallel()
	const at = "urn:ietf:params:oauth:token-type:"
	for _, tt := range []struct {
		name, source, stdin, kind, wantKind string
	}{
		{"presents an access token by default", file(t, "subject.token\n"), "", "", at + "access_token"},
		{"reads the subject token from stdin", "-", "  subject.token\n", "jwt", at + "jwt"},
		{"takes the URI of a type too", "env:TOKEN", "", at + "id_token", at + "id_token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newAuthServer(t, bearer)
			args := []string{"token", "exchange", "--issuer", s.URL, "--client-id", "agent", "--client-auth", "none",
				"--subject-token", tt.source, "--audience", "a", "--resource", "https://r.example"}
			if tt.kind != "" {
				args = append(args, "--subject-token-type", tt.kind)
			}
			comity(t, tt.stdin, []string{"TOKEN=subject.token"}, args...).want(t, 0, "issued-token\n", "")
			want := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {"subject.token"},
				"subject_token_type": {tt.wantKind}, "audience": {"a"}, "resource": {"https://r.example"}, "client_id": {"agent"}}
			if diff := cmp.Diff(want, s.only(t).form); diff != "" {
				t.Errorf("form (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusalsHaveExitCodesOfTheirOwn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, body, stderr string
		status, code       int
	}{
		{"a target that is refused is policy", `{"error":"invalid_target","error_description":"Not available.","decision_id":"d1"}`,
			"comity: invalid_target: Not available. (decision d1)\n", 400, 3},
		{"a subject token that is refused is policy", `{"error":"invalid_request"}`, "comity: invalid_request\n", 400, 3},
		{"a scope that is refused is policy", `{"error":"invalid_scope"}`, "comity: invalid_scope\n", 400, 3},
		{"a wrong credential is a failure", `{"error":"invalid_client"}`, "comity: invalid_client\n", 401, 1},
		{"a broker that is not ready is a failure", `{"error":"temporarily_unavailable","error_description":"Later."}`,
			"comity: temporarily_unavailable: Later. Retry after 7 s.\n", 503, 1},
		{"a limit is a failure", `{"error":"invalid_target"}`, "comity: invalid_target", 429, 1},
		{"a policy code with a server's status is a failure", `{"error":"invalid_target"}`, "comity: invalid_target", 500, 1},
		{"an answer of something else is a failure", `<html>`, "answered with status 502 and no error code", 502, 1},
		{"a redirect is not followed", ``, "answered with status 307", 307, 1},
		{"text of the server cannot steer a terminal", `{"error":"invalid_\u001b[2Jtarget","error_description":"\u009b31m\nline"}`,
			"comity: invalid_?[2Jtarget: ?31m?line\n", 400, 1},
		{"a success without a token is a failure", `{"token_type":"Bearer"}`, "holds no token", 200, 1},
		{"a token with control characters is a failure", `{"access_token":"a\nb","token_type":"Bearer"}`, "holds no token", 200, 1},
		{"a token of an unknown type is a failure", `{"access_token":"a","token_type":"mac"}`, "unknown type", 200, 1},
		{"a success that is no JSON is a failure", `[1]`, "no JSON object", 200, 1},
		{"an answer without end is a failure", strings.Repeat(" ", maxAnswer+1), "larger than", 200, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newAuthServer(t, func(w http.ResponseWriter, _ url.Values, _ int) {
				w.Header().Set("Retry-After", "7")
				if !strings.Contains(tt.stderr, "Retry") {
					w.Header().Del("Retry-After")
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
			})
			comity(t, "", nil, "token", "issue", "--issuer", s.URL, "--client-id", "agent", "--client-auth", "none", "--audience", "a").
				want(t, tt.code, "", tt.stderr)
			s.only(t)
		})
	}
}

func TestMetadataIsHeldAgainstTheIssuer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, body, stderr string }{
		{"refuses metadata of another issuer", `{"issuer":"https://other.example","token_endpoint":"%s/token"}`, "another issuer"},
		{"refuses metadata without a token endpoint", `{"issuer":"%s"}`, "token_endpoint"},
		{"refuses a token endpoint in the clear", `{"issuer":"%s","token_endpoint":"http://as.example/token"}`, "want https"},
		{"refuses what is no metadata", `[]`, "no metadata"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var srv *httptest.Server
			srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, strings.ReplaceAll(tt.body, "%s", srv.URL))
			}))
			t.Cleanup(srv.Close)
			comity(t, "", nil, "token", "issue", "--issuer", srv.URL, "--client-id", "agent", "--client-auth", "none", "--audience", "a").
				want(t, 1, "", tt.stderr)
		})
	}
}

func TestMetadataOfOpenIDConnectIsReadToo(t *testing.T) {
	t.Parallel()
	var srv *httptest.Server
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"token_endpoint":%q}`, srv.URL, srv.URL+"/t")
	})
	mux.HandleFunc("POST /t", func(w http.ResponseWriter, r *http.Request) { bearer(w, nil, 1) })
	srv = httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	comity(t, "", nil, "token", "issue", "--issuer", srv.URL, "--client-id", "agent", "--client-auth", "none", "--audience", "a").
		want(t, 0, "issued-token\n", "")
}
