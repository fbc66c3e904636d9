package federation

import (
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// Discovery says how a peer's keys are found.
// The zero Discovery finds none.
type Discovery string

const (
	// Auto reads OpenID Connect metadata, then RFC 8414 metadata, at the issuer.
	Auto Discovery = "auto"
	// AtURI reads the key set at Peer.JWKSURI without any metadata.
	AtURI Discovery = "jwks_uri"
	// Static uses the key set in Peer.JWKS and never the network.
	Static Discovery = "static"
	// AtBundle reads the bundle of a SPIFFE trust domain at Peer.JWKSURI.
	AtBundle Discovery = "bundle"
)

// Peer is one issuer as the registry's snapshot describes it: an identity
// provider, another domain's authorization server, a client that signs its own
// assertions, or this broker itself. A Peer is a value: it may be copied and
// must not be changed once it was used.
type Peer struct {
	// Name labels errors, health and metrics. It is a registered name.
	Name string
	// Fingerprint identifies what the peer's keys are found by, for all time: its
	// name, issuer, trust domain, discovery, key set, URI, endpoint and hosts. Key
	// sets are cached by it,
	// so a change to anything else keeps them.
	Fingerprint string
	// Issuer is compared with iss byte for byte. It is required.
	Issuer string
	// TrustDomain, when set, is a SPIFFE trust domain that vouches by its bundle,
	// and all its tokens are JWT-SVIDs: not iss but the domain of sub says whose
	// they are, and Issuer only names the peer.
	TrustDomain string

	Discovery Discovery
	// JWKSURI is where the keys are when Discovery is AtURI or AtBundle.
	JWKSURI string
	// JWKS is the key set, as JSON, when Discovery is Static. With AtBundle and
	// EndpointID it is the bundle that proves the endpoint as long as none was
	// fetched; no token is verified with it.
	JWKS []byte
	// EndpointID, when set, is the SPIFFE ID that the bundle endpoint proves by
	// an X.509-SVID of the domain's bundle (profile https_spiffe). Otherwise a
	// certificate for the host's name does (https_web).
	EndpointID string
	// JWKSHosts are hosts, besides the issuer's, that the discovered jwks_uri
	// may be on.
	JWKSHosts []string
	// Algorithms are the signature algorithms accepted from this peer.
	// None are accepted when it is empty.
	Algorithms []jose.SignatureAlgorithm
	// Pins, when there are any, are the only keys accepted.
	Pins []Pin

	// Leeway is granted on exp. On a future iat or nbf at most 10 s are.
	Leeway time.Duration
	// MaxTokenAge bounds now - iat. Zero accepts no token that bears an iat and
	// none that lacks it.
	MaxTokenAge time.Duration
}

// Pin is a key that is expected, by its RFC 7638 SHA-256 thumbprint in
// base64url, within a window. A zero bound is open.
type Pin struct {
	Thumbprint string
	NotBefore  time.Time
	NotAfter   time.Time
}

// Want is what the caller requires of a token beyond the peer's record.
// The zero Want accepts nothing.
type Want struct {
	// Types are the header typ values that are acceptable, in lower case and
	// without the "application/" prefix. An empty string in the list accepts a
	// header without typ.
	Types []string
	// Audiences are the values of which aud must hold at least one.
	Audiences []string
	// SharedAudience accepts an aud that holds other values besides.
	SharedAudience bool
	// MaxLife bounds exp - iat (or exp - now without iat). Zero sets no bound.
	MaxLife time.Duration
	// RequireID refuses a token without a jti.
	RequireID bool
	// Skew, when it is positive, is granted on both ends of the token's life in
	// place of what the peer is granted: it is valid from nbf-Skew to exp+Skew,
	// both included. A future iat is then held against a token without nbf only:
	// RFC 7519 section 4.1.6 has iat tell an age, and nbf the beginning.
	Skew time.Duration
	// IssuedAtOptional accepts a token without iat, whose age is then bounded
	// by MaxLife only.
	IssuedAtOptional bool
}
