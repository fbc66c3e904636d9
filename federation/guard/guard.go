package guard

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/feed"
	"github.com/comity-auth/comity/federation/fetch"
	"github.com/comity-auth/comity/federation/quota"
)

// Guard judges requests. It is safe for concurrent use. Make one with New, keep
// Run going for as long as it is used, and Close it.
type Guard struct {
	set      *settings
	fetcher  *fetch.Client
	keys     *federation.Keys
	verifier *federation.Verifier
	feeds    map[string]*feed.Follower // by issuer; those that have one
	tokens   *otter.Cache[[32]byte, *verified]
	document []byte // the metadata; nil when there is none
}

// New prepares a guard. The error names everything that is wrong with the
// options. It reads no network: until Run has been told of revocations, requests
// are refused with 503.
func New(o Options) (*Guard, error) {
	set, err := check(o)
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	g := &Guard{set: set, feeds: map[string]*feed.Follower{}, document: set.describe()}
	if g.fetcher, err = set.fetcher(); err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	g.keys = federation.NewKeys(g.fetcher, federation.KeysOptions{Now: set.Now, Logger: set.Logger})
	g.verifier = federation.NewVerifier(g.keys, set.Now)
	g.tokens, err = otter.New(&otter.Options[[32]byte, *verified]{
		MaximumWeight: uint64(set.MaxTokens) * typicalToken,
		Weigher:       func(_ [32]byte, v *verified) uint32 { return v.size },
	})
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	if set.Counters == nil {
		g.set.Counters = quota.NewCounters(quota.Options{MaxKeys: maxKeys, Now: set.Now})
	}
	if set.Once == nil {
		g.set.Once = quota.NewOnce(quota.Options{MaxKeys: maxKeys, Now: set.Now})
	}
	if err := g.follow(); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// follow prepares to follow what each issuer revokes. A revocation matters for as
// long as a token that was issued before it is accepted for its age.
func (g *Guard) follow() error {
	for id, one := range g.set.issuers {
		if one.InsecureNoRevocations {
			continue
		}
		f, err := feed.New(feed.Options{Issuer: one.peer, URL: one.Feed, Fetcher: g.fetcher, Verifier: g.verifier,
			Keep: g.set.MaxTokenAge + g.set.Leeway + time.Minute, Now: g.set.Now, Logger: g.set.Logger})
		if errors.Is(err, fetch.ErrAddress) {
			return fmt.Errorf("guard: issuer %s: %w; to allow it, name its network in egress", id, err)
		}
		if err != nil {
			return fmt.Errorf("guard: issuer %s: %w", id, err)
		}
		g.feeds[id] = f
	}
	return nil
}

// maxKeys bounds the tokens that are counted and the proofs that are remembered
// in this process at one time.
const maxKeys = 1 << 18

// typicalToken is what a token weighs that counts for one, in bytes.
const typicalToken = 2 << 10

// Run follows the issuers' keys and revocations until the context ends, and
// returns its error then.
func (g *Guard) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, one := range g.set.issuers {
		if one.peer.Discovery != federation.Static {
			wg.Go(func() { _ = g.keys.Refresh(ctx, one.peer) }) // its failure is logged, and a request tries again
		}
	}
	for _, f := range g.feeds {
		wg.Go(func() { _ = f.Run(ctx) })
	}
	wg.Wait()
	<-ctx.Done()
	return ctx.Err()
}

// Close ends what runs in the background. Requests that come later may be
// refused.
func (g *Guard) Close() {
	g.keys.Close()
	g.fetcher.Close()
	g.tokens.StopAllGoroutines()
}

// Ready reports why requests would be refused whatever their token; nil when
// they would not.
func (g *Guard) Ready() error {
	var errs []error
	for name, f := range g.feeds {
		age := f.Age()
		switch {
		case age <= g.set.FeedMaxAge || g.set.InsecureAdmitStale:
		case age == math.MaxInt64:
			errs = append(errs, fmt.Errorf("revocations of %s: not read yet", name))
		default:
			errs = append(errs, fmt.Errorf("revocations of %s: more than %s old", name, g.set.FeedMaxAge))
		}
	}
	return errors.Join(errs...)
}

// Stats are what changes by itself, for metrics.
type Stats struct {
	// FeedAges is how old what is known of each issuer's revocations is. An issuer
	// whose feed is not followed is not there.
	FeedAges map[string]time.Duration
	// Tokens is about how many verified tokens are remembered.
	Tokens int
}

// Stats reads them. It asks nobody.
func (g *Guard) Stats() Stats {
	s := Stats{FeedAges: make(map[string]time.Duration, len(g.feeds)), Tokens: g.tokens.EstimatedSize()}
	for name, f := range g.feeds {
		s.FeedAges[name] = f.Age()
	}
	return s
}

// newID draws a correlation id: 128 random bits or more.
func newID() string { return rand.Text() }
