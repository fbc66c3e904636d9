// Package clientcert finds the certificates that a client showed with a request,
// its own first: on the connection itself, or where that is a trusted proxy's, in
// the header by which the proxy tells of them (RFC 9440, or as nginx writes it).
// What is shown is held to limits, so that nothing costs more than a few
// signatures, and nothing of it is verified: whom a certificate names, and
// whether anybody vouches for it, is for the caller.
package clientcert
