package guard_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/clientcert"
	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/guard/route"
	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/fixtures/pki"
)

// RV-13: who is asking comes from the token alone.
func TestRV13IdentityHeaders(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]func(testing.TB, guard.Options) *world{"middleware": middleware, "proxy": proxied} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := mode(t, options(t))
			r := w.request(http.MethodGet, "/search", nil)
			r.Header = http.Header{
				"Authorization":  {"Bearer " + sign(t, nil, claims().with("sub", "agent ü, 7%"))},
				"Comity-Agent":   {"admin", "root"},
				"comity-subject": {"admin"},
				"COMITY_AGENT":   {"admin"},
				"Comity_task":    {"admin"},
				"comity_Trace":   {"admin"},
				"Comity-Else":    {"admin"},
				"Connection":     {"Comity-Agent, Comity-Subject, Traceparent"},
				"Traceparent":    {"00-11111111111111111111111111111111-2222222222222222-01"},
				"Tracestate":     {"x=1"},
				"Baggage":        {"y=2"},
				"X-Request-Id":   {"z"},
				"X-Kept":         {"kept"},
			}
			seen := w.wantAdmitted(t, w.send(r)).Header
			want := map[string]string{
				guard.HeaderSubject: "agent%20%C3%BC%2C%207%25", guard.HeaderAgent: "agent-r1", guard.HeaderOperator: "org:example",
				guard.HeaderTask: "t-1", guard.HeaderTokenID: "j1", guard.HeaderTrace: "0af7651916cd43dd8448eb211c80319c", "X-Kept": "kept",
				"Tracestate": "", "Baggage": "", "X-Request-Id": "",
			}
			for name, value := range want {
				if got := strings.Join(seen.Values(name), "|"); got != value {
					t.Errorf("%s = %q, want %q", name, got, value)
				}
			}
			parent := seen.Get("Traceparent")
			if !strings.HasPrefix(parent, "00-0af7651916cd43dd8448eb211c80319c-") || strings.Contains(parent, "2222222222222222") {
				t.Errorf("traceparent %q, want a fresh span in the token's trace", parent)
			}
			for name := range seen {
				flat := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
				if strings.HasPrefix(flat, "comity-") && want[http.CanonicalHeaderKey(flat)] == "" || strings.Contains(name, "_") {
					t.Errorf("%s reached the resource", name)
				}
			}
		})
	}
}

// A token without a trace of ours begins one; nothing of the client's is used.
func TestTraceBeginsWhereTheTokenHasNone(t *testing.T) {
	t.Parallel()
	w := middleware(t, options(t))
	token := sign(t, nil, claims().with("audit", object{"trace_id": "not a W3C trace id"}))
	a, b := w.wantAdmitted(t, w.get("/search", token)), w.wantAdmitted(t, w.get("/search", token))
	if one, two := a.Header.Get(guard.HeaderTrace), b.Header.Get(guard.HeaderTrace); len(one) != 32 || one == two {
		t.Errorf("traces %q and %q, want two fresh ones", one, two)
	}
}

