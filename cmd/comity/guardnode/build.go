package guardnode

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/comity-auth/comity/cmd/comity/guardconf"
	"github.com/comity-auth/comity/federation/guard"
)

// shared is what outlives a change of the configuration.
type shared struct {
	counters guard.Counters
	once     guard.Once
	observe  func(context.Context, *guard.Event)
	log      *slog.Logger
}

// Check builds everything that the configuration says and asks nobody, as Run
// does at its start.
func Check(cfg guardconf.Config) error {
	g, _, err := build(cfg, shared{})
	if err == nil {
		g.Close()
	}
	return err
}

// build makes the guard and what answers requests with it.
func build(cfg guardconf.Config, with shared) (*guard.Guard, http.Handler, error) {
	o, err := options(cfg)
	if err != nil {
		return nil, nil, err
	}
	o.Counters, o.Once, o.Observe, o.Logger = with.counters, with.once, with.observe, with.log
	g, err := guard.New(o)
	if err != nil {
		return nil, nil, err
	}
	h, err := handler(g, cfg)
	if err != nil {
		g.Close()
		return nil, nil, err
	}
	return g, h, nil
}

// options are those of the guard alone.
func options(cfg guardconf.Config) (guard.Options, error) {
	o := guard.Options{
		Audience: cfg.Audience, Agents: cfg.Agents, DeniedModels: cfg.DeniedModels, RequireAttested: cfg.RequireAttested,
		NetworkZone: cfg.NetworkZone, Leeway: cfg.Leeway, MaxTokenAge: cfg.MaxTokenAge, RequireProof: cfg.RequireProof(),
		PublicURL: cfg.PublicURL, TrustedProxies: cfg.TrustedProxies, CertificateHeader: cfg.ClientCertHeader, FeedMaxAge: cfg.Revocations.MaxAge,
		InsecureAdmitStale: cfg.AdmitStale(), InsecureAdmitUncounted: cfg.AdmitUncounted(),
		Egress: cfg.Egress.Allow, Roots: cfg.Egress.CAFile,
	}
	if cfg.MaxDepth >= 0 {
		o.MaxDepth = &cfg.MaxDepth
	}
	for _, r := range cfg.Routes {
		o.Routes = append(o.Routes, r.Spec())
	}
	var errs []error
	for _, from := range cfg.Issuers {
		if from.JWKSFile == "" {
			from.JWKSFile = cfg.PublicKeyFile
		}
		one, err := issuer(from)
		if err != nil {
			errs = append(errs, fmt.Errorf("issuer %s: %w", from.Issuer, err))
		}
		o.Issuers = append(o.Issuers, one)
	}
	return o, errors.Join(errs...)
}

func issuer(from guardconf.Issuer) (guard.Issuer, error) {
	out := guard.Issuer{Issuer: from.Issuer, JWKSURI: from.JWKSURI, Algorithms: from.Algorithms, UntypedTokens: from.UntypedTokens,
		AliasNames: from.AliasNames, Feed: from.Feed, InsecureNoRevocations: from.InsecureNoRevocations}
	if from.JWKSFile == "" {
		return out, nil
	}
	var err error
	out.JWKS, err = readKeys(from.JWKSFile)
	return out, err
}

// handler is the reverse proxy, or without an upstream forward-auth and the
// metadata. The two never share a listener: what an upstream serves at /auth is
// its own.
func handler(g *guard.Guard, cfg guardconf.Config) (http.Handler, error) {
	if cfg.Upstream != "" {
		return g.Proxy(guard.ProxyOptions{Upstream: cfg.Upstream, Roots: cfg.Proxy.CAFile, ForwardCredential: cfg.Proxy.ForwardCredential,
			PreserveHost: cfg.Proxy.PreserveHost, HeaderTimeout: cfg.Proxy.HeaderTimeout})
	}
	ask, metadata := g.ForwardAuth(), g.Metadata()
	// Not a ServeMux, which would clean the path that /ext_authz is followed by.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := r.URL.EscapedPath(); path == "/auth" || strings.HasPrefix(path, "/ext_authz/") {
			ask.ServeHTTP(w, r)
			return
		}
		metadata.ServeHTTP(w, r)
	}), nil
}
