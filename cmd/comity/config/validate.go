package config

import (
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/comity-auth/comity/cmd/comity/settings"
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

// checker looks for what is wrong with values that are each well formed.
type checker struct {
	*Config
	*settings.Checker
}

// validate checks the whole configuration and stops at nothing.
func validate(cfg *Config, with *settings.Checker) {
	c := &checker{cfg, with}
	c.identity()
	c.Listeners(settings.Listener{Path: "listen", Value: c.Listen}, settings.Listener{Path: "admin.listen", Value: c.Admin.Listen},
		settings.Listener{Path: "ops.listen", Value: c.Ops.Listen})
	c.transport()
	c.storage()
	c.signing()
	c.lifetimes()
	c.bounds()
	c.files()
}

func at(paths ...string) []string { return paths }

func (c *checker) identity() {
	if c.Understood("domain") && c.Domain.IsZero() {
		c.Fail(at("domain"), "is required: the trust domain that this broker speaks for")
	}
	switch {
	case !c.Understood("issuer"):
	case c.Issuer.IsZero():
		c.Fail(at("issuer"), "is required: the URL that its tokens name as iss")
	case strings.Count(c.Issuer.String(), "/") > 2: // those of "://"
		c.Fail(at("issuer"), "must have no path, not even a closing slash")
	}
}

func (c *checker) transport() {
	c.Transport(c.Listen, c.TLS.CertFile, c.TLS.KeyFile, c.TLS.ClientCAFile, c.TrustedProxies)
	tls := c.TLS.CertFile != "" || c.TLS.KeyFile != "" // one alone is reported above
	if c.Understood("admin.listen") && !settings.OnLoopback(c.Admin.Listen) && !tls {
		c.Fail(at("admin.listen"), "off loopback the admin listener needs tls")
	}
	c.Pprof(c.Ops.Listen, c.Ops.Pprof)
	for _, h := range c.Admin.Hosts {
		if h != strings.ToLower(h) || strings.ContainsAny(h, "/:*@ ") && net.ParseIP(h) == nil {
			c.Fail(at("admin.hosts"), "%q must be a host name in lower case, without a port", h)
		}
	}
}

func (c *checker) storage() {
	scheme, _, found := strings.Cut(c.Store, ":")
	switch {
	case !found, scheme != "sqlite" && !isPostgres(scheme):
		c.Fail(at("store"), "must begin with sqlite: or postgres:")
	case scheme == "sqlite" && c.Store == sqliteScheme:
		c.Fail(at("store"), "names no file")
	case isPostgres(scheme) && !isDatabaseURL(c.Store):
		c.Fail(at("store"), "must be a URL such as postgres://user@host/db")
	}
	if c.StoreDirect == "" {
		return
	}
	switch direct, _, _ := strings.Cut(c.StoreDirect, ":"); {
	case !isPostgres(direct) || !isDatabaseURL(c.StoreDirect):
		c.Fail(at("store_direct"), "must be a URL such as postgres://user@host/db")
	case !isPostgres(scheme):
		c.Fail(at("store_direct"), "is for a store on postgres")
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
		c.Fail(at("keys.inline", "keys.file"), "keys.file and keys.inline are both given")
	}
	inline := strings.TrimSpace(c.Keys.Inline.Reveal())
	if inline != "" && !strings.HasPrefix(inline, "-----BEGIN ") && !strings.HasPrefix(inline, "{") {
		c.Fail(at("keys.inline"), "must be a PEM or JWK private key")
	}
	if rest, ok := strings.CutPrefix(c.Keys.Seal, sealScheme); !ok || rest == "" {
		c.Fail(at("keys.seal"), "must be file:PATH")
	}
	if !c.Understood("keys.rotate_every", "keys.overlap", "tokens.max_ttl") {
		return
	}
	if c.Keys.RotateEvery < minRotate {
		c.Fail(at("keys.rotate_every"), "must be at least %s", settings.Short(minRotate))
	}
	if c.Keys.Overlap >= c.Keys.RotateEvery {
		c.Fail(at("keys.overlap", "keys.rotate_every"), "keys.overlap (%s) must be less than keys.rotate_every (%s)",
			settings.Short(c.Keys.Overlap), settings.Short(c.Keys.RotateEvery))
	}
	if c.Keys.Overlap < c.Tokens.MaxTTL {
		c.Fail(at("keys.overlap", "tokens.max_ttl"), "keys.overlap (%s) must not be less than tokens.max_ttl (%s): tokens would outlive their key",
			settings.Short(c.Keys.Overlap), settings.Short(c.Tokens.MaxTTL))
	}
}

func (c *checker) lifetimes() {
	if c.Understood("tokens.min_ttl") && c.Tokens.MinTTL < minTokenTTL {
		c.Fail(at("tokens.min_ttl"), "must be at least %s", settings.Short(minTokenTTL))
	}
	if c.Understood("tokens.max_ttl") && c.Tokens.MaxTTL > maxTokenTTL {
		c.Fail(at("tokens.max_ttl"), "must be at most %d seconds", int(maxTokenTTL.Seconds()))
	}
	if c.Understood("tokens.min_ttl", "tokens.ttl") && c.Tokens.MinTTL > c.Tokens.TTL {
		c.Fail(at("tokens.ttl", "tokens.min_ttl"), "tokens.ttl (%s) must not be less than tokens.min_ttl (%s)",
			settings.Short(c.Tokens.TTL), settings.Short(c.Tokens.MinTTL))
	}
	if c.Understood("tokens.ttl", "tokens.max_ttl") && c.Tokens.TTL > c.Tokens.MaxTTL {
		c.Fail(at("tokens.ttl", "tokens.max_ttl"), "tokens.ttl (%s) must not be more than tokens.max_ttl (%s)",
			settings.Short(c.Tokens.TTL), settings.Short(c.Tokens.MaxTTL))
	}
	if c.Understood("registry.max_stale") && (c.Registry.MaxStale < minStale || c.Registry.MaxStale > maxStale) {
		c.Fail(at("registry.max_stale"), "must be from %s to %s", settings.Short(minStale), settings.Short(maxStale))
	}
	if c.Understood("audit.retention") && c.Audit.Retention < minRetention {
		c.Fail(at("audit.retention"), "must be at least %s (90 days)", settings.Short(minRetention))
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
		if c.Understood(n.path) && (n.value < 1 || n.value > n.max) {
			c.Fail(at(n.path), "must be from 1 to %d", n.max)
		}
	}
}

func (c *checker) files() {
	c.Files(
		settings.File{Path: "tls.cert_file", File: c.TLS.CertFile, Needed: true},
		settings.File{Path: "tls.key_file", File: c.TLS.KeyFile, Needed: true, Secret: true},
		settings.File{Path: "tls.client_ca_file", File: c.TLS.ClientCAFile, Needed: true},
		settings.File{Path: "egress.ca_file", File: c.Egress.CAFile, Needed: true},
		settings.File{Path: "trust", File: c.Trust, Needed: true},
		settings.File{Path: "policies", File: c.Policies, Needed: true, Dir: true},
		settings.File{Path: "keys.file", File: c.Keys.File, Needed: true, Secret: true},
		settings.File{Path: "keys.seal", File: c.Keys.SealFile(), Secret: true},
		settings.File{Path: "admin.token_file", File: c.Admin.TokenFile, Secret: true},
	)
	if c.Admin.TokenFile == "" {
		c.Fail(at("admin.token_file"), "must name a file")
	}
	if slices.ContainsFunc([]string{c.Store, c.StoreDirect}, holdsPassword) {
		c.WarnExposed("the store's password", "COMITY_STORE_FILE", "store", "store_direct")
	}
}

func holdsPassword(store string) bool {
	return !strings.HasPrefix(store, sqliteScheme) && settings.RedactURL(store) != store
}
