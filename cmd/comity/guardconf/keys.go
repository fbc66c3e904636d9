package guardconf

import (
	"slices"

	"github.com/comity-auth/comity/cmd/comity/settings"
	"github.com/comity-auth/comity/federation/clientcert"
)

// sections lists the groups, in the order of the file.
func sections() []settings.Section {
	return []settings.Section{
		{Name: "proxy", Doc: "How admitted requests go to the upstream."},
		{Name: "tls", Doc: "Certificates of the public listener, TLS 1.3 only, read again when they change. Plain http needs loopback or trusted_proxies."},
		{Name: "ops", Doc: "Operations listener: /metrics, /healthz, /readyz, and pprof when enabled."},
		{Name: "revocations", Doc: "What is known of the issuers' revocations."},
		{Name: "counters", Doc: "The counts of rate limits."},
		{Name: "egress", Doc: "Where requests to issuers may go."},
		{Name: "log", Doc: "The process's own log, on standard error: one line for each decision."},
	}
}

// table lists every key, in the order of the file.
func table(c *Config) []settings.Key {
	return slices.Concat(resourceKeys(c), ruleKeys(c), listenerKeys(c), judgementKeys(c))
}

func resourceKeys(c *Config) []settings.Key {
	return []settings.Key{
		{Path: "audience", Field: &c.Audience, Form: "audience",
			Doc: "This resource's own identifier: the aud of every token must hold it. A URL has metadata (RFC 9728) under it. Required."},
		{Path: "issuers", Field: settings.ListOf(&c.Issuers, issuerKeys, "issuer"), Form: "list of issuers",
			Doc: "Whose tokens are accepted. At least one.",
			Example: []string{"issuers:", "  - https://broker.globex.example",
				"  - {issuer: \"https://as.example\", jwks_uri: \"https://as.example/keys\", insecure_no_revocations: true}"}},
		{Path: "public_key_file", Field: &c.PublicKeyFile, Form: settings.FormPath, IsPath: true,
			Doc: "The public keys of the only issuer, when it is not asked for them: the same as its jwks_file."},
		{Path: "upstream", Field: &c.Upstream, Form: settings.FormURL,
			Doc: "Where admitted requests go: scheme and host, and a path that goes before every request's. Empty: forward-auth alone, which needs trusted_proxies."},
		{Path: "proxy.ca_file", Field: &c.Proxy.CAFile, Form: settings.FormPath, IsPath: true,
			Doc: "Certificate authorities for an https upstream, PEM, besides the system's."},
		{Path: "proxy.forward_credential", Field: &c.Proxy.ForwardCredential, Default: "false",
			Doc: "Pass the Authorization header on. Without it the upstream never sees a token that it could use elsewhere."},
		{Path: "proxy.preserve_host", Field: &c.Proxy.PreserveHost, Default: "false",
			Doc: "Pass the Host of the request on instead of the upstream's."},
		{Path: "proxy.header_timeout", Field: &c.Proxy.HeaderTimeout, Default: "60s",
			Doc: "How long the upstream may take to begin its answer. At least 1s. The rest of it may take as long as it does."},
	}
}

func issuerKeys(i *Issuer) []settings.Key {
	return []settings.Key{
		{Path: "issuer", Field: &i.Issuer, Form: "issuer", Required: true, Doc: "The iss of its tokens, byte for byte."},
		{Path: "jwks_uri", Field: &i.JWKSURI, Form: settings.FormURL, Doc: "Where its keys are. Empty: its metadata says it."},
		{Path: "jwks_file", Field: &i.JWKSFile, Form: settings.FormPath, IsPath: true,
			Doc: "A file with its keys, for an issuer that is not asked: a JWK set, or public keys in PEM, whose kid is their thumbprint (RFC 7638)."},
		{Path: "algorithms", Field: &i.Algorithms, Default: "ES256,EdDSA,PS256,RS256", Doc: "Signature algorithms it may use."},
		{Path: "untyped_tokens", Field: &i.UntypedTokens, Default: "false", Doc: "Accept the header type JWT besides at+jwt."},
		{Path: "alias_names", Field: &i.AliasNames, Default: "false", Doc: "Accept aap_agent and the like besides the short claim names."},
		{Path: "feed", Field: &i.Feed, Form: settings.FormURL, Doc: "Where its revocations are. Empty: the issuer and /revocations."},
		{Path: "insecure_no_revocations", Field: &i.InsecureNoRevocations, Default: "false",
			Doc: "Accept tokens although the issuer has no feed: what it revokes lives on here until it expires."},
	}
}

