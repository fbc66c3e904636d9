package federation_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/fetch"
)

// served starts the issuer on TLS and returns a manager that trusts it.
func served(t *testing.T, i *fakeIssuer) *federation.Keys {
	t.Helper()
	s := httptest.NewTLSServer(i)
	t.Cleanup(s.Close)
	i.url = s.URL
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	f, err := fetch.New(fetch.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	k := federation.NewKeys(f, federation.KeysOptions{})
	t.Cleanup(func() { k.Close(); f.Close() })
	return k
}

func TestProbeOfAGoodIssuer(t *testing.T) {
	t.Parallel()
	i := newFakeIssuer("a", "b")
	k := served(t, i)
	i.meta = map[string]any{"issuer": i.url, "jwks_uri": i.url + "/jwks", "id_token_signing_alg_values_supported": []string{"ES256"}}
	r, err := k.Probe(t.Context(), federation.Peer{Issuer: i.url})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Problems) != 0 || r.TLS != "TLS 1.3" || !r.ClockKnown || r.ClockAhead.Abs() > 2*time.Second {
		t.Errorf("Probe = %+v, want no problem, TLS 1.3 and no clock difference", r)
	}
	if len(r.Keys) != 2 || r.Keys[0].ID != "a" || r.Keys[0].Algorithm != es256 || len(r.Keys[0].Thumbprint) != 43 {
		t.Errorf("Keys = %+v, want both", r.Keys)
	}
	if !slices.Equal(r.Algorithms, []string{"ES256"}) || r.JWKSURI != i.url+"/jwks" {
		t.Errorf("Probe = %+v, want ES256 and the key set's address", r)
	}
	if len(r.Documents) != 1 || r.Documents[0].Result != federation.FetchOK {
		t.Errorf("Documents = %+v, want one good", r.Documents)
	}
	if h := k.Health(); len(h) != 0 {
		t.Errorf("Health after a probe = %+v, want nothing kept", h)
	}
}

func TestProbeNamesProblems(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*fakeIssuer)
		want   string
	}{
		{"another issuer", func(i *fakeIssuer) {
			i.meta = map[string]any{"issuer": i.url + "/", "jwks_uri": i.url + "/jwks"}
		}, "trailing slash"},
		{"a key set elsewhere", func(i *fakeIssuer) {
			i.meta = map[string]any{"issuer": i.url, "jwks_uri": "https://keys.example/jwks"}
		}, "neither the issuer's nor registered"},
		{"no metadata", func(i *fakeIssuer) {
			i.router = func(p string) (int, any, bool) { return 404, "", p == openIDPath }
		}, "status 404"},
		{"a key set that is missing", func(i *fakeIssuer) { i.jwks = text(404, "application/json", "{}") }, "key set: "},
		{"no usable key", func(i *fakeIssuer) { i.jwks = text(200, "application/json", `{"keys":[]}`) }, "no usable key"},
		{"a published secret", func(i *fakeIssuer) {
			i.jwks = text(200, "application/json", `{"keys":[{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`)
		}, federation.ReasonSecret},
		{"a clock that is wrong", func(i *fakeIssuer) {
			i.header = http.Header{"Date": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}}
		}, "clocks differ"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			i := newFakeIssuer("a")
			k := served(t, i)
			i.set(func() { tc.change(i) })
			r, err := k.Probe(t.Context(), federation.Peer{Issuer: i.url})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(r.Problems, func(p string) bool { return strings.Contains(p, tc.want) }) {
				t.Errorf("Problems = %q, want one with %q", r.Problems, tc.want)
			}
		})
	}
}

// insider resolves every name to one address.
type insider struct{ addr string }

func (i insider) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr(i.addr)}, nil
}

// DS-06: of an address inside, a probe says that it is not allowed, and no more.
func TestDS06ProbeDoesNotMapTheNetwork(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"10.0.0.1", "127.0.0.1", "169.254.169.254"} {
		f, err := fetch.New(fetch.Options{Resolver: insider{addr}, Dial: func(context.Context, netip.AddrPort) (net.Conn, error) {
			t.Error("dialled")
			return nil, net.ErrClosed
		}})
		if err != nil {
			t.Fatal(err)
		}
		k := federation.NewKeys(f, federation.KeysOptions{})
		t.Cleanup(k.Close)
		for _, issuer := range []string{"https://inside.example", "https://" + addr} {
			r, err := k.Probe(t.Context(), federation.Peer{Issuer: issuer})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(r.Problems, []string{"address not allowed"}) || r.Documents[0].Error != "address not allowed" {
				t.Errorf("%s: Probe = %+v, want only \"address not allowed\"", issuer, r)
			}
		}
	}
}

func TestProbeRefusals(t *testing.T) {
	t.Parallel()
	i := newFakeIssuer("a")
	k := served(t, i)
	if _, err := k.Probe(t.Context(), federation.Peer{Issuer: i.url, Discovery: federation.Static}); !errors.Is(err, federation.ErrMisconfigured) {
		t.Errorf("Probe of a static peer = %v, want ErrMisconfigured", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Probe(ctx, federation.Peer{Issuer: i.url}); !errors.Is(err, context.Canceled) {
		t.Errorf("Probe = %v, want context.Canceled", err)
	}
	r, err := k.Probe(t.Context(), federation.Peer{Issuer: i.url, Discovery: federation.AtURI, JWKSURI: i.url + "/jwks"})
	if err != nil || len(r.Keys) != 1 || len(r.Documents) != 0 {
		t.Errorf("Probe of a key set = %+v, %v, want its key", r, err)
	}
	if r, err := k.Probe(t.Context(), federation.Peer{Issuer: "not a URL"}); err != nil || len(r.Problems) != 1 {
		t.Errorf("Probe of nonsense = %+v, %v, want one problem", r, err)
	}
}
