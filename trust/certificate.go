package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	jose "github.com/go-jose/go-jose/v4"
)

// maxAuthorities bounds the certificates of a client's ca.
const maxAuthorities = 8

// Certificate says which certificates are a client's (RFC 8705 section 2). The
// zero Certificate is nobody's.
type Certificate struct {
	// Authorities vouch for the certificate of a tls_client_auth client; nil for
	// a self_signed_tls_client_auth client.
	Authorities *x509.CertPool

	// Exactly one of these is set beside Authorities.
	subject string // as canonicalName writes it
	dns     string
	uri     string
	ip      netip.Addr

	// What a self_signed_tls_client_auth client is registered with: digests of
	// public keys, and of whole certificates.
	keys, exact map[[sha256.Size]byte]bool
}

// Names reports whether the certificate bears the registered name (RFC 8705
// section 2.1.2). It says nothing about who vouches for that.
func (c *Certificate) Names(cert *x509.Certificate) bool {
	switch {
	case c == nil || cert == nil:
		return false
	case c.subject != "":
		name, err := canonicalSubject(cert.RawSubject)
		return err == nil && name == c.subject
	case c.dns != "":
		return slices.ContainsFunc(cert.DNSNames, func(s string) bool { return strings.EqualFold(s, c.dns) })
	case c.uri != "":
		return slices.ContainsFunc(cert.URIs, func(u *url.URL) bool { return u.String() == c.uri })
	case c.ip.IsValid():
		for _, raw := range cert.IPAddresses {
			if ip, ok := netip.AddrFromSlice(raw); ok && ip.Unmap() == c.ip {
				return true
			}
		}
	}
	return false
}

// Holds reports whether the certificate, or its public key, is registered
// (RFC 8705 section 2.2).
func (c *Certificate) Holds(cert *x509.Certificate) bool {
	if c == nil || cert == nil || len(cert.Raw) == 0 || len(cert.RawSubjectPublicKeyInfo) == 0 {
		return false
	}
	return c.exact[sha256.Sum256(cert.Raw)] || c.keys[sha256.Sum256(cert.RawSubjectPublicKeyInfo)]
}

// clientTLS reads the tls member of a tls_client_auth client.
func (n *notes) clientTLS(s *TLSSpec) *Certificate {
	if s == nil {
		s = &TLSSpec{}
	}
	c := &Certificate{Authorities: n.authorities("tls.ca", s.CA)}
	given := 0
	for _, f := range []struct {
		name, text string
		read       func(string) error
	}{
		{"subject_dn", s.SubjectDN, func(text string) (err error) { c.subject, err = canonicalName(text); return err }},
		{"san_dns", s.SANDNS, c.readDNS},
		{"san_uri", s.SANURI, c.readURI},
		{"san_ip", s.SANIP, c.readIP},
	} {
		if f.text == "" {
			continue
		}
		given++
		n.check("tls."+f.name, f.read(f.text))
	}
	if given != 1 {
		n.add("tls", "tls_client_auth needs exactly one of subject_dn, san_dns, san_uri and san_ip")
	}
	return c
}

func (c *Certificate) readDNS(text string) error {
	if len(text) > 253 || strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	}) {
		return errors.New("want a DNS name in lower case, without a wildcard")
	}
	c.dns = text
	return nil
}

func (c *Certificate) readURI(text string) error {
	// Compared as package url writes it, so it has to be written so.
	u, err := url.Parse(text)
	if err != nil || !u.IsAbs() || len(text) > 2048 || u.String() != text {
		return errors.New("want an absolute URI, such as spiffe://acme.example/agent")
	}
	c.uri = text
	return nil
}

func (c *Certificate) readIP(text string) error {
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" {
		return errors.New("want an IP address")
	}
	c.ip = ip.Unmap()
	return nil
}

