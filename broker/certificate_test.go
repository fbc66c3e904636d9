package broker_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/broker"
	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/federation/clientcert"
	"github.com/comity-auth/comity/fixtures/pki"
	"github.com/comity-auth/comity/trust/ident"
)

// behind is a public handler behind a proxy at 192.0.2.7.
func behind(t testing.TB, header string) (*listener, http.Handler) {
	t.Helper()
	issuer, err := ident.ParseIssuer("https://broker.globex.example")
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{}
	h, err := broker.New(broker.Options{Issuer: issuer, Exchanger: l, Inspector: unasked{}, JWKS: func() []byte { return nil }, Algorithm: "ES256",
		Ready: func() error { return nil }, Logger: slog.New(slog.DiscardHandler),
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, CertificateHeader: header})
	if err != nil {
		t.Fatal(err)
	}
	return l, h
}

// shown is what reaches the exchange of a request with these headers.
func shown(l *listener, h http.Handler, from string, headers ...string) exchange.Request {
	l.heard = exchange.Request{}
	r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader("a=b"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.RemoteAddr = from
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	h.ServeHTTP(httptest.NewRecorder(), r)
	return l.heard
}

func sequence(der []byte) string { return ":" + base64.StdEncoding.EncodeToString(der) + ":" }

func escaped(chain ...[]byte) string {
	var b bytes.Buffer
	for _, der := range chain {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return url.QueryEscape(b.String())
}

// weak is a certificate with an RSA key of 1024 bits.
func weak(t testing.TB) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "weak"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// MT-06, MT-10: only a trusted proxy says which certificate a client has, in the
// one header it is known to set, and only within the limits.
func TestMT06CertificateHeaders(t *testing.T) {
	t.Parallel()
	const proxy, stranger, rfc9440 = "192.0.2.7:1", "198.51.100.7:1", clientcert.HeaderRFC9440
	ca := pki.Start(t, "broker test")
	der := ca.Client(t, "agent").Leaf.Raw
	spaced := strings.ReplaceAll(escaped(der), "+", "%20") // nginx writes a blank so
	rsa1024 := weak(t)
	for _, row := range []struct {
		name, header, from string
		headers            []string
		want               int // certificates; -1 for a defect
	}{
		{"takes the header of a proxy", rfc9440, proxy, []string{"Client-Cert", sequence(der)}, 1},
		{"takes the chain besides", rfc9440, proxy, []string{"Client-Cert", sequence(der), "Client-Cert-Chain", sequence(der) + " ,\t" + sequence(der)}, 3},
		{"takes a chain in two headers", rfc9440, proxy, []string{"Client-Cert", sequence(der), "Client-Cert-Chain", sequence(der), "Client-Cert-Chain", sequence(der)}, 3},
		{"takes nothing from a stranger", rfc9440, stranger, []string{"Client-Cert", sequence(der)}, 0},
		{"takes nothing of a chain alone", rfc9440, proxy, []string{"Client-Cert-Chain", sequence(der)}, 0},
		{"takes no other header", rfc9440, proxy, []string{"X-SSL-Client-Cert", spaced, "X-Client-Cert", spaced, "X-Forwarded-Client-Cert", spaced}, 0},
		{"takes PEM where that is configured", clientcert.HeaderNginx, proxy, []string{"X-SSL-Client-Cert", spaced}, 1},
		{"takes no RFC 9440 where PEM is configured", clientcert.HeaderNginx, proxy, []string{"Client-Cert", sequence(der)}, 0},
		{"takes no PEM from a stranger", clientcert.HeaderNginx, stranger, []string{"X-SSL-Client-Cert", spaced}, 0},
		{"refuses two headers", rfc9440, proxy, []string{"Client-Cert", sequence(der), "Client-Cert", sequence(der)}, -1},
		{"refuses a list", rfc9440, proxy, []string{"Client-Cert", sequence(der) + "," + sequence(der)}, -1},
		{"refuses a comma at the end", rfc9440, proxy, []string{"Client-Cert", sequence(der) + ","}, -1},
		{"refuses a text", rfc9440, proxy, []string{"Client-Cert", `"` + base64.StdEncoding.EncodeToString(der) + `"`}, -1},
		{"refuses an empty sequence", rfc9440, proxy, []string{"Client-Cert", "::"}, -1},
		{"refuses trailing bits", rfc9440, proxy, []string{"Client-Cert", ":AB==:"}, -1},
		{"refuses DER with more behind it", rfc9440, proxy, []string{"Client-Cert", sequence(append(slices.Clone(der), 1))}, -1},
		{"refuses a chain of 11", rfc9440, proxy, []string{"Client-Cert", sequence(der), "Client-Cert-Chain", strings.Repeat(sequence(der)+",", 9) + sequence(der)}, -1},
		{"refuses a header beyond the limits", rfc9440, proxy, []string{"Client-Cert", sequence(make([]byte, 100<<10))}, -1},
		{"refuses an RSA key of 1024 bits", rfc9440, proxy, []string{"Client-Cert", sequence(rsa1024)}, -1},
		{"refuses a weak key up the chain", rfc9440, proxy, []string{"Client-Cert", sequence(der), "Client-Cert-Chain", sequence(rsa1024)}, -1},
		{"refuses a DSA key", rfc9440, proxy, []string{"Client-Cert", ":" + dsa + ":"}, -1},
		{"refuses a DSA key up the chain", rfc9440, proxy, []string{"Client-Cert", sequence(der), "Client-Cert-Chain", ":" + dsa + ":"}, -1},
		{"refuses PEM with text before it", clientcert.HeaderNginx, proxy, []string{"X-SSL-Client-Cert", "x%0A" + spaced}, -1},
		{"refuses PEM with text behind it", clientcert.HeaderNginx, proxy, []string{"X-SSL-Client-Cert", spaced + "x"}, -1},
		{"refuses PEM of something else", clientcert.HeaderNginx, proxy, []string{"X-SSL-Client-Cert", strings.ReplaceAll(spaced, "CERTIFICATE", "PUBLIC%20KEY")}, -1},
		{"takes none unless told to", "", proxy, []string{"Client-Cert", sequence(der), "X-SSL-Client-Cert", spaced}, 0},
		{"takes none when told not to", clientcert.NoHeader, proxy, []string{"Client-Cert", sequence(der), "None", sequence(der)}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l, h := behind(t, row.header)
			got := shown(l, h, row.from, row.headers...)
			if row.want < 0 {
				if !errors.Is(got.CertificateDefect, clientcert.ErrForm) {
					t.Errorf("got %d certificates, defect %v, want a defect", len(got.Certificates), got.CertificateDefect)
				}
				return
			}
			if len(got.Certificates) != row.want || got.CertificateDefect != nil {
				t.Errorf("got %d certificates, defect %v, want %d", len(got.Certificates), got.CertificateDefect, row.want)
			}
			for _, cert := range got.Certificates {
				if !bytes.Equal(cert.Raw, der) {
					t.Error("got another certificate than the header's")
				}
			}
		})
	}
}

// FuzzCertificateHeader sends arbitrary headers as a trusted proxy: what reaches
// the exchange is a chain within the limits, a defect, or nothing.
func FuzzCertificateHeader(f *testing.F) {
	der := pki.Start(f, "fuzz").Client(f, "agent").Leaf.Raw
	f.Add(sequence(der), sequence(der), false)
	f.Add(escaped(der, der), "", true)
	f.Add(":"+dsa+":", ":AA==:, :BB==:", false)
	f.Add("::", ",", false)
	f.Add("%", "", true)
	plain, plainHandler := behind(f, clientcert.HeaderRFC9440)
	nginx, nginxHandler := behind(f, clientcert.HeaderNginx)
	f.Fuzz(func(t *testing.T, value, chain string, ssl bool) {
		l, h, name := plain, plainHandler, clientcert.HeaderRFC9440
		if ssl {
			l, h, name = nginx, nginxHandler, clientcert.HeaderNginx
		}
		got := shown(l, h, "192.0.2.7:1", name, value, "Client-Cert-Chain", chain)
		switch {
		case got.CertificateDefect != nil:
			if !errors.Is(got.CertificateDefect, clientcert.ErrForm) {
				t.Errorf("got defect %v of another kind", got.CertificateDefect)
			}
		case len(got.Certificates) == 0:
			if value != "" {
				t.Errorf("got nothing of %q", value)
			}
		case len(got.Certificates) > clientcert.MaxChain:
			t.Errorf("got %d certificates", len(got.Certificates))
		}
	})
}

// dsa is a self-signed certificate with a DSA key of 1024 bits, in base64.
const dsa = "" +
	"MIIC4jCCAo+gAwIBAgIUJ71ZglVHLft/9W06W2Nt0AUENlowCwYJYIZIAWUDBAMCMBQxEjAQBgNVBAMMCWFnZW50LWRzYTAgFw0yNjExMjEwNTA4NTdaGA8y" +
	"MTI2MTAyODA1MDg1N1owFDESMBAGA1UEAwwJYWdlbnQtZHNhMIIBwDCCATQGByqGSM44BAEwggEnAoGBAOAPnqJZBY0rRkJsk7OK70V9AlO7geGyNcy71d3i" +
	"rSQfIWGgUI7WZvBrOGmRG4zIpQcNVcHGjONdJ9PME8x7fF2QGyPBGi7mkm9bknIAqV8ibIaNF7HUdKFWcdlCj2qNmOs6eDYO6enyeO7IAInkKoT6c6aAtVw8" +
	"FZDB2lbQ5GFvAh0AuklYCy8z5mdHpHW1iO834ovLrm0x8t6euufbOQKBgQDZLsr+1aU8T2LaEGWH6MAIzIWO47oqH4LrHafdTBKsRAgrfbC/ryMVNSS4Edk/" +
	"hb01V6otHhzDORxY01oQheg67u5zhB4qbkCPpucHwTDpCOfurAsvftd9kokWG1YH09l05rFg9mA1z4yIER/N8zS2ooAdKQknhd0YJtsAe0XLEQOBhQACgYEA" +
	"kaTbYuqwURbG0yAlBFGbau16Hgp52ILkoDkC01ny/pfj9ToSoUpqyaIb37kH9teG8CGguekxnzXLPqqgYQw5iDPbHOqQ/2oggYLsw+ugU2RFvpgU4Ms+rnRC" +
	"Y1ZPxGEssZhKX2YO2syozolGpiP93dSSN/bHmqTNkUh9xBgzPpijUzBRMB0GA1UdDgQWBBRjkIseviyGBgs4xiBOiJrMXLL6+TAfBgNVHSMEGDAWgBRjkIse" +
	"viyGBgs4xiBOiJrMXLL6+TAPBgNVHRMBAf8EBTADAQH/MAsGCWCGSAFlAwQDAgNAADA9Ahw6DWebJP/yV4HCfpcx12ik+tDHhS7B28oADBAaAh0AmJnNm944" +
	"pEmVxdti2ikxao+wt1trCCPb3UYnyA=="
