package config

import (
	"net/netip"
	"strings"
	"time"

	"github.com/comity-auth/comity/trust/ident"
)

// Config is the configuration of a broker. What each field means, its default
// and its unit is written once, in the table of keys, under the same name.
// The zero Config is not valid; [Load] makes valid ones.
type Config struct {
	Domain         ident.Domain   // domain
	Issuer         ident.Issuer   // issuer
	Listen         string         // listen
	Admin          Admin          // admin
	Ops            Ops            // ops
	Store          string         // store: may hold a password
	StoreDirect    string         // store_direct: may hold a password
	Trust          string         // trust
	Policies       string         // policies
	Registry       Registry       // registry
	TLS            TLS            // tls
	TrustedProxies []netip.Prefix // trusted_proxies
	Valkey         string         // valkey: may hold a password
	Egress         Egress         // egress
	Keys           Keys           // keys
	Tokens         Tokens         // tokens
	DPoP           DPoP           // dpop
	Limits         Limits         // limits
	Audit          Audit          // audit
	Telemetry      Telemetry      // telemetry
	Log            Log            // log
}

// Admin is the listener of the admin API.
type Admin struct {
	Listen    string   // admin.listen
	TokenFile string   // admin.token_file
	Hosts     []string // admin.hosts
}

// Ops is the operations listener.
type Ops struct {
	Listen string // ops.listen
	Pprof  bool   // ops.pprof
}

// Registry bounds how old the registry's snapshot may be.
type Registry struct {
	MaxStale time.Duration // registry.max_stale
}

// TLS is the certificate of the public listener, and of the admin listener
// when that is off loopback.
type TLS struct {
	CertFile     string // tls.cert_file
	KeyFile      string // tls.key_file
	ClientCAFile string // tls.client_ca_file
	// ClientCertHeader is where trusted proxies put the client's certificate.
	ClientCertHeader string // tls.client_cert_header
}

// Enabled reports whether the listeners that can speak TLS do.
func (t TLS) Enabled() bool { return t.CertFile != "" && t.KeyFile != "" }

// Egress says where requests to peers may go.
type Egress struct {
	Allow  []netip.Prefix // egress.allow
	CAFile string         // egress.ca_file
}

// Keys says where the signing keys come from and how long they serve.
type Keys struct {
	Algorithm   string         // keys.algorithm
	File        string         // keys.file
	Inline      ident.RawToken // keys.inline
	RotateEvery time.Duration  // keys.rotate_every
	Overlap     time.Duration  // keys.overlap
	Seal        string         // keys.seal
	KMS         string         // keys.kms
}

// SealFile is the path of the sealing key's file.
func (k Keys) SealFile() string { return strings.TrimPrefix(k.Seal, sealScheme) }

// Tokens bounds the life of issued tokens.
type Tokens struct {
	TTL    time.Duration // tokens.ttl
	MaxTTL time.Duration // tokens.max_ttl
	MinTTL time.Duration // tokens.min_ttl
}

// DPoP is how proofs of possession are asked for.
type DPoP struct {
	Nonces bool // dpop.nonces
}

// Limits are the rate limits.
type Limits struct {
	ClientPerMinute int // limits.client_per_minute
	GlobalPerSecond int // limits.global_per_second
}

// Audit is the keeping of the record.
type Audit struct {
	Retention time.Duration // audit.retention
	Export    []string      // audit.export
}

// Telemetry is where traces go.
type Telemetry struct {
	OTLPEndpoint string // telemetry.otlp_endpoint
}

// Log is the process's own log.
type Log struct {
	Level  string // log.level
	Format string // log.format
}
