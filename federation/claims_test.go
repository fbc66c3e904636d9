package federation_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/federation"
	jose "github.com/go-jose/go-jose/v4"
)

// literal puts JSON into claims that no Go value could make.
func literal(s string) json.RawMessage { return json.RawMessage(s) }

type claimsCase struct {
	name   string
	claims object
	want   error
}

func runClaims(t *testing.T, w federation.Want, tests []claimsCase) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			raw := signES256(t, forged().p256, `{"alg":"ES256","typ":"at+jwt","kid":"k1"}`, string(encode(t, tt.claims)))
			tok, err := verifyRaw(t, raw, goodPeer(t), w)
			if !errors.Is(err, tt.want) || (err == nil) != (tok != nil) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
		})
	}
}

func TestCL01_CL05_Times(t *testing.T) {
	t.Parallel()
	good := goodClaims()
	runClaims(t, goodWant(), []claimsCase{
		{"CL-01: refuses a missing exp", good.with("exp", nil), federation.ErrClaims},
		{"CL-01: refuses exp 31 s ago", good.with("exp", forgeNow-31), federation.ErrExpired},
		{"CL-01: refuses exp 30 s ago", good.with("exp", forgeNow-30), federation.ErrExpired},
		{"CL-01: accepts exp 29 s ago", good.with("exp", forgeNow-29), nil},
		{"CL-03: accepts a fraction of exp", good.with("exp", literal("1800000000.5")), nil},
		{"CL-03: rounds a fraction of exp down", good.with("exp", literal("1799999970.9")), federation.ErrExpired},
		{"CL-05: accepts nbf in 8 s", good.with("nbf", forgeNow+8), nil},
		{"CL-05: accepts nbf in 10 s", good.with("nbf", forgeNow+10), nil},
		{"CL-05: refuses nbf in 11 s", good.with("nbf", forgeNow+11), federation.ErrNotYetValid},
		{"CL-05: refuses nbf in 61 s", good.with("nbf", forgeNow+61), federation.ErrNotYetValid},
		{"CL-05: accepts iat in 8 s", good.with("iat", forgeNow+8), nil},
		{"CL-05: refuses iat in 11 s", good.with("iat", forgeNow+11), federation.ErrNotYetValid},
		{"CL-05: refuses iat in 61 s", good.with("iat", forgeNow+61), federation.ErrNotYetValid},
		{"refuses a missing iat", good.with("iat", nil), federation.ErrClaims},
		{"accepts iat an hour and 30 s ago", good.with("iat", forgeNow-3630), nil},
		{"refuses iat an hour and 31 s ago", good.with("iat", forgeNow-3631), federation.ErrTooOld},
		{"refuses iat of 1970", good.with("iat", 0), federation.ErrTooOld},
		{"accepts exp in the year 9999", good.with("exp", int64(253402300799)), nil},
	})
}

func TestCL02_FormOfTimes(t *testing.T) {
	t.Parallel()
	var tests []claimsCase
	for _, v := range []string{
		`"1800000000"`, `true`, `[]`, `{}`, `null`, `-1`, `1e400`, `9007199254740993`, `9223372036854775808`, `1e20`, `253402300800`,
	} {
		for _, name := range []string{"exp", "iat", "nbf"} {
			tests = append(tests, claimsCase{"CL-02: refuses " + name + " " + v, goodClaims().with(name, literal(v)), federation.ErrClaims})
		}
	}
	tests = append(tests, claimsCase{"CL-02: refuses exp 0", goodClaims().with("exp", 0), federation.ErrExpired})
	runClaims(t, goodWant(), tests)
}

