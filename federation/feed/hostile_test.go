package feed_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/feed"
	"github.com/comity-auth/comity/fixtures/peer"
)

// with is a copy of claims with others, given in pairs; nil removes one.
func with(p claims, pairs ...any) claims {
	out := claims{}
	for k, v := range p {
		out[k] = v
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		if out[name] = pairs[i+1]; pairs[i+1] == nil {
			delete(out, name)
		}
	}
	return out
}

// A page that is not what it should be changes nothing, and what is known grows
// old until there is a good one again.
func TestHostilePages(t *testing.T) {
	t.Parallel()
	other := peer.NewKey(t, "ES256")
	second := []any{2, handle(2), 4_000_000_000}
	as := func(header claims) func(*station, claims) string {
		return func(s *station, p claims) string {
			return s.key.Sign(with(claims{"typ": "revocation-feed+jwt"}, pairs(header)...), p)
		}
	}
	saying := func(pairs ...any) func(*station, claims) string {
		return func(s *station, p claims) string { return s.sign(with(p, pairs...)) }
	}
	listing := func(entries ...any) func(*station, claims) string {
		return saying("head", 9, "revocations", append([]any{second}, entries...))
	}
	many := func(n int) (list []any) {
		for i := range n {
			list = append(list, []any{i + 2, handle(uint64(i) + 2), 4_000_000_000})
		}
		return list
	}
	for _, tt := range []struct {
		name   string
		forge  func(*station, claims) string
		result feed.Result
	}{
		{"refuses another key of the same kid", func(s *station, p claims) string {
			return other.WithID(s.key.ID()).Sign(claims{"typ": "revocation-feed+jwt"}, p)
		}, feed.ResultRefused},
		{"refuses an unknown key", func(_ *station, p claims) string { return other.Sign(claims{"typ": "revocation-feed+jwt"}, p) }, feed.ResultRefused},
		{"refuses another issuer", saying("iss", "http://127.0.0.1:4001"), feed.ResultRefused},
		{"refuses an issuer with a slash more", saying("iss", "http://127.0.0.1:4000/"), feed.ResultRefused},
		{"refuses no issuer", saying("iss", nil), feed.ResultRefused},
		{"refuses an access token", as(claims{"typ": "at+jwt"}), feed.ResultRefused},
		{"refuses a plain JWT", as(claims{"typ": "JWT"}), feed.ResultRefused},
		{"refuses no typ", as(claims{"typ": nil}), feed.ResultRefused},
		{"refuses critical extensions", as(claims{"crit": []string{"exp"}}), feed.ResultRefused},
		{"refuses alg none", func(_ *station, p claims) string { return peer.Unsigned(claims{"typ": "revocation-feed+jwt"}, p) }, feed.ResultRefused},
		{"refuses HMAC with the public key", func(s *station, p claims) string {
			public, _ := s.key.JWK().MarshalJSON()
			return peer.SignHMAC(public, claims{"typ": "revocation-feed+jwt"}, p)
		}, feed.ResultRefused},
		{"refuses changed claims", func(s *station, p claims) string { return peer.Tampered(s.sign(p), with(p, "head", 9)) }, feed.ResultRefused},
		{"refuses a page cut short", func(s *station, p claims) string { return s.sign(p)[:100] }, feed.ResultRefused},
		{"refuses an empty body", func(*station, claims) string { return "" }, feed.ResultRefused},
		{"refuses JSON", func(_ *station, p claims) string { text, _ := json.Marshal(p); return string(text) }, feed.ResultRefused},
		{"refuses what is too large", func(s *station, p claims) string { return s.sign(with(p, "pad", strings.Repeat("x", 1<<20))) }, feed.ResultRefused},
		{"refuses a long string", saying("pad", strings.Repeat("x", 2000)), feed.ResultRefused},
		{"refuses deep nesting", saying("pad", []any{[]any{[]any{[]any{}}}}), feed.ResultRefused},
		{"refuses 10,001 revocations", saying("head", 20_000, "revocations", many(10_001)), feed.ResultRefused},
		{"refuses no exp", saying("exp", nil), feed.ResultRefused},
		{"refuses no iat", saying("iat", nil), feed.ResultRefused},
		{"refuses a long life", func(s *station, p claims) string { return s.sign(with(p, "exp", p["iat"].(int64)+301)) }, feed.ResultRefused},
		{"refuses no head", saying("head", nil), feed.ResultRefused},
		{"refuses no since", saying("since", nil), feed.ResultRefused},
		{"refuses no revocations", saying("revocations", nil), feed.ResultRefused},
		{"refuses null for revocations", func(s *station, p claims) string {
			text, _ := json.Marshal(with(p, "revocations", json.RawMessage("null")))
			return s.key.SignRaw([]byte(`{"alg":"ES256","typ":"revocation-feed+jwt","kid":"`+s.key.ID()+`"}`), text)
		}, feed.ResultRefused},
		{"refuses a name twice", func(s *station, p claims) string {
			text, _ := json.Marshal(p)
			return s.key.SignRaw([]byte(`{"alg":"ES256","typ":"revocation-feed+jwt","kid":"`+s.key.ID()+`"}`), []byte(`{"head":9,`+string(text[1:])))
		}, feed.ResultRefused},
		{"refuses a head of text", saying("head", "9"), feed.ResultRefused},
		{"refuses a negative head", saying("head", -1), feed.ResultRefused},
		{"refuses a broken head", saying("head", 1.5), feed.ResultRefused},
		{"refuses a head beyond 53 bits", saying("head", uint64(1)<<53), feed.ResultRefused},
		{"refuses a since beyond the head", saying("since", 3, "revocations", []any{}), feed.ResultRefused},
		{"refuses more of text", saying("more", "true"), feed.ResultRefused},
		{"refuses more without any", saying("more", true, "revocations", []any{}), feed.ResultRefused},
		{"refuses revocations in an object", saying("revocations", claims{}), feed.ResultRefused},
		{"refuses an entry that is no list", listing(3), feed.ResultRefused},
		{"refuses an empty entry", listing([]any{}), feed.ResultRefused},
		{"refuses an entry of two", listing([]any{3, handle(3)}), feed.ResultRefused},
		{"refuses an entry of four", listing([]any{3, handle(3), 1, 1}), feed.ResultRefused},
		{"refuses a number of text", listing([]any{"3", handle(3), 1}), feed.ResultRefused},
		{"refuses a number of zero", listing([]any{0, handle(3), 1}), feed.ResultRefused},
		{"refuses a number twice", listing([]any{2, handle(3), 1}), feed.ResultRefused},
		{"refuses numbers that descend", listing([]any{4, handle(3), 1}, []any{3, handle(4), 1}), feed.ResultRefused},
		{"refuses a number beyond the head", listing([]any{10, handle(3), 1}), feed.ResultRefused},
		{"refuses a number that is not after since", saying("since", 1, "revocations", []any{[]any{1, handle(2), 4_000_000_000}}), feed.ResultRefused},
		{"refuses a handle of 15 characters", listing([]any{3, handle(3)[1:], 1}), feed.ResultRefused},
		{"refuses a handle that is not base64url", listing([]any{3, "++++++++++++++++", 1}), feed.ResultRefused},
		{"refuses a handle of another kind", listing([]any{3, 3, 1}), feed.ResultRefused},
		{"refuses an instant of text", listing([]any{3, handle(3), "1"}), feed.ResultRefused},
		{"refuses a negative instant", listing([]any{3, handle(3), -1}), feed.ResultRefused},
		{"refuses an instant after 2106", listing([]any{3, handle(3), uint64(1) << 32}), feed.ResultRefused},
		{"refuses a broken instant", listing([]any{3, handle(3), 1.5}), feed.ResultRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStation(t)
				s.revoke(time.Now(), handle(1))
				f := follow(t, s)
				f.wait(t)
				generation := f.Generation()
				s.set(func() {
					s.head = 2
					s.list = append(s.list, [3]any{uint64(2), handle(2), int64(4_000_000_000)})
					s.forge = func(p claims) string { return tt.forge(s, p) }
				})
				after(20 * time.Second)
				if f.Revoked([]string{handle(2)}, time.Time{}) || f.Generation() != generation || f.Len() != 1 {
					t.Error("it was believed")
				}
				if !f.Revoked([]string{handle(1)}, time.Time{}) || f.Age() < 20*time.Second {
					t.Errorf("what was known is gone, or it looks fresh: age %s", f.Age())
				}
				if got := f.last().Result; got != tt.result {
					t.Errorf("result %q, want %q", got, tt.result)
				}
				s.set(func() { s.forge = nil })
				after(6 * time.Second)
				if !f.Revoked([]string{handle(2)}, time.Time{}) || f.Age() > 4*time.Second {
					t.Errorf("it did not recover: age %s", f.Age())
				}
			})
		})
	}
}

