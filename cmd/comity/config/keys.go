package config

import (
	"slices"
	"strings"
)

// key is one row of the table: everything that is known about a setting.
type key struct {
	path    string            // dotted, as in the file
	at      func(*Config) any // the field it sets
	def     string            // default, in the textual form that assign reads
	doc     string            // meaning; plain text, whole sentences
	form    string            // how the reference calls its type; empty: from the Go type
	enum    []string          // the only values, when there are few
	isPath  bool              // relative to the folder of the file
	secret  bool              // may hold a credential: redacted, never quoted, no flag
	envOnly bool              // refused in the file and as a flag
	unbuilt bool              // promised, not supported yet: refused when set
	idle    bool              // checked, and not acted on yet: a warning when set
}

// The words by which the reference calls the types.
const (
	formAddress = "address"
	formPath    = "path"
	formURL     = "URL"
)

// section describes a group of keys in the reference and in the printed file.
type section struct{ name, doc string }

// sections lists the groups, in the order of the file.
func sections() []section {
	return []section{
		{"admin", "Admin listener: the admin API."},
		{"ops", "Operations listener: /metrics, /healthz, /readyz, and pprof when enabled."},
		{"registry", "The registry's snapshot in memory."},
		{"tls", "Certificates, TLS 1.3 only. Plain http needs loopback or trusted_proxies."},
		{"egress", "Where requests to peers may go."},
		{"keys", "Our signing keys."},
		{"tokens", "Life of the tokens that are issued."},
		{"dpop", "Proofs of possession."},
		{"limits", "Rate limits."},
		{"audit", "The record of decisions."},
		{"telemetry", "OpenTelemetry."},
		{"log", "The process's own log, on standard error."},
	}
}

// table lists every key, in the order of the file. It is longer than a function
// should be because it is data.
func table() []key {
	return slices.Concat(identityKeys(), listenerKeys(), storeKeys(), networkKeys(), issuingKeys(), watchingKeys())
}

func identityKeys() []key {
	return []key{
		{path: "domain", at: func(c *Config) any { return &c.Domain }, form: "trust domain",
			doc: "This broker's trust domain: lower-case letters, digits, dots, dashes and underscores. Required."},
		{path: "issuer", at: func(c *Config) any { return &c.Issuer }, form: "issuer",
			doc: "The iss of every token issued: an https URL without a path, or http on a literal loopback address. Required."},
	}
}

func listenerKeys() []key {
	return []key{
		{path: "listen", at: func(c *Config) any { return &c.Listen }, def: "127.0.0.1:8080", form: formAddress,
			doc: "Public listener: an IP address and a port. Off loopback it needs tls or trusted_proxies."},
		{path: "admin.listen", at: func(c *Config) any { return &c.Admin.Listen }, def: "127.0.0.1:8090", form: formAddress,
			doc: "Admin listener. Off loopback it needs tls."},
		{path: "admin.token_file", at: func(c *Config) any { return &c.Admin.TokenFile }, def: "admin.token", form: formPath, isPath: true,
			doc: "The bootstrap credential; generated with mode 0600 when absent. It stops working once an administrator exists."},
		{path: "admin.hosts", at: func(c *Config) any { return &c.Admin.Hosts },
			doc: "Host names that the admin listener answers to off loopback. Empty: the names in its certificate."},
		{path: "ops.listen", at: func(c *Config) any { return &c.Ops.Listen }, def: "127.0.0.1:9090", form: formAddress,
			doc: "Operations listener. It speaks plain http: keep it where only your monitoring reaches it."},
		{path: "ops.pprof", at: func(c *Config) any { return &c.Ops.Pprof }, def: "false",
			doc: "Serve /debug/pprof/ on the operations listener, which must then be on loopback."},
	}
}

