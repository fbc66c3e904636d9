package trust

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/ident"
)

// Status says whether an object is in use. The zero Status is not active.
type Status string

// The statuses.
const (
	Active    Status = "active"
	Suspended Status = "suspended"
)

// Proof says which proof of possession is asked for. A mapping's zero Proof
// requires one across domains.
type Proof string

// The demands. ProofRequired takes any proof there is.
const (
	ProofRequired Proof = "required"
	ProofOptional Proof = "optional"
	ProofDPoP     Proof = "dpop"
	// ProofMTLS asks for a client certificate (RFC 8705), ProofBoth for that
	// and DPoP.
	ProofMTLS Proof = "mtls"
	ProofBoth Proof = "both"
)

// Grant type names as trust files and records spell them.
const (
	GrantTokenExchange     = "token-exchange"
	GrantClientCredentials = "client_credentials"
	// GrantJWTBearer redeems a grant of another domain (RFC 7523).
	GrantJWTBearer = "jwt-bearer"
	// GrantIDJAG is what a peer may issue besides: an ID-JAG, redeemed by
	// jwt-bearer as well.
	GrantIDJAG = "id-jag"
	// GrantClientAuthentication is how a peer's tokens and certificates may be
	// presented too: as the credentials of federated clients.
	GrantClientAuthentication = "client-authentication"
)

// Self names this broker where a peer is expected.
const Self = "self"

// Peer is a compiled peer. Peers are shared between snapshots and never change.
type Peer struct {
	Name        string
	Fingerprint string // identifies what its keys are found by, for all time
	Domain      ident.Domain
	Issuer      ident.Issuer
	Discovery   string
	JWKSURI     string
	JWKS        []byte
	JWKSHosts   []string
	Audiences   []string
	Shared      bool
	TokenTypes  []ident.TokenType
	Grants      []string
	Algorithms  []jose.SignatureAlgorithm
	Pins        []PinSpec
	MaxAge      time.Duration
	Leeway      time.Duration
	SingleUse   bool
	AAPAlias    bool
	Status      Status
	Expires     time.Time
	// Foreign says that the peer is of another trust domain than ours.
	Foreign bool
	// SPIFFE says that Domain is a SPIFFE trust domain, which vouches by its
	// bundle; EndpointID is the SPIFFE ID of its endpoint, when it has one.
	SPIFFE     bool
	EndpointID string
}

// VouchesForClients reports whether the peer's tokens and certificates may be
// the credentials of clients.
func (p *Peer) VouchesForClients() bool {
	return p != nil && slices.Contains(p.Grants, GrantClientAuthentication)
}

// Usable reports whether the peer's tokens count at the instant.
func (p *Peer) Usable(now time.Time) bool {
	return p != nil && p.Status == Active && now.Before(p.Expires)
}

// Resource is a compiled resource.
type Resource struct {
	Audience ident.Audience
	Name     string
	Scopes   ident.Scopes
	Actions  map[aap.Action]bool
	Client   string
	Peer     string
}

// ClientAuth is the one method that a client authenticates with (RFC 7591
// section 2, token_endpoint_auth_method). The zero ClientAuth fails.
type ClientAuth string

// The methods.
const (
	AuthPrivateKeyJWT ClientAuth = "private_key_jwt"
	AuthSecretBasic   ClientAuth = "client_secret_basic"
	AuthSecretPost    ClientAuth = "client_secret_post"
	AuthNone          ClientAuth = "none"
	// AuthTLS and AuthSelfSignedTLS are by certificate (RFC 8705 section 2).
	AuthTLS           ClientAuth = "tls_client_auth"
	AuthSelfSignedTLS ClientAuth = "self_signed_tls_client_auth"
	// AuthFederated is by a peer's word: a token or an X.509-SVID that it issued
	// to the workload that the client is.
	AuthFederated ClientAuth = "federated"
)

// Federated says which workload a client is. The zero Federated is nobody.
type Federated struct {
	// Peer names who vouches.
	Peer string
	// Subject is the exact sub of its tokens, or the SPIFFE ID of its X.509-SVIDs.
	Subject string
	// ByCertificate says that it proves itself by an X.509-SVID, else by a token.
	ByCertificate bool
}