func TestProxyPassesOn(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Routes = append(o.Routes, route.Spec{Match: "PUT /files/{rest...}", Action: "search.web"})
	w := proxied(t, o)
	w.resource.answer = func(out http.ResponseWriter, _ *http.Request) {
		out.Header().Set("X-Answer", "yes")
		out.Header().Set(guard.HeaderDecision, "forged")
		out.Header().Set("comity_stale", "true")
		_, _ = io.WriteString(out, "body")
	}
	r := w.request(http.MethodPut, "/files/%61%20b/%C3%A9?x=1&y=%2F", strings.NewReader("hello"))
	r.Header = http.Header{
		"Authorization": {"Bearer " + sign(t, nil, claims())}, "X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Host": {"evil.example"},
		"X-Original-Url": {"/admin"}, "X-Rewrite-Url": {"/admin"}, "X-Forwarded-Prefix": {"/admin"}, "Forwarded": {"for=192.0.2.1"},
		"X-Real-Ip": {"192.0.2.1"}, "True-Client-Ip": {"192.0.2.1"},
	}
	a := w.send(r)
	seen := w.wantAdmitted(t, a)
	if seen.Path != "/files/a%20b/%C3%A9" || seen.Query != "x=1&y=%2F" || seen.Body != "hello" || seen.Method != http.MethodPut {
		t.Errorf("the upstream saw %s %s?%s %q", seen.Method, seen.Path, seen.Query, seen.Body)
	}
	for _, name := range []string{"Authorization", "Dpop", "X-Original-Url", "X-Rewrite-Url", "X-Forwarded-Prefix", "Forwarded", "X-Real-Ip",
		"True-Client-Ip"} {
		if v := seen.Header.Values(name); len(v) > 0 {
			t.Errorf("%s = %q reached the upstream", name, v)
		}
	}
	if got := seen.Header.Get("X-Forwarded-For"); got != "127.0.0.1" {
		t.Errorf("X-Forwarded-For %q, want the connection's address alone", got)
	}
	if got := seen.Header.Get("X-Forwarded-Host"); got == "evil.example" || got == "" {
		t.Errorf("X-Forwarded-Host %q, want the request's", got)
	}
	if ids := a.header.Values(guard.HeaderDecision); len(ids) != 1 || ids[0] == "forged" || a.header.Get("comity_stale") != "" {
		t.Errorf("answer %v, want nothing of ours by the upstream", a.header)
	}
	if a.body != "body" || a.header.Get("X-Answer") != "yes" {
		t.Errorf("answer %v %q", a.header, a.body)
	}
}

// What paths and methods other servers could read differently never gets there.
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Routes = append(o.Routes, route.Spec{Match: "GET /{rest...}", Action: "search.web"})
	w := proxied(t, o)
	token := sign(t, nil, claims())
	for _, target := range []string{"/a/../admin", "/a/%2e%2e/admin", "//admin", "/a%2fadmin", `/a\admin`, "/a;x/admin", "/%2561dmin", "/a%00"} {
		a := w.raw("GET " + target + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(a, "HTTP/1.1 400 ") || w.resource.take() != nil {
			t.Errorf("%s: answer %.60q, want 400 and nothing upstream", target, a)
		}
	}
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_HTTP_Method_Override", "x-http_method"} {
		r := w.request(http.MethodGet, "/a", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set(name, "DELETE")
		w.wantRefused(t, w.send(r), 400, "invalid_request")
	}
}

// raw sends bytes as they are, and reads until the connection ends.
func (w *world) raw(text string) string {
	w.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		w.t.Fatal(err)
	}
	answer, _ := io.ReadAll(c)
	return string(answer)
}

// A WebSocket passes both ways. Nothing else is upgraded: over HTTP/2 on the same
// connection further requests would come that nobody judges.
func TestWebSocketsPassAndNothingElse(t *testing.T) {
	t.Parallel()
	w := proxied(t, options(t))
	w.resource.answer = echoUpgraded(t)
	talk := func(protocol, token string) string {
		c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = fmt.Fprintf(c, "GET /search HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: Upgrade, HTTP2-Settings\r\n"+
			"Upgrade: %s\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", token, protocol)
		r := bufio.NewReader(c)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusSwitchingProtocols {
			return res.Status
		}
		_, _ = io.WriteString(c, "hello\n")
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
	good := sign(t, nil, claims())
	if got := talk("WebSocket", good); got != "hello\n" {
		t.Errorf("heard %q, want what was said", got)
	}
	for _, protocol := range []string{"h2c", "websocket, h2c", "echo", "TLS/1.0"} {
		if got := talk(protocol, good); got != "426 Upgrade Required" {
			t.Errorf("%s: heard %q, want the upstream not to be asked for it", protocol, got)
		}
		if seen := w.resource.take(); seen.Header.Get("Http2-Settings") != "" {
			t.Errorf("%s: HTTP2-Settings reached the upstream", protocol)
		}
	}
	if got := talk("websocket", sign(t, nil, claims().with("aud", "https://other.example"))); !strings.HasPrefix(got, "401") {
		t.Errorf("heard %q, want 401", got)
	}
	// What nobody counts is not held to a size, so it does not pass.
	if got := talk("websocket", sign(t, nil, limited(object{"max_response_size": 100}))); got == "hello\n" {
		t.Error("a connection was taken over although the response is limited")
	}
}

// What goes over a WebSocket is judged no more, so it ends with its token.
func TestWebSocketsEndWithTheirToken(t *testing.T) {
	t.Parallel()
	o := options(t)
	var late atomic.Bool
	o.Now = func() time.Time {
		if late.Load() {
			return now.Add(time.Hour)
		}
		return now
	}
	w := proxied(t, o)
	w.resource.answer = func(out http.ResponseWriter, r *http.Request) {
		out.Header().Set("Connection", "Upgrade")
		out.Header().Set("Upgrade", r.Header.Get("Upgrade"))
		out.WriteHeader(http.StatusSwitchingProtocols)
		c, buf, err := http.NewResponseController(out).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, buf) // until the other side is gone
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = fmt.Fprintf(c, "GET /search HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", sign(t, nil, claims()))
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("answer %v, %v; want 101", res, err)
	}
	_, _ = io.WriteString(c, "hello\n")
	if line, err := r.ReadString('\n'); err != nil || line != "hello\n" {
		t.Fatalf("heard %q, %v", line, err)
	}
	late.Store(true)
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	if rest, err := io.ReadAll(r); len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("heard %q, %v; want the connection to end", rest, err)
	}
}