func ruleKeys(c *Config) []settings.Key {
	return []settings.Key{
		{Path: "routes", Field: settings.ListOf(&c.Routes, routeKeys, ""), Form: "list of routes",
			Doc: "What a request needs. A request that no route matches is refused; of several the most specific counts. At least one.",
			Example: []string{"routes:", "  - {match: \"GET /search\", action: archive.search, target: \"query:url\"}",
				"  - {match: \"GET /documents/{id}\", action: archive.fetch, classification: internal}"}},
		{Path: "agents", Field: &c.Agents, Doc: "Agents (agent.id) that are recognised. Empty: any agent of an accepted token."},
		{Path: "denied_models", Field: &c.DeniedModels, Doc: "Models that may not be behind an agent: whole names, or without provider or version."},
		{Path: "require_attested", Field: &c.RequireAttested, Default: "false", Doc: "Refuse agents whose runtime is not attested."},
		{Path: "network_zone", Field: &c.NetworkZone, Doc: "The zone that requests arrive in. Empty: tokens that are limited to one are refused."},
		{Path: "max_depth", Field: &c.MaxDepth, Default: "-1", Doc: "Greatest delegation depth, beyond the tokens' own limits. -1: those alone."},
	}
}

func routeKeys(r *Route) []settings.Key {
	return []settings.Key{
		{Path: "match", Field: &r.Match, Form: "method and path pattern", Required: true,
			Doc: "A method and a path pattern of Go's net/http, such as GET /documents/{id}. GET matches HEAD too."},
		{Path: "action", Field: &r.Action, Doc: "What a token must have a capability for."},
		{Path: "scope", Field: &r.Scope, Doc: "Space-separated scopes that a token without capabilities must have instead. A route has an action, a scope, or both."},
		{Path: "target", Field: &r.Target, Form: "extractor",
			Doc: "Where the URL is that the request makes the resource go to, which domains_allowed and its like are held against: header:NAME, query:NAME, json:NAME or json:/NAME/NAME. A constraint whose input cannot be extracted denies."},
		{Path: "region", Field: &r.Region, Form: "extractor", Doc: "Where the request's region is, an ISO 3166-1 alpha-2 code."},
		{Path: "amount", Field: &r.Amount, Form: "extractor", Doc: "Where the request's amount is, a decimal number."},
		{Path: "classification", Field: &r.Classification,
			Doc: "How sensitive what the route gives access to is: public, internal, confidential or restricted. Empty: tokens that are limited to a classification are refused."},
		{Path: "unknown_constraints", Field: &r.UnknownConstraints, Default: deny, Enum: []string{deny, ignore},
			Doc: "What happens to a token with a constraint that the guard does not know. With ignore nobody enforces it; the log names it."},
		{Path: "response_size", Field: &r.ResponseSize, Default: enforce, Enum: []string{enforce, ignore},
			Doc: "What happens to a token with max_response_size in forward-auth, where it cannot be enforced: refused, or admitted without it."},
		{Path: "revalidate", Field: &r.Revalidate, Default: "false", Unbuilt: true, Doc: "Ask the issuer about the token at each request."},
		{Path: "insecure_public", Field: &r.InsecurePublic, Default: "false", Doc: "Admit requests without a token. The route then says nothing else."},
	}
}

