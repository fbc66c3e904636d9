package config

import (
	"slices"

	"github.com/comity-auth/comity/cmd/comity/settings"
	"github.com/comity-auth/comity/federation/clientcert"
)

// sections lists the groups, in the order of the file.
func sections() []settings.Section {
	return []settings.Section{
		{Name: "admin", Doc: "Admin listener: the admin API."},
		{Name: "ops", Doc: "Operations listener: /metrics, /healthz, /readyz, and pprof when enabled."},
		{Name: "registry", Doc: "The registry's snapshot in memory."},
		{Name: "tls", Doc: "Certificates, TLS 1.3 only. Plain http needs loopback or trusted_proxies."},
		{Name: "egress", Doc: "Where requests to peers may go."},
		{Name: "keys", Doc: "Our signing keys."},
		{Name: "tokens", Doc: "Life of the tokens that are issued."},
		{Name: "dpop", Doc: "Proofs of possession."},
		{Name: "limits", Doc: "Rate limits."},
		{Name: "audit", Doc: "The record of decisions."},
		{Name: "telemetry", Doc: "OpenTelemetry."},
		{Name: "log", Doc: "The process's own log, on standard error."},
	}
}

// table lists every key, in the order of the file. It is longer than a function
// should be because it is data.
func table(c *Config) []settings.Key {
	return slices.Concat(identityKeys(c), listenerKeys(c), storeKeys(c), networkKeys(c), issuingKeys(c), watchingKeys(c))
}

func identityKeys(c *Config) []settings.Key {
	return []settings.Key{
		{Path: "domain", Field: &c.Domain, Form: "trust domain",
			Doc: "This broker's trust domain: lower-case letters, digits, dots, dashes and underscores. Required."},
		{Path: "issuer", Field: &c.Issuer, Form: "issuer",
			Doc: "The iss of every token issued: an https URL without a path, or http on a literal loopback address. Required."},
	}
}

func listenerKeys(c *Config) []settings.Key {
	return []settings.Key{
		{Path: "listen", Field: &c.Listen, Default: "127.0.0.1:8080", Form: settings.FormAddress,
			Doc: "Public listener: an IP address and a port. Off loopback it needs tls or trusted_proxies."},
		{Path: "admin.listen", Field: &c.Admin.Listen, Default: "127.0.0.1:8090", Form: settings.FormAddress,
			Doc: "Admin listener. Off loopback it needs tls."},
		{Path: "admin.token_file", Field: &c.Admin.TokenFile, Default: "admin.token", Form: settings.FormPath, IsPath: true,
			Doc: "The bootstrap credential; generated with mode 0600 when absent. It stops working once an administrator exists."},
		{Path: "admin.hosts", Field: &c.Admin.Hosts,
			Doc: "Host names that the admin listener answers to off loopback. Empty: the names in its certificate."},
		{Path: "ops.listen", Field: &c.Ops.Listen, Default: "127.0.0.1:9090", Form: settings.FormAddress,
			Doc: "Operations listener. It speaks plain http: keep it where only your monitoring reaches it."},
		{Path: "ops.pprof", Field: &c.Ops.Pprof, Default: "false",
			Doc: "Serve /debug/pprof/ on the operations listener, which must then be on loopback."},
	}
}

func storeKeys(c *Config) []settings.Key {
	return []settings.Key{
		{Path: "store", Field: &c.Store, Default: "sqlite:comity.db", Form: "store URL", IsPath: true, Scheme: sqliteScheme, Secret: true, OnFlag: true,
			Doc: "Where the registry and the record live: sqlite:FILE, or postgres://user@host/db."},
		{Path: "store_direct", Field: &c.StoreDirect, Form: "store URL", Secret: true,
			Doc: "A postgres URL for LISTEN and migrations, when store goes through a transaction-mode pooler."},
		{Path: "trust", Field: &c.Trust, Form: settings.FormPath, IsPath: true,
			Doc: "A trust file, applied at start if it changed since it was last applied and nobody changed the registry meanwhile; otherwise drift is reported."},
		{Path: "policies", Field: &c.Policies, Form: settings.FormPath, IsPath: true,
			Doc: "A folder of AAP policy files, read at start."},
		{Path: "registry.max_stale", Field: &c.Registry.MaxStale, Default: "60s",
			Doc: "Without contact with the store for this long, the broker refuses to issue and is not ready. 2s to 1h."},
	}
}

