package clientcert_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/clientcert"
	"github.com/comity-auth/comity/fixtures/pki"
)

func certificate(t testing.TB, hosts ...string) *x509.Certificate {
	t.Helper()
	cert, err := pki.SelfSigned(pki.Leaf{Subject: pkix.Name{CommonName: "agent"}, Hosts: hosts})
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf
}

func sequence(der []byte) string { return ":" + base64.StdEncoding.EncodeToString(der) + ":" }

// MT-06: a header counts from a trusted hop alone, and the connection's own
// certificate from any other.
func TestMT06FromRequest(t *testing.T) {
	t.Parallel()
	mine, theirs := certificate(t), certificate(t)
	trusted := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	escaped := url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mine.Raw})))
	for _, tt := range []struct {
		name, from, header string
		headers            []string
		onConnection       *x509.Certificate
		want               *x509.Certificate
		bad                bool
	}{
		{"reads RFC 9440 of a trusted proxy", "192.0.2.7:1", clientcert.HeaderRFC9440, []string{"Client-Cert", sequence(mine.Raw)}, theirs, mine, false},
		{"reads PEM of a trusted proxy", "192.0.2.7:1", clientcert.HeaderNginx, []string{"X-SSL-Client-Cert", escaped}, nil, mine, false},
		{"never takes the proxy's own certificate", "192.0.2.7:1", clientcert.HeaderRFC9440, nil, theirs, nil, false},
		{"reads the connection of any other", "203.0.113.1:1", clientcert.HeaderRFC9440, []string{"Client-Cert", sequence(mine.Raw)}, theirs, theirs, false},
		{"finds nothing where nothing is shown", "203.0.113.1:1", clientcert.HeaderRFC9440, []string{"Client-Cert", sequence(mine.Raw)}, nil, nil, false},
		{"refuses two headers", "192.0.2.7:1", clientcert.HeaderRFC9440, []string{"Client-Cert", sequence(mine.Raw), "Client-Cert", sequence(mine.Raw)}, nil, nil, true},
		{"refuses what is no certificate", "192.0.2.7:1", clientcert.HeaderRFC9440, []string{"Client-Cert", sequence([]byte("x"))}, nil, nil, true},
		{"refuses a chain beyond the limit", "192.0.2.7:1", clientcert.HeaderRFC9440, append([]string{"Client-Cert", sequence(mine.Raw)}, many("Client-Cert-Chain", sequence(mine.Raw), clientcert.MaxChain)...), nil, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = tt.from
			for i := 0; i < len(tt.headers); i += 2 {
				r.Header.Add(tt.headers[i], tt.headers[i+1])
			}
			if tt.onConnection != nil {
				r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{tt.onConnection}}
			}
			got, err := clientcert.FromRequest(r, trusted, tt.header)
			if tt.bad != errors.Is(err, clientcert.ErrForm) || (tt.want == nil) != (len(got) == 0) || tt.want != nil && !got[0].Equal(tt.want) {
				t.Errorf("FromRequest = %d certificates, %v", len(got), err)
			}
		})
	}
}

func many(name, value string, n int) []string {
	var out []string
	for range n {
		out = append(out, name, value)
	}
	return out
}

// MT-10: what would cost more than a few signatures is not looked at.
func TestMT10Limits(t *testing.T) {
	t.Parallel()
	var hosts []string
	for i := range 101 {
		hosts = append(hosts, "h"+strconv.Itoa(i)+".example")
	}
	good, crowded := certificate(t), certificate(t, hosts...)
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	short, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	long := make([]*x509.Certificate, clientcert.MaxChain+1)
	for i := range long {
		long[i] = good
	}
	for name, chain := range map[string][]*x509.Certificate{"no chain": nil, "too long": long, "too many names": {crowded}, "a short key": {short}, "behind a good one": {good, crowded}} {
		if err := clientcert.Check(chain); !errors.Is(err, clientcert.ErrForm) {
			t.Errorf("%s: Check = %v, want ErrForm", name, err)
		}
	}
	if err := clientcert.Check([]*x509.Certificate{good}); err != nil {
		t.Errorf("Check = %v", err)
	}
	if _, err := clientcert.Parse([][]byte{[]byte(strings.Repeat("x", clientcert.MaxBytes+1))}); !errors.Is(err, clientcert.ErrForm) {
		t.Errorf("Parse of too much = %v, want ErrForm", err)
	}
}
