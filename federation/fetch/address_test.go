package fetch_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/comity-auth/comity/federation/fetch"
)

// DS-06: a name that resolves inside is refused before anything is dialled.
func TestDS06RefusedAddressesAreNeverDialled(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, addr string }{
		{"refuses loopback", "127.0.0.1"},
		{"refuses all of loopback", "127.255.255.254"},
		{"refuses private 10/8", "10.0.0.1"},
		{"refuses private 172.16/12", "172.31.255.255"},
		{"refuses private 192.168/16", "192.168.1.1"},
		{"refuses link-local", "169.254.1.1"},
		{"refuses metadata", "169.254.169.254"},
		{"refuses carrier-grade NAT", "100.64.0.1"},
		{"refuses unspecified", "0.0.0.0"},
		{"refuses this network", "0.1.2.3"},
		{"refuses multicast", "224.0.0.1"},
		{"refuses reserved", "240.0.0.1"},
		{"refuses broadcast", "255.255.255.255"},
		{"refuses benchmarks", "198.18.0.1"},
		{"refuses documentation 1", "192.0.2.1"},
		{"refuses documentation 2", "198.51.100.1"},
		{"refuses documentation 3", "203.0.113.1"},
		{"refuses protocol assignments", "192.0.0.8"},
		{"refuses the wire server", "168.63.129.16"},
		{"refuses IPv6 loopback", "::1"},
		{"refuses IPv6 unspecified", "::"},
		{"refuses IPv6 link-local", "fe80::1"},
		{"refuses IPv6 unique local", "fc00::1"},
		{"refuses IPv6 metadata", "fd00:ec2::254"},
		{"refuses IPv6 multicast", "ff02::1"},
		{"refuses IPv6 site-local", "fec0::1"},
		{"refuses IPv6 documentation", "2001:db8::1"},
		{"refuses IPv6 new documentation", "3fff::1"},
		{"refuses IPv6 benchmarks", "2001:2::1"},
		{"refuses IPv6 discard", "100::1"},
		{"refuses mapped loopback", "::ffff:127.0.0.1"},
		{"refuses mapped private", "::ffff:10.0.0.1"},
		{"refuses compatible loopback", "::127.0.0.1"},
		{"refuses NAT64 of loopback", "64:ff9b::7f00:1"},
		{"refuses NAT64 of a public address", "64:ff9b::808:808"},
		{"refuses local NAT64", "64:ff9b:1::1"},
		{"refuses 6to4", "2002:7f00:1::1"},
		{"refuses Teredo", "2001:0:4136:e378:8000:63bf:80ff:fffe"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var w wire
			c := client(t, fetch.Options{Resolver: resolving([]string{tc.addr}), Dial: w.dial})
			_, err := c.Get(t.Context(), fetch.Request{URL: "https://as.acme.example/jwks"})
			if !errors.Is(err, fetch.ErrAddress) {
				t.Errorf("Get = %v, want ErrAddress", err)
			}
			if strings.Contains(err.Error(), tc.addr) {
				t.Errorf("Get = %q, which names the address", err)
			}
			if got := w.seen(); len(got) != 0 {
				t.Errorf("dialled %v, want nothing", got)
			}
		})
	}
}

func TestPublicAddressesAreDialled(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"} {
		var w wire
		c := client(t, fetch.Options{Resolver: resolving([]string{addr}), Dial: w.dial})
		_, err := c.Get(t.Context(), fetch.Request{URL: "https://as.acme.example/jwks"})
		if !errors.Is(err, fetch.ErrUnreachable) {
			t.Errorf("%s: Get = %v, want ErrUnreachable", addr, err)
		}
		want := netip.MustParseAddr(addr).Unmap()
		for _, got := range w.seen() {
			if got != want {
				t.Errorf("dialled %v, want %v", got, want)
			}
		}
		if len(w.seen()) == 0 {
			t.Errorf("%s was not dialled", addr)
		}
	}
}

// One bad address condemns the answer, wherever it stands in it.
func TestDS06EveryAddressOfAnAnswerIsChecked(t *testing.T) {
	t.Parallel()
	var w wire
	c := client(t, fetch.Options{Resolver: resolving([]string{"8.8.8.8", "10.0.0.1"}), Dial: w.dial})
	_, err := c.Get(t.Context(), fetch.Request{URL: "https://as.acme.example/jwks"})
	if !errors.Is(err, fetch.ErrAddress) || len(w.seen()) != 0 {
		t.Errorf("Get = %v and dialled %v, want ErrAddress and nothing", err, w.seen())
	}
}

// DS-06 on the real network: a listener on a refused address sees nothing.
func TestDS06CanaryStaysSilent(t *testing.T) {
	t.Parallel()
	canary, hits := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := strings.Cut(strings.TrimPrefix(canary.URL, "http://"), ":")
	c := client(t, fetch.Options{Resolver: resolving([]string{"127.0.0.1"})})
	for _, u := range []string{"https://as.acme.example:" + port, "https://127.0.0.1:" + port, "http://127.0.0.1:" + port} {
		if _, err := c.Get(t.Context(), fetch.Request{URL: u}); err == nil {
			t.Errorf("Get(%s) succeeded", u)
		}
	}
	if hits.Load() != 0 {
		t.Errorf("the canary saw %d requests", hits.Load())
	}
}