func pairs(m claims) (out []any) {
	for k, v := range m {
		out = append(out, k, v)
	}
	return out
}

// A true page at the wrong moment: its revocations hold, and what it would move
// does not move.
func TestTruePagesOutOfPlace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		forge func(s *station, p claims, old string) string
	}{
		{"a replayed page makes nothing fresher", func(_ *station, _ claims, old string) string { return old }},
		{"a page that leaves something out", func(s *station, p claims, _ string) string {
			return s.sign(with(p, "since", 5, "head", 9, "revocations", []any{[]any{7, handle(7), 4_000_000_000}}))
		}},
		{"more pages that lead nowhere", func(s *station, p claims, _ string) string {
			return s.sign(with(p, "since", 0, "head", 3, "more", true, "revocations", []any{[]any{1, handle(1), 4_000_000_000}}))
		}},
		{"a head that goes back, within the tolerance", func(s *station, p claims, _ string) string {
			return s.sign(with(p, "since", 0, "head", 1, "iat", time.Date(2000, 1, 1, 0, 0, 3, 0, time.UTC).Unix(), "revocations", []any{}))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStation(t)
				s.revoke(time.Now(), handle(1), handle(2), handle(3))
				old := s.sign(s.page(0))
				f := follow(t, s)
				f.wait(t)
				s.set(func() { s.forge = func(p claims) string { return tt.forge(s, p, old) } })
				after(20 * time.Second)
				if f.Age() < 18*time.Second {
					t.Errorf("it looks fresh: age %s", f.Age())
				}
				for n := range uint64(3) {
					if !f.Revoked([]string{handle(n + 1)}, time.Time{}) {
						t.Errorf("revocation %d is gone", n+1)
					}
				}
				// Whatever the page claimed, nothing is skipped afterwards.
				s.set(func() { s.forge = nil })
				s.revoke(time.Now(), handle(4), handle(5))
				after(10 * time.Second)
				if !f.Revoked([]string{handle(4)}, time.Time{}) || !f.Revoked([]string{handle(5)}, time.Time{}) || f.Age() > 4*time.Second {
					t.Errorf("it did not recover: age %s", f.Age())
				}
			})
		})
	}
}

