package fetch

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// maxDials bounds how many of a host's addresses are tried for one connection.
const maxDials = 4

// Resolver finds the addresses of a host. *net.Resolver is one.
// It must be safe for concurrent use.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// DialFunc opens a TCP connection to an address that has passed the policy.
// It must be safe for concurrent use.
type DialFunc func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)

// dialer resolves a name once and connects to an address it has checked. The
// name is never handed to anything that would resolve it again.
type dialer struct {
	policy   policy
	resolver Resolver
	connect  DialFunc
	timeout  time.Duration
	tls      *tls.Config
}

func (d *dialer) dial(ctx context.Context, _, hostport string) (net.Conn, error) {
	addrs, err := d.vetted(ctx, hostport)
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	for _, addr := range addrs {
		if conn, err = d.one(ctx, addr); err == nil {
			return conn, nil
		}
	}
	return nil, classify(err)
}

func (d *dialer) one(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	return d.connect(ctx, addr)
}

// vetted returns the addresses to try. One that is not allowed condemns the
// whole answer: a name that points inside as well as outside is not to be used.
func (d *dialer) vetted(ctx context.Context, hostport string) ([]netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, &failure{ErrURL, "no host and port"}
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return nil, &failure{ErrURL, "no usable port"}
	}
	found, err := d.resolve(ctx, host)
	if err != nil {
		return nil, classify(err)
	}
	var out []netip.AddrPort
	for _, addr := range found {
		if !d.policy.permits(addr) {
			return nil, &failure{kind: ErrAddress}
		}
		out = append(out, netip.AddrPortFrom(addr.Unmap(), uint16(port)))
	}
	if len(out) == 0 {
		return nil, &failure{ErrUnreachable, "the name does not resolve"}
	}
	return out[:min(len(out), maxDials)], nil
}

func (d *dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	return d.resolver.LookupNetIP(ctx, "ip", host)
}

// dialTLS is dial and the handshake, which verifies the certificate for the
// host of the URL, not for the address.
func (d *dialer) dialTLS(ctx context.Context, network, hostport string) (net.Conn, error) {
	raw, err := d.dial(ctx, network, hostport)
	if err != nil {
		return nil, err
	}
	config := d.tls.Clone()
	config.ServerName, _, _ = net.SplitHostPort(hostport)
	conn := tls.Client(raw, config)
	ctx, cancel := context.WithTimeout(ctx, 2*d.timeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, &failure{ErrTLS, tlsReason(err)}
	}
	return conn, nil
}

// connector is the DialFunc for the real network. Its control hook looks at
// the address once more where the socket is about to connect, so that a
// mistake above it still cannot send a packet to a refused address.
func connector(p policy) DialFunc {
	d := net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(address)
		if err != nil || !p.permits(addr.Addr()) {
			return &failure{kind: ErrAddress}
		}
		return nil
	}}
	return func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", addr.String())
	}
}
