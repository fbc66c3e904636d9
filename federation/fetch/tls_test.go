package fetch_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation/fetch"
)

// certificate makes a self-signed server certificate.
func certificate(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func serveTLS(t *testing.T, config *tls.Config) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }))
	s.TLS = config
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// DS-32: without a certificate that verifies there is no fetch.
func TestDS32Certificates(t *testing.T) {
	t.Parallel()
	good := certificate(t, func(*x509.Certificate) {})
	expired := certificate(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early := certificate(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	other := certificate(t, func(c *x509.Certificate) { c.IPAddresses = nil; c.DNSNames = []string{"other.example"} })
	for _, tc := range []struct {
		name  string
		cert  tls.Certificate
		trust *x509.Certificate
		max   uint16
		want  error
	}{
		{"accepts a trusted certificate", good, good.Leaf, 0, nil},
		{"accepts TLS 1.2", good, good.Leaf, tls.VersionTLS12, nil},
		{"rejects TLS 1.1", good, good.Leaf, tls.VersionTLS11, fetch.ErrTLS},
		{"rejects TLS 1.0", good, good.Leaf, tls.VersionTLS10, fetch.ErrTLS},
		{"rejects self-signed", good, nil, 0, fetch.ErrTLS},
		{"rejects another authority", good, expired.Leaf, 0, fetch.ErrTLS},
		{"rejects expired", expired, expired.Leaf, 0, fetch.ErrTLS},
		{"rejects not valid yet", early, early.Leaf, 0, fetch.ErrTLS},
		{"rejects another name", other, other.Leaf, 0, fetch.ErrTLS},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{tc.cert}, MinVersion: tls.VersionTLS10, MaxVersion: tc.max})
			o := fetch.Options{Allow: loopback, RootCAs: x509.NewCertPool()}
			if tc.trust != nil {
				o.RootCAs.AddCert(tc.trust)
			}
			got, err := client(t, o).Get(t.Context(), fetch.Request{URL: s.URL})
			if !errors.Is(err, tc.want) {
				t.Fatalf("Get = %v, want %v", err, tc.want)
			}
			if err == nil && got.TLSVersion < tls.VersionTLS12 {
				t.Errorf("TLS version %x", got.TLSVersion)
			}
		})
	}
}

func TestPlainServerBehindHTTPS(t *testing.T) {
	t.Parallel()
	s, _ := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, err := client(t, quick()).Get(t.Context(), fetch.Request{URL: strings.Replace(s.URL, "http:", "https:", 1)})
	if !errors.Is(err, fetch.ErrTLS) || !errors.Is(err, fetch.ErrUnreachable) {
		t.Errorf("Get = %v, want ErrTLS", err)
	}
}

func TestLoadCAs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := certificate(t, func(*x509.Certificate) {})
	file := filepath.Join(dir, "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: good.Certificate[0]})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	roots, err := fetch.LoadCAs(file)
	if err != nil {
		t.Fatal(err)
	}
	s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{good}})
	if _, err := client(t, fetch.Options{Allow: loopback, RootCAs: roots}).Get(t.Context(), fetch.Request{URL: s.URL}); err != nil {
		t.Errorf("Get = %v", err)
	}
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{empty, filepath.Join(dir, "missing.pem")} {
		if _, err := fetch.LoadCAs(bad); err == nil {
			t.Errorf("LoadCAs(%s) succeeded", filepath.Base(bad))
		}
	}
}

// A client that trusts otherwise asks for every connection, and whoever it
// trusts, c does not.
func TestTrusting(t *testing.T) {
	t.Parallel()
	odd := certificate(t, func(c *x509.Certificate) { c.IPAddresses = nil }) // for no name at all
	s := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{odd}})
	c := client(t, fetch.Options{Allow: loopback})
	asked := 0
	trusting := c.Trusting(func(chain []*x509.Certificate) error {
		if asked++; !chain[0].Equal(odd.Leaf) {
			return errors.New("another one")
		}
		return nil
	})
	for range 2 {
		if _, err := trusting.Get(t.Context(), fetch.Request{URL: s.URL}); err != nil {
			t.Errorf("Get of a trusted host = %v", err)
		}
		if _, err := c.Get(t.Context(), fetch.Request{URL: s.URL}); !errors.Is(err, fetch.ErrTLS) {
			t.Errorf("Get by the client itself = %v, want ErrTLS", err)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times, want once for each connection", asked)
	}
	other := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{certificate(t, func(*x509.Certificate) {})}})
	if _, err := trusting.Get(t.Context(), fetch.Request{URL: other.URL}); !errors.Is(err, fetch.ErrTLS) {
		t.Errorf("Get of another host = %v, want ErrTLS", err)
	}
	if _, err := c.Trusting(nil).Get(t.Context(), fetch.Request{URL: s.URL}); !errors.Is(err, fetch.ErrTLS) {
		t.Errorf("Get without a verdict = %v, want ErrTLS", err)
	}
	// DS-06: what may be dialled does not depend on who is trusted.
	if _, err := trusting.Get(t.Context(), fetch.Request{URL: "https://10.0.0.1/"}); !errors.Is(err, fetch.ErrAddress) {
		t.Errorf("Get of a private address = %v, want ErrAddress", err)
	}
	old := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{odd}, MaxVersion: tls.VersionTLS11})
	if _, err := trusting.Get(t.Context(), fetch.Request{URL: old.URL}); !errors.Is(err, fetch.ErrTLS) {
		t.Errorf("Get by TLS 1.1 = %v, want ErrTLS", err)
	}
}
