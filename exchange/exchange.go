package exchange

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/quota"
	"github.com/comity-auth/comity/federation/spiffe"
	"github.com/comity-auth/comity/federation/traceid"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
	"github.com/comity-auth/comity/trust/ident"
)

// Registry hands out the newest snapshot. It is safe for concurrent use.
type Registry interface {
	// Snapshot wraps trust.ErrStale when the newest one is too old to decide on.
	Snapshot() (*trust.Snapshot, error)
	// Await returns once the snapshot is at least as new as the fence. It wraps
	// trust.ErrUnavailable.
	Await(ctx context.Context, f trust.Fence) error
}

// Verifier proves a token, or an X.509-SVID. It may wait for one fetch of the
// peer's keys.
type Verifier interface {
	Verify(ctx context.Context, u federation.Unverified, p federation.Peer, w federation.Want) (*federation.Token, error)
	VerifySVID(ctx context.Context, chain []*x509.Certificate, p federation.Peer) (*spiffe.SVID, error)
}

// Signer signs claims with the active key and says which that was.
type Signer interface {
	Sign(ctx context.Context, typ string, claims any) (token ident.RawToken, kid string, err error)
	// JWKS is the public set, which the broker's own tokens are verified with.
	JWKS() []byte
	// Derive gives a secret for one purpose, the same on every replica.
	Derive(label string, n int) []byte
}

// Ledger makes a decision durable. It wraps trust.ErrUnavailable when that is
// not certain.
type Ledger interface {
	Commit(ctx context.Context, e trust.Entry) (trust.Outcome, error)
}

// Revoker makes revocations durable, and says which one is the newest then.
type Revoker interface {
	Revoke(ctx context.Context, list []trust.Revocation) (head uint64, err error)
}

// Options are what a service is made of. All but those with a default are
// required.
type Options struct {
	Settings trust.Settings
	// Endpoint is the URL of the token endpoint, which proofs are made for.
	Endpoint string

	Registry Registry
	Verifier Verifier
	Signer   Signer
	Ledger   Ledger
	Revoker  Revoker

	Limits Limits
	// Nonces makes DPoP proofs carry a nonce of the token endpoint (RFC 9449
	// section 8).
	Nonces bool
	Now    func() time.Time
	// Observe sees every decision once it is final, when set, with its decision
	// id if it was recorded. It must not keep the record.
	Observe func(ctx context.Context, r *audit.Record, id string, took time.Duration)
}

// Limits bound how often the service may be asked. Zero takes the default.
type Limits struct {
	ClientPerMinute int // requests of one authenticated client; default 100
	GlobalPerSecond int // requests of all; default 10000
	// FailuresPerMinute bounds failed client authentications of one address;
	// default 30. Beyond it the address is answered 429.
	FailuresPerMinute int
	// RecordsPerMinute bounds recorded refusals of one address before client
	// authentication; those beyond are counted but not recorded. Default 60.
	RecordsPerMinute int
}

// Service answers token requests. It is safe for concurrent use.
type Service struct {
	opts     Options
	names    *namer
	ids      *keys.IDs
	digests  traceid.Digester
	global   *quota.Limiter
	clients  *quota.Limiter
	failures *quota.Limiter
	records  *quota.Limiter
	decoy    federation.Peer
	nonces   nonces
	underWay atomic.Int64 // requests that may bring an entry to the ledger soon
	signedBy atomic.Pointer[string]
}

