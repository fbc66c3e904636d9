package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The bounds of durations that have any. A token of more than an hour is
// refused by the agent profile; records of fewer than 90 days fail audits.
const (
	maxTokenTTL   = time.Hour
	minTokenTTL   = time.Second
	minRotate     = time.Hour
	minRetention  = 90 * 24 * time.Hour
	minStale      = 2 * time.Second
	maxStale      = time.Hour
	maxRatePerMin = 1_000_000
	maxRatePerSec = 1_000_000
)

// checker collects what is wrong with values that are each well formed.
type checker struct {
	*Config
	loader *loader
	out    Problems
}

// validate checks the whole configuration and stops at nothing. A rule is left
// out only where a value it needs could not be understood, which has been said.
func validate(l *loader) Problems {
	c := &checker{Config: &l.cfg, loader: l}
	c.identity()
	c.listeners()
	c.transport()
	c.storage()
	c.signing()
	c.lifetimes()
	c.bounds()
	c.files()
	c.unbuilt()
	return c.out
}

// understood reports whether all these keys hold what their layer said.
func (c *checker) understood(paths ...string) bool {
	return !slices.ContainsFunc(paths, func(p string) bool { return c.loader.broken[p] })
}

// fail reports a problem at the first of the keys that somebody set, so that
// the line to mend is named rather than a default.
func (c *checker) fail(paths []string, format string, args ...any) {
	path := paths[0]
	for _, p := range paths {
		if c.loader.origins[p].Kind != FromDefault {
			path = p
			break
		}
	}
	from := c.loader.origins[path]
	where := from.Where
	if from.Kind == FromDefault {
		where = c.loader.file
	}
	c.out = append(c.out, Problem{Path: path, Line: from.Line, Origin: where, Message: fmt.Sprintf(format, args...)})
}

func at(paths ...string) []string { return paths }

func (c *checker) identity() {
	if c.understood("domain") && c.Domain.IsZero() {
		c.fail(at("domain"), "is required: the trust domain that this broker speaks for")
	}
	switch {
	case !c.understood("issuer"):
	case c.Issuer.IsZero():
		c.fail(at("issuer"), "is required: the URL that its tokens name as iss")
	case strings.Count(c.Issuer.String(), "/") > 2: // those of "://"
		c.fail(at("issuer"), "must have no path, not even a closing slash")
	}
}

// listeners checks the three addresses and that they differ.
func (c *checker) listeners() {
	type listener struct {
		path string
		addr netip.AddrPort
	}
	var seen []listener
	for _, l := range []struct{ path, value string }{
		{"listen", c.Listen}, {"admin.listen", c.Admin.Listen}, {"ops.listen", c.Ops.Listen},
	} {
		addr, err := parseListen(l.value)
		if err != nil {
			c.fail(at(l.path), "%v", err)
			c.loader.broken[l.path] = true
			continue
		}
		for _, s := range seen {
			if collide(s.addr, addr) {
				c.fail(at(l.path, s.path), "%s and %s are the same address; the listeners are never mixed", s.path, l.path)
			}
		}
		seen = append(seen, listener{l.path, addr})
	}
}

