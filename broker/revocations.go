package broker

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/trust/ident"
)

// Feed is what resource servers follow to learn of revocations. It is safe for
// concurrent use.
type Feed interface {
	// Page gives the signed page after a revocation, and the number of the
	// newest.
	Page(ctx context.Context, since uint64) (token ident.RawToken, head uint64, err error)
	// Wait returns once there is a revocation after since, or with the
	// context's error.
	Wait(ctx context.Context, since uint64) error
}

const (
	mediaFeed = "application/revocation-feed+jwt"
	// maxFeedWait is the longest that a follower may be kept waiting, in seconds.
	maxFeedWait = 30
	// maxFollowers bounds how many wait at a time; who comes then is answered at
	// once.
	maxFollowers = 4096
	// feedSlice is how often a waiting request looks whether the broker is going
	// away.
	feedSlice = time.Second
)

// revocations is the revocation feed: opaque handles and instants, for anybody.
func (h *handler) revocations(w http.ResponseWriter, r *http.Request) {
	if h.opts.Feed == nil {
		http.NotFound(w, r)
		return
	}
	since, wait, ok := readFeedQuery(r)
	if !ok {
		h.write(w, http.StatusBadRequest, errorBody{Error: exchange.InvalidRequest,
			Description: "since is a number, and wait a number of seconds up to 30."})
		return
	}
	if wait > 0 {
		h.await(w, r, max(since, seenBy(r)), wait)
	}
	token, head, err := h.opts.Feed.Page(r.Context(), since)
	if err != nil {
		w.Header().Set("Retry-After", "2")
		h.write(w, http.StatusServiceUnavailable, errorBody{Error: exchange.Unavailable, Description: "The request cannot be answered now. Try again later."})
		return
	}
	tag := `"` + strconv.FormatUint(head, 10) + `"`
	header := w.Header()
	header.Set("ETag", tag)
	header.Set("Cache-Control", "no-cache")
	header.Set("X-Content-Type-Options", "nosniff")
	if head == seenBy(r) && r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	header.Set("Content-Type", mediaFeed)
	_, _ = w.Write([]byte(token.Reveal()))
}

func readFeedQuery(r *http.Request) (since uint64, wait time.Duration, ok bool) {
	query := r.URL.Query()
	for name, values := range query {
		if len(values) != 1 || name != "since" && name != "wait" {
			return 0, 0, false
		}
	}
	var err error
	if query.Has("since") {
		if since, err = strconv.ParseUint(query.Get("since"), 10, 63); err != nil {
			return 0, 0, false
		}
	}
	if query.Has("wait") {
		seconds, err := strconv.ParseUint(query.Get("wait"), 10, 16)
		if err != nil || seconds > maxFeedWait {
			return 0, 0, false
		}
		wait = time.Duration(seconds) * time.Second
	}
	return since, wait, true
}

// seenBy is the newest revocation that the follower's entity tag names; 0
// without one.
func seenBy(r *http.Request) uint64 {
	head, err := strconv.ParseUint(strings.Trim(r.Header.Get("If-None-Match"), `"`), 10, 63)
	if err != nil {
		return 0
	}
	return head
}

// await waits for a revocation after since, for the time to pass, or for the
// broker or the follower to go away.
func (h *handler) await(w http.ResponseWriter, r *http.Request, since uint64, wait time.Duration) {
	if h.followers.Add(1) > maxFollowers {
		h.followers.Add(-1)
		return
	}
	defer h.followers.Add(-1)
	// The listener's own deadlines are for requests that are answered at once.
	until := time.Now().Add(wait)
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(until.Add(10 * time.Second))
	_ = control.SetWriteDeadline(until.Add(10 * time.Second))
	for left := wait; left > 0 && r.Context().Err() == nil && h.opts.Ready() == nil; left = time.Until(until) {
		ctx, cancel := context.WithTimeout(r.Context(), min(left, feedSlice))
		err := h.opts.Feed.Wait(ctx, since)
		cancel()
		if err == nil {
			return
		}
	}
}
