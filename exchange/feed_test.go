package exchange_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/ident"
)

// revoked is a source of an empty registry and of many revocations.
type revoked struct {
	list []trust.Revocation
	head uint64
}

func (r *revoked) Load(_ context.Context, since trust.Revision) (trust.State, error) {
	return trust.State{Since: since, Revocations: r.head}, nil
}

func (r *revoked) Revocations(_ context.Context, after uint64, limit int) ([]trust.Revocation, uint64, error) {
	var out []trust.Revocation
	for _, one := range r.list {
		if one.Seq > after && len(out) < limit {
			out = append(out, one)
		}
	}
	return out, r.head, nil
}

func (*revoked) Changed() <-chan struct{} { return nil }

func (r *revoked) add(n int, before time.Time) {
	for range n {
		r.head++
		var h trust.Handle
		binary.BigEndian.PutUint64(h[:], r.head)
		r.list = append(r.list, trust.Revocation{Seq: r.head, Handle: h, Kind: trust.RevokeToken, Before: before, Expires: before.Add(24 * time.Hour), At: before})
	}
}

// counting counts what it signs, by writing it down.
type counting struct {
	exchange.Signer
	signed int
}

func (c *counting) Sign(_ context.Context, typ string, claims any) (ident.RawToken, string, error) {
	c.signed++
	body, err := json.Marshal(claims)
	return ident.NewRawToken(typ + "." + base64.RawURLEncoding.EncodeToString(body)), "kid", err
}

type world struct {
	*exchange.Feed
	source *revoked
	live   *trust.Live
	signer *counting
	now    time.Time
}

func newFeed(t *testing.T, revocations int) *world {
	t.Helper()
	w := &world{source: &revoked{}, signer: &counting{}, now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	w.source.add(revocations, w.now)
	settings := trust.Settings{Domain: ident.MustDomain("globex.example"), Issuer: ident.MustIssuer("https://broker.globex.example"),
		TTL: 5 * time.Minute, MaxTTL: 15 * time.Minute, MinTTL: 30 * time.Second}
	c, err := trust.NewCompiler(settings)
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return w.now }
	if w.live, err = trust.NewLive(t.Context(), w.source, c, trust.LiveOptions{Now: clock}); err != nil {
		t.Fatal(err)
	}
	w.Feed = exchange.NewFeed(settings, w.live, w.signer, clock)
	return w
}

type page struct {
	Issuer      string   `json:"iss"`
	IssuedAt    int64    `json:"iat"`
	Expires     int64    `json:"exp"`
	Head, Since uint64   // as encoding/json reads them
	More        bool     `json:"more"`
	Revocations [][3]any `json:"revocations"`
}

func (w *world) page(t *testing.T, since uint64) page {
	t.Helper()
	token, head, err := w.Page(t.Context(), since)
	if err != nil {
		t.Fatalf("Page(%d) = %v", since, err)
	}
	const typ = "revocation-feed+jwt."
	text := token.Reveal()
	if len(text) < len(typ) || text[:len(typ)] != typ {
		t.Fatalf("Page(%d) = %.30s, want the type %s", since, text, typ)
	}
	body, err := base64.RawURLEncoding.DecodeString(text[len(typ):])
	var p page
	if err == nil {
		err = json.Unmarshal(body, &p)
	}
	if err != nil || p.Head != head {
		t.Fatalf("Page(%d) = %s, head %d, %v", since, body, head, err)
	}
	return p
}

func TestFeedIsFollowedToTheEnd(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 10_000, 10_001, 25_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			w := newFeed(t, n)
			seen := map[float64]bool{}
			for since, pages := uint64(7), 0; ; pages++ {
				p := w.page(t, since)
				if p.Since > since || pages > 4 {
					t.Fatalf("page %d after %d begins after %d", pages, since, p.Since)
				}
				for _, r := range p.Revocations {
					seen[r[0].(float64)] = true
				}
				if !p.More {
					break
				}
				since = uint64(p.Revocations[len(p.Revocations)-1][0].(float64))
			}
			for i := 8; i <= n; i++ {
				if !seen[float64(i)] {
					t.Fatalf("revocation %d of %d was on no page", i, n)
				}
			}
		})
	}
}

func TestFeedSignsAPageOnceForAll(t *testing.T) {
	t.Parallel()
	w := newFeed(t, 30_000)
	for since := range uint64(1000) {
		if _, head, err := w.Page(t.Context(), since); err != nil || head != 30_000 {
			t.Fatalf("Page(%d) = head %d, %v", since, head, err)
		}
	}
	if w.signer.signed != 1 {
		t.Errorf("signed %d pages for 1000 followers of one stretch, want 1", w.signer.signed)
	}
	w.now = w.now.Add(3 * time.Second)
	w.page(t, 0)
	w.source.add(1, w.now)
	if err := w.live.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := w.page(t, 30_000); w.signer.signed != 3 || p.Head != 30_001 || len(p.Revocations) != 1 {
		t.Errorf("signed %d pages, want one more when it is old and one when there is more; page %+v", w.signer.signed, p)
	}
}

// A broker that lost its store signs, and does not look fresh by that.
func TestFeedIsAsOldAsWhatIsKnown(t *testing.T) {
	t.Parallel()
	w := newFeed(t, 1)
	known := w.now
	w.now = w.now.Add(40 * time.Second)
	if p := w.page(t, 0); p.IssuedAt != known.Unix() || p.Expires != known.Add(time.Minute).Unix() || p.Issuer != "https://broker.globex.example" {
		t.Errorf("page = %+v, want it as of %d", p, known.Unix())
	}
	w.now = known.Add(61 * time.Second)
	if _, _, err := w.Page(t.Context(), 0); !errors.Is(err, trust.ErrStale) {
		t.Errorf("Page = %v, want ErrStale", err)
	}
}

func TestFeedAfterARestoreBeginsAgain(t *testing.T) {
	t.Parallel()
	w := newFeed(t, 5)
	if p := w.page(t, 9); p.Since != 0 || len(p.Revocations) != 5 || p.Head != 5 {
		t.Errorf("page = %+v, want all five", p)
	}
	if err := w.Wait(t.Context(), 9); err != nil {
		t.Errorf("Wait = %v, want no wait", err)
	}
}

func TestFeedWait(t *testing.T) {
	t.Parallel()
	w := newFeed(t, 5)
	if err := w.Wait(t.Context(), 4); err != nil {
		t.Errorf("Wait(4) = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Wait(ctx, 5); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait(5) = %v, want the context's error", err)
	}
	if p := w.page(t, 3); !slices.Equal([]any{p.Revocations[0][0], p.Revocations[1][0]}, []any{4.0, 5.0}) {
		t.Errorf("page = %+v, want 4 and 5", p)
	}
}
