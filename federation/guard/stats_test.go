package guard_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// What stands beside ForwardAuth serves the document, and nothing else.
func TestMetadataAlone(t *testing.T) {
	t.Parallel()
	w := &world{t: t, g: newGuard(t, options(t)), resource: &resource{}, client: plainClient()}
	s := httptest.NewServer(w.g.Metadata())
	t.Cleanup(s.Close)
	w.url = s.URL
	const path = "/.well-known/oauth-protected-resource"
	if a := w.send(w.request(http.MethodGet, path, nil)); a.status != 200 || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("answer %d %v, want the document", a.status, a.header)
	}
	for _, other := range []string{"/", "/auth", path + "/v1", "/search"} {
		if a := w.send(w.request(http.MethodGet, other, nil)); a.status != http.StatusNotFound {
			t.Errorf("%s is %d, want 404", other, a.status)
		}
	}
}

func TestStatsCountTokens(t *testing.T) {
	t.Parallel()
	w := middleware(t, options(t))
	if s := w.g.Stats(); s.Tokens != 0 || len(s.FeedAges) != 0 {
		t.Errorf("Stats = %+v at the start, want nothing", s)
	}
	token := sign(t, nil, claims())
	for range 3 {
		w.wantAdmitted(t, w.get("/search", token))
	}
	if s := w.g.Stats(); s.Tokens != 1 {
		t.Errorf("%d tokens are remembered, want 1", s.Tokens)
	}
}