func TestCL07_CL09_Audience(t *testing.T) {
	t.Parallel()
	good := goodClaims()
	tests := []claimsCase{
		{"CL-07: refuses a missing aud", good.with("aud", nil), federation.ErrClaims},
		{"CL-07: refuses another aud", good.with("aud", "https://other.example"), federation.ErrAudience},
		{"CL-07: refuses a prefix of ours", good.with("aud", forgeUs[:len(forgeUs)-1]), federation.ErrAudience},
		{"CL-07: refuses ours and a slash", good.with("aud", forgeUs+"/"), federation.ErrAudience},
		{"CL-07: refuses ours in upper case", good.with("aud", strings.ToUpper(forgeUs)), federation.ErrAudience},
		{"CL-07: refuses a star", good.with("aud", "*"), federation.ErrAudience},
		{"CL-07: refuses ours among blanks", good.with("aud", " "+forgeUs+" "), federation.ErrAudience},
		{"CL-07: refuses ours and another in one string", good.with("aud", forgeUs+" https://other.example"), federation.ErrAudience},
		{"CL-07: refuses an empty aud", good.with("aud", ""), federation.ErrClaims},
		{"CL-07: refuses an empty list", good.with("aud", []string{}), federation.ErrClaims},
		{"CL-07: refuses a number", good.with("aud", 1), federation.ErrClaims},
		{"CL-07: refuses null", good.with("aud", literal("null")), federation.ErrClaims},
		{"CL-07: refuses an object", good.with("aud", object{forgeUs: true}), federation.ErrClaims},
		{"CL-07: refuses a mixed list", good.with("aud", []any{forgeUs, 1}), federation.ErrClaims},
		{"CL-07: refuses ours beside an empty value", good.with("aud", []string{forgeUs, ""}), federation.ErrClaims},
		{"CL-07: refuses 17 values", good.with("aud", strings.Split(strings.Repeat(forgeUs+" ", 16)+forgeUs, " ")), federation.ErrClaims},
		{"CL-09: refuses another client of the issuer", good.with("aud", "other-client"), federation.ErrAudience},
		{"CL-16: refuses AUD for aud", good.with("aud", nil).with("AUD", forgeUs), federation.ErrClaims},
		{"accepts a list of ours alone", good.with("aud", []string{forgeUs}), nil},
	}
	shared := claimsCase{"refuses ours beside another", good.with("aud", []string{forgeUs, "https://other.example"}), federation.ErrAudience}
	runClaims(t, goodWant(), append(tests, shared))

	w := goodWant()
	w.SharedAudience = true
	shared.name, shared.want = "accepts ours beside another where that is shared", nil
	for i := range tests {
		tests[i].name += ", shared"
	}
	runClaims(t, w, append(tests, shared))

	w = goodWant()
	w.Audiences = append(w.Audiences, "https://broker.globex.example/token")
	runClaims(t, w, []claimsCase{
		{"accepts two that are both ours", good.with("aud", w.Audiences), nil},
		{"accepts one of our two", good.with("aud", w.Audiences[1]), nil},
	})
}

func TestCL12_CL14_CL16_Issuer(t *testing.T) {
	t.Parallel()
	good := goodClaims()
	tests := []claimsCase{
		{"CL-14: refuses iss as a list", good.with("iss", []string{forgeIssuer, "https://evil.example"}), federation.ErrClaims},
		{"CL-14: refuses iss as a list of one", good.with("iss", []string{forgeIssuer}), federation.ErrClaims},
		{"CL-14: refuses iss as an object", good.with("iss", object{"iss": forgeIssuer}), federation.ErrClaims},
		{"CL-14: refuses iss as a number", good.with("iss", 1), federation.ErrClaims},
		{"CL-14: refuses iss null", good.with("iss", literal("null")), federation.ErrClaims},
		{"refuses a missing iss", good.with("iss", nil), federation.ErrClaims},
		{"refuses an empty iss", good.with("iss", ""), federation.ErrClaims},
		{"refuses an iss of 513 bytes", good.with("iss", "https://"+strings.Repeat("a", 505)), federation.ErrClaims},
		{"refuses an iss with a line end", good.with("iss", forgeIssuer+"\n"), federation.ErrClaims},
		{"refuses an iss with look-alike letters", good.with("iss", "https://аs.acme.example"), federation.ErrClaims},
		{"CL-16: refuses ISS for iss", good.with("iss", nil).with("ISS", forgeIssuer), federation.ErrClaims},
		{"CL-16: reads iss and not ISS", good.with("ISS", "https://evil.example"), nil},
		{"CL-16: reads exp and not Exp", good.with("Exp", 0), nil},
		{"CL-16: reads sub and not Sub", good.with("Sub", "root"), nil},
	}
	for name, iss := range map[string]string{
		"a trailing slash":     forgeIssuer + "/",
		"an upper-case host":   "https://AS.acme.example",
		"a default port":       forgeIssuer + ":443",
		"a percent escape":     "https://%61s.acme.example",
		"user information":     "https://x@as.acme.example",
		"http":                 "http://as.acme.example",
		"a dot segment":        forgeIssuer + "/a/..",
		"an upper-case scheme": "HTTPS://as.acme.example",
		"another host":         "https://evil.example", // CL-11
		"a longer host":        forgeIssuer + ".evil.example",
	} {
		tests = append(tests, claimsCase{"CL-12: refuses " + name, good.with("iss", iss), federation.ErrIssuer})
	}
	runClaims(t, goodWant(), tests)
}

