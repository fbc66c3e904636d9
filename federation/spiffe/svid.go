package spiffe

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// ErrSVID says that a certificate is no X.509-SVID of the trust domain. Errors
// hold nothing of the certificate.
var ErrSVID = errors.New("not an X.509-SVID of the trust domain")

// SVID is an X.509-SVID that a bundle vouches for. Only Verify makes one.
type SVID struct {
	// ID is the workload's SPIFFE ID.
	ID string
	// NotBefore is when the certificate began.
	NotBefore time.Time
	// Authorities are the RFC 7638 SHA-256 thumbprints of the authorities' keys
	// that its chains lead to, in base64url.
	Authorities []string
}

// IDOf is the SPIFFE ID that a certificate bears, proved or not; empty when it
// does not bear exactly one URI, which is a workload's SPIFFE ID.
func IDOf(cert *x509.Certificate) string {
	id, err := x509svid.IDFromCert(cert)
	if err != nil || DomainOf(id.String()) == "" {
		return ""
	}
	return id.String()
}

// Verify proves that the chain, the workload's certificate first, is an
// X.509-SVID of the bundle's domain and valid now (X509-SVID section 5): one URI
// name, which is its SPIFFE ID, a leaf that signs no certificates, and a path to
// an authority of this bundle. The caller bounds the chain. The error wraps
// [ErrSVID].
func (b *Bundle) Verify(chain []*x509.Certificate, now time.Time) (*SVID, error) {
	if len(b.Authorities()) == 0 || len(chain) == 0 {
		return nil, fmt.Errorf("%w: no authority, or no certificate", ErrSVID)
	}
	leaf := chain[0]
	switch {
	case DomainOf(IDOf(leaf)) != b.Domain():
		return nil, fmt.Errorf("%w: not exactly one SPIFFE ID of the domain", ErrSVID)
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return nil, fmt.Errorf("%w: not for signatures", ErrSVID)
	}
	authorities := x509bundle.FromX509Authorities(b.domain, b.read.X509Authorities())
	id, chains, err := x509svid.Verify(chain, authorities, x509svid.WithTime(now))
	if err != nil {
		return nil, fmt.Errorf("%w: no valid chain to an authority", ErrSVID)
	}
	out := &SVID{ID: id.String(), NotBefore: leaf.NotBefore}
	for _, c := range chains {
		print := thumbprint(c[len(c)-1])
		if print == "" {
			return nil, fmt.Errorf("%w: an authority's key of an unknown kind", ErrSVID)
		}
		if !slices.Contains(out.Authorities, print) {
			out.Authorities = append(out.Authorities, print)
		}
	}
	return out, nil
}

// thumbprint is the RFC 7638 SHA-256 thumbprint of a certificate's key, in
// base64url; empty for a kind of key that has none.
func thumbprint(cert *x509.Certificate) string {
	sum, err := (&jose.JSONWebKey{Key: cert.PublicKey}).Thumbprint(crypto.SHA256)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}
