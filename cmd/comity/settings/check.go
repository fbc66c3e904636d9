package settings

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Checker collects what is wrong with values that are each well formed.
type Checker struct{ l *loader }

// Understood reports whether all these keys, with what is in their lists, hold
// what their layer said. A rule is left out only where a value it needs could not
// be understood, which has been said.
func (c *Checker) Understood(paths ...string) bool {
	for broken := range c.l.broken {
		for _, p := range paths {
			rest, within := strings.CutPrefix(broken, p)
			if within && (rest == "" || rest[0] == '.' || rest[0] == '[') {
				return false
			}
		}
	}
	return true
}

// Origin says where a key's value came from.
func (c *Checker) Origin(path string) Origin { return c.l.origins[path] }

// Fail reports a problem at the first of the keys that somebody set, so that
// the line to mend is named rather than a default.
func (c *Checker) Fail(paths []string, format string, args ...any) {
	path := paths[0]
	for _, p := range paths {
		if o, known := c.l.origins[p]; known && o.Kind != FromDefault {
			path = p
			break
		}
	}
	from, known := c.l.origins[path]
	if object, _, inList := strings.Cut(path, "]"); !known && inList {
		from = c.l.origins[object+"]"] // what an object leaves out is wrong where it begins
	}
	where := from.Where
	if from.Kind == FromDefault {
		where = c.l.file
	}
	c.l.problem(path, Origin{Where: where, Line: from.Line}, fmt.Sprintf(format, args...))
}

// Warn remarks on what does not prevent a start.
func (c *Checker) Warn(format string, args ...any) { c.l.warn(format, args...) }

// Listener is an address to listen on.
type Listener struct{ Path, Value string }

// Listeners checks addresses, and that they differ.
func (c *Checker) Listeners(listeners ...Listener) {
	type parsed struct {
		path string
		addr netip.AddrPort
	}
	var seen []parsed
	for _, l := range listeners {
		addr, err := parseListen(l.Value)
		if err != nil {
			c.Fail([]string{l.Path}, "%v", err)
			c.l.broken[l.Path] = true
			continue
		}
		for _, s := range seen {
			if collide(s.addr, addr) {
				c.Fail([]string{l.Path, s.path}, "%s and %s are the same address; the listeners are never mixed", s.path, l.Path)
			}
		}
		seen = append(seen, parsed{l.Path, addr})
	}
}

// parseListen reads an address to listen on. Host names are refused: what one
// resolves to, loopback or not, is somebody else's choice.
func parseListen(s string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, errors.New("must be an IP address and a port, such as 127.0.0.1:8080")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, errors.New("the port must be a number up to 65535")
	}
	addr := netip.IPv6Unspecified()
	if host != "" {
		if addr, err = netip.ParseAddr(host); err != nil {
			return netip.AddrPort{}, errors.New("the host must be an IP address, such as 127.0.0.1, or empty for all")
		}
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}

// collide reports whether both cannot be listened on. Port 0 means any free one.
func collide(a, b netip.AddrPort) bool {
	if a.Port() != b.Port() || a.Port() == 0 {
		return false
	}
	return a.Addr() == b.Addr() || a.Addr().IsUnspecified() || b.Addr().IsUnspecified()
}

// OnLoopback reports whether a listen address is one that can be reached from this machine only.
func OnLoopback(listen string) bool {
	addr, err := parseListen(listen)
	return err == nil && addr.Addr().IsLoopback()
}

// Transport checks that a public listener off loopback speaks TLS or has proxies
// in front of it, under the keys that all configurations call alike.
func (c *Checker) Transport(listen string, certFile, keyFile, clientCA string, proxies []netip.Prefix) {
	if (certFile == "") != (keyFile == "") {
		c.Fail([]string{"tls.cert_file", "tls.key_file"}, "cert_file and key_file go together")
	}
	if clientCA != "" && certFile == "" {
		c.Fail([]string{"tls.client_ca_file"}, "needs cert_file: client certificates come with TLS")
	}
	tls := certFile != "" || keyFile != "" // one alone is reported above
	if c.Understood("listen", "trusted_proxies") && !OnLoopback(listen) && !tls && len(proxies) == 0 {
		c.Fail([]string{"listen"}, "off loopback the public listener needs tls, or trusted_proxies in front of it")
	}
}

// Pprof checks that profiles are not shown to other machines.
func (c *Checker) Pprof(opsListen string, pprof bool) {
	if c.Understood("ops.listen", "ops.pprof") && pprof && !OnLoopback(opsListen) {
		c.Fail([]string{"ops.pprof", "ops.listen"}, "pprof shows memory, so it needs the operations listener on loopback")
	}
}

// File is a file that a key names.
type File struct {
	Path, File string // the key, and the file; empty: none
	Needed     bool   // it must be there
	Dir        bool   // it is a folder
	Secret     bool   // it holds a secret
}

// Files looks at the files that are named: those that must exist do, and
// nobody but owner and group reaches those that hold a secret.
func (c *Checker) Files(files ...File) {
	for _, f := range files {
		if f.File == "" {
			continue
		}
		info, err := os.Stat(f.File)
		switch {
		case err != nil && f.Needed:
			c.Fail([]string{f.Path}, "%s: %v", f.File, pathCause(err))
		case err != nil:
		case f.Dir != info.IsDir():
			c.Fail([]string{f.Path}, "%s: %s", f.File, dirMessage(f.Dir))
		case f.Secret && exposed(info):
			c.Fail([]string{f.Path}, "%s: mode %#o lets every user of this machine at a secret; chmod 600 it", f.File, info.Mode().Perm())
		}
	}
}

func dirMessage(wantDir bool) string {
	if wantDir {
		return "is not a folder"
	}
	return "is a folder, not a file"
}

// exposed reports whether users outside owner and group may touch the file.
// Windows has no such bits.
func exposed(info os.FileInfo) bool {
	return runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0
}

// WarnExposed remarks on a credential that stands in a configuration file which
// everybody may read, as holds calls it; env is where it would be better kept. It
// is a warning, since the file is not a key file.
func (c *Checker) WarnExposed(holds, env string, paths ...string) {
	inFile := slices.ContainsFunc(paths, func(p string) bool { return c.Origin(p).Kind == FromFile })
	if info, err := os.Stat(c.l.file); inFile && err == nil && exposed(info) {
		c.Warn("%s: holds %s and every user of this machine may read it; use %s or chmod 600", c.l.file, holds, env)
	}
}