func TestCL19_CL29_Identifiers(t *testing.T) {
	t.Parallel()
	good := goodClaims()
	tests := []claimsCase{
		{"CL-19: refuses a missing sub", good.with("sub", nil), federation.ErrClaims},
		{"CL-19: refuses an empty sub", good.with("sub", ""), federation.ErrClaims},
		{"CL-19: refuses a sub that is a number", good.with("sub", 7), federation.ErrClaims},
		{"CL-19: refuses a sub that is null", good.with("sub", literal("null")), federation.ErrClaims},
		{"CL-19: refuses a sub of 256 bytes", good.with("sub", strings.Repeat("s", 256)), federation.ErrClaims},
		{"CL-19: accepts a sub of 255 bytes", good.with("sub", strings.Repeat("s", 255)), nil},
		{"CL-19: refuses a sub with a line end", good.with("sub", "agent\n7"), federation.ErrClaims},
		{"CL-19: refuses a sub with NUL", good.with("sub", "agent\x00"), federation.ErrClaims},
		{"CL-19: refuses a sub with DEL", good.with("sub", "agent\x7f"), federation.ErrClaims},
		{"CL-19: refuses a sub with a C1 control", good.with("sub", "agent\u0085"), federation.ErrClaims},
		{"CL-19: refuses a sub with bidi controls", good.with("sub", "agent\u202e"), federation.ErrClaims},
		{"CL-19: refuses a sub with an invisible blank", good.with("sub", "agent\u200b"), federation.ErrClaims},
		{"CL-19: refuses a sub with a line separator", good.with("sub", "agent\u2028"), federation.ErrClaims},
		{"CL-19: accepts letters beyond ASCII", good.with("sub", "agent-é"), nil},
		{"CL-29: refuses a jti that is a number", good.with("jti", 7), federation.ErrClaims},
		{"CL-29: refuses an empty jti", good.with("jti", ""), federation.ErrClaims},
		{"CL-29: refuses a jti of 257 bytes", good.with("jti", strings.Repeat("j", 257)), federation.ErrClaims},
		{"CL-29: refuses a jti of 8 000 bytes", good.with("jti", strings.Repeat("j", 8000)), federation.ErrClaims},
		{"CL-29: accepts a jti of 256 bytes", good.with("jti", strings.Repeat("j", 256)), nil},
		{"CL-29: refuses a jti with control characters", good.with("jti", "j\r\n"), federation.ErrClaims},
	}
	runClaims(t, goodWant(), append(tests, claimsCase{"accepts no jti", good.with("jti", nil), nil}))
	w := goodWant()
	w.RequireID = true
	for i := range tests {
		tests[i].name += ", required"
	}
	runClaims(t, w, append(tests, claimsCase{"CL-29: refuses no jti where it is required", good.with("jti", nil), federation.ErrClaims}))
}

// CL-23: subjects that differ in case are two.
func TestCL23_SubjectsKeepTheirCase(t *testing.T) {
	t.Parallel()
	for _, sub := range []string{"Alice", "alice"} {
		tok, err := verifyRaw(t, goodToken(t, goodClaims().with("sub", sub)), goodPeer(t), goodWant())
		if err != nil || tok.Subject() != sub {
			t.Errorf("got error %v, want subject %s", err, sub)
		}
	}
}

