package guardconf

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/comity-auth/comity/cmd/comity/settings"
	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/guard"
	"github.com/comity-auth/comity/federation/guard/route"
	"github.com/comity-auth/comity/trust/ident"
)

// checker looks for what is wrong with values that are each well formed.
type checker struct {
	*Config
	*settings.Checker
}

// validate checks the whole configuration and stops at nothing.
func validate(cfg *Config, with *settings.Checker) {
	c := &checker{cfg, with}
	c.resource()
	c.issuers()
	c.routes()
	c.Listeners(settings.Listener{Path: "listen", Value: c.Listen}, settings.Listener{Path: "ops.listen", Value: c.Ops.Listen})
	c.Transport(c.Listen, c.TLS.CertFile, c.TLS.KeyFile, c.TLS.ClientCAFile, c.TrustedProxies)
	c.Pprof(c.Ops.Listen, c.Ops.Pprof)
	c.bounds()
	c.files()
	for _, s := range c.Insecure() {
		c.Warn("%s", s)
	}
	if c.Valkey != "" && !redisURL(c.Valkey) {
		c.Fail(at("valkey"), "must be a redis:// or rediss:// URL")
	}
	if c.Valkey != "" && settings.RedactURL(c.Valkey) != c.Valkey {
		c.WarnExposed("the password of valkey", "COMITY_VALKEY_FILE", "valkey")
	}
}

func at(paths ...string) []string { return paths }

func (c *checker) resource() {
	if c.Audience == "" {
		if c.Understood("audience") {
			c.Fail(at("audience"), "is required: the identifier that tokens for this resource name as aud")
		}
	} else if _, err := ident.ParseAudience(c.Audience); err != nil {
		c.Fail(at("audience"), "%v", err)
	}
	if c.Upstream != "" && !webURL(c.Upstream) {
		c.Fail(at("upstream"), "must be an http or https URL without user, query and fragment")
	}
	if c.PublicURL != "" && !webURL(c.PublicURL) {
		c.Fail(at("public_url"), "must be an http or https URL without user, query and fragment")
	}
	if c.Understood("upstream", "trusted_proxies") && c.Upstream == "" && len(c.TrustedProxies) == 0 {
		c.Fail(at("upstream", "trusted_proxies"), "is required, or trusted_proxies for forward-auth: only trusted proxies are answered there")
	}
}

// webURL reports whether s is an absolute http or https URL of host and path.
func webURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil &&
		u.Opaque == "" && !strings.ContainsAny(s, "?#")
}

// redisURL never shows the URL, nor the parser's error, which repeats it.
func redisURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "redis" || u.Scheme == "rediss") && u.Host != ""
}

func (c *checker) issuers() {
	if len(c.Issuers) == 0 && c.Understood("issuers") {
		c.Fail(at("issuers"), "is required: whose tokens are accepted")
	}
	seen := map[string]int{}
	for i, from := range c.Issuers {
		path := fmt.Sprintf("issuers[%d]", i)
		name := path + ".issuer"
		if !c.Understood(path) {
			continue
		}
		if _, err := ident.ParseIssuer(from.Issuer); err != nil {
			c.Fail(at(name), "%v", err)
		}
		if first, again := seen[from.Issuer]; again {
			c.Fail(at(name), "is there twice: also as issuers[%d]", first)
		}
		seen[from.Issuer] = i
		c.issuer(path, from)
	}
	if c.PublicKeyFile != "" && c.Understood("issuers") && (len(c.Issuers) != 1 || c.Issuers[0].JWKSFile != "" || c.Issuers[0].JWKSURI != "") {
		c.Fail(at("public_key_file"), "is for a single issuer that has neither jwks_uri nor jwks_file")
	}
}

