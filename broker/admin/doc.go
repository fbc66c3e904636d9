// Package admin is the HTTP API by which a domain's administrators read and
// change its registry, look at decisions, keys and peers, and prove the record.
//
// There is one way to change the registry, whether the whole file or one object
// is sent: read strictly, check the whole, plan against a revision that the
// caller names (RFC 9110 section 13.1.1, If-Match; RFC 6585 section 3), apply
// in one step, and answer once the change is served. Problems are those of RFC
// 9457 and name every defect at once, by line. What the API is stands in one
// table, from which the routes, the checks of parameters and the OpenAPI 3.1
// document are made.
//
// The handler belongs on a listener of its own. It holds no sessions and serves
// no pages; it cannot change what only the host configures (listeners, egress,
// exporters, limits), and it never shows a private key.
package admin
