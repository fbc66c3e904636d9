package reload

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/comity-auth/comity/federation/clientcert"
)

// CertificateFiles are where the certificates of listeners are. Without Cert and
// Key they speak no TLS.
type CertificateFiles struct{ Cert, Key, ClientCA string }

// List is all of them.
func (f CertificateFiles) List() []string { return []string{f.Cert, f.Key, f.ClientCA} }

// Certificates hold what the listeners' TLS is configured with, read again when
// Reload is called. They are safe for concurrent use.
type Certificates struct {
	files   CertificateFiles
	current atomic.Pointer[tls.Config]
	public  atomic.Pointer[tls.Config] // of the public listener
}

// OpenCertificates reads the files.
func OpenCertificates(files CertificateFiles) (*Certificates, error) {
	c := &Certificates{files: files}
	return c, c.Reload()
}

// Reload reads the files. After an error everything stays as it was.
func (c *Certificates) Reload() error {
	if c.files.Cert == "" || c.files.Key == "" {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return err
	}
	next := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{cert}}
	if c.files.ClientCA != "" {
		if next.ClientCAs, err = ReadPool(c.files.ClientCA); err != nil {
			return err
		}
		next.ClientAuth = tls.RequestClientCert
	}
	next.VerifyConnection = shown(next.ClientCAs)
	c.current.Store(next)
	public := next.Clone()
	public.ClientAuth = tls.RequestClientCert
	c.public.Store(public)
	return nil
}

// Public is the configuration of a listener that asks every client for a
// certificate, whoever issued it: who may use which is decided later (RFC 8705
// section 2). Without one the connection goes on all the same.
func (c *Certificates) Public() *tls.Config { return latest(&c.public) }

// Private is the configuration of a listener that asks for certificates only when
// there are authorities for all: elsewhere it would make browsers ask people.
func (c *Certificates) Private() *tls.Config { return latest(&c.current) }

// latest asks for what is current at each handshake.
func latest(from *atomic.Pointer[tls.Config]) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return from.Load(), nil }}
}

// shown ends a connection whose client shows certificates beyond the limits,
// before anything is verified, or none of the authorities when there are any. It
// is asked when a session is resumed as well.
func shown(authorities *x509.CertPool) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return nil
		}
		if err := clientcert.Check(s.PeerCertificates); err != nil || authorities == nil {
			return err
		}
		between := x509.NewCertPool()
		for _, cert := range s.PeerCertificates[1:] {
			between.AddCert(cert)
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: authorities, Intermediates: between,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		return err
	}
}

// ReadPool reads the certificates of a PEM file, of which there must be one.
func ReadPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return pool, nil
}