func networkKeys(c *Config) []settings.Key {
	return []settings.Key{
		{Path: "tls.cert_file", Field: &c.TLS.CertFile, Form: settings.FormPath, IsPath: true,
			Doc: "Certificate chain, PEM. Needs key_file."},
		{Path: "tls.key_file", Field: &c.TLS.KeyFile, Form: settings.FormPath, IsPath: true,
			Doc: "Private key, PEM. Refused when everybody may read it."},
		{Path: "tls.client_ca_file", Field: &c.TLS.ClientCAFile, Form: settings.FormPath, IsPath: true,
			Doc: "Authorities, PEM: a client certificate of any other ends the connection, self-signed ones included. Empty: who vouches for which client is in the trust file. Needs cert_file."},
		{Path: "tls.client_cert_header", Field: &c.TLS.ClientCertHeader, Default: clientcert.NoHeader,
			Enum: []string{clientcert.NoHeader, clientcert.HeaderRFC9440, clientcert.HeaderNginx},
			Doc:  "Where trusted_proxies put the client's certificate: Client-Cert as RFC 9440 says, X-SSL-Client-Cert in URL-encoded PEM as nginx writes it, or nowhere. They must set it on every request or remove it: what they let pass a client made up."},
		{Path: "trusted_proxies", Field: &c.TrustedProxies,
			Doc: "Networks whose X-Forwarded-* headers count, and the header that tls.client_cert_header names."},
		{Path: "valkey", Field: &c.Valkey, Form: settings.FormURL, Secret: true, Unbuilt: true,
			Doc: "A redis:// URL for rate-limit counters that replicas share."},
		{Path: "egress.allow", Field: &c.Egress.Allow,
			Doc: "Networks that peers may live in besides public addresses; plain http only to a literal loopback address inside them."},
		{Path: "egress.ca_file", Field: &c.Egress.CAFile, Form: settings.FormPath, IsPath: true,
			Doc: "Certificate authorities for requests to peers, PEM, besides the system's."},
	}
}

func issuingKeys(c *Config) []settings.Key {
	return []settings.Key{
		{Path: "keys.algorithm", Field: &c.Keys.Algorithm, Default: "ES256", Enum: []string{"ES256", "EdDSA", "RS256"},
			Doc: "Signature algorithm of issued tokens."},
		{Path: "keys.file", Field: &c.Keys.File, Form: settings.FormPath, IsPath: true,
			Doc: "A PEM or JWK private key instead of generated keys; its kid is the thumbprint (RFC 7638). Refused when everybody may read it."},
		{Path: "keys.inline", Field: &c.Keys.Inline, Form: "PEM or JWK", Secret: true, EnvOnly: true,
			Doc: "The private key itself instead of a file. From the environment only, so that it stays out of files and process lists."},
		{Path: "keys.rotate_every", Field: &c.Keys.RotateEvery, Default: "2160h", Idle: true,
			Doc: "Age at which a generated key is replaced. At least 1h."},
		{Path: "keys.overlap", Field: &c.Keys.Overlap, Default: "24h", Idle: true,
			Doc: "How long a replaced key stays published. At least tokens.max_ttl, and less than rotate_every."},
		{Path: "keys.seal", Field: &c.Keys.Seal, Default: "file:comity.seal", Form: "file:PATH", IsPath: true, Scheme: sealScheme,
			Doc: "The key that seals signing keys in the store; generated with mode 0600 when absent. Every replica needs the same one."},
		{Path: "keys.kms", Field: &c.Keys.KMS, Form: settings.FormURL, Secret: true, Unbuilt: true,
			Doc: "A key service that signs instead of a local key."},
		{Path: "tokens.ttl", Field: &c.Tokens.TTL, Default: "300s",
			Doc: "Life of a token when neither mapping nor policy says less."},
		{Path: "tokens.max_ttl", Field: &c.Tokens.MaxTTL, Default: "900s",
			Doc: "Longest life of any token. At most 3600s."},
		{Path: "tokens.min_ttl", Field: &c.Tokens.MinTTL, Default: "30s",
			Doc: "A request whose token would live shorter is refused. At least 1s."},
		{Path: "dpop.nonces", Field: &c.DPoP.Nonces, Default: "false",
			Doc: "Whether DPoP proofs at the token endpoint need a nonce of ours (RFC 9449 section 8). A client without a current one is told it and asks again."},
		{Path: "limits.client_per_minute", Field: &c.Limits.ClientPerMinute, Default: "100",
			Doc: "Token requests of one client in a minute."},
		{Path: "limits.global_per_second", Field: &c.Limits.GlobalPerSecond, Default: "10000",
			Doc: "Token requests of all clients in a second."},
	}
}

func watchingKeys(c *Config) []settings.Key {
	return []settings.Key{
		{Path: "audit.retention", Field: &c.Audit.Retention, Default: "8760h", Idle: true,
			Doc: "How long records are kept. At least 2160h (90 days)."},
		{Path: "audit.export", Field: &c.Audit.Export, Form: "list of URLs", Secret: true, Unbuilt: true,
			Doc: "Where records are sent besides the store."},
		{Path: "telemetry.otlp_endpoint", Field: &c.Telemetry.OTLPEndpoint, Form: settings.FormURL, Secret: true, Unbuilt: true,
			Doc: "Collector of traces. Off when empty."},
		{Path: "log.level", Field: &c.Log.Level, Default: "info", Enum: []string{"debug", "info", "warn", "error"},
			Doc: "Least severity that is written."},
		{Path: "log.format", Field: &c.Log.Format, Default: "json", Enum: []string{"json", "text"},
			Doc: "Form of the log."},
	}
}