func storeKeys() []key {
	return []key{
		{path: "store", at: func(c *Config) any { return &c.Store }, def: "sqlite:comity.db", form: "store URL", isPath: true, secret: true,
			doc: "Where the registry and the record live: sqlite:FILE, or postgres://user@host/db."},
		{path: "store_direct", at: func(c *Config) any { return &c.StoreDirect }, form: "store URL", secret: true,
			doc: "A postgres URL for LISTEN and migrations, when store goes through a transaction-mode pooler."},
		{path: "trust", at: func(c *Config) any { return &c.Trust }, form: formPath, isPath: true,
			doc: "A trust file, applied at start if it changed since it was last applied and nobody changed the registry meanwhile; otherwise drift is reported."},
		{path: "policies", at: func(c *Config) any { return &c.Policies }, form: formPath, isPath: true,
			doc: "A folder of AAP policy files, read at start."},
		{path: "registry.max_stale", at: func(c *Config) any { return &c.Registry.MaxStale }, def: "60s",
			doc: "Without contact with the store for this long, the broker refuses to issue and is not ready. 2s to 1h."},
	}
}

func networkKeys() []key {
	return []key{
		{path: "tls.cert_file", at: func(c *Config) any { return &c.TLS.CertFile }, form: formPath, isPath: true,
			doc: "Certificate chain, PEM. Needs key_file."},
		{path: "tls.key_file", at: func(c *Config) any { return &c.TLS.KeyFile }, form: formPath, isPath: true,
			doc: "Private key, PEM. Refused when everybody may read it."},
		{path: "tls.client_ca_file", at: func(c *Config) any { return &c.TLS.ClientCAFile }, form: formPath, isPath: true,
			doc: "Authorities, PEM: a client certificate of any other ends the connection, self-signed ones included. Empty: who vouches for which client is in the trust file. Needs cert_file."},
		{path: "tls.client_cert_header", at: func(c *Config) any { return &c.TLS.ClientCertHeader }, def: "Client-Cert", enum: []string{"Client-Cert", "X-SSL-Client-Cert"},
			doc: "Where trusted_proxies put the client's certificate: Client-Cert as RFC 9440 says, or X-SSL-Client-Cert in URL-encoded PEM as nginx writes it. They must remove it from what they receive."},
		{path: "trusted_proxies", at: func(c *Config) any { return &c.TrustedProxies },
			doc: "Networks whose X-Forwarded-* and client-certificate headers count."},
		{path: "valkey", at: func(c *Config) any { return &c.Valkey }, form: formURL, secret: true, unbuilt: true,
			doc: "A redis:// URL for rate-limit counters that replicas share."},
		{path: "egress.allow", at: func(c *Config) any { return &c.Egress.Allow },
			doc: "Networks that peers may live in besides public addresses; plain http only to a literal loopback address inside them."},
		{path: "egress.ca_file", at: func(c *Config) any { return &c.Egress.CAFile }, form: formPath, isPath: true,
			doc: "Certificate authorities for requests to peers, PEM, besides the system's."},
	}
}