// echoUpgraded upgrades to whatever is asked for, and says a line back.
func echoUpgraded(t *testing.T) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		protocol := r.Header.Get("Upgrade")
		if protocol == "" {
			w.WriteHeader(http.StatusUpgradeRequired)
			return
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", protocol)
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		line, err := buf.ReadString('\n')
		if err == nil {
			_, _ = io.WriteString(c, line)
		}
	}
}

func TestResponseSize(t *testing.T) {
	t.Parallel()
	write := func(parts ...string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			for _, p := range parts {
				_, err := io.WriteString(w, p)
				if err != nil && !errors.Is(err, guard.ErrResponseSize) {
					return
				}
				_ = http.NewResponseController(w).Flush()
			}
		}
	}
	declared := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "11")
		_, _ = io.WriteString(w, "hello world")
	}
	for name, mode := range map[string]func(testing.TB, guard.Options) *world{"middleware": middleware, "proxy": proxied} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var events []*guard.Event
			o := options(t)
			o.Observe = func(_ context.Context, e *guard.Event) { events = append(events, e) }
			w := mode(t, o)
			token := sign(t, nil, limited(object{"max_response_size": 10}))
			ask := func(answer func(http.ResponseWriter, *http.Request)) answer {
				w.resource.answer = answer
				return w.send(w.authorised(http.MethodGet, token))
			}
			if a := ask(write("hello", "world")); a.status != 200 || a.body != "helloworld" || a.err != nil {
				t.Errorf("a response within the limit: %d %q, %v", a.status, a.body, a.err)
			}
			if a := ask(declared); a.status != 403 || a.field("error") != "aap_constraint_violation" {
				t.Errorf("a response that says it is too large: %d %q", a.status, a.body)
			}
			// How much of it a proxy reads at a time is not for us to say.
			if a := ask(write("hello", "world", "!")); a.status != 403 && (a.err == nil || len(a.body) > 10) {
				t.Errorf("a response that turns out too large: %d %q, %v; want it refused or cut off", a.status, a.body, a.err)
			}
			w.resource.answer = declared
			if a := w.send(w.authorised(http.MethodHead, token)); a.status != 200 {
				t.Errorf("HEAD of a response that is too large: %d, want 200: there is no body", a.status)
			}
			if last := events[len(events)-2]; last.Reason != "response_size" {
				t.Errorf("the event says %q, want response_size", last.Reason)
			}
		})
	}
	t.Run("a first write that is too large is answered", func(t *testing.T) {
		t.Parallel()
		w := middleware(t, options(t))
		w.resource.answer = func(out http.ResponseWriter, _ *http.Request) {
			out.Header().Set("Set-Cookie", "secret")
			_, _ = io.WriteString(out, "hello world")
		}
		a := w.get("/search", sign(t, nil, limited(object{"max_response_size": 10})))
		if a.status != 403 || a.header.Get("Set-Cookie") != "" {
			t.Errorf("answer %d %v %q, want 403 and nothing of the resource's", a.status, a.header, a.body)
		}
	})
}

