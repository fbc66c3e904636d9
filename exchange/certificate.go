package exchange

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust"
)

// ErrCertificateForm says that what a client showed for a certificate is not
// one that is looked at.
var ErrCertificateForm = errors.New("the client certificate is malformed or beyond the limits")

// Bounds of what a client shows. Nothing is verified beyond them, so that no
// chain costs more than a few signatures.
const (
	// MaxCertificates bounds a chain, the client's own certificate included.
	MaxCertificates = 10
	// MaxCertificateBytes bounds a chain in DER.
	MaxCertificateBytes = 64 << 10

	maxNames   = 100 // alternative names of one certificate, and of its name constraints
	minRSABits = 2048
	maxRSABits = 8192
)

// ParseCertificates reads a chain in DER, the client's own certificate first.
// The error wraps [ErrCertificateForm].
func ParseCertificates(chain [][]byte) ([]*x509.Certificate, error) {
	if err := checkSize(chain); err != nil {
		return nil, err
	}
	var out []*x509.Certificate
	for _, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: not X.509 in DER", ErrCertificateForm)
		}
		out = append(out, cert)
	}
	return out, CheckCertificates(out)
}

func checkSize(chain [][]byte) error {
	total := 0
	for _, der := range chain {
		total += len(der)
	}
	if len(chain) == 0 || len(chain) > MaxCertificates || total > MaxCertificateBytes {
		return fmt.Errorf("%w: %d certificates of %d bytes", ErrCertificateForm, len(chain), total)
	}
	return nil
}

// CheckCertificates reports whether a chain is within the limits. It verifies
// nothing. The error wraps [ErrCertificateForm].
func CheckCertificates(chain []*x509.Certificate) error {
	raw := make([][]byte, len(chain))
	for i, cert := range chain {
		raw[i] = cert.Raw
	}
	if err := checkSize(raw); err != nil {
		return err
	}
	for _, cert := range chain {
		if n := len(cert.DNSNames) + len(cert.EmailAddresses) + len(cert.IPAddresses) + len(cert.URIs); n > maxNames {
			return fmt.Errorf("%w: %d alternative names", ErrCertificateForm, n)
		}
		if n := constraints(cert); n > maxNames {
			return fmt.Errorf("%w: %d name constraints", ErrCertificateForm, n)
		}
		if !acceptable(cert.PublicKey) {
			return fmt.Errorf("%w: a key of a kind or size that is not accepted", ErrCertificateForm)
		}
	}
	return nil
}

func constraints(c *x509.Certificate) int {
	return len(c.PermittedDNSDomains) + len(c.ExcludedDNSDomains) + len(c.PermittedIPRanges) + len(c.ExcludedIPRanges) +
		len(c.PermittedEmailAddresses) + len(c.ExcludedEmailAddresses) + len(c.PermittedURIDomains) + len(c.ExcludedURIDomains)
}

// acceptable reports whether a key is one that certificates may have here.
func acceptable(key any) bool {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return k.Curve == elliptic.P256() || k.Curve == elliptic.P384() || k.Curve == elliptic.P521()
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		return bits >= minRSABits && bits <= maxRSABits
	case ed25519.PublicKey:
		return true
	}
	return false
}

// identifyByCertificate proves a client by the certificate of the request
// (RFC 8705 section 2).
func (t *trail) identifyByCertificate(client *trust.Client, chain []*x509.Certificate, defect error) error {
	switch {
	case defect != nil:
		return fmt.Errorf("%w: %w", ErrClientCredential, defect)
	case len(chain) == 0:
		return fmt.Errorf("%w: no certificate", ErrClientCredential)
	case client.Certificate == nil:
		return fmt.Errorf("%w: no certificate is registered", ErrClientCredential)
	}
	if err := t.current(chain[0]); err != nil {
		return fmt.Errorf("%w: %w", ErrClientCredential, err)
	}
	if client.Auth == trust.AuthSelfSignedTLS {
		if !client.Certificate.Holds(chain[0]) || !forClients(chain[0]) {
			return fmt.Errorf("%w: the certificate is not registered", ErrClientCredential)
		}
		return nil
	}
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	// Without names to look for, Verify looks at the chain alone.
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: client.Certificate.Authorities, Intermediates: between, CurrentTime: t.now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return fmt.Errorf("%w: no chain to the client's authority", ErrClientCredential)
	}
	if !client.Certificate.Names(chain[0]) {
		return fmt.Errorf("%w: the certificate bears another name", ErrClientCredential)
	}
	return nil
}

// current reports whether the instant is inside a certificate's validity. It
// takes no leeway: the parties to a TLS connection take none.
func (t *trail) current(cert *x509.Certificate) error {
	if t.now.Before(cert.NotBefore) || t.now.After(cert.NotAfter) {
		return fmt.Errorf("%w: expired or not yet valid", ErrCertificateForm)
	}
	return nil
}

// forClients reports whether a certificate that no authority issued may be used
// by a client of TLS.
func forClients(cert *x509.Certificate) bool {
	if len(cert.ExtKeyUsage) == 0 && len(cert.UnknownExtKeyUsage) == 0 {
		return true
	}
	for _, use := range cert.ExtKeyUsage {
		if use == x509.ExtKeyUsageClientAuth || use == x509.ExtKeyUsageAny {
			return true
		}
	}
	return false
}

// bindCertificate takes the certificate of the connection as proved: the client
// has its key, whoever vouches for it (RFC 8705 section 3).
func (t *trail) bindCertificate(b *bound) {
	chain, err := b.certificates, b.certificateDefect
	if err == nil && len(chain) == 0 {
		return
	}
	if err == nil {
		err = t.current(chain[0])
	}
	if err != nil {
		t.note("binding", "certificate", err.Error())
		return
	}
	b.proven.X5TS256 = proof.OfCertificate(chain[0]).X5TS256
	t.pass("binding", "certificate", "one that is valid now", b.proven.X5TS256)
}

// confirmation is what is issued is bound to. A certificate counts when the
// client is known by it, when it was demanded, when a token came in bound to it,
// and when nothing else was proven; otherwise it may just be the connection's.
func (c *crossed) confirmation() proof.Confirmation {
	cnf := c.bound.proven
	if cnf.JKT != "" && !c.client.ByCertificate() && !c.grant.NeedsCertificate && !c.certified {
		cnf.X5TS256 = ""
	}
	return cnf
}
