package valkey_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/comity-auth/comity/federation/quota"
	"github.com/comity-auth/comity/federation/quota/valkey"
	"github.com/comity-auth/comity/fixtures/pki"
	server "github.com/comity-auth/comity/fixtures/valkey"
)

// TestMain keeps go-redis from writing about the servers that are stopped.
func TestMain(m *testing.M) {
	valkey.DiscardLibraryLog()
	m.Run()
}

// unhurried is for tests that are not about time-outs: a busy machine may take
// longer than the default.
var unhurried = valkey.Options{Timeout: 20 * time.Second}

func open(t testing.TB, serverURL string, o valkey.Options) *valkey.Store {
	t.Helper()
	s, err := valkey.Open(t.Context(), serverURL, o)
	if err != nil {
		t.Fatalf("Open error = %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close error = %v", err)
		}
	})
	return s
}

// raw is a plain client, to look at what is stored.
func raw(t testing.TB, serverURL string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

const secret = "s3cret-of-the-store"

func TestOpenRefusesOtherURLsAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, url string }{
		{"rejects empty", ""},
		{"rejects no scheme", secret + "@127.0.0.1:6379"},
		{"rejects http", "http://:" + secret + "@127.0.0.1"},
		{"rejects a socket", "unix:///run/" + secret},
		{"rejects an opaque URL", "redis:127.0.0.1:6379"},
		{"rejects no host", "redis://:" + secret + "@"},
		{"rejects no host before a port", "redis://:" + secret + "@:6379"},
		{"rejects an empty port", "redis://:" + secret + "@127.0.0.1:"},
		{"rejects port 0", "redis://:" + secret + "@127.0.0.1:0"},
		{"rejects port 65536", "redis://:" + secret + "@127.0.0.1:65536"},
		{"rejects a port that is a word", "redis://:" + secret + "@127.0.0.1:redis"},
		{"rejects a user without a password", "redis://" + secret + "@127.0.0.1"},
		{"rejects an empty password", "redis://" + secret + ":@127.0.0.1"},
		{"rejects a query", "redis://:" + secret + "@127.0.0.1?db=1"},
		{"rejects an empty query", "redis://:" + secret + "@127.0.0.1?"},
		{"rejects a fragment", "redis://127.0.0.1/0#" + secret},
		{"rejects a database that is a word", "redis://127.0.0.1/" + secret},
		{"rejects a database with a sign", "redis://127.0.0.1/+1"},
		{"rejects a database with a leading zero", "redis://127.0.0.1/01"},
		{"rejects a longer path", "redis://127.0.0.1/0/" + secret},
		{"rejects a control character", "redis://127.0.0.1/\n" + secret},
		{"rejects a bad escape", "redis://:%zz" + secret + "@127.0.0.1"},
		{"rejects 2049 bytes", "redis://" + strings.Repeat("a", 2041)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := valkey.Open(t.Context(), tt.url, valkey.Options{})
			if !errors.Is(err, valkey.ErrURL) {
				t.Fatalf("Open error = %v, want ErrURL", err)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("error repeats the URL: %v", err)
			}
		})
	}
}

func TestURLNamesHostAndPort(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"redis://valkey.internal":             "valkey.internal:6379",
		"rediss://u:p@valkey.internal:6380/":  "valkey.internal:6380",
		"redis://[::1]/15":                    "[::1]:6379",
		"redis://:p%40ss@127.0.0.1:7000/0":    "127.0.0.1:7000",
		"REDISS://:p@Valkey.Internal:65535/2": "Valkey.Internal:65535",
	} {
		if got, err := valkey.ParseURL(in); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", in, got, err, want)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{
		"redis://127.0.0.1", "rediss://u:p@h:1/2", "redis://[::1]:6379/0", "redis://:p@h?x", "redis://a:b:c@h", "unix:///x", "redis://h/%31",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, err := valkey.ParseURL(s)
		if err != nil {
			if err.Error() != valkey.ErrURL.Error() {
				t.Errorf("error text %q differs from the fixed one", err)
			}
			return
		}
		u, err := url.Parse(s)
		if err != nil {
			t.Fatalf("accepted what is no URL: %v", err)
		}
		name, port, err := net.SplitHostPort(host)
		if err != nil || name != u.Hostname() || port == "" || u.RawQuery != "" || u.Fragment != "" {
			t.Errorf("%q is dialled as %q", s, host)
		}
	})
}

