package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTokenUsage(t *testing.T) {
	t.Parallel()
	secret, key := file(t, "s"), file(t, "k")
	open := file(t, "s")
	if err := os.Chmod(open, 0o604); err != nil {
		t.Fatal(err)
	}
	base := []string{"token", "issue", "--issuer", "https://as.example", "--client-id", "agent", "--audience", "a"}
	with := func(args ...string) []string { return append(slices.Clone(base), args...) }
	for _, tt := range []struct {
		name, stderr string
		code         int
		args         []string
	}{
		{"wants to know where to ask", "--issuer or --token-url", 2, []string{"token", "issue", "--client-id", "a", "--audience", "a"}},
		{"wants to know who asks", "--client-id", 2, []string{"token", "issue", "--issuer", "https://as.example", "--audience", "a"}},
		{"wants to know for whom", "--audience or --resource", 2, []string{"token", "issue", "--issuer", "https://as.example", "--client-id", "a"}},
		{"wants a credential, or to hear that there is none", "--client-auth none", 2, base},
		{"refuses two credentials", "not with several", 2, with("--client-secret-file", secret, "--client-key", key)},
		{"refuses a method without its credential", "does not go with", 2, with("--client-auth", "private_key_jwt", "--client-secret-file", secret)},
		{"refuses none with a credential", "does not go with", 2, with("--client-auth", "none", "--client-secret-file", secret)},
		{"refuses a method that it does not know", "--client-auth is", 2, with("--client-auth", "basic", "--client-secret-file", secret)},
		{"refuses to send secrets in the clear", "want https", 2, []string{"token", "issue", "--token-url", "http://as.example/token", "--client-id", "a",
			"--audience", "a", "--client-secret-file", secret}},
		{"refuses localhost, which is somebody's choice", "want https", 2, []string{"token", "issue", "--token-url", "http://localhost/token",
			"--client-id", "a", "--audience", "a", "--client-secret-file", secret}},
		{"refuses an assertion for nobody", "--client-key needs --issuer", 2, []string{"token", "issue", "--token-url", "https://as.example/t",
			"--client-id", "a", "--audience", "a", "--client-key", key}},
		{"refuses a life of parts of a second", "--requested-ttl", 2, with("--client-auth", "none", "--requested-ttl", "1500ms")},
		{"has no flag for a secret itself", "unknown flag", 2, with("--client-secret", "s3cret")},
		{"refuses a secret that everybody can read", "make it 0600", 1, with("--client-secret-file", open)},
		{"refuses a file that is no key", "not a usable signing key", 1, with("--client-key", key)},
		{"refuses an empty secret", "nothing in it", 1, with("--client-secret-file", "env:NOT_SET")},
		{"wants a subject token", "--subject-token", 2, []string{"token", "exchange", "--issuer", "https://as.example", "--client-id", "a", "--audience", "a"}},
		{"refuses to read two things from stdin", "both be read from stdin", 2, []string{"token", "exchange", "--issuer", "https://as.example",
			"--client-id", "a", "--audience", "a", "--subject-token", "-", "--client-secret-file", "-"}},
		{"refuses an unknown token type", "--subject-token-type", 2, []string{"token", "exchange", "--issuer", "https://as.example",
			"--client-id", "a", "--audience", "a", "--subject-token", "-", "--client-auth", "none", "--subject-token-type", "saml"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := comity(t, "", nil, tt.args...)
			got.want(t, tt.code, "", tt.stderr)
		})
	}
}

func TestPrintCurlSendsNothingAndHoldsNoSecret(t *testing.T) {
	t.Parallel()
	secret, token := file(t, "s3cret-value"), file(t, "t0ken-value")
	key, _ := keyFile(t, "ES256", "pem")
	s := newAuthServer(t, bearer)
	dpop := filepath.Join(t.TempDir(), "absent.pem")
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"with basic credentials", []string{"--token-url", s.URL + "/token", "--client-secret-file", secret},
			[]string{`-u 'it%27s%3Aagent:'"$(cat -- '` + secret + `')"`, `--data-urlencode subject_token="$(cat -- '` + token + `')"`, `'` + s.URL + `/token'`}},
		{"with a secret in the body", []string{"--issuer", s.URL, "--client-secret-file", "env:S", "--client-auth", "client_secret_post"},
			[]string{`--data-urlencode client_secret="$S"`, `TOKEN_ENDPOINT=$(curl`, `"$TOKEN_ENDPOINT"`}},
		{"with an assertion and a proof", []string{"--issuer", s.URL, "--client-key", key, "--dpop-key", dpop},
			[]string{`# CLIENT_ASSERTION: `, `client_assertion="$CLIENT_ASSERTION"`, `-H "DPoP: $DPOP_PROOF"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := "it's:agent"
			got := comity(t, "", []string{"S=s3cret-value"}, append([]string{"token", "exchange", "--print-curl", "--client-id", id,
				"--subject-token", token, "--audience", "https://a.example/x y"}, tt.args...)...)
			if got.code != 0 || strings.Contains(got.stdout, "s3cret") || strings.Contains(got.stdout, "t0ken") {
				t.Errorf("%+v", got)
			}
			for _, want := range append(tt.want, `--data-urlencode 'audience=https://a.example/x y'`) {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("curl lacks %s:\n%s", want, got.stdout)
				}
			}
		})
	}
	if len(s.seen) != 0 {
		t.Error("something was sent")
	}
	if _, err := os.Stat(dpop); err == nil {
		t.Error("a key was made")
	}
}
