package client_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/comity-auth/comity/cmd/comity/client"
)

// The token goes nowhere that others could read it.
func TestServerAddresses(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"http://127.0.0.1:8090", "http://[::1]:8090/", "http://localhost:1", "https://admin.globex.example", "https://admin.globex.example:8443/"} {
		if _, err := client.New(client.Options{Server: good}); err != nil {
			t.Errorf("New(%q) = %v", good, err)
		}
	}
	for _, bad := range []string{"", "127.0.0.1:8090", "http://admin.globex.example", "http://10.0.0.1:8090", "http://127.0.0.1.evil.example",
		"ftp://127.0.0.1", "https://user:pass@admin.globex.example", "https://admin.globex.example/path", "https://admin.globex.example?x=1",
		"https://admin.globex.example#f", "https://", "http://localhost.evil.example", "://"} {
		if _, err := client.New(client.Options{Server: bad}); !errors.Is(err, client.ErrServer) {
			t.Errorf("New(%q) = %v, want ErrServer", bad, err)
		}
	}
}

// serve starts a server and a client of it with a token.
func serve(t *testing.T, handler http.HandlerFunc) (*client.Client, string) {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "admin.token")
	if err := os.WriteFile(file, []byte("tok\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Options{Server: srv.URL, TokenFile: file})
	if err != nil {
		t.Fatal(err)
	}
	return c, file
}

func TestDoSendsWhatTheRequestSays(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method != "PUT" || r.URL.RequestURI() != "/admin/v1/resources/https:%2F%2Fa.example" || r.Header.Get("Authorization") != "Bearer tok" ||
			r.Header.Get("If-Match") != `"3"` || r.Header.Get("Content-Type") != client.YAML || string(body) != "x: 1\n" {
			t.Errorf("request = %s %s %v %q", r.Method, r.URL, r.Header, body)
		}
		w.Header().Set("ETag", `"4"`)
		_, _ = w.Write([]byte("{}"))
	})
	a, err := c.Do(t.Context(), client.PutObject("resources", "https://a.example", client.Document{Body: []byte("x: 1\n"), MediaType: client.YAML}, client.ETag(3)))
	if err != nil || a.ETag != `"4"` || string(a.Body) != "{}" {
		t.Errorf("answer = %+v, %v", a, err)
	}
}

func TestDoReportsProblems(t *testing.T) {
	t.Parallel()
	problem := func(status int, mediaType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc
		is      error
		text    string
	}{
		{"a stale revision", problem(412, "application/problem+json", `{"title":"The registry has moved","detail":"at 5","status":412}`), client.ErrStale, "The registry has moved: at 5"},
		{"nothing there", problem(404, "application/problem+json; charset=utf-8", `{"title":"Not found"}`), client.ErrNotFound, "Not found"},
		{"defects", problem(422, "application/problem+json", `{"title":"Document invalid","problems":[{"line":3,"path":"peers[0].x","message":"unknown key"}]}`), nil,
			"Document invalid\n  line 3: peers[0].x: unknown key"},
		{"a proxy's page, untold", problem(502, "text/html", "<h1>secret</h1>"), nil, "the server answered Bad Gateway"},
		{"a problem that lies about its status", problem(500, "application/problem+json", `{"title":"x","status":412}`), nil, "x"},
		{"a problem that is none", problem(500, "application/problem+json", `]`), nil, "the server answered Internal Server Error with a problem that cannot be read"},
		{"a redirect, not followed", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, nil, "the server answered Found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { calls++; tt.handler(w, r) })
			_, err := c.Do(t.Context(), client.GetRegistry(client.YAML))
			if err == nil || err.Error() != tt.text {
				t.Errorf("error = %v, want %q", err, tt.text)
			}
			for _, known := range []error{client.ErrStale, client.ErrNotFound} {
				if got := errors.Is(err, known); got != errors.Is(tt.is, known) {
					t.Errorf("Is(%v) = %v", known, got)
				}
			}
			if calls != 1 {
				t.Errorf("%d requests, want 1", calls)
			}
		})
	}
}

func TestTokenFile(t *testing.T) {
	t.Parallel()
	c, file := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent without a token") })
	for _, text := range []string{"", "\n", "two words", "line\r\nbreak", "caf\u00e9"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := c.Do(t.Context(), client.GetRegistry(""))
		if err == nil || text != "" && len(strings.TrimSpace(text)) > 0 && strings.Contains(err.Error(), strings.TrimSpace(text)) {
			t.Errorf("%q: error = %v", text, err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(t.Context(), client.GetRegistry("")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error = %v, want that the file is not there", err)
	}
}

// parseCurl gives the request that a shell would have curl send: method,
// address, credential, precondition, type and body.
func parseCurl(t *testing.T, server, command string) string {
	t.Helper()
	script := `curl() { for a; do printf '%s\0' "$a"; done; }; ` + command
	out, err := exec.CommandContext(t.Context(), "sh", "-c", script).Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	args := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	method, header, body := "GET", http.Header{}, ""
	for i := 0; i < len(args)-1; i++ {
		switch args[i] {
		case "-X":
			i++
			method = args[i]
		case "-H":
			i++
			name, value, _ := strings.Cut(args[i], ": ")
			header.Set(name, value)
		case "--data-binary":
			i++
			if body = args[i]; strings.HasPrefix(body, "@") {
				text, err := os.ReadFile(body[1:])
				if err != nil {
					t.Fatal(err)
				}
				body = string(text)
			}
		case "-sS", "--fail-with-body":
		default:
			t.Fatalf("argument %q of %s", args[i], command)
		}
	}
	uri, _ := strings.CutPrefix(args[len(args)-1], server)
	return method + " " + uri + " " + header.Get("Authorization") + " " + header.Get("If-Match") + " " + header.Get("Content-Type") + " " + body
}

// What is printed does the same when a shell runs it, whatever the names are.
func TestCurlIsTheSameRequest(t *testing.T) {
	t.Parallel()
	var sent, host string
	c, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		host = "http://" + r.Host
		sent = r.Method + " " + r.URL.RequestURI() + " " + r.Header.Get("Authorization") + " " + r.Header.Get("If-Match") + " " + r.Header.Get("Content-Type") + " " + string(body)
	})
	file := filepath.Join(t.TempDir(), "it's $(a) file; rm -rf.yaml")
	if err := os.WriteFile(file, []byte("peers: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	probe, err := client.ProbePeer("https://a.example/'$(x)\"`")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []client.Request{
		client.GetRegistry(client.JSON),
		client.PutRegistry(client.Document{Body: []byte("peers: []\n"), MediaType: client.YAML, File: file}, client.ETag(7), "why & 'what' $HOME"),
		client.DeleteObject("clients", "a'b@c", client.ETag(7)),
		client.RefreshPeer("acme"), probe,
	} {
		if _, err := c.Do(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		command := c.Curl(r)
		if got := parseCurl(t, host, command); got != sent {
			t.Errorf("%s\nsends %q\nwant  %q", command, got, sent)
		}
		if strings.Contains(command, "Bearer tok") {
			t.Errorf("the command holds the token: %s", command)
		}
	}
}