// Client is a compiled client.
type Client struct {
	ID           ident.ClientID
	Fingerprint  string
	Auth         ClientAuth
	JWKS         []byte
	JWKSURI      string
	SecretHashes [][32]byte
	// Certificate is set for the methods by certificate alone.
	Certificate *Certificate
	// Federated is set for AuthFederated alone.
	Federated Federated
	Grants    []string
	Operator  string
	Agent     *AgentSpec
	KnownAs   map[string]string
	Proof     Proof
	Status    Status
	Expires   time.Time
}

// Usable reports whether the client may be served at the instant.
func (c *Client) Usable(now time.Time) bool {
	return c != nil && c.Status == Active && now.Before(c.Expires)
}

// ByCertificate reports whether the client authenticates by a certificate (RFC
// 8705 section 2, or an X.509-SVID).
func (c *Client) ByCertificate() bool {
	return c != nil && (c.Auth == AuthTLS || c.Auth == AuthSelfSignedTLS || c.Auth == AuthFederated && c.Federated.ByCertificate)
}

// MayUse reports whether the client is registered for the grant type.
func (c *Client) MayUse(grant string) bool { return slices.Contains(c.Grants, grant) }

// Mapping is a compiled mapping.
type Mapping struct {
	Name         string
	Peer         string
	AnyClient    bool
	Clients      map[string]bool
	AnyPresenter bool
	When         *condition
	Resources    []ident.Audience
	Subject      *condition
	ByIdentity   bool // authority: mapping
	IgnoreCarry  bool // carried: ignore
	Scopes       []scopeRule
	Capabilities []capabilityRule
	TTL          time.Duration
	MaxDepth     int
	Proof        Proof
	Actors       []Actor
	Keep         map[string]bool
	Shadow       bool
	Status       Status
}

type scopeRule struct {
	scope string
	from  []string
}

type capabilityRule struct {
	action     aap.Action
	from       []string // foreign actions
	fromScopes []string // foreign scopes
	ceiling    aap.Constraints
}

func (m *Mapping) serves(c *Client) bool {
	return m.Clients[c.ID.String()] || m.AnyClient && c.Auth != AuthNone
}

// Policy is a compiled policy.
type Policy struct {
	Name         string
	Operator     string
	AgentType    string
	Resources    []ident.Audience
	Capabilities []capabilityRule
	TTL          time.Duration
	MaxDepth     int
	Proof        Proof
	Oversight    *aap.Oversight
	Audit        *aap.Audit
	Status       Status
}

// Snapshot is the registry at one revision, compiled. It never changes and is
// safe for concurrent use. The zero Snapshot knows nobody and refuses everything.
type Snapshot struct {
	revision    Revision
	revocations uint64
	revoked     revocations
	settings    Settings

	objects   shards[Key, compiled]
	peers     shards[string, *Peer]
	issuers   shards[string, []*Peer]
	clients   shards[string, *Client]
	workloads shards[workload, []*Client]
	resources shards[string, *Resource]
	owned     shards[string, []*Resource] // by the resource's own client
	mappings  shards[route, []*Mapping]
	policies  shards[route, []*Policy]
	faulty    shards[Key, string]
	touched   []Key
}

// Touched lists the objects that the changes since the snapshot before put
// again as they were: a peer's is how every replica is asked to fetch its keys.
func (s *Snapshot) Touched() []Key { return s.touched }

// route is how mappings (peer, audience) and policies (operator, audience) are
// found.
type route struct{ from, to string }

// workload is how a federated client is found without its id.
type workload struct{ peer, subject string }

// Fence is what decisions on the snapshot are fenced by.
func (s *Snapshot) Fence() Fence { return Fence{s.revision, s.revocations} }

// Revision is the registry revision that the snapshot shows.
func (s *Snapshot) Revision() Revision { return s.revision }

// Settings are the broker's own, which the snapshot was compiled with.
func (s *Snapshot) Settings() Settings { return s.settings }

// PeerByIssuer finds a peer by the exact issuer; nil when nobody registered it,
// or more than one peer did, so that none can take another's place.
func (s *Snapshot) PeerByIssuer(iss string) *Peer {
	if found, _ := s.issuers.get(iss); len(found) == 1 {
		return found[0]
	}
	return nil
}

