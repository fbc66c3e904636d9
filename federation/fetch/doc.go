// Package fetch is the only way Comity reads a document from another party's
// server: a GET that is hardened against what the name, the address or the
// server behind it may try.
//
// A name is resolved once, every address of the answer is held against the
// address policy, and only an address that passed is dialled, so neither a
// private address nor a name that changes its mind (DNS rebinding) is ever
// contacted. Redirects are not followed, proxies of the environment are not
// used, compressed bodies are refused, bodies have a size limit, all waiting
// has a deadline, and every host has its own circuit breaker and its own cap
// on concurrent requests. Certificates are always verified (TLS 1.2 or later,
// RFC 9325); there is no switch to leave that out.
//
// The package does not interpret what it fetched, keeps no cache (it computes
// freshness by RFC 9111 section 4.2 for those that do), and sends neither
// bodies nor credentials.
package fetch
