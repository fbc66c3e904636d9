// Package metrics counts and times what a guard decides and offers it to
// Prometheus, in its text format or in OpenMetrics 1.0 as the scraper asks.
//
// It is fed the guard's events ([guard.Options.Observe]), decides nothing and
// keeps no history. Every label comes from a closed set: constants of this
// package, the reasons that package guard lists, and the issuers that are
// configured. Nothing that a request or a token says becomes a label, because
// whoever can invent label values can fill the memory of the guard and of whoever
// scrapes it.
package metrics