func (w *world) authorised(method, token string) *http.Request {
	w.t.Helper()
	r := w.request(method, "/search", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// MT-01, MT-09: a token bound to a certificate needs the connection to show it.
func TestMT01MT09Certificates(t *testing.T) {
	t.Parallel()
	mine, renewed := selfSigned(t), selfSigned(t)
	g := newGuard(t, options(t))
	res := &resource{}
	s := httptest.NewUnstartedServer(g.Middleware(res))
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS13}
	s.StartTLS()
	t.Cleanup(s.Close)
	token := sign(t, nil, claims().with("cnf", object{"x5t#S256": proof.OfCertificate(mine.Leaf).X5TS256}))
	encrypted := sign(t, nil, limited(object{"require_encryption": true}))
	for _, tt := range []struct {
		name   string
		token  string
		cert   *tls.Certificate
		status int
	}{
		{"admits the certificate", token, mine, 200},
		{"MT-01: refuses another certificate", token, renewed, 401},
		{"MT-09: refuses none", token, nil, 401},
		{"admits an encrypted connection where it is required", encrypted, nil, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := s.Client()
			transport := client.Transport.(*http.Transport).Clone()
			defer transport.CloseIdleConnections()
			if tt.cert != nil {
				transport.TLSClientConfig.Certificates = []tls.Certificate{*tt.cert}
			}
			w := &world{t: t, url: s.URL, client: &http.Client{Transport: transport}, resource: res}
			if a := w.send(w.authorised(http.MethodGet, tt.token)); a.status != tt.status {
				t.Errorf("answer %d %s, want %d", a.status, a.body, tt.status)
			}
		})
	}
}

// selfSigned is a client's certificate: nobody vouches for it, and its token names
// it.
func selfSigned(t *testing.T) *tls.Certificate {
	t.Helper()
	cert, err := pki.SelfSigned(pki.Leaf{Subject: pkix.Name{CommonName: "agent"}})
	if err != nil {
		t.Fatal(err)
	}
	return &cert
}

// MT-06: what a proxy says of the client's certificate counts from trusted ones
// alone, and never reaches the upstream.
func TestMT06CertificatesByHop(t *testing.T) {
	t.Parallel()
	mine := selfSigned(t)
	token := sign(t, nil, claims().with("cnf", object{"x5t#S256": proof.OfCertificate(mine.Leaf).X5TS256}))
	said := ":" + base64.StdEncoding.EncodeToString(mine.Leaf.Raw) + ":"
	for name, by := range map[string]struct {
		trusted []netip.Prefix
		header  string
	}{
		"trusted":                           {loopback, clientcert.HeaderRFC9440},
		"trusted, with another header":      {loopback, clientcert.HeaderNginx},
		"trusted, and not to tell of any":   {loopback, ""},
		"stranger, by the trusted's header": {nil, clientcert.HeaderRFC9440},
	} {
		o := options(t)
		o.TrustedProxies, o.CertificateHeader = by.trusted, by.header
		w := proxied(t, o)
		r := w.authorised(http.MethodGet, token)
		r.Header.Set("Client-Cert", said)
		a := w.send(r)
		if name != "trusted" {
			w.wantRefused(t, a, 401, "invalid_token")
			continue
		}
		if seen := w.wantAdmitted(t, a); seen.Header.Get("Client-Cert") != "" {
			t.Errorf("%s: the certificate reached the upstream", name)
		}
		r = w.authorised(http.MethodGet, token)
		r.Header["Client-Cert"] = []string{said, said}
		w.wantRefused(t, w.send(r), 401, "invalid_token")
	}
}

func TestUpstreamAway(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	g := newGuard(t, options(t))
	h, err := g.Proxy(guard.ProxyOptions{Upstream: gone.URL})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	w := &world{t: t, url: s.URL, client: plainClient()}
	if a := w.get("/search", sign(t, nil, claims())); a.status != http.StatusBadGateway || strings.Contains(a.body, "127.0.0.1") {
		t.Errorf("answer %d %s, want 502 and no address", a.status, a.body)
	}
	for _, bad := range []string{"", "ftp://x", "http://u:p@x", "http://x?q=1", "x:80", "http://x/#f"} {
		if _, err := g.Proxy(guard.ProxyOptions{Upstream: bad}); !errors.Is(err, guard.ErrUpstream) {
			t.Errorf("upstream %q: %v, want ErrUpstream", bad, err)
		}
	}
}
