package guardconf

import (
	"fmt"
	"net/netip"
	"time"
)

// Config is the configuration of a guard. What each field means, its default
// and its unit is written once, in the table of keys, under the same name.
// The zero Config is not valid; [Load] makes valid ones.
type Config struct {
	Listen           string         // listen
	Audience         string         // audience
	Issuers          []Issuer       // issuers
	PublicKeyFile    string         // public_key_file
	Upstream         string         // upstream
	Proxy            Proxy          // proxy
	Routes           []Route        // routes
	Agents           []string       // agents
	DeniedModels     []string       // denied_models
	RequireAttested  bool           // require_attested
	NetworkZone      string         // network_zone
	MaxDepth         int            // max_depth
	Valkey           string         // valkey: may hold a password
	TrustedProxies   []netip.Prefix // trusted_proxies
	ClientCertHeader string         // client_cert_header
	PublicURL        string         // public_url
	TLS              TLS            // tls
	Ops              Ops            // ops
	Leeway           time.Duration  // leeway
	MaxTokenAge      time.Duration  // max_token_age
	Proof            string         // proof
	Revocations      Revocations    // revocations
	Counters         Counters       // counters
	Egress           Egress         // egress
	Log              Log            // log
}

// Issuer is one of the issuers, whose keys stand below issuers[].
type Issuer struct {
	Issuer                string
	JWKSURI               string
	JWKSFile              string
	Algorithms            []string
	UntypedTokens         bool
	AliasNames            bool
	Feed                  string
	InsecureNoRevocations bool
}

// Route is one of the routes, whose keys stand below routes[].
type Route struct {
	Match              string
	Action             string
	Scope              string
	Target             string
	Region             string
	Amount             string
	Classification     string
	UnknownConstraints string
	ResponseSize       string
	Revalidate         bool
	InsecurePublic     bool
}

// Proxy is how admitted requests go to the upstream.
type Proxy struct {
	CAFile            string        // proxy.ca_file
	ForwardCredential bool          // proxy.forward_credential
	PreserveHost      bool          // proxy.preserve_host
	HeaderTimeout     time.Duration // proxy.header_timeout
}

// TLS is the certificate of the public listener.
type TLS struct {
	CertFile     string // tls.cert_file
	KeyFile      string // tls.key_file
	ClientCAFile string // tls.client_ca_file
}

// Enabled reports whether the public listener speaks TLS.
func (t TLS) Enabled() bool { return t.CertFile != "" && t.KeyFile != "" }

// Ops is the operations listener.
type Ops struct {
	Listen string // ops.listen
	Pprof  bool   // ops.pprof
}

// Revocations bound how old what is known of revocations may be.
type Revocations struct {
	MaxAge time.Duration // revocations.max_age
	Stale  string        // revocations.stale
}

// Counters are the counts of rate limits.
type Counters struct {
	Unavailable string // counters.unavailable
}

// Egress says where requests to issuers may go.
type Egress struct {
	Allow  []netip.Prefix // egress.allow
	CAFile string         // egress.ca_file
}

// Log is the process's own log.
type Log struct {
	Level  string // log.level
	Format string // log.format
}

// The words of settings that choose.
const (
	proofAsToken, proofRequired = "as_token", "required"
	refuse, admit               = "refuse", "admit"
	deny, ignore                = "deny", "ignore"
	enforce                     = "enforce"
)

// RequireProof reports whether tokens that are bound to no key are refused.
func (c *Config) RequireProof() bool { return c.Proof == proofRequired }

// AdmitStale reports whether old knowledge of revocations is enough.
func (c *Config) AdmitStale() bool { return c.Revocations.Stale == admit }

// AdmitUncounted reports whether requests pass that could not be counted.
func (c *Config) AdmitUncounted() bool { return c.Counters.Unavailable == admit }

// IgnoreUnknown reports whether constraints that are not known are let pass.
func (r Route) IgnoreUnknown() bool { return r.UnknownConstraints == ignore }

// IgnoreResponseSize reports whether a limit of responses is let pass where it
// cannot be enforced.
func (r Route) IgnoreResponseSize() bool { return r.ResponseSize == ignore }

// Insecure says which protections are switched off, a sentence each.
func (c *Config) Insecure() []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for i, from := range c.Issuers {
		if from.InsecureNoRevocations {
			say("issuers[%d].insecure_no_revocations: what %s revokes is admitted until it expires", i, from.Issuer)
		}
	}
	for i, r := range c.Routes {
		if r.InsecurePublic {
			say("routes[%d].insecure_public: %q needs no token", i, r.Match)
		}
		if r.IgnoreUnknown() {
			say("routes[%d].unknown_constraints: %q admits tokens whose constraints nobody enforces", i, r.Match)
		}
		if r.IgnoreResponseSize() {
			say("routes[%d].response_size: in forward-auth nobody holds responses of %q to max_response_size", i, r.Match)
		}
	}
	if c.AdmitStale() {
		say("revocations.stale: revoked tokens are admitted while the feed cannot be had")
	}
	if c.AdmitUncounted() {
		say("counters.unavailable: rate limits do not hold while the counters cannot be reached")
	}
	return out
}