// parseListen reads an address to listen on. Host names are refused: what one
// resolves to, loopback or not, is somebody else's choice.
func parseListen(s string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("must be an IP address and a port, such as 127.0.0.1:8080")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("the port must be a number up to 65535")
	}
	addr := netip.IPv6Unspecified()
	if host != "" {
		if addr, err = netip.ParseAddr(host); err != nil {
			return netip.AddrPort{}, fmt.Errorf("the host must be an IP address, such as 127.0.0.1, or empty for all")
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

func (c *checker) transport() {
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		c.fail(at("tls.cert_file", "tls.key_file"), "cert_file and key_file go together")
	}
	if c.TLS.ClientCAFile != "" && c.TLS.CertFile == "" {
		c.fail(at("tls.client_ca_file"), "needs cert_file: client certificates come with TLS")
	}
	tls := c.TLS.CertFile != "" || c.TLS.KeyFile != "" // one alone is reported above
	proxied := len(c.TrustedProxies) > 0
	if c.understood("listen", "trusted_proxies") && !OnLoopback(c.Listen) && !tls && !proxied {
		c.fail(at("listen"), "off loopback the public listener needs tls, or trusted_proxies in front of it")
	}
	if c.understood("admin.listen") && !OnLoopback(c.Admin.Listen) && !tls {
		c.fail(at("admin.listen"), "off loopback the admin listener needs tls")
	}
	if c.understood("ops.listen", "ops.pprof") && c.Ops.Pprof && !OnLoopback(c.Ops.Listen) {
		c.fail(at("ops.pprof", "ops.listen"), "pprof shows memory, so it needs the operations listener on loopback")
	}
	for _, h := range c.Admin.Hosts {
		if h != strings.ToLower(h) || strings.ContainsAny(h, "/:*@ ") && net.ParseIP(h) == nil {
			c.fail(at("admin.hosts"), "%q must be a host name in lower case, without a port", h)
		}
	}
}

func (c *checker) storage() {
	scheme, _, found := strings.Cut(c.Store, ":")
	switch {
	case !found, scheme != "sqlite" && !isPostgres(scheme):
		c.fail(at("store"), "must begin with sqlite: or postgres:")
	case scheme == "sqlite" && c.Store == sqliteScheme:
		c.fail(at("store"), "names no file")
	case isPostgres(scheme) && !isDatabaseURL(c.Store):
		c.fail(at("store"), "must be a URL such as postgres://user@host/db")
	}
	if c.StoreDirect == "" {
		return
	}
	switch direct, _, _ := strings.Cut(c.StoreDirect, ":"); {
	case !isPostgres(direct) || !isDatabaseURL(c.StoreDirect):
		c.fail(at("store_direct"), "must be a URL such as postgres://user@host/db")
	case !isPostgres(scheme):
		c.fail(at("store_direct"), "is for a store on postgres")
	}
}

func isPostgres(scheme string) bool { return scheme == "postgres" || scheme == "postgresql" }

// isDatabaseURL never shows the URL, nor the parser's error, which repeats it.
func isDatabaseURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Opaque == "" && (u.Host != "" || u.Query().Get("host") != "")
}

func (c *checker) signing() {
	if c.Keys.File != "" && !c.Keys.Inline.IsZero() {
		c.fail(at("keys.inline", "keys.file"), "keys.file and keys.inline are both given")
	}
	inline := strings.TrimSpace(c.Keys.Inline.Reveal())
	if inline != "" && !strings.HasPrefix(inline, "-----BEGIN ") && !strings.HasPrefix(inline, "{") {
		c.fail(at("keys.inline"), "must be a PEM or JWK private key")
	}
	if rest, ok := strings.CutPrefix(c.Keys.Seal, sealScheme); !ok || rest == "" {
		c.fail(at("keys.seal"), "must be file:PATH")
	}
	if !c.understood("keys.rotate_every", "keys.overlap", "tokens.max_ttl") {
		return
	}
	if c.Keys.RotateEvery < minRotate {
		c.fail(at("keys.rotate_every"), "must be at least %s", short(minRotate))
	}
	if c.Keys.Overlap >= c.Keys.RotateEvery {
		c.fail(at("keys.overlap", "keys.rotate_every"), "keys.overlap (%s) must be less than keys.rotate_every (%s)",
			short(c.Keys.Overlap), short(c.Keys.RotateEvery))
	}
	if c.Keys.Overlap < c.Tokens.MaxTTL {
		c.fail(at("keys.overlap", "tokens.max_ttl"), "keys.overlap (%s) must not be less than tokens.max_ttl (%s): tokens would outlive their key",
			short(c.Keys.Overlap), short(c.Tokens.MaxTTL))
	}
}

