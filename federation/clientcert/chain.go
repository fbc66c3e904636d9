package clientcert

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
)

// ErrForm says that what a client showed for a certificate is not
// one that is looked at.
var ErrForm = errors.New("the client certificate is malformed or beyond the limits")

// Bounds of what a client shows. Nothing is verified beyond them, so that no
// chain costs more than a few signatures.
const (
	// MaxChain bounds a chain, the client's own certificate included.
	MaxChain = 10
	// MaxBytes bounds a chain in DER.
	MaxBytes = 64 << 10

	maxNames   = 100 // alternative names of one certificate, and of its name constraints
	minRSABits = 2048
	maxRSABits = 8192
)

// Parse reads a chain in DER, the client's own certificate first.
// The error wraps [ErrForm].
func Parse(chain [][]byte) ([]*x509.Certificate, error) {
	if err := checkSize(chain); err != nil {
		return nil, err
	}
	var out []*x509.Certificate
	for _, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%w: not X.509 in DER", ErrForm)
		}
		out = append(out, cert)
	}
	return out, Check(out)
}

func checkSize(chain [][]byte) error {
	total := 0
	for _, der := range chain {
		total += len(der)
	}
	if len(chain) == 0 || len(chain) > MaxChain || total > MaxBytes {
		return fmt.Errorf("%w: %d certificates of %d bytes", ErrForm, len(chain), total)
	}
	return nil
}

// Check reports whether a chain is within the limits. It verifies
// nothing. The error wraps [ErrForm].
func Check(chain []*x509.Certificate) error {
	raw := make([][]byte, len(chain))
	for i, cert := range chain {
		raw[i] = cert.Raw
	}
	if err := checkSize(raw); err != nil {
		return err
	}
	for _, cert := range chain {
		if n := len(cert.DNSNames) + len(cert.EmailAddresses) + len(cert.IPAddresses) + len(cert.URIs); n > maxNames {
			return fmt.Errorf("%w: %d alternative names", ErrForm, n)
		}
		if n := constraints(cert); n > maxNames {
			return fmt.Errorf("%w: %d name constraints", ErrForm, n)
		}
		if !acceptable(cert.PublicKey) {
			return fmt.Errorf("%w: a key of a kind or size that is not accepted", ErrForm)
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