// DS-09: the vetted address is the one dialled; the second answer is never used.
func TestDS09RebindingIsHarmless(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}))
	t.Cleanup(s.Close)
	w := wire{to: s.Listener.Addr().String()}
	r := resolving([]string{"93.184.216.34"}, []string{"127.0.0.1"})
	c := client(t, fetch.Options{Resolver: r, Dial: w.dial, RootCAs: pool(s)})
	if _, err := c.Get(t.Context(), fetch.Request{URL: "https://example.com/"}); err != nil {
		t.Fatalf("Get = %v", err)
	}
	want := []netip.Addr{netip.MustParseAddr("93.184.216.34")}
	if diff := cmp.Diff(want, w.seen(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("dialled (-want +got):\n%s", diff)
	}
	if r.lookups() != 1 {
		t.Errorf("look-ups = %d, want 1", r.lookups())
	}
	c.Close() // the next request needs a new connection, hence a new answer
	if _, err := c.Get(t.Context(), fetch.Request{URL: "https://example.com/"}); !errors.Is(err, fetch.ErrAddress) {
		t.Errorf("Get after rebinding = %v, want ErrAddress", err)
	}
	if len(w.seen()) != 1 {
		t.Errorf("dialled %v, want one", w.seen())
	}
}

// DS-11: metadata services stay refused inside allowed ranges.
func TestDS11MetadataIsRefusedEvenWhenAllowed(t *testing.T) {
	t.Parallel()
	all := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	for _, addr := range []string{
		"169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
		"2002:a9fe:a9fe::1", "169.254.170.2", "100.100.100.200",
	} {
		var w wire
		c := client(t, fetch.Options{Allow: all, Resolver: resolving([]string{addr}), Dial: w.dial})
		_, err := c.Get(t.Context(), fetch.Request{URL: "https://as.acme.example/jwks"})
		if !errors.Is(err, fetch.ErrAddress) || len(w.seen()) != 0 {
			t.Errorf("%s: Get = %v and dialled %v, want ErrAddress and nothing", addr, err, w.seen())
		}
		literal := "https://" + addr + "/latest"
		if strings.Contains(addr, ":") {
			literal = "https://[" + addr + "]/latest"
		}
		if err := c.CheckURL(literal); !errors.Is(err, fetch.ErrAddress) {
			t.Errorf("CheckURL(%s) = %v, want ErrAddress", literal, err)
		}
	}
}

func TestURLRules(t *testing.T) {
	t.Parallel()
	c := client(t, fetch.Options{Allow: loopback[:1]})
	for _, tc := range []struct {
		name, url string
		want      error
	}{
		{"accepts https", "https://as.acme.example/jwks", nil},
		{"accepts https with a query", "https://as.acme.example/jwks?v=1", nil},
		{"accepts http on allowed literal loopback", "http://127.0.0.1:8080/jwks", nil},
		{"rejects http on a name", "http://as.acme.example/jwks", fetch.ErrURL},
		{"rejects http on localhost", "http://localhost/jwks", fetch.ErrURL},
		{"rejects http on a public address", "http://8.8.8.8/jwks", fetch.ErrURL},
		{"rejects loopback that is not allowed", "http://[::1]/jwks", fetch.ErrAddress},
		{"rejects a private literal", "https://10.0.0.1/jwks", fetch.ErrAddress},
		{"rejects a mapped literal", "https://[::ffff:8.8.8.8]/jwks", fetch.ErrAddress},
		{"rejects a zone", "https://[fe80::1%25eth0]/jwks", fetch.ErrAddress},
		{"rejects one number for an address", "https://2130706433/", fetch.ErrAddress},
		{"rejects hexadecimal numbers", "https://0x7f.1/", fetch.ErrAddress},
		{"rejects a hexadecimal end", "https://127.0.0.0x1/", fetch.ErrAddress},
		{"rejects leading zeros", "https://0177.0.0.01/", fetch.ErrAddress},
		{"rejects a number with a dot behind", "https://127.0.0.1./", fetch.ErrAddress},
		{"rejects userinfo", "https://a@as.acme.example/", fetch.ErrURL},
		{"rejects a fragment", "https://as.acme.example/#a", fetch.ErrURL},
		{"rejects an empty fragment", "https://as.acme.example/#", fetch.ErrURL},
		{"rejects file", "file:///etc/passwd", fetch.ErrURL},
		{"rejects gopher", "gopher://as.acme.example/", fetch.ErrURL},
		{"rejects no scheme", "as.acme.example", fetch.ErrURL},
		{"rejects no host", "https:///jwks", fetch.ErrURL},
		{"rejects only a port", "https://:443/", fetch.ErrURL},
		{"rejects a control character", "https://as.acme.example/\n", fetch.ErrURL},
		{"rejects 2049 bytes", "https://as.acme.example/" + strings.Repeat("a", 2025), fetch.ErrURL},
		{"rejects empty", "", fetch.ErrURL},
	} {
		if err := c.CheckURL(tc.url); !errors.Is(err, tc.want) {
			t.Errorf("%s: CheckURL = %v, want %v", tc.name, err, tc.want)
		}
	}
}

func TestNewRejectsBadPrefixes(t *testing.T) {
	t.Parallel()
	for _, p := range []netip.Prefix{{}, netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.0"), 104)} {
		if _, err := fetch.New(fetch.Options{Allow: []netip.Prefix{p}}); err == nil {
			t.Errorf("New accepted %v", p)
		}
	}
}
