package valkey

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/comity-auth/comity/federation/quota"
)

// Options of a [Store]. The zero Options have the defaults named.
type Options struct {
	// Timeout bounds each call as a whole: waiting for a connection, making one,
	// the script. Default 250 ms. A call is never tried again, since it may have
	// counted.
	Timeout time.Duration
	// Connections is how many there may be at once. Default 16.
	Connections int
	// RootCAs vouch for the server of a rediss:// URL. Default: the system's.
	RootCAs *x509.CertPool
}

const (
	defaultTimeout     = 250 * time.Millisecond
	defaultConnections = 16
	// startTimeout bounds Open, whose first connection may need more than a call.
	startTimeout = 5 * time.Second
)

// Store is a server to share state on. It is safe for concurrent use.
type Store struct {
	client  *redis.Client
	timeout time.Duration
}

// Open connects to the server that rawURL names: redis:// or, with TLS,
// rediss://, then [[user]:password@]host[:port][/database]. The error is ErrURL,
// or wraps quota.ErrUnavailable, with ErrUnfit if the server does answer; it
// never holds the password. Later connections are looked at as the first is, and
// none lives longer than five minutes, so a server that becomes unfit is not used
// for longer than that.
//
// Whoever opens a Store closes it.
func Open(ctx context.Context, rawURL string, o Options) (*Store, error) {
	a, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Connections < 1 {
		o.Connections = defaultConnections
	}
	s := &Store{client: redis.NewClient(settings(a, o)), timeout: o.Timeout}
	ctx, cancel := context.WithTimeout(ctx, max(startTimeout, o.Timeout))
	defer cancel()
	if err := s.client.Ping(ctx).Err(); err != nil {
		return nil, errors.Join(refusal(err), s.Close())
	}
	return s, nil
}

// settings switch off what the library would do on its own: try again, tell the
// server about itself, and follow the server's notices of maintenance.
func settings(a address, o Options) *redis.Options {
	s := &redis.Options{
		Addr:     a.host,
		Username: a.username,
		Password: a.password,
		DB:       a.database,
		Protocol: 2,

		MaxRetries:            -1,
		DialerRetries:         1,
		DialTimeout:           max(startTimeout, o.Timeout), // The context of each call is shorter.
		ReadTimeout:           o.Timeout,
		WriteTimeout:          o.Timeout,
		PoolTimeout:           o.Timeout,
		ContextTimeoutEnabled: true,

		PoolSize:        o.Connections,
		MaxActiveConns:  o.Connections,
		ConnMaxLifetime: 5 * time.Minute, // So OnConnect notices within that time.

		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		OnConnect: func(ctx context.Context, conn *redis.Conn) error {
			info, err := conn.Info(ctx).Result()
			if redis.HasErrorPrefix(err, "NOPERM") {
				return fmt.Errorf("%w: INFO is not permitted", ErrUnfit)
			} else if err != nil {
				return err
			}
			return fit(info)
		},
	}
	if a.tls {
		s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: a.name, RootCAs: o.RootCAs}
	}
	return s
}

// Close closes all connections. Calls under way fail.
func (s *Store) Close() error { return s.client.Close() }

// DiscardLibraryLog silences go-redis, which otherwise writes lines of its own to
// standard error when it cannot connect. It is for commands that log themselves,
// and holds for the whole process; every error is returned as well.
func DiscardLibraryLog() { logging.Disable() }

// Counters are the store's rate counters.
func (s *Store) Counters() *Counters { return &Counters{store: s} }

// Once is the store's memory of what has been used.
func (s *Store) Once() *Once { return &Once{store: s} }

// run runs a script within the time of one call. A server that does not know
// the script yet is sent it, in a second round trip.
func (s *Store) run(ctx context.Context, script *redis.Script, keys []string, args ...any) *redis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return script.Run(ctx, s.client, keys, args...)
}

// refusal tells why the store could not answer. A server without memory is full;
// up to Redis 6.2 the code for it is inside the text of the script's error.
func refusal(err error) error {
	if redis.HasErrorPrefix(err, "OOM") || redis.HasErrorPrefix(err, "ERR") && strings.Contains(err.Error(), "-OOM ") {
		return fmt.Errorf("%w: %w", quota.ErrFull, err)
	}
	return fmt.Errorf("%w: %w", quota.ErrUnavailable, err)
}

// name is under what a key is kept: a digest, since the key may hold ids of
// tokens, in the braces that keep all of one key's names in one slot.
func name(prefix, key string) string {
	sum := sha256.Sum256([]byte(key))
	return prefix + "{" + base64.RawURLEncoding.EncodeToString(sum[:]) + "}"
}

// farthest is the last moment that the scripts reckon with, so that sums of
// microseconds stay exact in a float: 2200-01-01T00:00:00Z.
var farthest = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// micros is t in whole Unix microseconds, rounded down, kept in range.
func micros(t time.Time) int64 {
	if t.After(farthest) {
		t = farthest
	}
	return max(0, t.UnixMicro())
}