func issuingKeys() []key {
	return []key{
		{path: "keys.algorithm", at: func(c *Config) any { return &c.Keys.Algorithm }, def: "ES256", enum: []string{"ES256", "EdDSA", "RS256"},
			doc: "Signature algorithm of issued tokens."},
		{path: "keys.file", at: func(c *Config) any { return &c.Keys.File }, form: formPath, isPath: true,
			doc: "A PEM or JWK private key instead of generated keys; its kid is the thumbprint (RFC 7638). Refused when everybody may read it."},
		{path: "keys.inline", at: func(c *Config) any { return &c.Keys.Inline }, form: "PEM or JWK", secret: true, envOnly: true,
			doc: "The private key itself instead of a file. From the environment only, so that it stays out of files and process lists."},
		{path: "keys.rotate_every", at: func(c *Config) any { return &c.Keys.RotateEvery }, def: "2160h", idle: true,
			doc: "Age at which a generated key is replaced. At least 1h."},
		{path: "keys.overlap", at: func(c *Config) any { return &c.Keys.Overlap }, def: "24h", idle: true,
			doc: "How long a replaced key stays published. At least tokens.max_ttl, and less than rotate_every."},
		{path: "keys.seal", at: func(c *Config) any { return &c.Keys.Seal }, def: "file:comity.seal", form: "file:PATH", isPath: true,
			doc: "The key that seals signing keys in the store; generated with mode 0600 when absent. Every replica needs the same one."},
		{path: "keys.kms", at: func(c *Config) any { return &c.Keys.KMS }, form: formURL, secret: true, unbuilt: true,
			doc: "A key service that signs instead of a local key."},
		{path: "tokens.ttl", at: func(c *Config) any { return &c.Tokens.TTL }, def: "300s",
			doc: "Life of a token when neither mapping nor policy says less."},
		{path: "tokens.max_ttl", at: func(c *Config) any { return &c.Tokens.MaxTTL }, def: "900s",
			doc: "Longest life of any token. At most 3600s."},
		{path: "tokens.min_ttl", at: func(c *Config) any { return &c.Tokens.MinTTL }, def: "30s",
			doc: "A request whose token would live shorter is refused. At least 1s."},
		{path: "dpop.nonces", at: func(c *Config) any { return &c.DPoP.Nonces }, def: "false",
			doc: "Whether DPoP proofs at the token endpoint need a nonce of ours (RFC 9449 section 8). A client without a current one is told it and asks again."},
		{path: "limits.client_per_minute", at: func(c *Config) any { return &c.Limits.ClientPerMinute }, def: "100",
			doc: "Token requests of one client in a minute."},
		{path: "limits.global_per_second", at: func(c *Config) any { return &c.Limits.GlobalPerSecond }, def: "10000",
			doc: "Token requests of all clients in a second."},
	}
}

func watchingKeys() []key {
	return []key{
		{path: "audit.retention", at: func(c *Config) any { return &c.Audit.Retention }, def: "8760h", idle: true,
			doc: "How long records are kept. At least 2160h (90 days)."},
		{path: "audit.export", at: func(c *Config) any { return &c.Audit.Export }, form: "list of URLs", secret: true, unbuilt: true,
			doc: "Where records are sent besides the store."},
		{path: "telemetry.otlp_endpoint", at: func(c *Config) any { return &c.Telemetry.OTLPEndpoint }, form: formURL, secret: true, unbuilt: true,
			doc: "Collector of traces. Off when empty."},
		{path: "log.level", at: func(c *Config) any { return &c.Log.Level }, def: "info", enum: []string{"debug", "info", "warn", "error"},
			doc: "Least severity that is written."},
		{path: "log.format", at: func(c *Config) any { return &c.Log.Format }, def: "json", enum: []string{"json", "text"},
			doc: "Form of the log."},
	}
}

// env is the variable that sets the key.
func (k key) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "__"))
}

// flag is the name of the flag that sets the key, without dashes; empty when
// a value on a command line, which every user of the machine can read, would
// give a credential away. The store is the exception: it need not hold one.
func (k key) flag() string {
	if k.envOnly || k.secret && k.path != "store" {
		return ""
	}
	return strings.NewReplacer(".", "-", "_", "-").Replace(k.path)
}

// split returns the section ("" at the top) and the name inside it.
func (k key) split() (group, name string) {
	group, name, nested := strings.Cut(k.path, ".")
	if !nested {
		return "", group
	}
	return group, name
}

// find returns the key with a path.
func find(keys []key, path string) (key, bool) {
	i := slices.IndexFunc(keys, func(k key) bool { return k.path == path })
	if i < 0 {
		return key{}, false
	}
	return keys[i], true
}

// Key describes a setting to those who build flags or documents from the table.
type Key struct {
	Path    string // dotted, as in the file
	Type    string // as the reference calls it
	Default string // textual form
	Env     string // variable that sets it
	Flag    string // flag that sets it, without dashes; empty when there is none
	Doc     string // meaning
	Bool    bool   // the flag needs no value
}

// AllKeys lists every setting, in the order of the file.
func AllKeys() []Key {
	keys := table()
	out := make([]Key, len(keys))
	for i, k := range keys {
		out[i] = Key{Path: k.path, Type: k.typeName(), Default: k.def, Env: k.env(), Flag: k.flag(), Doc: k.doc, Bool: k.isBool()}
	}
	return out
}
