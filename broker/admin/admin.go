package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

// Store is what the API asks of the database. The methods are those of
// trust.Store.
type Store interface {
	Load(ctx context.Context, since trust.Revision) (trust.State, error)
	Apply(ctx context.Context, c trust.Change) (trust.Revision, error)
	Revoke(ctx context.Context, list []trust.Revocation) (head uint64, err error)
	Revocations(ctx context.Context, after uint64, limit int) (list []trust.Revocation, head uint64, err error)
	Record(ctx context.Context, at audit.Position) (audit.Row, error)
	Records(ctx context.Context, after audit.Position, limit int) ([]audit.Row, error)
	Writers(ctx context.Context) ([]audit.Head, error)
}

// Live is the snapshot that the broker decides on. Its methods are safe for
// concurrent use.
type Live interface {
	Snapshot() (*trust.Snapshot, error)
	// Await returns once the snapshot is at least as new as the fence.
	Await(ctx context.Context, f trust.Fence) error
}

// PeerKeys finds and keeps the key sets of peers. Its methods are safe for
// concurrent use.
type PeerKeys interface {
	Refresh(ctx context.Context, p federation.Peer) error
	Probe(ctx context.Context, p federation.Peer) (*federation.ProbeReport, error)
	HealthOf(p federation.Peer) federation.PeerHealth
}

// Ring is what is shown of the broker's own keys.
type Ring interface {
	Info() []keys.KeyInfo
}

// Options are what the handler is made of. Token, Hosts, Logger, Now and
// Observe may be left out; without Token every request is refused.
type Options struct {
	Store    Store
	Compiler *trust.Compiler
	Live     Live
	Keys     PeerKeys
	// Peer gives a peer in the form in which its tokens are verified, so that
	// both ask for the same key set.
	Peer func(*trust.Peer) federation.Peer
	// Handle gives the handle that tokens carry of what a revocation names.
	Handle func(kind, value string) string
	// IDs open decision ids.
	IDs  *keys.IDs
	Ring Ring
	// Token returns the bootstrap credential, a bearer token (RFC 6750 section
	// 2.1). An empty one matches nothing.
	Token func() string
	// Hosts are the names that requests may be addressed to, in lower case and
	// without a port. What comes in on a loopback address may also be addressed
	// to localhost or to a literal loopback address.
	Hosts  []string
	Logger *slog.Logger
	Now    func() time.Time
	// Observe sees every response. The route is one of the table's, or empty.
	Observe func(route string, status int, took time.Duration)
}

type handler struct {
	opts    Options
	mux     *http.ServeMux
	openapi []byte
}

// New returns the handler of the admin API. It is safe for concurrent use.
func New(o Options) (http.Handler, error) {
	if o.Store == nil || o.Compiler == nil || o.Live == nil || o.Keys == nil || o.Peer == nil || o.Handle == nil || o.IDs == nil || o.Ring == nil {
		return nil, errors.New("admin: options are incomplete")
	}
	if o.Token == nil {
		o.Token = func() string { return "" }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	h := &handler{opts: o, mux: http.NewServeMux()}
	table := h.table()
	var err error
	if h.openapi, err = describe(table); err != nil {
		return nil, err
	}
	h.mount(table)
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(h.refuse(newProblem("cross_origin", "the request was sent by a page of another origin")))
	// Outermost first: what a request has to pass.
	return h.observed(h.recovered(h.hosts(cross.Handler(h.authenticated(h.canonical(h.mux)))))), nil
}
