package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/broker"
	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/trust/ident"
)

// answering is an exchanger that always says the same.
type answering func(exchange.Request) (*exchange.Result, error)

func (a answering) Exchange(_ context.Context, req exchange.Request) (*exchange.Result, error) {
	return a(req)
}

// open is a handler around an exchanger, with what it logs.
func open(t *testing.T, e broker.Exchanger, ready func() error) (http.Handler, *strings.Builder) {
	t.Helper()
	issuer, err := ident.ParseIssuer("https://broker.globex.example")
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	h, err := broker.New(broker.Options{Issuer: issuer, Exchanger: e, Inspector: unasked{}, JWKS: func() []byte { return []byte(`{"keys":[]}`) }, Algorithm: "ES256",
		Ready: ready, Logger: slog.New(slog.NewJSONHandler(&log, nil)), TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	if err != nil {
		t.Fatal(err)
	}
	return h, &log
}

func well() error { return nil }

func post(h http.Handler, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader("a=b"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		fault  error
		status int
		body   string
		header map[string]string
	}{
		{"a refusal is 400", &exchange.Fault{Code: exchange.InvalidTarget, Public: "P.", DecisionID: "d"}, 400,
			`{"error":"invalid_target","error_description":"P.","decision_id":"d"}`, map[string]string{"Comity-Decision": "d"}},
		{"a refusal that was not recorded has no id", &exchange.Fault{Code: exchange.InvalidRequest, Public: "P."}, 400,
			`{"error":"invalid_request","error_description":"P."}`, map[string]string{"Comity-Decision": ""}},
		{"a failed client by header is challenged", &exchange.Fault{Code: exchange.InvalidClient, Public: "P."}, 401,
			`{"error":"invalid_client","error_description":"P."}`, map[string]string{"WWW-Authenticate": `Basic realm="token endpoint", charset="UTF-8"`}},
		{"a limit is 429 and says when, rounded up", &exchange.Fault{Code: exchange.TooManyRequests, Public: "P.", RetryAfter: 1200 * time.Millisecond}, 429,
			`{"error":"temporarily_unavailable","error_description":"P."}`, map[string]string{"Retry-After": "2"}},
		{"an outage is 503 and says when", &exchange.Fault{Code: exchange.Unavailable, Public: "P.", RetryAfter: time.Second}, 503,
			`{"error":"temporarily_unavailable","error_description":"P."}`, map[string]string{"Retry-After": "1"}},
		{"a failure of ours is 500", &exchange.Fault{Code: exchange.ServerError, Public: "P."}, 500,
			`{"error":"server_error","error_description":"P."}`, nil},
		{"an error of no kind is 500 and silent", errors.New("c4nary"), 500,
			`{"error":"server_error","error_description":"The request could not be completed."}`, nil},
	} {
		h, _ := open(t, answering(func(exchange.Request) (*exchange.Result, error) { return nil, tt.fault }), well)
		w := post(h, "Authorization", "Basic x")
		if w.Code != tt.status || w.Body.String() != tt.body {
			t.Errorf("%s: got %d %s, want %d %s", tt.name, w.Code, w.Body, tt.status, tt.body)
		}
		for name, value := range map[string]string{"Cache-Control": "no-store", "Content-Type": "application/json", "X-Content-Type-Options": "nosniff"} {
			if got := w.Header().Get(name); got != value {
				t.Errorf("%s: got %s %q, want %q", tt.name, name, got, value)
			}
		}
		for name, value := range tt.header {
			if got := w.Header().Get(name); got != value {
				t.Errorf("%s: got %s %q, want %q", tt.name, name, got, value)
			}
		}
	}
	h, _ := open(t, answering(func(exchange.Request) (*exchange.Result, error) {
		return nil, &exchange.Fault{Code: exchange.InvalidClient, Public: "P."}
	}), well)
	if got := post(h).Header().Get("WWW-Authenticate"); got != "" {
		t.Errorf("got WWW-Authenticate %q for a client that used no header, want none", got)
	}
}

// A panic is one answer like any other, and the next request is served.
func TestPanics(t *testing.T) {
	t.Parallel()
	fail := true
	h, log := open(t, answering(func(exchange.Request) (*exchange.Result, error) {
		if fail {
			panic("c4nary")
		}
		return &exchange.Result{AccessToken: ident.NewRawToken("t"), TokenType: "Bearer", ExpiresIn: 7, DecisionID: "d"}, nil
	}), well)
	if w := post(h); w.Code != 500 || strings.Contains(w.Body.String(), "c4nary") || !strings.Contains(log.String(), `"http.panic"`) {
		t.Errorf("got %d %s and log %s", w.Code, w.Body, log)
	}
	fail = false
	if w := post(h); w.Code != 200 || w.Body.String() != `{"access_token":"t","token_type":"Bearer","expires_in":7}` {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// OV-06: only hops that are trusted say who is behind them.
func TestClientAddress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, from, forwarded, want string }{
		{"a stranger's word does not count", "198.51.100.1:1", "203.0.113.1", "198.51.100.1"},
		{"a trusted proxy's does", "192.0.2.1:1", "203.0.113.1", "203.0.113.1"},
		{"the nearest that is not trusted counts", "192.0.2.1:1", "203.0.113.1, 203.0.113.2, 192.0.2.9", "203.0.113.2"},
		{"what cannot be read ends the walk", "192.0.2.1:1", "203.0.113.1, x", "192.0.2.1"},
		{"trusted all the way gives the farthest", "192.0.2.1:1", "192.0.2.3, 192.0.2.2", "192.0.2.3"},
		{"no header gives the proxy", "192.0.2.1:1", "", "192.0.2.1"},
		{"a mapped address is its IPv4", "[::ffff:192.0.2.1]:1", "::ffff:203.0.113.1", "203.0.113.1"},
	} {
		var got netip.Addr
		h, _ := open(t, answering(func(req exchange.Request) (*exchange.Result, error) {
			got = req.Address
			return nil, errors.New("enough")
		}), well)
		r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader("a=b"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = tt.from
		if tt.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tt.forwarded)
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		if got.String() != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

// The two names of the metadata give the same, and name nobody who is trusted.
func TestDocuments(t *testing.T) {
	t.Parallel()
	ready := errors.New("c4nary")
	h, _ := open(t, answering(nil), func() error { return ready })
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w
	}
	one, other := get("/.well-known/oauth-authorization-server"), get("/.well-known/openid-configuration")
	var m map[string]any
	if err := json.Unmarshal(one.Body.Bytes(), &m); err != nil || one.Body.String() != other.Body.String() {
		t.Errorf("got %s and %s: %v", one.Body, other.Body, err)
	}
	if m["issuer"] != "https://broker.globex.example" || m["token_endpoint"] != "https://broker.globex.example/token" || m["authorization_endpoint"] != nil {
		t.Errorf("got metadata %v", m)
	}
	if w := get("/.well-known/jwks.json"); w.Code != 200 || w.Body.String() != `{"keys":[]}` || w.Header().Get("Cache-Control") == "" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if w := get("/healthz"); w.Code != 200 {
		t.Errorf("got %d from /healthz, want 200 whatever is wrong", w.Code)
	}
	if w := get("/readyz"); w.Code != 503 || strings.Contains(w.Body.String(), "c4nary") {
		t.Errorf("got %d %s from /readyz, want 503 without a reason", w.Code, w.Body)
	}
}
