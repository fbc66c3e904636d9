package exchange

import (
	"crypto/x509"
	"fmt"

	"github.com/comity-auth/comity/federation/clientcert"
	"github.com/comity-auth/comity/federation/proof"
	"github.com/comity-auth/comity/trust"
)

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
		return fmt.Errorf("%w: expired or not yet valid", clientcert.ErrForm)
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
