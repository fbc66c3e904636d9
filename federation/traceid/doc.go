// Package traceid carries W3C Trace Context inside one trust domain and cuts
// it at the boundary to another: it parses and continues a traceparent, makes
// fresh trace ids, and seals the link between a foreign trace and ours with a
// keyed digest, so that a record can be joined with the peer's only by somebody
// who holds both the peer's value and our key.
//
// It follows W3C Trace Context, sections 3.2 (traceparent), 3.5 (mutation:
// "restart trace") and 7 (privacy). It keeps no tracestate and no baggage,
// which never cross a boundary, and it exports no spans.
package traceid
