package fetch

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// denied are the ranges that are no public unicast addresses (the IANA
// special-purpose registries, RFC 6890 and its updates). IPv6 outside of
// 2000::/3 needs no row: it is refused as a whole.
var denied = prefixes(
	"0.0.0.0/8",       // this network, and unspecified
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // shared by carriers (RFC 6598)
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocol assignments
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // 6to4 relays
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast
	"2001::/23",       // protocol assignments, Teredo and benchmarks among them
	"2001:db8::/32",   // documentation
	"2002::/16",       // 6to4
	"3fff::/20",       // documentation
)

// metadata are addresses at which clouds hand out credentials to whoever asks
// from inside. No configuration allows them.
var metadata = addresses(
	"169.254.169.254", "fd00:ec2::254", "fd20:ce::254", // instance metadata
	"169.254.170.2", "169.254.170.23", "fd00:ec2::23", // task and pod credentials
	"100.100.100.200", "192.0.0.192", "168.63.129.16", // by other clouds
)

var (
	global = netip.MustParsePrefix("2000::/3")
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
	sixTo4 = netip.MustParsePrefix("2002::/16")
	teredo = netip.MustParsePrefix("2001::/32")
)

// policy says which addresses may be contacted. The zero policy allows public
// unicast addresses and nothing else.
type policy struct{ allow []netip.Prefix }

func newPolicy(allow []netip.Prefix) (policy, error) {
	for _, p := range allow {
		if !p.IsValid() || p.Addr().Is4In6() {
			return policy{}, fmt.Errorf("allow: %v is not an IPv4 or IPv6 prefix", p)
		}
	}
	return policy{allow: append([]netip.Prefix(nil), allow...)}, nil
}

// permits reports whether addr may be contacted. An IPv4 address in IPv6
// clothes is judged as what it is: unmapped when mapped, and both by its outer
// and its inner address when a translator or tunnel would unwrap it.
func (p policy) permits(addr netip.Addr) bool {
	if !addr.IsValid() || addr.Zone() != "" {
		return false
	}
	addr = addr.Unmap()
	if metadata[addr] {
		return false
	}
	if inner, ok := embedded(addr); ok && !p.permits(inner) {
		return false
	}
	return p.allows(addr) || public(addr)
}

// allows reports whether configuration names addr, public or not.
func (p policy) allows(addr netip.Addr) bool {
	for _, prefix := range p.allow {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

func public(addr netip.Addr) bool {
	if addr.Is6() && !global.Contains(addr) {
		return false
	}
	for _, prefix := range denied {
		if prefix.Contains(addr) {
			return false
		}
	}
	return true
}

// embedded returns the IPv4 address that traffic to addr would end at.
func embedded(addr netip.Addr) (netip.Addr, bool) {
	b := addr.As16()
	var four [4]byte
	switch {
	case nat64.Contains(addr):
		copy(four[:], b[12:])
	case sixTo4.Contains(addr):
		copy(four[:], b[2:6])
	case teredo.Contains(addr): // RFC 4380 section 4: stored inverted
		binary.BigEndian.PutUint32(four[:], ^binary.BigEndian.Uint32(b[12:]))
	default:
		return netip.Addr{}, false
	}
	return netip.AddrFrom4(four), true
}

// prefixes is for static input only: it panics on anything else.
func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// addresses is for static input only: it panics on anything else.
func addresses(texts ...string) map[netip.Addr]bool {
	out := make(map[netip.Addr]bool, len(texts))
	for _, s := range texts {
		out[netip.MustParseAddr(s)] = true
	}
	return out
}