func TestLifetime(t *testing.T) {
	t.Parallel()
	w := goodWant()
	w.MaxLife, w.IssuedAtOptional = 5*time.Minute, true
	good := goodClaims()
	runClaims(t, w, []claimsCase{
		{"accepts a life of five minutes", good, nil},
		{"refuses a life of a second more", good.with("exp", forgeNow+241), federation.ErrLifetime},
		{"without iat accepts five minutes from now", good.with("iat", nil).with("exp", forgeNow+300), nil},
		{"without iat refuses a second more", good.with("iat", nil).with("exp", forgeNow+301), federation.ErrLifetime},
		{"refuses a life that no duration holds", good.with("exp", int64(253402300799)), federation.ErrLifetime},
		{"with an optional iat still refuses an old one", good.with("iat", forgeNow-3631).with("exp", forgeNow-3400+3420), federation.ErrTooOld},
		{"with an optional iat still refuses a malformed one", good.with("iat", "now"), federation.ErrClaims},
	})
}

// What is granted never exceeds the peer's leeway, and a negative one is none.
func TestLeeway(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		leeway time.Duration
		claims object
		want   error
	}{
		{"no leeway refuses exp now", 0, goodClaims().with("exp", forgeNow), federation.ErrExpired},
		{"no leeway accepts exp in a second", 0, goodClaims().with("exp", forgeNow+1), nil},
		{"no leeway refuses nbf in a second", 0, goodClaims().with("nbf", forgeNow+1), federation.ErrNotYetValid},
		{"no leeway accepts nbf now", 0, goodClaims().with("nbf", forgeNow), nil},
		{"negative leeway is none", -time.Hour, goodClaims().with("exp", forgeNow+1), nil},
		{"an hour's leeway still refuses iat in 11 s", time.Hour, goodClaims().with("iat", forgeNow+11), federation.ErrNotYetValid},
		{"an hour's leeway accepts exp half an hour ago", time.Hour, goodClaims().with("exp", forgeNow-1800), nil},
	} {
		p := goodPeer(t)
		p.Leeway = tt.leeway
		raw := signWith(t, jose.ES256, forged().p256, goodHeader(), tt.claims)
		if _, err := verifyRaw(t, raw, p, goodWant()); !errors.Is(err, tt.want) {
			t.Errorf("%s: got error %v, want %v", tt.name, err, tt.want)
		}
	}
}

// Zero as the greatest age accepts no token: not one issued this second, and
// not one that does not say when it was.
func TestZeroTokenAgeAcceptsNothing(t *testing.T) {
	t.Parallel()
	p, w := goodPeer(t), goodWant()
	p.MaxTokenAge, w.IssuedAtOptional = 0, true
	for name, claims := range map[string]object{
		"issued now": goodClaims().with("iat", forgeNow), "without iat": goodClaims().with("iat", nil),
	} {
		if _, err := verifyRaw(t, goodToken(t, claims), p, w); !errors.Is(err, federation.ErrTooOld) {
			t.Errorf("%s: got error %v, want %v", name, err, federation.ErrTooOld)
		}
	}
}

// E01: a resource server's skew holds at both ends, and both ends are included.
func TestSkewIsIncluded(t *testing.T) {
	t.Parallel()
	skewed := goodWant()
	skewed.Skew = 300 * time.Second
	for _, tt := range []struct {
		name   string
		claims object
		want   error
	}{
		{"accepts exp one skew ago", goodClaims().with("exp", forgeNow-300), nil},
		{"refuses exp one second more ago", goodClaims().with("exp", forgeNow-301), federation.ErrExpired},
		{"accepts nbf one skew ahead", goodClaims().with("nbf", forgeNow+300), nil},
		{"refuses nbf one second further ahead", goodClaims().with("nbf", forgeNow+301), federation.ErrNotYetValid},
		{"accepts iat one skew ahead", goodClaims().with("iat", forgeNow+300), nil},
		{"refuses iat one second further ahead", goodClaims().with("iat", forgeNow+301), federation.ErrNotYetValid},
		{"has nbf decide where there is one", goodClaims().with("iat", forgeNow+600).with("nbf", forgeNow), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			claims := tt.claims
			if claims["exp"] == forgeNow+240 {
				claims = claims.with("exp", forgeNow+900)
			}
			if _, err := verifyRaw(t, goodToken(t, claims), goodPeer(t), skewed); !errors.Is(err, tt.want) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
		})
	}
}
