package exchange_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/federation/fetch"
	"github.com/comity-auth/comity/fixtures/peer"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
	"github.com/comity-auth/comity/trust/ident"
)

const (
	us      = "https://broker.globex.example"
	acme    = "https://as.acme.example"
	archive = "https://archive.globex.example"
	secret  = "c4nary-5ecret-of-the-client-that-nobody-may-see"
)

// still is a registry that never moves.
type still struct{ snapshot *trust.Snapshot }

func (r still) Snapshot() (*trust.Snapshot, error)       { return r.snapshot, nil }
func (r still) Await(context.Context, trust.Fence) error { return nil }

// signer gives tokens that nobody verifies.
type signer struct{}

func (signer) Sign(_ context.Context, _ string, claims any) (ident.RawToken, string, error) {
	text, err := json.Marshal(claims)
	return ident.NewRawToken("e30." + hex.EncodeToString(text) + ".AAAA"), "kid", err
}
func (signer) JWKS() []byte { return []byte(`{"keys":[]}`) }
func (signer) Derive(label string, n int) []byte {
	sum := sha256.Sum256([]byte(label))
	return sum[:n]
}

// ledger keeps what it is given, as a store would encode it. It serves one
// goroutine.
type ledger struct {
	used    map[[sha256.Size]byte]bool
	records []string
	last    audit.Record
}

func (l *ledger) Commit(_ context.Context, e trust.Entry) (trust.Outcome, error) {
	out := trust.Outcome{Status: trust.Committed}
	l.last = e.Record
	for _, o := range e.Once {
		if l.used[o.Key] {
			out.Status, out.Replay, l.last = trust.Replayed, o.Kind, e.IfReplayed
		}
	}
	if out.Status == trust.Committed {
		for _, o := range e.Once {
			l.used[o.Key] = true
		}
	}
	text, err := l.last.Encode()
	if err != nil {
		return trust.Outcome{}, err
	}
	l.records = append(l.records, string(text))
	out.At = audit.Position{Writer: 1, Seq: uint64(len(l.records))}
	return out, nil
}