func (c *checker) issuer(path string, from Issuer) {
	if from.JWKSURI != "" && from.JWKSFile != "" {
		c.Fail(at(path+".jwks_file"), "jwks_uri and jwks_file are both given")
	}
	for _, u := range []struct{ key, value string }{{".jwks_uri", from.JWKSURI}, {".feed", from.Feed}} {
		if u.value != "" && !webURL(u.value) {
			c.Fail(at(path+u.key), "must be an http or https URL without user, query and fragment")
		}
	}
	if len(from.Algorithms) == 0 {
		c.Fail(at(path+".algorithms"), "names none")
	}
	for _, a := range from.Algorithms {
		if !slices.Contains(federation.Algorithms(), a) {
			c.Fail(at(path+".algorithms"), "%q is not one of %s", a, strings.Join(federation.Algorithms(), ", "))
		}
	}
	if from.InsecureNoRevocations && from.Feed != "" {
		c.Fail(at(path+".insecure_no_revocations"), "contradicts feed")
	}
}

// Spec is the route as package route knows it.
func (r Route) Spec() route.Spec {
	return route.Spec{Match: r.Match, Action: r.Action, Scope: r.Scope, Target: r.Target, Region: r.Region, Amount: r.Amount,
		Classification: r.Classification, InsecureIgnoreUnknownConstraints: r.IgnoreUnknown(),
		InsecureIgnoreResponseSize: r.IgnoreResponseSize(), InsecurePublic: r.InsecurePublic}
}

func (c *checker) routes() {
	if len(c.Routes) == 0 && c.Understood("routes") {
		c.Fail(at("routes"), "is required: a request that no route matches is refused")
	}
	var good []route.Spec
	var places []int
	for i, r := range c.Routes {
		path := fmt.Sprintf("routes[%d]", i)
		if !c.Understood(path) {
			continue
		}
		if err := r.Spec().Check(); err != nil {
			c.Fail(at(path), "%q: %s", r.Match, strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		good, places = append(good, r.Spec()), append(places, i)
	}
	if _, err := route.NewTable(good); err == nil || len(good) == 0 {
		return
	}
	for i := range good {
		for j := range i {
			if _, err := route.NewTable([]route.Spec{good[j], good[i]}); err != nil {
				c.Fail(at(fmt.Sprintf("routes[%d]", places[i])), "%q matches requests that routes[%d] %q matches too, and neither is more specific",
					good[i].Match, places[j], good[j].Match)
			}
		}
	}
}

func (c *checker) bounds() {
	for _, d := range []struct {
		path       string
		value      time.Duration
		least, max time.Duration
	}{
		{"leeway", c.Leeway, 0, guard.MaxLeeway},
		{"max_token_age", c.MaxTokenAge, time.Second, 365 * 24 * time.Hour},
		{"revocations.max_age", c.Revocations.MaxAge, time.Second, 24 * time.Hour},
		{"proxy.header_timeout", c.Proxy.HeaderTimeout, time.Second, 24 * time.Hour},
	} {
		if c.Understood(d.path) && (d.value < d.least || d.value > d.max) {
			c.Fail(at(d.path), "must be from %s to %s", settings.Short(d.least), settings.Short(d.max))
		}
	}
	if c.Understood("max_depth") && c.MaxDepth < -1 {
		c.Fail(at("max_depth"), "must be -1 or more")
	}
}

func (c *checker) files() {
	files := []settings.File{
		{Path: "tls.cert_file", File: c.TLS.CertFile, Needed: true},
		{Path: "tls.key_file", File: c.TLS.KeyFile, Needed: true, Secret: true},
		{Path: "tls.client_ca_file", File: c.TLS.ClientCAFile, Needed: true},
		{Path: "egress.ca_file", File: c.Egress.CAFile, Needed: true},
		{Path: "proxy.ca_file", File: c.Proxy.CAFile, Needed: true},
		{Path: "public_key_file", File: c.PublicKeyFile, Needed: true},
	}
	for i, from := range c.Issuers {
		files = append(files, settings.File{Path: fmt.Sprintf("issuers[%d].jwks_file", i), File: from.JWKSFile, Needed: true})
	}
	c.Files(files...)
}
