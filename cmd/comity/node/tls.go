package node

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/comity-auth/comity/cmd/comity/config"
)

// certificates hold what the listeners' TLS is configured with, read again when
// its files change.
type certificates struct {
	files   config.TLS
	current atomic.Pointer[tls.Config]
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
		next.ClientAuth = tls.VerifyClientCertIfGiven
	}
	c.current.Store(next)
	return nil
}

// config asks for what is current at each handshake.
func (c *certificates) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load(), nil }}
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
