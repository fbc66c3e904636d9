package guard_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/comity-auth/comity/federation/guard"
)

// RV-13: what only a proxy says, the upstream hears of the guard alone; in no
// spelling, for servers that read underscores as dashes, of the client.
func TestRV13UpstreamHearsNoProxyButTheGuard(t *testing.T) {
	t.Parallel()
	w := proxied(t, options(t))
	r := w.authorised(http.MethodGet, sign(t, nil, claims()))
	for _, name := range []string{"X_Forwarded_For", "x_forwarded_host", "X_Original_URL", "X-Original_Url", "Content_Length", "Transfer_Encoding", "Client_Cert",
		"X-Forwarded-Client-Cert", "X-Forwarded-User", "X-Forwarded-Groups", "X-Forwarded-Scheme", "X-Forwarded-Ssl", "X-Original-Host", "X-Region_Code"} {
		r.Header[name] = []string{"7"}
	}
	r.Header["X-Kept"] = []string{"kept"}
	seen := w.wantAdmitted(t, w.send(r)).Header
	ours := []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"}
	for name, v := range seen {
		told := strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Original-")
		if strings.Contains(name, "_") || told && !slices.Contains(ours, name) || slices.Contains(v, "7") {
			t.Errorf("%s = %q reached the upstream", name, v)
		}
	}
	if seen.Get("X-Kept") != "kept" {
		t.Error("a header that means nothing here was lost")
	}
}

// RV-13: a server may merge a trailer into the headers, so none is passed on; one
// of a body that was read to judge it would be.
func TestRV13TrailersStayHere(t *testing.T) {
	t.Parallel()
	var trailer http.Header
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		trailer = r.Trailer
	}))
	t.Cleanup(upstream.Close)
	w := &world{t: t, g: newGuard(t, options(t))}
	h, err := w.g.Proxy(guard.ProxyOptions{Upstream: upstream.URL})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	w.url = s.URL
	const body = `{"url": "https://example.org/"}`
	a := w.raw("POST /search HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + sign(t, nil, limited(object{"domains_allowed": []any{"example.org"}})) +
		"\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: Comity-Agent\r\nConnection: close\r\n\r\n" +
		fmt.Sprintf("%x\r\n%s\r\n0\r\nComity-Agent: admin\r\n\r\n", len(body), body))
	if !strings.HasPrefix(a, "HTTP/1.1 200 ") || len(trailer) > 0 {
		t.Errorf("answer %.60q, the upstream saw the trailer %v", a, trailer)
	}
}
