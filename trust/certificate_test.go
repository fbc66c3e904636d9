package trust_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/fixtures/pki"
	"github.com/comity-auth/comity/trust"
)

// withTLS is a trust file whose last client authenticates by certificate.
func withTLS(t *testing.T, auth, member string, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return edit(t, world, "id: open, auth: none", fmt.Sprintf("id: open, auth: %s, %s: %s", auth, member, text))
}

// registered compiles such a file and gives what the client may show.
func registered(t *testing.T, file string) *trust.Certificate {
	t.Helper()
	c := compile(t, file).Client("open")
	if c == nil || c.Certificate == nil {
		t.Fatal("the client has no certificate")
	}
	return c.Certificate
}

func leaf(t *testing.T, ca *pki.CA, l pki.Leaf) *x509.Certificate {
	t.Helper()
	var cert tls.Certificate
	var err error
	if ca == nil {
		cert, err = pki.SelfSigned(l)
	} else {
		cert, err = ca.Issue(l)
	}
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf
}

func TestCertificateRules(t *testing.T) {
	t.Parallel()
	ca := pki.Start(t, "trust test")
	good := string(ca.PEM())
	for _, row := range []struct {
		name        string
		tls         map[string]string
		path, words string
	}{
		{"refuses two names", map[string]string{"san_dns": "a.example", "san_uri": "spiffe://a.example/b", "ca": good}, "clients[4].tls", "exactly one"},
		{"refuses no name", map[string]string{"ca": good}, "clients[4].tls", "exactly one"},
		{"refuses an authority that is no PEM", map[string]string{"san_dns": "a.example", "ca": "x"}, "clients[4].tls.ca", "PEM"},
		{"refuses text behind the authority", map[string]string{"san_dns": "a.example", "ca": good + "x"}, "clients[4].tls.ca", "nothing else"},
		{"refuses a key for an authority", map[string]string{"san_dns": "a.example", "ca": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}, "clients[4].tls.ca", "PEM"},
		{"refuses nine authorities", map[string]string{"san_dns": "a.example", "ca": strings.Repeat(good, 9)}, "clients[4].tls.ca", "1 to 8"},
		{"refuses a leaf for an authority", map[string]string{"san_dns": "a.example", "ca": pemOf(leaf(t, ca, pki.Leaf{}))}, "clients[4].tls.ca", "no authority's"},
		{"refuses a DNS name with a wildcard", map[string]string{"san_dns": "*.example", "ca": good}, "clients[4].tls.san_dns", "wildcard"},
		{"refuses a DNS name in capitals", map[string]string{"san_dns": "A.example", "ca": good}, "clients[4].tls.san_dns", "lower case"},
		{"refuses a relative URI", map[string]string{"san_uri": "/agent", "ca": good}, "clients[4].tls.san_uri", "absolute"},
		{"refuses a name for an address", map[string]string{"san_ip": "a.example", "ca": good}, "clients[4].tls.san_ip", "address"},
		{"refuses a subject without types", map[string]string{"subject_dn": "agent", "ca": good}, "clients[4].tls.subject_dn", "RFC 4514"},
		{"refuses a subject that ends in an escape", map[string]string{"subject_dn": `CN=a\`, "ca": good}, "clients[4].tls.subject_dn", "RFC 4514"},
		{"refuses a subject with an empty value", map[string]string{"subject_dn": "CN=", "ca": good}, "clients[4].tls.subject_dn", "RFC 4514"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wantProblem(t, withTLS(t, "tls_client_auth", "tls", row.tls), row.path, row.words)
		})
	}
}

func pemOf(cert *x509.Certificate) string {
	return "-----BEGIN CERTIFICATE-----\n" + base64.StdEncoding.EncodeToString(cert.Raw) + "\n-----END CERTIFICATE-----\n"
}

func TestCertificateNames(t *testing.T) {
	t.Parallel()
	ca := pki.Start(t, "trust test")
	cert := leaf(t, ca, pki.Leaf{
		Subject: pkix.Name{CommonName: "agent, one", Organization: []string{"Acme + Sons"}, Country: []string{"DE"}},
		Hosts:   []string{"agent.acme.example", "192.0.2.7", "2001:db8::7"}, URIs: []string{"spiffe://acme.example/agent"},
	})
	for _, row := range []struct {
		name, member, value string
		want                bool
	}{
		{"accepts the subject", "subject_dn", `CN=agent\, one,O=Acme \+ Sons,C=DE`, true},
		{"accepts the subject with other escapes and blanks", "subject_dn", `cn=agent\2c one, o=Acme \2B Sons, c=DE`, true},
		{"refuses the subject in another order", "subject_dn", `C=DE,O=Acme \+ Sons,CN=agent\, one`, false},
		{"refuses a part of the subject", "subject_dn", `CN=agent\, one,O=Acme \+ Sons`, false},
		{"refuses more than the subject", "subject_dn", `CN=agent\, one,O=Acme \+ Sons,ST=x,C=DE`, false},
		{"refuses the subject in other case", "subject_dn", `CN=Agent\, one,O=Acme \+ Sons,C=DE`, false},
		{"refuses a value that only reads like the subject", "subject_dn", `CN=agent\, one\,O=Acme \+ Sons\,C=DE`, false},
		{"accepts a DNS name", "san_dns", "agent.acme.example", true},
		{"refuses a parent of the DNS name", "san_dns", "acme.example", false},
		{"refuses the common name as DNS name", "san_dns", "agent", false},
		{"accepts a URI", "san_uri", "spiffe://acme.example/agent", true},
		{"refuses a longer URI", "san_uri", "spiffe://acme.example/agent/2", false},
		{"accepts an address", "san_ip", "192.0.2.7", true},
		{"accepts an address of IPv6 in another spelling", "san_ip", "2001:DB8:0::7", true},
		{"accepts an address of IPv4 in IPv6", "san_ip", "::ffff:192.0.2.7", true},
		{"refuses another address", "san_ip", "192.0.2.8", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := registered(t, withTLS(t, "tls_client_auth", "tls", map[string]string{row.member: row.value, "ca": string(ca.PEM())}))
			if got := c.Names(cert); got != row.want {
				t.Errorf("got %t, want %t", got, row.want)
			}
			if c.Holds(cert) {
				t.Error("the certificate counts as registered")
			}
		})
	}
	if (*trust.Certificate)(nil).Names(cert) || (&trust.Certificate{}).Names(cert) || (&trust.Certificate{}).Holds(cert) {
		t.Error("the zero Certificate is somebody's")
	}
}

// MT-05: a certificate counts by its key, or when it is registered as x5c by
// itself alone.
func TestMT05RegisteredCertificates(t *testing.T) {
	t.Parallel()
	cert, other := leaf(t, nil, pki.Leaf{}), leaf(t, nil, pki.Leaf{})
	set := func(k jose.JSONWebKey) string {
		return withTLS(t, "self_signed_tls_client_auth", "jwks", jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k}})
	}
	byKey := registered(t, set(jose.JSONWebKey{Key: cert.PublicKey}))
	exact := registered(t, set(jose.JSONWebKey{Key: cert.PublicKey, Certificates: []*x509.Certificate{cert}}))
	renewed := *cert
	renewed.Raw = append([]byte{}, cert.Raw...)
	renewed.Raw[len(renewed.Raw)-1] ^= 1
	for _, row := range []struct {
		name string
		by   *trust.Certificate
		cert *x509.Certificate
		want bool
	}{
		{"accepts a certificate of the key", byKey, cert, true},
		{"accepts another certificate of the key", byKey, &renewed, true},
		{"refuses a certificate of another key", byKey, other, false},
		{"accepts the certificate", exact, cert, true},
		{"refuses another certificate of the key beside x5c", exact, &renewed, false},
		{"refuses none", byKey, nil, false},
	} {
		if got := row.by.Holds(row.cert); got != row.want {
			t.Errorf("%s: got %t, want %t", row.name, got, row.want)
		}
	}
}

// What mapping and client demand adds up.
func TestProofDemandsAddUp(t *testing.T) {
	t.Parallel()
	const none, key, cert, both = 0, 1, 2, 3
	needs := map[string]func(int) bool{
		"optional": func(int) bool { return true },
		"required": func(p int) bool { return p != none },
		"dpop":     func(p int) bool { return p&key != 0 },
		"mtls":     func(p int) bool { return p&cert != 0 },
		"both":     func(p int) bool { return p == both },
	}
	for mapping, first := range needs {
		s := compile(t, research("scopes: [archive.read]", "proof: "+mapping))
		for client, second := range needs {
			for proven := none; proven <= both; proven++ {
				a := ask(t, s, scoped("archive.read"))
				demanding := *a.Client
				demanding.Proof = trust.Proof(client)
				a.Client, a.DPoP, a.Certificate = &demanding, proven&key != 0, proven&cert != 0
				g, _, err := decide(t, s, a)
				if want := first(proven) && second(proven); (err == nil) != want {
					t.Errorf("mapping %s, client %s, proven %d: got %v, want allowed %t", mapping, client, proven, err, want)
				}
				demanded := strings.Contains(mapping+client, "mtls") || strings.Contains(mapping+client, "both")
				if err == nil && g.NeedsCertificate != demanded {
					t.Errorf("mapping %s, client %s: got NeedsCertificate %t, want %t", mapping, client, g.NeedsCertificate, demanded)
				}
			}
		}
	}
}
