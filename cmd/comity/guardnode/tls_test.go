package guardnode_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/comity-auth/comity/fixtures/pki"
)

// secured is a site whose public listener speaks TLS.
func secured(t testing.TB, ca *pki.CA, dir string) *site {
	t.Helper()
	certFile, keyFile, err := pki.Files(dir, ca.Server(t))
	if err != nil {
		t.Fatal(err)
	}
	return newSite(t, echo, fmt.Sprintf("tls: {cert_file: %q, key_file: %q}", certFile, keyFile)).run(t).started(t)
}

// serial is that of the certificate of a fresh handshake.
func (s *site) serial(t testing.TB, c *tls.Config) (string, error) {
	t.Helper()
	conn, err := (&tls.Dialer{Config: c}).DialContext(context.WithoutCancel(t.Context()), "tcp", s.public.Addr().String())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return "", errors.New("no TLS")
	}
	return secure.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

// MT-11: nothing older than TLS 1.3 is spoken, nor plain HTTP.
func TestMT11OnlyTLS13(t *testing.T) {
	t.Parallel()
	ca := pki.Start(t, "guard test")
	s := secured(t, ca, t.TempDir())
	if _, err := s.serial(t, &tls.Config{RootCAs: ca.Pool()}); err != nil {
		t.Errorf("TLS 1.3: %v", err)
	}
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12} {
		_, err := s.serial(t, &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS10, MaxVersion: version})
		// The alert protocol_version (RFC 8446 section 6), whose type is not exported.
		if err == nil || !strings.Contains(err.Error(), "remote error: tls: protocol version not supported") {
			t.Errorf("%s: got %v, want the alert protocol_version", tls.VersionName(version), err)
		}
	}
	// The body may be lost with the connection.
	if code, _, _ := status(fresh(), s.request(t, http.MethodGet, s.url()+"/", s.token(nil), nil)); code != http.StatusBadRequest {
		t.Errorf("plain HTTP: status %d, want 400", code)
	}
}

// A certificate that is replaced on disk is used by new handshakes; one that is
// none keeps the old.
func TestCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	ca, dir := pki.Start(t, "guard test"), t.TempDir()
	s := secured(t, ca, dir)
	next := ca.Server(t)
	if _, _, err := pki.Files(dir, next); err != nil {
		t.Fatal(err)
	}
	with := &tls.Config{RootCAs: ca.Pool()}
	eventually(t, func() error {
		got, err := s.serial(t, with)
		if err == nil && got != next.Leaf.SerialNumber.String() {
			err = errors.New("the old certificate is shown still")
		}
		return err
	})
	other := ca.Server(t)
	broken := tls.Certificate{Certificate: other.Certificate, PrivateKey: next.PrivateKey, Leaf: other.Leaf}
	if _, _, err := pki.Files(dir, broken); err != nil {
		t.Fatal(err)
	}
	s.logged(t, `"reload.failed","what":"certificates"`)
	if got, err := s.serial(t, with); err != nil || got != next.Leaf.SerialNumber.String() {
		t.Errorf("certificate %s, %v after a bad file, want still %s", got, err, next.Leaf.SerialNumber)
	}
}

// RFC 8705 section 3: the listener asks for a certificate, needs none, and a token
// that is bound to one is admitted with that one alone. Self-signed ones will do.
func TestCertificateBoundTokens(t *testing.T) {
	t.Parallel()
	ca := pki.Start(t, "guard test")
	s := secured(t, ca, t.TempDir())
	mine, err := pki.SelfSigned(pki.Leaf{})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(mine.Certificate[0])
	bound := s.token(map[string]any{"cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}})
	for _, tt := range []struct {
		name, token string
		shows       []tls.Certificate
		want        int
	}{
		{"admits with the certificate", bound, []tls.Certificate{mine}, http.StatusOK},
		{"refuses without one", bound, nil, http.StatusUnauthorized},
		{"refuses with another", bound, []tls.Certificate{ca.Client(t, "agent")}, http.StatusUnauthorized},
		{"admits a token that is bound to none without one", s.token(nil), nil, http.StatusOK},
	} {
		c := fresh()
		c.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: tt.shows}}
		code, text, err := status(c, s.request(t, http.MethodGet, "https://"+s.public.Addr().String()+"/", tt.token, nil))
		if err != nil || code != tt.want {
			t.Errorf("%s: %d %s, %v; want %d", tt.name, code, text, err, tt.want)
		}
	}
}

// Behind a proxy that ends TLS the certificate comes in a header, and only from
// those that are trusted.
func TestCertificateFromTrustedProxies(t *testing.T) {
	t.Parallel()
	mine, err := pki.SelfSigned(pki.Leaf{})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(mine.Certificate[0])
	cnf := map[string]any{"cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}}
	rfc9440 := ":" + base64.StdEncoding.EncodeToString(mine.Certificate[0]) + ":"
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mine.Certificate[0]}))
	nginx := strings.ReplaceAll(url.QueryEscape(text), "+", "%20") // as $ssl_client_escaped_cert
	for _, tt := range []struct {
		name, line, header, value string
		want                      int
	}{
		{"reads Client-Cert", "trusted_proxies: [127.0.0.0/8]\nclient_cert_header: Client-Cert", "Client-Cert", rfc9440, http.StatusOK},
		{"reads no header unless told", "trusted_proxies: [127.0.0.0/8]", "Client-Cert", rfc9440, http.StatusUnauthorized},
		{"reads the header that it is told", "trusted_proxies: [127.0.0.0/8]\nclient_cert_header: X-SSL-Client-Cert", "X-SSL-Client-Cert", nginx, http.StatusOK},
		{"reads no other header", "trusted_proxies: [127.0.0.0/8]\nclient_cert_header: Client-Cert", "X-SSL-Client-Cert", nginx, http.StatusUnauthorized},
		{"believes nobody by itself", "", "Client-Cert", rfc9440, http.StatusUnauthorized},
		{"believes those that are trusted alone", "trusted_proxies: [10.0.0.0/8]\nclient_cert_header: Client-Cert", "Client-Cert", rfc9440, http.StatusUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, echo, tt.line).run(t).started(t)
			r := s.request(t, http.MethodGet, s.url()+"/", s.token(cnf), nil)
			r.Header.Set(tt.header, tt.value)
			if code, text, err := status(fresh(), r); err != nil || code != tt.want {
				t.Errorf("%d %s, %v; want %d", code, text, err, tt.want)
			}
		})
	}
}
