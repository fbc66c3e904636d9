// Package spiffe reads what a SPIFFE trust domain publishes and what its
// workloads show: SPIFFE IDs, bundles (SPIFFE Trust Domain and Bundle, section
// 4) and X.509-SVIDs (X509-SVID, section 5). It fetches nothing and says nothing
// of who is trusted: which domain a bundle is of is told by the caller, since a
// bundle does not name its domain. JWT-SVIDs are verified by package federation.
package spiffe