func (c *checker) lifetimes() {
	if c.understood("tokens.min_ttl") && c.Tokens.MinTTL < minTokenTTL {
		c.fail(at("tokens.min_ttl"), "must be at least %s", short(minTokenTTL))
	}
	if c.understood("tokens.max_ttl") && c.Tokens.MaxTTL > maxTokenTTL {
		c.fail(at("tokens.max_ttl"), "must be at most %d seconds", int(maxTokenTTL.Seconds()))
	}
	if c.understood("tokens.min_ttl", "tokens.ttl") && c.Tokens.MinTTL > c.Tokens.TTL {
		c.fail(at("tokens.ttl", "tokens.min_ttl"), "tokens.ttl (%s) must not be less than tokens.min_ttl (%s)",
			short(c.Tokens.TTL), short(c.Tokens.MinTTL))
	}
	if c.understood("tokens.ttl", "tokens.max_ttl") && c.Tokens.TTL > c.Tokens.MaxTTL {
		c.fail(at("tokens.ttl", "tokens.max_ttl"), "tokens.ttl (%s) must not be more than tokens.max_ttl (%s)",
			short(c.Tokens.TTL), short(c.Tokens.MaxTTL))
	}
	if c.understood("registry.max_stale") && (c.Registry.MaxStale < minStale || c.Registry.MaxStale > maxStale) {
		c.fail(at("registry.max_stale"), "must be from %s to %s", short(minStale), short(maxStale))
	}
	if c.understood("audit.retention") && c.Audit.Retention < minRetention {
		c.fail(at("audit.retention"), "must be at least %s (90 days)", short(minRetention))
	}
}

func (c *checker) bounds() {
	for _, n := range []struct {
		path       string
		value, max int
	}{
		{"limits.client_per_minute", c.Limits.ClientPerMinute, maxRatePerMin},
		{"limits.global_per_second", c.Limits.GlobalPerSecond, maxRatePerSec},
	} {
		if c.understood(n.path) && (n.value < 1 || n.value > n.max) {
			c.fail(at(n.path), "must be from 1 to %d", n.max)
		}
	}
}

// files looks at the files that are named: those that must exist do, and
// nobody but owner and group reaches those that hold a secret.
func (c *checker) files() {
	for _, f := range []struct {
		path, file   string
		needed, dir  bool
		holdsSecrets bool
	}{
		{path: "tls.cert_file", file: c.TLS.CertFile, needed: true},
		{path: "tls.key_file", file: c.TLS.KeyFile, needed: true, holdsSecrets: true},
		{path: "tls.client_ca_file", file: c.TLS.ClientCAFile, needed: true},
		{path: "egress.ca_file", file: c.Egress.CAFile, needed: true},
		{path: "trust", file: c.Trust, needed: true},
		{path: "policies", file: c.Policies, needed: true, dir: true},
		{path: "keys.file", file: c.Keys.File, needed: true, holdsSecrets: true},
		{path: "keys.seal", file: c.Keys.SealFile(), holdsSecrets: true},
		{path: "admin.token_file", file: c.Admin.TokenFile, holdsSecrets: true},
	} {
		if f.file == "" {
			continue
		}
		info, err := os.Stat(f.file)
		switch {
		case err != nil && f.needed:
			c.fail(at(f.path), "%s: %v", f.file, pathCause(err))
		case err != nil:
		case f.dir != info.IsDir():
			c.fail(at(f.path), "%s: %s", f.file, dirMessage(f.dir))
		case f.holdsSecrets && exposed(info):
			c.fail(at(f.path), "%s: mode %#o lets every user of this machine at a secret; chmod 600 it", f.file, info.Mode().Perm())
		}
	}
	if c.Admin.TokenFile == "" {
		c.fail(at("admin.token_file"), "must name a file")
	}
	if c.loader.file != "" && holdsPassword(c.Store, c.StoreDirect) {
		c.warnExposedPassword()
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

func holdsPassword(urls ...string) bool {
	return slices.ContainsFunc(urls, func(s string) bool { return redactURL(s) != s })
}

// warnExposedPassword remarks on a password that stands in a file which
// everybody may read. It is a warning, since the file is not a key file.
func (c *checker) warnExposedPassword() {
	inFile := c.loader.origins["store"].Kind == FromFile || c.loader.origins["store_direct"].Kind == FromFile
	if info, err := os.Stat(c.loader.file); inFile && err == nil && exposed(info) {
		c.loader.warn("%s: holds the store's password and every user of this machine may read it; use COMITY_STORE_FILE or chmod 600", c.loader.file)
	}
}

// unbuilt refuses what is promised but not there yet: to ignore a setting that
// somebody relies on would be worse than not to start.
func (c *checker) unbuilt() {
	for _, k := range c.loader.keys {
		if k.unbuilt && k.isSet(c.Config) {
			c.fail(at(k.path), "this build does not support it yet; leave it out")
		}
	}
}
