package broker_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/comity-auth/comity/broker"
	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/trust/ident"
)

// listener remembers what the handler made of a request, and gives a token.
type listener struct{ heard exchange.Request }

func (l *listener) Exchange(_ context.Context, req exchange.Request) (*exchange.Result, error) {
	l.heard = req
	return &exchange.Result{AccessToken: ident.NewRawToken("t"), TokenType: "Bearer", ExpiresIn: 1, DecisionID: "d"}, nil
}

// unasked is an inspector that nobody should ask.
type unasked struct{}

func (unasked) Introspect(context.Context, exchange.Request, bool) (*exchange.Introspection, error) {
	return nil, &exchange.Fault{Code: exchange.ServerError}
}

func (unasked) Revoke(context.Context, exchange.Request) (string, error) {
	return "", &exchange.Fault{Code: exchange.ServerError}
}

// FuzzTokenForm sends arbitrary bodies to the token endpoint: what reaches the
// exchange is either a form within the limits or a defect.
func FuzzTokenForm(f *testing.F) {
	issuer, err := ident.ParseIssuer("https://broker.globex.example")
	if err != nil {
		f.Fatal(err)
	}
	l := &listener{}
	h, err := broker.New(broker.Options{Issuer: issuer, Exchanger: l, Inspector: unasked{}, JWKS: func() []byte { return nil }, Algorithm: "ES256",
		Ready: func() error { return nil }, Logger: slog.New(slog.DiscardHandler), TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	if err != nil {
		f.Fatal(err)
	}
	const form = "application/x-www-form-urlencoded"
	for _, body := range []string{"", "a=b", "a=b&a=c", "a", "=", "a=%00", "a=%c0%af", "a=%zz", "a=b;c=d", "a=\xff", strings.Repeat("a=b&", 70),
		"a=" + strings.Repeat("b", 64<<10), "grant_type=urn%3Aietf&subject_token=a.b.c+&x=%2B"} {
		f.Add([]byte(body), form, "", "198.51.100.1, 192.0.2.7")
	}
	f.Add([]byte("a=b"), "application/json", "gzip", "x")
	f.Add([]byte("a=b"), form+";charset=UTF-8", "identity", "::1%eth0")
	f.Fuzz(func(t *testing.T, body []byte, kind, encoding, forwarded string) {
		l.heard = exchange.Request{}
		r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Content-Encoding", encoding)
		r.Header.Set("X-Forwarded-For", forwarded)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("got %d %v %q", w.Code, w.Header(), w.Body)
		}
		if !l.heard.Address.IsValid() {
			t.Errorf("got no address from %q", forwarded)
		}
		known := []error{nil, exchange.ErrBodySize, exchange.ErrMediaType, exchange.ErrForm, exchange.ErrQuery}
		if !slices.Contains(known, l.heard.Defect) || l.heard.Defect != nil && l.heard.Form != nil {
			t.Fatalf("got defect %v beside %d parameters", l.heard.Defect, len(l.heard.Form))
		}
		checkForm(t, l.heard, body)
	})
}

func checkForm(t *testing.T, heard exchange.Request, body []byte) {
	t.Helper()
	if heard.Defect == nil && len(body) > broker.MaxBody {
		t.Errorf("got a form out of %d bytes", len(body))
	}
	pairs := 0
	for name, values := range heard.Form {
		for _, text := range append(values, name) {
			if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
				t.Errorf("got %q", text)
			}
		}
		pairs += len(values)
	}
	if pairs > 64 {
		t.Errorf("got %d parameters", pairs)
	}
}
