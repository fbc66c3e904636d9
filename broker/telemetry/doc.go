// Package telemetry counts and times what a broker does and offers it to
// Prometheus, in its text format or in OpenMetrics 1.0 as the scraper asks.
//
// It is fed decision records and plain values, decides nothing and keeps no
// history. Every label comes from a closed set: constants of this package, or
// the names of operators and peers that the registry holds. Nothing that a
// request says becomes a label, because whoever can invent label values can
// fill the memory of the broker and of whoever scrapes it. What is not known to
// be closed is counted under "other".
package telemetry