func listenerKeys(c *Config) []settings.Key {
	return []settings.Key{
		{Path: "listen", Field: &c.Listen, Default: "127.0.0.1:8081", Form: settings.FormAddress,
			Doc: "Public listener: an IP address and a port. Off loopback it needs tls or trusted_proxies."},
		{Path: "public_url", Field: &c.PublicURL, Form: settings.FormURL,
			Doc: "Scheme, host and path prefix of this resource as clients see it: what a DPoP proof's htu is compared with. Empty: the scheme and Host of the request. Set it where one token is good at several resources: another of them could use a client's token and proof here, under its own Host."},
		{Path: "trusted_proxies", Field: &c.TrustedProxies,
			Doc: "Networks whose X-Forwarded-* and X-Original-* headers count, with the one that client_cert_header names, and whose forward-auth questions are answered."},
		{Path: "client_cert_header", Field: &c.ClientCertHeader, Default: clientcert.NoHeader,
			Enum: []string{clientcert.NoHeader, clientcert.HeaderRFC9440, clientcert.HeaderNginx},
			Doc:  "Where trusted_proxies put the client's certificate: Client-Cert as RFC 9440 says, X-SSL-Client-Cert in URL-encoded PEM as nginx writes it, or nowhere. They must set it on every request or remove it: what they let pass a client made up."},
		{Path: "valkey", Field: &c.Valkey, Form: settings.FormURL, Secret: true,
			Doc: "A redis:// or rediss:// URL: counts and used proofs that replicas share. Empty: they are kept in this process, so there must be one replica."},
		{Path: "tls.cert_file", Field: &c.TLS.CertFile, Form: settings.FormPath, IsPath: true, Doc: "Certificate chain, PEM. Needs key_file."},
		{Path: "tls.key_file", Field: &c.TLS.KeyFile, Form: settings.FormPath, IsPath: true, Doc: "Private key, PEM. Refused when everybody may read it."},
		{Path: "tls.client_ca_file", Field: &c.TLS.ClientCAFile, Form: settings.FormPath, IsPath: true,
			Doc: "Authorities, PEM: a client certificate of any other ends the connection, self-signed ones included. Empty: every client is asked for a certificate, none needs one, and a token that is bound to one needs that one. Needs cert_file."},
		{Path: "ops.listen", Field: &c.Ops.Listen, Default: "127.0.0.1:9091", Form: settings.FormAddress,
			Doc: "Operations listener. It speaks plain http: keep it where only your monitoring reaches it."},
		{Path: "ops.pprof", Field: &c.Ops.Pprof, Default: "false",
			Doc: "Serve /debug/pprof/ on the operations listener, which must then be on loopback."},
	}
}

func judgementKeys(c *Config) []settings.Key {
	return []settings.Key{
		{Path: "leeway", Field: &c.Leeway, Default: "30s", Doc: "Granted on exp, nbf and iat. At most 300s."},
		{Path: "max_token_age", Field: &c.MaxTokenAge, Default: "1h", Doc: "How long ago a token may have been issued."},
		{Path: "proof", Field: &c.Proof, Default: proofAsToken, Enum: []string{proofAsToken, proofRequired},
			Doc: "With as_token a token needs the proof of possession that it is bound to, if any; with required a token that is bound to no key is refused."},
		{Path: "revocations.max_age", Field: &c.Revocations.MaxAge, Default: "30s", Doc: "How old what is known of an issuer's revocations may be. At least 1s."},
		{Path: "revocations.stale", Field: &c.Revocations.Stale, Default: refuse, Enum: []string{refuse, admit},
			Doc: "What happens to requests when it is older. With admit the answer, the log and the metrics say so."},
		{Path: "counters.unavailable", Field: &c.Counters.Unavailable, Default: deny, Enum: []string{deny, admit},
			Doc: "What happens to requests with a rate limit when the counters cannot be reached. Counters that are full deny all the same."},
		{Path: "egress.allow", Field: &c.Egress.Allow,
			Doc: "Networks that issuers may live in besides public addresses; plain http only to a literal loopback address inside them."},
		{Path: "egress.ca_file", Field: &c.Egress.CAFile, Form: settings.FormPath, IsPath: true,
			Doc: "Certificate authorities for requests to issuers, PEM, besides the system's."},
		{Path: "log.level", Field: &c.Log.Level, Default: "info", Enum: []string{"debug", "info", "warn", "error"},
			Doc: "Least severity that is written. Admissions are info, refusals warn."},
		{Path: "log.format", Field: &c.Log.Format, Default: "json", Enum: []string{"json", "text"}, Doc: "Form of the log."},
	}
}