// authorities reads certificates in PEM and nothing else.
func (n *notes) authorities(path, text string) *x509.CertPool {
	pool, count := x509.NewCertPool(), 0
	for rest := []byte(text); len(bytes.TrimSpace(rest)) > 0; count++ {
		var block *pem.Block
		if block, rest = pem.Decode(bytes.TrimSpace(rest)); block == nil || block.Type != "CERTIFICATE" || count == maxAuthorities {
			n.add(path, "want 1 to %d certificates in PEM, and nothing else", maxAuthorities)
			return pool
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			n.add(path, "holds a certificate that cannot be read")
			return pool
		}
		if !cert.BasicConstraintsValid || !cert.IsCA {
			n.add(path, "holds a certificate that is no authority's")
		}
		pool.AddCert(cert)
	}
	if count == 0 {
		n.add(path, "is missing: the authority that vouches for the certificate, in PEM")
	}
	return pool
}

// registered reads the keys of a self_signed_tls_client_auth client. A key with
// x5c stands for that certificate alone.
func (n *notes) registered(set []byte) *Certificate {
	c := &Certificate{keys: map[[sha256.Size]byte]bool{}, exact: map[[sha256.Size]byte]bool{}}
	var parsed jose.JSONWebKeySet
	if set == nil || !n.check("jwks", json.Unmarshal(set, &parsed)) {
		return c
	}
	for _, k := range parsed.Keys {
		if len(k.Certificates) > 0 {
			c.exact[sha256.Sum256(k.Certificates[0].Raw)] = true
			continue
		}
		der, err := x509.MarshalPKIXPublicKey(k.Key)
		if n.check("jwks", err) {
			c.keys[sha256.Sum256(der)] = true
		}
	}
	return c
}

// canonicalSubject is canonicalName of a certificate's subject.
func canonicalSubject(raw []byte) (string, error) {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &name); err != nil || len(rest) > 0 {
		return "", errName
	}
	return canonicalName(name.String())
}

var errName = errors.New("want a distinguished name as RFC 4514 writes it, such as CN=agent-1,O=Acme,C=DE")

// canonicalName gives a distinguished name in the text form of RFC 4514 one
// spelling: types in capitals, one way to escape, the parts of one RDN in order.
// Values stay as they are, so they are compared exactly.
func canonicalName(text string) (string, error) {
	var out []string
	if len(text) > 2048 {
		return "", errName
	}
	for {
		rdn, rest, more := cutName(text, ',')
		var parts []string
		for {
			part, left, another := cutName(rdn, '+')
			one, err := canonicalAttribute(part)
			if err != nil {
				return "", err
			}
			parts = append(parts, one)
			if !another {
				break
			}
			rdn = left
		}
		slices.Sort(parts)
		out = append(out, strings.Join(parts, "+"))
		if !more {
			return strings.Join(out, ","), nil
		}
		text = rest
	}
}

// cutName cuts at the first separator that is not escaped.
func cutName(s string, sep byte) (before, after string, found bool) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case sep:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

func canonicalAttribute(text string) (string, error) {
	kind, value, found := strings.Cut(text, "=")
	kind = strings.ToUpper(strings.TrimSpace(kind))
	if !found || kind == "" || strings.ContainsFunc(kind, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-'
	}) {
		return "", errName
	}
	value = strings.TrimLeft(value, " ")
	for strings.HasSuffix(value, " ") && !strings.HasSuffix(value, `\ `) {
		value = value[:len(value)-1]
	}
	if value == "" {
		return "", errName
	}
	if value[0] == '#' { // the value's encoding, in hex
		return kind + "=" + strings.ToLower(value), nil
	}
	var b strings.Builder
	b.WriteString(kind + "=")
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == '\\' {
			var ok bool
			if c, i, ok = unescape(value, i); !ok {
				return "", errName
			}
		} else if strings.IndexByte("\"<>;\x00", c) >= 0 {
			return "", errName
		}
		if strings.IndexByte("\\,+#", c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// unescape reads the escape at i and gives the byte that it stands for and
// where it ends.
func unescape(s string, i int) (c byte, end int, ok bool) {
	if i+1 < len(s) && strings.IndexByte(` "#+,;<=>\`, s[i+1]) >= 0 {
		return s[i+1], i + 1, true
	}
	if i+2 < len(s) {
		high, ok1 := hexDigit(s[i+1])
		low, ok2 := hexDigit(s[i+2])
		return high<<4 | low, i + 2, ok1 && ok2
	}
	return 0, 0, false
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
