package clientcert

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Headers that a trusted proxy tells of the client's certificate in. One of them
// is in use; the other counts for nothing, whoever sends it. Proxies that do not set the
// one in use on every request must remove it: what they let pass a client made up.
const (
	// HeaderRFC9440 is RFC 9440's; the chain comes in Client-Cert-Chain.
	HeaderRFC9440 = "Client-Cert"
	// HeaderNginx holds PEM, URL-encoded, as nginx writes it.
	HeaderNginx = "X-SSL-Client-Cert"

	// NoHeader says that proxies tell of no certificate.
	NoHeader = "none"

	// HeaderChain is what goes with HeaderRFC9440.
	HeaderChain = "Client-Cert-Chain"
)

// maxHeader bounds what is read of a header: DER grows by a third in base64, and
// by less again when that is URL-encoded.
const maxHeader = 2 * MaxBytes

// FromRequest gives the certificates that the client showed, its own first, or why
// there are none although it showed some: the error wraps [ErrForm]. header is
// the one that trusted proxies tell of them in: a name that is none of those above
// stands for none. Of a connection by a trusted proxy they are what
// the proxy's header says, for the connection's own are the proxy's; of any other
// they are the connection's, and the headers mean nothing.
func FromRequest(r *http.Request, trusted []netip.Prefix, header string) ([]*x509.Certificate, error) {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err == nil && slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(at.Addr().Unmap()) }) {
		if header != HeaderRFC9440 && header != HeaderNginx {
			return nil, nil
		}
		return forwarded(r.Header, header)
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	chain := r.TLS.PeerCertificates
	if err := Check(chain); err != nil {
		return nil, err
	}
	return chain, nil
}

// forwarded reads a proxy's header. Two of a kind are as bad as a malformed one:
// the proxy should have removed what came from outside.
func forwarded(h http.Header, header string) ([]*x509.Certificate, error) {
	values := h.Values(header)
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return nil, nil
	}
	if len(values) > 1 || len(values[0]) > maxHeader {
		return nil, fmt.Errorf("%w: %d values", ErrForm, len(values))
	}
	var chain [][]byte
	var ok bool
	if header == HeaderNginx {
		chain, ok = escapedPEM(values[0])
	} else {
		if chain, ok = byteSequences(values[0], 1); ok {
			var rest [][]byte
			rest, ok = byteSequences(strings.Join(h.Values(HeaderChain), ","), MaxChain)
			chain = append(chain, rest...)
		}
	}
	if !ok {
		return nil, fmt.Errorf("%w: the proxy's header cannot be read", ErrForm)
	}
	return Parse(chain)
}

// byteSequences reads a list of byte sequences without parameters (RFC 9651
// sections 3.1 and 3.3.5).
func byteSequences(text string, most int) (out [][]byte, ok bool) {
	if len(text) > maxHeader {
		return nil, false
	}
	for text = strings.Trim(text, " \t"); text != ""; {
		item, rest, more := strings.Cut(text, ",")
		item, rest = strings.Trim(item, " \t"), strings.Trim(rest, " \t")
		if len(out) == most || len(item) < 2 || item[0] != ':' || item[len(item)-1] != ':' || more && rest == "" {
			return nil, false
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(item[1 : len(item)-1])
		if err != nil || len(raw) == 0 || strings.ContainsAny(item, "\r\n") {
			return nil, false
		}
		out, text = append(out, raw), rest
	}
	return out, true
}

// escapedPEM reads certificates in PEM, URL-encoded, and nothing else. A plus
// stands for itself: it is in base64.
func escapedPEM(text string) (out [][]byte, ok bool) {
	plain, err := url.PathUnescape(text)
	if err != nil {
		return nil, false
	}
	for rest := []byte(strings.TrimSpace(plain)); len(rest) > 0; {
		block, after := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 || len(out) == MaxChain ||
			!strings.HasPrefix(string(rest), "-----BEGIN CERTIFICATE-----") {
			return nil, false
		}
		out, rest = append(out, block.Bytes), []byte(strings.TrimSpace(string(after)))
	}
	return out, len(out) > 0
}
