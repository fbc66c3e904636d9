// Package guard is the resource server's side: it admits a request only if its
// access token (RFC 9068) says so, and holds it to every word of the token. It
// is Go middleware, a reverse proxy and a forward-auth endpoint over one
// judgement, in the order of draft-aap-oauth-profile-01 as this project reads it:
//
//  1. one credential, of at most 16 KiB
//  2. its header: algorithm, type, no critical extension
//  3. its issuer, of those that are configured
//  4. the signature, with that issuer's keys, which are followed in the background
//  5. exp, nbf, iat
//  6. aud
//  7. revocation, by the issuer's signed feed
//  8. proof of possession (RFC 9449, RFC 8705)
//  9. the shape of the agent's claims
//  10. the agent
//  11. the task
//  12. delegation
//  13. context
//  14. the capability for the route's action, or the route's scope
//  15. its constraints
//  16. its rates
//  17. oversight
//  18. one event, then the request
//
// Nothing is asked over the network for a request but a key that is not known
// yet, and shared counters where they are configured. What cannot be decided is
// refused.
//
// It does not issue tokens, keeps no sessions, makes no approval and knows no
// user.
package guard
