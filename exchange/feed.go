package exchange

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/ident"
)

// typeFeed is the typ of a page of the revocation feed.
const typeFeed = "revocation-feed+jwt"

const (
	// feedPage bounds the revocations on one page.
	feedPage = 10_000
	// feedStep is what long ways to the newest revocation are begun at a
	// multiple of, so that pages are shared.
	feedStep = 1_000
	// feedFresh is how long a page is served again.
	feedFresh = 2 * time.Second
	// feedLife is from when a page was true to its exp.
	feedLife = time.Minute
	// feedKept bounds the pages that are kept.
	feedKept = 64
)

// Revocations is the snapshot as the feed needs it. Its methods are safe for
// concurrent use.
type Revocations interface {
	Snapshot() (*trust.Snapshot, error)
	// Age is how long ago the snapshot was known to be the newest.
	Age() time.Duration
	// Wait returns once the snapshot is at least as new as the fence, and asks
	// nobody for it.
	Wait(ctx context.Context, f trust.Fence) error
}

// Feed tells resource servers what was revoked, in signed pages. It is made of
// what is in memory and never asks the store. It is safe for concurrent use.
type Feed struct {
	settings trust.Settings
	source   Revocations
	signer   Signer
	now      func() time.Time

	// mu guards pages, which are of the revocation head.
	mu    sync.Mutex
	head  uint64
	pages map[uint64]feedEntry
}

type feedEntry struct {
	token ident.RawToken
	made  time.Time
}

// NewFeed makes the feed of a broker.
func NewFeed(settings trust.Settings, source Revocations, signer Signer, now func() time.Time) *Feed {
	return &Feed{settings: settings, source: source, signer: signer, now: now, pages: map[uint64]feedEntry{}}
}

// feedClaims are those of a page. A follower goes on from the last number on
// the page while there are more, and from head otherwise.
type feedClaims struct {
	Issuer string `json:"iss"`
	// IssuedAt is when the page was known to be the newest, not when it was
	// signed: a broker that has lost its store does not make it look fresh.
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
	Head     uint64 `json:"head"`
	// Since is what the page begins after; below what was asked for where pages
	// are shared, and 0 when the broker never had as many.
	Since       uint64   `json:"since"`
	More        bool     `json:"more,omitempty"`
	Revocations [][3]any `json:"revocations"` // number, handle, instant in seconds since 1970
}

// Page gives the page after a revocation, and the number of the newest. It
// wraps trust.ErrStale when the newest is not known.
func (f *Feed) Page(ctx context.Context, since uint64) (token ident.RawToken, head uint64, err error) {
	s, err := f.source.Snapshot()
	if err != nil {
		return token, 0, err
	}
	head = s.Fence().Revocations
	switch {
	case since > head:
		since = 0 // of another life of the registry, before a restore
	case head-since > feedPage:
		since -= since % feedStep
	}
	if token, ok := f.kept(head, since); ok {
		return token, head, nil
	}
	seen := f.now().Add(-f.source.Age())
	page := feedClaims{Issuer: f.settings.Issuer.String(), IssuedAt: seen.Unix(), Expires: seen.Add(feedLife).Unix(), Head: head, Since: since}
	list, more := s.RevokedSince(since, feedPage)
	page.More, page.Revocations = more, make([][3]any, len(list))
	for i, r := range list {
		page.Revocations[i] = [3]any{r.Seq, r.Handle, r.Before().Unix()}
	}
	if token, _, err = f.signer.Sign(ctx, typeFeed, &page); err != nil {
		return token, 0, fmt.Errorf("sign the revocation feed: %w", err)
	}
	f.keep(head, since, token)
	return token, head, nil
}

// Wait returns once there is a revocation after since, or with the context's
// error. Who has seen more than there are need not wait to learn that.
func (f *Feed) Wait(ctx context.Context, since uint64) error {
	if s, err := f.source.Snapshot(); err == nil && since > s.Fence().Revocations {
		return nil
	}
	return f.source.Wait(ctx, trust.Fence{Revocations: since + 1})
}

func (f *Feed) kept(head, since uint64) (ident.RawToken, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	page, ok := f.pages[since]
	age := f.now().Sub(page.made)
	return page.token, ok && f.head == head && age >= 0 && age < feedFresh
}

func (f *Feed) keep(head, since uint64, token ident.RawToken) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.head != head || len(f.pages) >= feedKept {
		clear(f.pages)
		f.head = head
	}
	f.pages[since] = feedEntry{token, f.now()}
}