// PeerByTrustDomain finds the peer that is a SPIFFE trust domain; nil when nobody
// registered it, or twice.
func (s *Snapshot) PeerByTrustDomain(domain string) *Peer {
	if p := s.PeerByIssuer("spiffe://" + domain); p != nil && p.SPIFFE {
		return p
	}
	return nil
}

// PeerOf finds the peer that a token says it is of: by the exact issuer or, when
// no peer has it, by the SPIFFE trust domain of its subject. Either may be empty.
func (s *Snapshot) PeerOf(iss, domain string) *Peer {
	if p := s.PeerByIssuer(iss); p != nil || domain == "" {
		return p
	}
	return s.PeerByTrustDomain(domain)
}

// FederatedClient finds the client that is a peer's workload; nil when there is
// none, or more than one, so that none can take another's place.
func (s *Snapshot) FederatedClient(peer, subject string) *Client {
	if found, _ := s.workloads.get(workload{peer, subject}); len(found) == 1 {
		return found[0]
	}
	return nil
}

// Peer finds a peer by name; nil when there is none.
func (s *Snapshot) Peer(name string) *Peer { p, _ := s.peers.get(name); return p }

// Client finds a client by id; nil when there is none.
func (s *Snapshot) Client(id string) *Client { c, _ := s.clients.get(id); return c }

// Resource finds a resource by its exact audience; nil when there is none.
func (s *Snapshot) Resource(audience string) *Resource { r, _ := s.resources.get(audience); return r }

// ResourcesOf yields the resources whose own client this is.
func (s *Snapshot) ResourcesOf(client string) iter.Seq[*Resource] {
	return func(yield func(*Resource) bool) {
		found, _ := s.owned.get(client)
		for _, r := range found {
			if !yield(r) {
				return
			}
		}
	}
}

// Abroad reports whether the resource is the broker of another trust domain.
func (s *Snapshot) Abroad(r *Resource) bool {
	if r == nil || r.Peer == "" {
		return false
	}
	p := s.Peer(r.Peer)
	return p == nil || p.Foreign // a peer that is gone is nobody of ours
}

// Faulty lists objects that stand in the registry but do not compile, and why.
// They have no effect but to refuse.
func (s *Snapshot) Faulty() map[string]string {
	out := map[string]string{}
	for k, why := range s.faults() {
		out[k.String()] = why
	}
	return out
}

func (s *Snapshot) faults() map[Key]string {
	out := map[Key]string{}
	for k, why := range s.faulty.all() {
		out[k] = why
	}
	for _, found := range s.issuers.all() {
		if len(found) > 1 {
			for _, p := range found {
				out[Key{KindPeer, p.Name}] = "issuer: more than one peer has it, so none counts"
			}
		}
	}
	for _, found := range s.workloads.all() {
		if len(found) > 1 {
			for _, c := range found {
				out[Key{KindClient, c.ID.String()}] = "federated: more than one client is that workload, so none counts"
			}
		}
	}
	return out
}

// Peers calls yield for every peer, in no particular order.
func (s *Snapshot) Peers(yield func(*Peer) bool) {
	for _, p := range s.peers.all() {
		if !yield(p) {
			return
		}
	}
}

// Clients calls yield for every client, in no particular order.
func (s *Snapshot) Clients(yield func(*Client) bool) {
	for _, c := range s.clients.all() {
		if !yield(c) {
			return
		}
	}
}

// Suspended calls yield for every peer, client, mapping and policy that is
// registered and suspended, in no particular order. What has expired is not among
// them: no token is issued beyond that date.
func (s *Snapshot) Suspended(yield func(Key) bool) {
	for key, e := range s.objects.all() {
		if e.suspended() && !yield(key) {
			return
		}
	}
}

// Settings are what the broker's configuration adds to the registry.
type Settings struct {
	Domain ident.Domain
	Issuer ident.Issuer
	// TTL is the life of a token whose mapping or policy states none; MaxTTL
	// bounds every life; a token that would live less than MinTTL is refused.
	TTL, MaxTTL, MinTTL time.Duration
}

// Requester is who sent the request, as conditions see it.
type Requester struct {
	Address netip.Addr
}
