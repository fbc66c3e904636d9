// Package client speaks to the admin API of a broker over HTTP: one request,
// one answer, problems as errors (RFC 9457).
//
// It sends the admin token only over https or to a literal loopback address,
// follows no redirects, uses no proxy, and bounds what it reads. It retries
// nothing and keeps nothing. What it sends it can also print as a curl command
// in which the token is read from its file.
package client
