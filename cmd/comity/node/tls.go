package node

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/federation/clientcert"
)

// certificates hold what the listeners' TLS is configured with, read again when
// its files change.
type certificates struct {
	files   config.TLS
	current atomic.Pointer[tls.Config]
	public  atomic.Pointer[tls.Config] // of the public listener
}

func openCertificates(files config.TLS) (*certificates, error) {
	c := &certificates{files: files}
	return c, c.reload()
}

// reload reads the files. After an error everything stays as it was.
func (c *certificates) reload() error {
	if !c.files.Enabled() {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(c.files.CertFile, c.files.KeyFile)
	if err != nil {
		return err
	}
	next := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{cert}}
	if c.files.ClientCAFile != "" {
		if next.ClientCAs, err = readPool(c.files.ClientCAFile); err != nil {
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

// config asks for what is current at each handshake. The public listener asks
// every client for a certificate, whoever issued it: who may use which is in the
// registry (RFC 8705 section 2). Without one, or on the admin listener unless
// there are authorities for all, the connection goes on all the same.
func (c *certificates) config(public bool) *tls.Config {
	from := &c.current
	if public {
		from = &c.public
	}
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

func readPool(path string) (*x509.CertPool, error) {
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