// bench is a service over a static registry with one peer and a client of each
// kind.
type bench struct {
	service  *exchange.Service
	ledger   *ledger
	observed int
	issuer   *peer.Key
	client   *peer.Key
	at       time.Time
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{ledger: &ledger{used: map[[sha256.Size]byte]bool{}}, at: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	b.issuer = peer.NewKey(t, "ES256").WithClock(b.now)
	b.client = peer.NewKey(t, "ES256").WithClock(b.now)
	domain, err := ident.ParseDomain("globex.example")
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := ident.ParseIssuer(us)
	if err != nil {
		t.Fatal(err)
	}
	settings := trust.Settings{Domain: domain, Issuer: issuer, TTL: 5 * time.Minute, MaxTTL: 15 * time.Minute, MinTTL: 30 * time.Second}
	fetcher, err := fetch.New(fetch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keys := federation.NewKeys(fetcher, federation.KeysOptions{})
	t.Cleanup(func() { keys.Close(); fetcher.Close() })
	b.service, err = exchange.New(exchange.Options{Settings: settings, Endpoint: us + "/token", Registry: still{b.snapshot(t, settings)},
		Verifier: federation.NewVerifier(keys, b.now), Signer: signer{}, Ledger: b.ledger, Revoker: nobody{}, Now: b.now,
		Limits:  exchange.Limits{ClientPerMinute: 1 << 30, GlobalPerSecond: 1 << 30, FailuresPerMinute: 1 << 30, RecordsPerMinute: 1 << 30},
		Observe: func(context.Context, *audit.Record, string, time.Duration) { b.observed++ }})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) now() time.Time { return b.at }

// nobody revokes nothing.
type nobody struct{}

func (nobody) Revoke(context.Context, []trust.Revocation) (uint64, error) {
	return 0, trust.ErrUnavailable
}

func (b *bench) snapshot(t testing.TB, settings trust.Settings) *trust.Snapshot {
	t.Helper()
	set := func(k *peer.Key) string {
		text, err := json.Marshal(k.JWKS())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	sum := sha256.Sum256([]byte(secret))
	compiler, err := trust.NewCompiler(settings)
	if err != nil {
		t.Fatal(err)
	}
	file, problems := compiler.ParseFile([]byte(`
peers:
  - {name: acme, domain: acme.example, issuer: "` + acme + `", discovery: static, jwks: ` + set(b.issuer) + `, expires: 2099-01-01T00:00:00Z}
resources:
  - {audience: "` + archive + `", scopes: [archive.read], actions: [archive.search]}
clients:
  - {id: agent-basic, auth: client_secret_basic, secret_hash: "sha256:` + hex.EncodeToString(sum[:]) + `", known_as: {acme: agent-1}, proof: optional, expires: 2099-01-01T00:00:00Z}
  - {id: agent-jwt, auth: private_key_jwt, jwks: ` + set(b.client) + `, known_as: {acme: agent-1}, proof: optional, expires: 2099-01-01T00:00:00Z}
mappings:
  - {name: acme-scopes, peer: acme, clients: ["*"], resources: ["` + archive + `"], scopes: [{scope: archive.read, from: ["docs:read"]}], capabilities: [archive.search], proof: optional}
`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	objects, err := file.Objects()
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := compiler.Compile(nil, trust.State{Revision: 1, Objects: objects})
	if err != nil {
		t.Fatal(err)
	}
	return snapshot
}

// token is one that the registry accepts.
func (b *bench) token(claims map[string]any) string {
	all := map[string]any{"iss": acme, "sub": "agent-1", "aud": us, "iat": b.at.Unix(), "exp": b.at.Add(5 * time.Minute).Unix(), "scope": "docs:read", "jti": "j1"}
	for name, value := range claims {
		all[name] = value
	}
	return b.issuer.Sign(map[string]any{"typ": "at+jwt"}, all)
}

const basic = "Basic YWdlbnQtYmFzaWM6YzRuYXJ5LTVlY3JldC1vZi10aGUtY2xpZW50LXRoYXQtbm9ib2R5LW1heS1zZWU="

func (b *bench) form(token string) url.Values {
	return url.Values{"grant_type": {exchange.GrantTokenExchange}, "subject_token": {token},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"}, "resource": {archive}}
}

// ask holds one answer against what every answer must be.
func (b *bench) ask(t testing.TB, req exchange.Request) (*exchange.Result, *exchange.Fault) {
	t.Helper()
	records, observed := len(b.ledger.records), b.observed
	result, err := b.service.Exchange(t.Context(), req)
	if n := len(b.ledger.records) - records; n != 1 || b.observed != observed+1 {
		t.Errorf("got %d records and %d observations, want one of each", n, b.observed-observed)
	}
	text := b.ledger.records[len(b.ledger.records)-1]
	if strings.Contains(text, secret) || strings.ContainsAny(text, "\n\r") {
		t.Errorf("got record %s", text)
	}
	if err == nil {
		if result == nil || result.AccessToken.Reveal() == "" || result.ExpiresIn <= 0 || result.DecisionID == "" || b.ledger.last.Outcome != audit.Allow {
			t.Errorf("got %+v and record %s", result, text)
		}
		return result, nil
	}
	fault, ok := errors.AsType[*exchange.Fault](err)
	if !ok || result != nil {
		t.Fatalf("got %+v and error %v, want a fault alone", result, err)
	}
	if fault.Code == "" || fault.Public == "" || fault.Code == exchange.ServerError || b.ledger.last.Outcome == audit.Allow || b.ledger.last.Issued != nil {
		t.Errorf("got fault %v and record %s", fault, text)
	}
	return nil, fault
}

func (b *bench) request(form url.Values, headers ...string) exchange.Request {
	return exchange.Request{Form: form, Authorization: headers, Address: netip.MustParseAddr("198.51.100.7")}
}

// FuzzExchange sends arbitrary forms and headers down the ladder.
func FuzzExchange(f *testing.F) {
	b := newBench(f)
	good := b.form(b.token(nil))
	assertion := b.client.Assertion("agent-jwt", us, peer.Overrides{})
	proof := peer.NewKey(f, "ES256").WithClock(b.now).Proof("POST", us+"/token", peer.Overrides{})
	signed := b.form(b.token(nil))
	signed.Set("client_assertion", assertion)
	signed.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	f.Add(good.Encode(), basic, "")
	f.Add(good.Encode(), basic, proof)
	f.Add(good.Encode(), "Bearer x", "x")
	f.Add(signed.Encode(), "", "")
	f.Add(signed.Encode(), basic, "")
	f.Add(good.Encode()+"&scope=a&scope=b", basic, "")
	f.Add(good.Encode()+"&capabilities=archive.search,archive.fetch&requested_ttl=60&task_id=t&task_purpose=p", basic, "")
	f.Add("grant_type=client_credentials&resource="+archive, basic, "")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, body, authorization, dpop string) {
		form, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		req := b.request(form)
		if authorization != "" {
			req.Authorization = []string{authorization}
		}
		if dpop != "" {
			req.DPoP = []string{dpop}
		}
		b.ask(t, req)
	})
}

// FuzzSubject sends arbitrary claims, well signed, down the ladder: nothing of
// them may become a failure of ours or widen what is granted.
func FuzzSubject(f *testing.F) {
	b := newBench(f)
	for _, seed := range []string{`{}`, `{"scope":["docs:read"]}`, `{"cnf":{"jkt":"x"}}`, `{"act":{"sub":"x"}}`, `{"agent":{"id":"a"}}`, `{"exp":1e400}`,
		`{"aud":["` + us + `","x"]}`, `{"scp":["docs:read",7],"scope":null}`, `{"azp":7}`, `{"lineage":[1]}`, `{"jti":""}`,
		`{"agent":{"id":"agent-1","type":"llm","operator":"org:acme"},"task":{"id":"t","purpose":"p"},"capabilities":[{"action":"archive.search"}],"delegation":{"depth":0,"max_depth":1,"chain":["agent-1"]}}`} {
		f.Add([]byte(seed), "at+jwt")
	}
	f.Fuzz(func(t *testing.T, members []byte, typ string) {
		var over map[string]json.RawMessage
		if json.Unmarshal(members, &over) != nil {
			return
		}
		claims := map[string]any{}
		for name, value := range over {
			claims[name] = value
		}
		token := func() string {
			all := map[string]any{"iss": acme, "sub": "agent-1", "aud": us, "iat": b.at.Unix(), "exp": b.at.Add(5 * time.Minute).Unix(), "scope": "docs:read"}
			for name, value := range claims {
				all[name] = value
			}
			return b.issuer.Sign(map[string]any{"typ": typ}, all)
		}()
		result, fault := b.ask(t, b.request(b.form(token), basic))
		if fault == nil && result.Scope != "archive.read" && result.Scope != "" {
			t.Errorf("got scope %q of %s", result.Scope, members)
		}
		if fault != nil && fault.Code != exchange.InvalidRequest && fault.Code != exchange.InvalidScope && fault.Code != exchange.InvalidTarget && fault.Code != exchange.UnauthorizedClient {
			t.Errorf("got %v of %s", fault, members)
		}
	})
}
