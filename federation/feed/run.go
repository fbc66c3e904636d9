package feed

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/fetch"
	"github.com/comity-auth/comity/trust/ident"
)

const (
	// backoffMin and backoffMax bound the waits after failures. They double from
	// one to the next, less up to a half.
	backoffMin = 100 * time.Millisecond
	backoffMax = 5 * time.Second
	// restless is the wait after a page that came at once and brought nothing, as
	// from a broker that is going away or has too many followers; less up to a
	// half.
	restless = 500 * time.Millisecond
	// brisk is the least time from one request to the next, but for those that
	// read on.
	brisk = 50 * time.Millisecond
	// tolerance is how much older than the newest one a page may be and still be
	// followed, and how much newer one has to be that begins again: replicas serve
	// pages for a while, may lag, and their clocks differ.
	tolerance = 5 * time.Second
	// patience is how many failures in a row are worth a line in the log.
	patience = 3
)

// Run follows the feed until the context ends, and returns its error then.
// Failures are logged and tried again. A second Run beside a first one fails at
// once.
func (f *Follower) Run(ctx context.Context) error {
	if f.loaded == nil || !f.running.CompareAndSwap(false, true) {
		return errors.New("feed: not a new follower, or it is running")
	}
	defer f.running.Store(false)
	timer := time.NewTimer(0)
	defer timer.Stop()
	backoff := backoffMin
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		began := time.Now()
		progress, err := f.step(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		took := time.Since(began)
		f.note(ctx, err)
		switch {
		case err != nil:
			timer.Reset(jittered(backoff))
			backoff = min(2*backoff, backoffMax)
			continue
		case progress == readOn:
			timer.Reset(0)
		case progress == nothing && took < f.opts.Wait/2:
			timer.Reset(jittered(restless))
		default:
			timer.Reset(brisk - took)
		}
		backoff = backoffMin
	}
}

// jittered is a half to the whole of a wait, so that followers do not come all
// at once.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d/2) }

// progress is what a page was good for.
type progress int

const (
	nothing progress = iota // everything is known, and was before
	news                    // everything is known
	readOn                  // there are more pages
)

// step asks for one page and applies it.
func (f *Follower) step(ctx context.Context) (progress, error) {
	sent, began := f.opts.Now(), time.Now()
	p, err := f.ask(ctx)
	seen := Observed{Issuer: f.opts.Issuer.Name}
	var made progress
	if err == nil {
		seen.Entries = len(p.entries)
		made, seen.News, err = f.apply(p, sent)
	}
	if ctx.Err() == nil {
		seen.Result, seen.Handles, seen.Took = resultOf(err), f.Len(), time.Since(began)
		f.opts.Observe(seen)
	}
	return made, err
}

// ask fetches, proves and reads the page after what is known. The broker waits
// for news before it answers, but for the first answer after a failure, which is to
// say how things stand. No validator is sent: the answer to one would not
// be signed.
func (f *Follower) ask(ctx context.Context) (*page, error) {
	r := fetch.Request{URL: f.base + "?since=" + strconv.FormatUint(f.at, 10), MaxBytes: maxPage, Accept: mediaType}
	if f.known.Load() != nil && f.failures == 0 {
		r.URL += "&wait=" + strconv.Itoa(int(f.opts.Wait/time.Second))
	}
	answer, err := f.opts.Fetcher.Get(ctx, r)
	if err != nil {
		return nil, err
	}
	s, err := f.opts.Verifier.VerifyStatement(ctx, ident.NewRawToken(string(answer.Body)), f.opts.Issuer, wanted())
	if err != nil {
		return nil, err
	}
	p, err := readPage(s.Claims())
	if err != nil {
		return nil, err
	}
	p.issued = s.IssuedAt()
	return p, nil
}

// resultOf sorts an error into its class. An error without one had nothing to do
// with a page.
func resultOf(err error) Result {
	if err == nil {
		return ResultOK
	}
	for _, c := range []struct {
		is     error
		result Result
	}{
		{errGap, ResultBehind}, {errOld, ResultBehind}, {errBehind, ResultBehind}, {errFull, ResultFull}, {errPage, ResultRefused},
		{fetch.ErrTooLarge, ResultRefused}, {federation.ErrUnavailable, ResultUnverified}, {federation.ErrMisconfigured, ResultUnverified},
	} {
		if errors.Is(err, c.is) {
			return c.result
		}
	}
	if _, ok := errors.AsType[*federation.Refusal](err); ok {
		return ResultRefused
	}
	return ResultUnreachable
}

// note logs once that following fails, when it is no mishap, and that it works
// again.
func (f *Follower) note(ctx context.Context, err error) {
	attrs := []slog.Attr{slog.String("event", "feed.following"), slog.String("issuer", f.opts.Issuer.Name)}
	switch {
	case err != nil:
		if f.failures++; f.failures == patience {
			f.log.LogAttrs(ctx, slog.LevelWarn, "revocations cannot be followed",
				append(attrs, slog.String("result", string(resultOf(err))), slog.String("error", err.Error()))...)
		}
	default:
		if f.failures >= patience {
			f.log.LogAttrs(ctx, slog.LevelInfo, "revocations are followed again", append(attrs, slog.Int("handles", f.Len()))...)
		}
		f.failures = 0
	}
}
