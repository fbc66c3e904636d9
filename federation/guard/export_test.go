package guard

// RateKey is what a capability of a token is counted by, for tests that begin
// with counts.
func RateKey(issuer, id string, index int) string { return rateKey(issuer, id, index) }