func TestOpenNeverTellsThePassword(t *testing.T) {
	t.Parallel()
	s := server.Private(t, server.Options{})
	for name, at := range map[string]string{
		"wrong password":   "redis://:" + secret + "@" + s.Addr(),
		"unknown user":     "redis://somebody:" + secret + "@" + s.Addr(),
		"nobody listening": "redis://:" + secret + "@127.0.0.1:1",
	} {
		_, err := valkey.Open(t.Context(), at, unhurried)
		if !errors.Is(err, quota.ErrUnavailable) {
			t.Errorf("%s: Open error = %v, want ErrUnavailable", name, err)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: error holds the password: %v", name, err)
		}
	}
	// A server that speaks no TLS waits for the end of the line that it makes of
	// the hello.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := valkey.Open(ctx, "rediss://:"+secret+"@"+s.Addr(), unhurried)
	if !errors.Is(err, quota.ErrUnavailable) || strings.Contains(err.Error(), secret) {
		t.Errorf("TLS to plaintext: Open error = %v, want ErrUnavailable", err)
	}
	if _, err := valkey.Open(t.Context(), "redis://"+s.Addr(), unhurried); !errors.Is(err, quota.ErrUnavailable) {
		t.Errorf("no password: Open error = %v, want ErrUnavailable", err)
	}
}

func TestOpenOverTLSVerifiesTheServer(t *testing.T) {
	t.Parallel()
	ca := pki.Start(t, "store")
	cert := ca.Server(t)
	s := server.Private(t, server.Options{TLS: &cert})
	o := unhurried
	if _, err := valkey.Open(t.Context(), s.URL(), o); !errors.Is(err, quota.ErrUnavailable) {
		t.Errorf("certificate of an unknown authority: Open error = %v, want ErrUnavailable", err)
	}
	o.RootCAs = ca.Pool()
	fresh, err := open(t, s.URL(), o).Once().Use(t.Context(), "k", time.Now().Add(time.Hour))
	if err != nil || !fresh {
		t.Errorf("Use over TLS = %v, %v", fresh, err)
	}
	plain := strings.Replace(s.URL(), "rediss:", "redis:", 1)
	if _, err := valkey.Open(t.Context(), plain, o); !errors.Is(err, quota.ErrUnavailable) {
		t.Errorf("plaintext to TLS: Open error = %v, want ErrUnavailable", err)
	}
}

// A server that evicts would forget counts that are in force.
func TestOpenRefusesAServerThatEvicts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		set  []string
		want error
	}{
		{"refuses allkeys-lru with a limit", []string{"maxmemory 50mb", "maxmemory-policy allkeys-lru"}, valkey.ErrUnfit},
		{"refuses volatile-ttl with a limit", []string{"maxmemory 50mb", "maxmemory-policy volatile-ttl"}, valkey.ErrUnfit},
		{"refuses a replica", []string{"replicaof 127.0.0.1 1"}, valkey.ErrUnfit},
		{"refuses where INFO is not permitted", []string{"user guard on >" + secret + " ~comity:* +@all -info"}, valkey.ErrUnfit},
		{"accepts noeviction with a limit", []string{"maxmemory 50mb", "maxmemory-policy noeviction"}, nil},
		{"accepts a policy that never comes to act", []string{"maxmemory-policy allkeys-lru"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := server.Private(t, server.Options{Settings: tt.set})
			at := s.URL()
			if strings.HasPrefix(tt.set[0], "user ") {
				at = "redis://guard:" + secret + "@" + s.Addr()
			}
			got, err := valkey.Open(t.Context(), at, unhurried)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Open error = %v, want %v", err, tt.want)
			}
			if err == nil {
				got.Close()
			}
		})
	}
}