// New prepares a service.
func New(o Options) (*Service, error) {
	if o.Registry == nil || o.Verifier == nil || o.Signer == nil || o.Ledger == nil || o.Revoker == nil || o.Now == nil || o.Endpoint == "" ||
		o.Settings.Issuer.IsZero() {
		return nil, errors.New("exchange: options are incomplete")
	}
	l := &o.Limits
	l.ClientPerMinute = cmp.Or(l.ClientPerMinute, 100)
	l.GlobalPerSecond = cmp.Or(l.GlobalPerSecond, 10_000)
	l.FailuresPerMinute = cmp.Or(l.FailuresPerMinute, 30)
	l.RecordsPerMinute = cmp.Or(l.RecordsPerMinute, 60)
	ids, err := keys.NewIDs(o.Signer.Derive(keys.LabelDecisionID, 32))
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	digests, err := traceid.NewDigester(o.Signer.Derive(keys.LabelDigest, 32))
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	decoy, err := newDecoy()
	if err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	var own nonces
	if o.Nonces {
		own.key = o.Signer.Derive("dpop-nonce", 32)
	}
	return &Service{
		opts: o, nonces: own, ids: ids, digests: digests, decoy: decoy,
		names:    newNamer(o.Signer.Derive(keys.LabelPseudonym, 32), o.Signer.Derive(keys.LabelHandle, 32), o.Settings.Domain),
		global:   quota.NewLimiter(quota.Options{MaxKeys: 1, Now: o.Now}),
		clients:  quota.NewLimiter(quota.Options{MaxKeys: 1 << 18, Now: o.Now}),
		failures: quota.NewLimiter(quota.Options{MaxKeys: 1 << 18, Now: o.Now}),
		records:  quota.NewLimiter(quota.Options{MaxKeys: 1 << 18, Now: o.Now}),
	}, nil
}

// maxAttempts bounds how often a request is decided again because the registry
// moved while it was under way.
const maxAttempts = 4

// Exchange answers one token request. The error is always a *Fault. What the
// context bounds is waiting for a peer's keys and for the registry; once a
// decision is handed to the ledger it is carried out.
func (s *Service) Exchange(ctx context.Context, req Request) (*Result, error) {
	began := s.opts.Now()
	s.underWay.Add(1)
	defer s.underWay.Add(-1)
	t := s.begin(req)
	result, err := s.attempt(ctx, t, req)
	for tries := 1; errors.Is(err, errMoved) && tries < maxAttempts; tries++ {
		t = s.begin(req)
		t.again = true
		result, err = s.attempt(ctx, t, req)
	}
	if err != nil {
		fault := s.refuse(ctx, t, err)
		if fault.Code == UseDPoPNonce {
			fault.Nonce = s.nonces.current(t.now)
		}
		s.observe(ctx, t, began)
		return nil, fault
	}
	if s.nonces.on() {
		result.Nonce = s.nonces.current(t.now)
	}
	s.observe(ctx, t, began)
	return result, nil
}

// errMoved says that the registry moved while the request was under way, and
// that the snapshot has caught up since.
var errMoved = fmt.Errorf("%w: the registry moved while the request was under way", trust.ErrUnavailable)

// attempt decides the request on one snapshot.
func (s *Service) attempt(ctx context.Context, t *trail, req Request) (*Result, error) {
	m, err := s.climb(ctx, t, req)
	if err != nil {
		return nil, err
	}
	result, head, err := s.commit(ctx, t, m)
	if err != nil || result != nil {
		return result, err
	}
	if err := s.opts.Registry.Await(ctx, head); err != nil {
		return nil, err
	}
	return nil, errMoved
}

// climb is the ladder.
func (s *Service) climb(ctx context.Context, t *trail, req Request) (minted, error) {
	asked, err := s.wellFormed(t, req) // 1
	if err != nil {
		return minted{}, err
	}
	snapshot, err := s.opts.Registry.Snapshot()
	if err != nil {
		return minted{}, err
	}
	caller, err := s.authenticate(ctx, t, asked, snapshot) // 2
	if err != nil {
		return minted{}, err
	}
	bound, err := s.bind(t, caller) // 3
	if err != nil {
		return minted{}, err
	}
	proven, err := s.prove(ctx, t, bound) // 4
	if err != nil {
		return minted{}, err
	}
	granted, err := s.decide(t, proven) // 5
	if err != nil {
		return minted{}, err
	}
	return s.mint(ctx, t, s.cross(t, granted)) // 6, 7; the commit is 8
}
