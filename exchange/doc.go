// Package exchange turns one verified token into another: OAuth 2.0 Token
// Exchange (RFC 8693) and, for this domain's own agents, the client credentials
// grant (RFC 6749 section 4.4), issuing JWT access tokens (RFC 9068) that may
// carry the agent authorization profile.
//
// Every grant type climbs one ladder, [Service.Exchange]: well formed, client,
// binding, subject, decision, trace, mint, commit. Each step takes what the
// step before proved, as a type that only that step makes, so none can be left
// out. Nothing before the commit changes state, and no token leaves without
// one. Whatever happens, the request leaves one record.
//
// The package knows neither HTTP nor SQL.
package exchange
