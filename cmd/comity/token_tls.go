package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/trust/ident"
	"github.com/spf13/cobra"
)

// The client authentication methods of RFC 8705 section 2. In a request they are
// the same: a client id, over a connection that shows a certificate.
const (
	authTLS        = "tls_client_auth"
	authSelfSigned = "self_signed_tls_client_auth"
)

// maxChain bounds a file with certificates, in bytes.
const maxChain = 64 << 10

// certificateFlags say which certificate a connection shows.
type certificateFlags struct{ certFile, certKeyFile string }

func (f *tokenFlags) addCertificateFlags(cmd *cobra.Command) {
	flags, where := cmd.Flags(), ""
	if f.prefix != "" {
		where = " (default: the one shown to the home broker, which the grant may be bound to)"
	}
	flags.StringVar(&f.certFile, f.prefix+"client-cert", "", "file with the certificate to show, PEM, its own first"+where+
		"; alone it is how the client authenticates")
	flags.StringVar(&f.certKeyFile, f.prefix+"client-cert-key", "", "file with the certificate's private key, PEM (default: it is in the same file)")
	for _, name := range []string{"client-cert", "client-cert-key"} {
		_ = cmd.MarkFlagFilename(f.prefix + name) // fails only for a flag that does not exist
	}
}

// byCertificate reports whether the certificate is how the client authenticates,
// and not only what tokens are bound to.
func (f *tokenFlags) byCertificate() bool {
	svid := f.method == authFederated && f.assertion == "" // an X.509-SVID
	return f.method == authTLS || f.method == authSelfSigned || f.certFile != "" && (svid || f.authMethod() == "")
}

// shownMethod is the method as a request shows it: every one by certificate looks
// alike.
func (f *tokenFlags) shownMethod() string {
	if f.byCertificate() {
		return authTLS
	}
	return f.authMethod()
}

// checkCertificate finds what is wrong with the flags about a certificate.
func (f *tokenFlags) checkCertificate() error {
	switch {
	case f.certFile == "" && f.certKeyFile != "":
		return usageError("--%[1]sclient-cert-key goes with --%[1]sclient-cert", f.prefix)
	case f.certFile == "" && f.byCertificate():
		return usageError("--%[1]sclient-auth %[2]s needs --%[1]sclient-cert", f.prefix, f.method)
	case f.byCertificate() && (f.secret != "" || f.keyFile != "" || f.assertion != ""):
		return usageError("--%sclient-auth %s does not go with the credential that was given", f.prefix, f.method)
	case f.certFile != "" && !strings.HasPrefix(firstOf(f.tokenURL, f.issuer), "https://"):
		return usageError("--%sclient-cert needs https: without TLS no certificate is shown", f.prefix)
	}
	return nil
}

// certificate reads the one that the flags name; nil when they name none.
func (f *tokenFlags) certificate() (*tls.Certificate, error) {
	if f.certFile == "" {
		return nil, nil
	}
	keyFile := firstOf(f.certKeyFile, f.certFile)
	if err := checkOwn(keyFile); err != nil {
		return nil, err
	}
	chain, err := readPEM(f.certFile, maxChain)
	if err != nil {
		return nil, err
	}
	key, err := readPEM(keyFile, maxChain+keys.MaxKeyFile)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("%s: no certificate with the private key of %s: %w", f.certFile, keyFile, err)
	}
	return &cert, nil
}

func readPEM(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := readAtMost(file, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

// open is a web that shows the certificate of the flags, if there is one, to
// whoever asks for one.
func (f *tokenFlags) open() (*web, error) {
	cert, err := f.certificate()
	if err != nil {
		return nil, err
	}
	w, err := newWeb(f.caFile)
	if err != nil || cert == nil {
		return w, err
	}
	// Certificates would leave it out when the server names other authorities,
	// and a broker takes those of its clients' own.
	w.client.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return cert, nil
	}
	w.shows = certificateThumbprint(cert.Certificate[0])
	return w, nil
}

// certificateThumbprint is the x5t#S256 of a certificate (RFC 8705 section 3.1).
func certificateThumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// confirmation is the cnf of a token, unverified. The flag is false for a token
// that does not say.
func confirmation(token ident.RawToken) (jkt, x5t string, ok bool) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return "", "", false
	}
	var claims struct {
		Cnf struct {
			JKT string `json:"jkt"`
			X5T string `json:"x5t#S256"`
		} `json:"cnf"`
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return "", "", false
	}
	return claims.Cnf.JKT, claims.Cnf.X5T, true
}

// errUnboundGrant says that a grant could be redeemed by whoever reads it.
var errUnboundGrant = errors.New("the grant is not bound to the certificate that was shown")

// certificateArgs are what curl needs to show the certificate and to trust the
// server.
func (f *tokenFlags) certificateArgs() []string {
	var args []string
	for _, arg := range []struct{ option, file string }{{"--cacert", f.caFile}, {"--cert", f.certFile}, {"--key", f.certKeyFile}} {
		if arg.file != "" {
			args = append(args, arg.option+" "+shellQuote(arg.file))
		}
	}
	return args
}

// endpointMember is where metadata says the token endpoint, as jq writes it.
func (f *tokenFlags) endpointMember() string {
	if f.certFile != "" {
		return "'.mtls_endpoint_aliases.token_endpoint // .token_endpoint'"
	}
	return ".token_endpoint"
}
