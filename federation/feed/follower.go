package feed

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/fetch"
)

// Options say which feed to follow. Issuer, Fetcher and Verifier are required.
type Options struct {
	// Issuer is whose feed it is, and whose keys sign its pages.
	Issuer federation.Peer
	// URL is where the feed is: https, without a query. Default: the issuer and
	// "/revocations".
	URL string
	// Fetcher reaches the feed, and Verifier proves its pages.
	Fetcher  *fetch.Client
	Verifier *federation.Verifier
	// Keep is how long a revocation is remembered after the instant before which
	// it kills: at least as long as a token may be old in order to be accepted,
	// skew included. What is issued before the instant is refused for its age
	// then. Default 49 h, longer than tokens of a broker live.
	Keep time.Duration
	// Wait is how long the broker is asked to wait for news before it answers
	// with a page that has none: in whole seconds, from 1 s to 30 s, and a second
	// less than the Fetcher waits for an answer. Default 2 s, which suits the
	// Fetcher's default.
	Wait time.Duration
	// Now is the clock that pages are held against. Nil: time.Now, whose
	// monotonic reading makes ages immune to a clock that is set.
	Now func() time.Time
	// Logger is told when following fails, and when it works again. Nil: nobody.
	Logger *slog.Logger
	// Observe, when set, is told of each request for a page. It must not block.
	Observe func(Observed)
}

const (
	defaultKeep = 49 * time.Hour
	defaultWait = 2 * time.Second
	maxWait     = 30 * time.Second
)

// Observed tells of one request for a page.
type Observed struct {
	// Issuer is the registered name of whose feed it is.
	Issuer string
	Result Result
	// Entries is how many revocations the page told of, and News how many of them
	// changed anything.
	Entries, News int
	// Handles is how many handles are remembered now.
	Handles int
	// Took is how long it took, the broker's waiting included.
	Took time.Duration
}

// Result is what came of a request for a page. The set is closed.
type Result string

// The results.
const (
	ResultOK          Result = "ok"
	ResultUnreachable Result = "unreachable" // no page, and nothing wrong with it
	ResultRefused     Result = "refused"     // a page that is not the issuer's, or makes no sense
	ResultUnverified  Result = "unverified"  // the keys that would prove it are not available
	ResultBehind      Result = "behind"      // a true page that knows less than is known here
	ResultFull        Result = "full"        // more than can be kept
)

// Follower knows what an issuer revoked, as long as Run is running. All methods
// are safe for concurrent use. The zero Follower knows nothing, for ever.
type Follower struct {
	opts Options
	base string
	log  *slog.Logger

	running    atomic.Bool
	revoked    set
	generation atomic.Uint64
	known      atomic.Pointer[time.Time] // when what is known was everything
	loaded     chan struct{}             // closed with the first known

	// What follows belongs to Run.

	// at is the number up to which everything is known.
	at uint64
	// newest is the iat of the newest page that was followed, and issued that of
	// the newest after which everything was known.
	newest, issued time.Time
	failures       int // in a row
}

// New prepares a follower, which does not begin before Run.
func New(o Options) (*Follower, error) {
	o.Keep, o.Wait = cmp.Or(o.Keep, defaultKeep), cmp.Or(o.Wait, defaultWait)
	o.URL = cmp.Or(o.URL, strings.TrimSuffix(o.Issuer.Issuer, "/")+"/revocations")
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(Observed) {}
	}
	switch {
	case o.Issuer.Issuer == "" || o.Fetcher == nil || o.Verifier == nil:
		return nil, errors.New("feed: issuer, fetcher and verifier are required")
	case o.Keep < 0:
		return nil, errors.New("feed: keep must be positive")
	case o.Wait < time.Second || o.Wait > maxWait || o.Wait%time.Second != 0:
		return nil, fmt.Errorf("feed: wait must be whole seconds, 1 s to %s", maxWait)
	}
	if u, err := url.Parse(o.URL); err != nil || u.RawQuery != "" || u.ForceQuery {
		return nil, errors.New("feed: the URL must be one without a query")
	}
	if err := o.Fetcher.CheckURL(o.URL); err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	// A page tells its own age, so a broker's clock that is ahead need not make
	// it worthless.
	o.Issuer.Leeway = max(o.Issuer.Leeway, maxAhead)
	o.Issuer.MaxTokenAge = max(o.Issuer.MaxTokenAge, maxPageLife)
	return &Follower{opts: o, base: o.URL, log: o.Logger, loaded: make(chan struct{})}, nil
}

// maxAhead is how far ahead of ours the issuer's clock may be.
const maxAhead = 10 * time.Second

// Revoked reports whether something is known to be dead that bears the handles
// and was issued at the instant. What says no time of issue, the zero time, is
// dead with any of its handles. A text that is no handle stands for nothing. It
// costs a look-up per handle, and asks nobody. False means little unless Age is
// small.
func (f *Follower) Revoked(handles []string, issued time.Time) bool {
	at := issued.Unix()
	for _, text := range handles {
		if h, ok := parseHandle(text); ok && f.revoked.revoked(h, at) {
			return true
		}
	}
	return false
}

// Age is how long ago what is known was everything that had been revoked, by
// the signed word of the issuer; math.MaxInt64, for ever, until the whole feed
// was read once. It is never less than what the wall clock says, or the
// monotonic one.
func (f *Follower) Age() time.Duration {
	known := f.known.Load()
	if known == nil {
		return math.MaxInt64
	}
	now := f.opts.Now()
	return max(now.Sub(*known), now.Round(0).Sub(known.Round(0)), 0)
}

// Generation changes whenever a revocation becomes known, after Revoked tells
// of it: who remembers that something was not revoked remembers the generation
// from before the question too.
func (f *Follower) Generation() uint64 { return f.generation.Load() }

// Loaded is closed once the whole feed was read for the first time.
func (f *Follower) Loaded() <-chan struct{} { return f.loaded }

// Len is how many handles are remembered.
func (f *Follower) Len() int { return int(f.revoked.size.Load()) }
