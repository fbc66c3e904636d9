package node_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comity-auth/comity/fixtures/e2e"
	"github.com/comity-auth/comity/fixtures/peer"
	"github.com/comity-auth/comity/fixtures/pki"
)

// secured is a world whose public listener speaks TLS with files in dir.
func secured(t testing.TB, ca *pki.CA, dir string) *e2e.World {
	t.Helper()
	certFile, keyFile, err := pki.Files(dir, ca.Server(t))
	if err != nil {
		t.Fatal(err)
	}
	return e2e.NewWorld(t, e2e.WorldOptions{Options: e2e.Options{
		Config: []string{fmt.Sprintf("tls: {cert_file: %q, key_file: %q}", certFile, keyFile)}}})
}

// serial is that of the certificate of a fresh handshake.
func serial(t testing.TB, ca *pki.CA, address string, change func(*tls.Config)) (string, error) {
	t.Helper()
	c := &tls.Config{RootCAs: ca.Pool()}
	if change != nil {
		change(c)
	}
	conn, err := (&tls.Dialer{Config: c}).DialContext(context.WithoutCancel(t.Context()), "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return "", errors.New("no TLS")
	}
	return secure.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

// MT-11: nothing older than TLS 1.3 is spoken, nor plain HTTP.
func TestOnlyTLS13(t *testing.T) {
	t.Parallel()
	ca := pki.Start(t, "node test")
	w := secured(t, ca, t.TempDir())
	at := strings.TrimPrefix(w.URL, "http://")
	if _, err := serial(t, ca, at, nil); err != nil {
		t.Errorf("TLS 1.3: %v", err)
	}
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12} {
		_, err := serial(t, ca, at, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, version })
		// The alert protocol_version (RFC 8446 section 6), whose type is not exported.
		if err == nil || !strings.Contains(err.Error(), "remote error: tls: protocol version not supported") {
			t.Errorf("%s: got %v, want the alert protocol_version", tls.VersionName(version), err)
		}
	}
	if code, _ := status(t, w.URL+"/healthz"); code != http.StatusBadRequest {
		t.Errorf("plain HTTP: status %d, want 400", code)
	}
}

// load asks for tokens over TLS until stopped, half of the workers on a new
// connection each time.
type load struct {
	stop   context.CancelFunc
	wg     sync.WaitGroup
	done   atomic.Int64
	mu     sync.Mutex
	failed []error
}

func startLoad(t testing.TB, ca *pki.CA, w *e2e.World) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{stop: stop}
	for i := range 4 {
		client := &http.Client{Timeout: patience, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}, ForceAttemptHTTP2: true, DisableKeepAlives: i%2 == 0}}
		l.wg.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				if err := exchangeTLS(w, client); err != nil {
					l.mu.Lock()
					l.failed = append(l.failed, err)
					l.mu.Unlock()
				}
				l.done.Add(1)
			}
		})
	}
	return l
}

// end stops the load and reports what failed.
func (l *load) end(t testing.TB) {
	t.Helper()
	l.stop()
	l.wg.Wait()
	if len(l.failed) > 0 {
		t.Errorf("%d of %d requests failed, the first: %v", len(l.failed), l.done.Load(), l.failed[0])
	}
}

func exchangeTLS(w *e2e.World, client *http.Client) error {
	body := e2e.Exchange(w.Subject(peer.Overrides{})).Encode()
	endpoint := strings.Replace(w.URL, "http://", "https://", 1) + "/token"
	req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(w.Basic.ID), w.Basic.Secret)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || res.ProtoMajor != 2) {
		err = fmt.Errorf("%s, status %d: %s", res.Proto, res.StatusCode, text)
	}
	return err
}

// MT-13: a certificate that is replaced on disk is used by new handshakes, and
// no request fails.
func TestCertificateIsReplacedUnderLoad(t *testing.T) {
	t.Parallel()
	ca, dir := pki.Start(t, "node test"), t.TempDir()
	w := secured(t, ca, dir)
	at := strings.TrimPrefix(w.URL, "http://")
	l := startLoad(t, ca, w)
	defer l.end(t)
	for range 3 {
		next := ca.Server(t)
		if _, _, err := pki.Files(dir, next); err != nil {
			t.Fatal(err)
		}
		before := l.done.Load()
		took := eventually(t, func() error {
			got, err := serial(t, ca, at, nil)
			if err == nil && got != next.Leaf.SerialNumber.String() {
				err = errors.New("the old certificate is shown still")
			}
			return err
		})
		if took > 10*time.Second {
			t.Errorf("new handshakes used the new certificate after %s, want 10 s at most", took)
		}
		eventually(t, func() error {
			if n := l.done.Load(); n < before+20 {
				return fmt.Errorf("%d requests since the replacement", n-before)
			}
			return nil
		})
	}
}

func TestBadCertificateKeepsTheOld(t *testing.T) {
	t.Parallel()
	ca, dir := pki.Start(t, "node test"), t.TempDir()
	w := secured(t, ca, dir)
	at := strings.TrimPrefix(w.URL, "http://")
	first, err := serial(t, ca, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(dir, "cert.pem"), "nothing of the kind")
	logged(t, w.Log, "reload.failed", "certificates")
	if got, err := serial(t, ca, at, nil); got != first || err != nil {
		t.Errorf("got certificate %s, %v, want still %s", got, err, first)
	}
	// A certificate whose key is another's.
	certFile, _, err := pki.Files(t.TempDir(), ca.Server(t))
	if err != nil {
		t.Fatal(err)
	}
	replace(t, filepath.Join(dir, "cert.pem"), read(t, certFile))
	logged(t, w.Log, "reload.failed", "certificates", "private key does not match")
	if got, err := serial(t, ca, at, nil); got != first || err != nil {
		t.Errorf("got certificate %s, %v, want still %s", got, err, first)
	}
}