// The commands that the documentation names are enough.
func TestLeastPrivilegeIsEnough(t *testing.T) {
	t.Parallel()
	s := server.Private(t, server.Options{Settings: []string{
		"user guard on >" + secret + " ~comity:* -@all +ping +hello +auth +select +info +evalsha +eval +time" +
			" +hmget +hset +lrange +lindex +llen +ltrim +lset +rpush +del +pexpireat +set",
	}})
	store := open(t, "redis://guard:"+secret+"@"+s.Addr(), unhurried)
	until := time.Now().Add(time.Hour)
	for range 3 {
		if _, err := store.Counters().Take(t.Context(), "k", everySpan(2), until); err != nil {
			t.Fatalf("Take error = %v", err)
		}
	}
	if fresh, err := store.Once().Use(t.Context(), "k", until); err != nil || !fresh {
		t.Errorf("Use = %v, %v", fresh, err)
	}
}

func TestFit(t *testing.T) {
	t.Parallel()
	info := func(lines ...string) string { return "# Memory\r\n" + strings.Join(lines, "\r\n") + "\r\n" }
	for _, tt := range []struct {
		name, info string
		ok         bool
	}{
		{"accepts Redis 6.2", info("redis_version:6.2.0", "maxmemory:0", "maxmemory_policy:noeviction"), true},
		{"accepts Redis 7", info("redis_version:7.0.15", "role:master", "maxmemory:9", "maxmemory_policy:noeviction"), true},
		{"accepts a version of Valkey alone", info("valkey_version:9.0.0", "maxmemory:0", "maxmemory_policy:noeviction"), true},
		{"rejects Redis 6.0", info("redis_version:6.0.16", "maxmemory:0", "maxmemory_policy:noeviction"), false},
		{"rejects Redis 5", info("redis_version:5.9.9", "maxmemory:0", "maxmemory_policy:noeviction"), false},
		{"rejects no version", info("maxmemory:0", "maxmemory_policy:noeviction"), false},
		{"rejects a version that is a word", info("redis_version:unstable", "maxmemory:0", "maxmemory_policy:noeviction"), false},
		{"rejects a version of letters", info("redis_version:a.b", "maxmemory:0", "maxmemory_policy:noeviction"), false},
		{"rejects no policy", info("redis_version:7.0.15", "maxmemory:0"), false},
		{"rejects no limit", info("redis_version:7.0.15", "maxmemory_policy:noeviction"), false},
		{"rejects an unknown policy", info("redis_version:7.0.15", "maxmemory:9", "maxmemory_policy:other"), false},
		{"rejects a replica", info("redis_version:7.0.15", "role:slave", "maxmemory:0", "maxmemory_policy:noeviction"), false},
		{"rejects nothing", "", false},
	} {
		if err := valkey.Fit(tt.info); (err == nil) != tt.ok || err != nil && !errors.Is(err, valkey.ErrUnfit) {
			t.Errorf("%s: Fit = %v", tt.name, err)
		}
	}
}

// What a caller asks for has two forms, and either will do.
var (
	_, _ counters = (*quota.Counters)(nil), (*valkey.Counters)(nil)
	_, _ once     = (*quota.Once)(nil), (*valkey.Once)(nil)
)

type counters interface {
	Take(ctx context.Context, key string, rules []quota.Rule, until time.Time) (quota.Decision, error)
}

type once interface {
	Use(ctx context.Context, key string, until time.Time) (fresh bool, err error)
}

// writers has eight writers over two clients of one server call f with 0 to n-1,
// and gives how often it was true.
func writers(t *testing.T, n int, f func(*valkey.Store, int) (bool, error)) int64 {
	t.Helper()
	at := server.New(t)
	stores := []*valkey.Store{open(t, at, unhurried), open(t, at, unhurried)}
	var yes atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range n {
				ok, err := f(stores[i%2], k)
				if err != nil {
					t.Errorf("writer %d: %v", i, err)
				} else if ok {
					yes.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return yes.Load()
}

// everySpan allows n events in each window.
func everySpan(n int) []quota.Rule {
	return []quota.Rule{{Span: quota.Minute, Max: n}, {Span: quota.Hour, Max: n}, {Span: quota.Day, Max: n}}
}

// unique keeps tests that share a server apart.
func unique(name string) string { return name + rand.Text() }