// A registry that was restored from a backup begins again: its new revocations
// are followed under their old numbers, and those it has forgotten hold.
func TestRestoredRegistry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.limit = 2
		now := time.Now()
		s.revoke(now, handle(1), handle(2), handle(3), handle(4), handle(5), handle(6))
		f := follow(t, s)
		f.wait(t)
		after(10 * time.Second)
		s.set(func() { s.list, s.head = s.list[:3], 3 })
		s.revoke(now, handle(20))
		after(3 * time.Second)
		if !f.Revoked([]string{handle(6)}, time.Time{}) {
			t.Error("a replica that lags makes a revocation be forgotten")
		}
		after(10 * time.Second)
		for _, n := range []uint64{1, 2, 3, 4, 5, 6, 20} {
			if !f.Revoked([]string{handle(n)}, time.Time{}) {
				t.Errorf("revocation %d is not known", n)
			}
		}
		if f.Age() > 4*time.Second {
			t.Errorf("age %s after the new life was followed", f.Age())
		}
		s.revoke(now, handle(21))
		after(100 * time.Millisecond)
		if !f.Revoked([]string{handle(21)}, time.Time{}) {
			t.Error("the new life is not waited for")
		}
	})
}

// A replica that lags for a moment costs nothing and makes nothing older.
func TestReplicaThatLags(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		now := time.Now()
		s.revoke(now, handle(1), handle(2))
		f := follow(t, s)
		f.wait(t)
		turn := 0
		s.set(func() {
			s.forge = func(p claims) string {
				if turn++; turn%2 == 0 {
					return s.sign(with(p, "since", 0, "head", 1, "revocations", []any{[]any{1, handle(1), now.Unix()}}))
				}
				return s.sign(p)
			}
		})
		after(time.Minute)
		if f.Age() > 6*time.Second || !f.Revoked([]string{handle(2)}, time.Time{}) {
			t.Errorf("age %s", f.Age())
		}
	})
}

// Keys that change are followed; while none can be had that proves a page, what
// is known stays, and grows old.
func TestKeysThatChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStation(t)
		s.revoke(time.Now(), handle(1))
		f := follow(t, s, func(o *feed.Options) {
			o.Issuer.Discovery, o.Issuer.JWKS, o.Issuer.JWKSURI = federation.AtURI, nil, s.url+"/jwks.json"
		})
		f.wait(t)
		after(10 * time.Second)
		s.set(func() { s.key = peer.NewKey(t, "ES256") })
		s.revoke(time.Now(), handle(2))
		after(5 * time.Second)
		if !f.Revoked([]string{handle(2)}, time.Time{}) || f.Age() > 4*time.Second {
			t.Errorf("the new key was not found: age %s, %+v", f.Age(), f.last())
		}
		after(time.Minute)
		s.set(func() { s.key, s.keyless = peer.NewKey(t, "ES256"), true })
		s.revoke(time.Now(), handle(3))
		after(40 * time.Second)
		if f.Revoked([]string{handle(3)}, time.Time{}) || !f.Revoked([]string{handle(2)}, time.Time{}) || f.Age() < 38*time.Second {
			t.Errorf("without keys: age %s", f.Age())
		}
		if got := f.last().Result; got != feed.ResultUnverified {
			t.Errorf("result %q, want %q", got, feed.ResultUnverified)
		}
		s.set(func() { s.keyless = false })
		after(10 * time.Second)
		if !f.Revoked([]string{handle(3)}, time.Time{}) || f.Age() > 4*time.Second {
			t.Errorf("with keys again: age %s, %+v", f.Age(), f.last())
		}
	})
}
