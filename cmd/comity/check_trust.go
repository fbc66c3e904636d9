package main

import (
	"fmt"
	"os"
	"time"

	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/cmd/comity/node"
	"github.com/comity-auth/comity/cmd/comity/settings"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/ident"
)

// endsSoon is how long before the end of a registration a warning is given.
const endsSoon = 30 * 24 * time.Hour

// checkTrust reports what is wrong with a trust file under a configuration:
// a settings.Problems, or any other error. Fields of cfg that are themselves wrong
// keep their default. Of a file that is right it says what will be refused all
// the same, or soon.
func checkTrust(path string, cfg *config.Config, now time.Time) (warnings []string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	with := node.Settings(cfg)
	if with.Domain.IsZero() {
		with.Domain = ident.MustDomain("unset.invalid")
	}
	if with.Issuer.IsZero() {
		with.Issuer = ident.MustIssuer("https://unset.invalid")
	}
	compiler, err := trust.NewCompiler(with)
	if err != nil {
		return nil, err
	}
	file, found := compiler.ParseFile(text)
	var problems settings.Problems
	for _, p := range found {
		problems = append(problems, settings.Problem{Path: p.Path, Line: p.Line, Origin: path, Message: p.Message})
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return endings(file, now), nil
}

// endings names the registrations that have ended or are about to, and are not
// switched off anyway.
func endings(f *trust.File, now time.Time) (warnings []string) {
	add := func(kind, name, status string, expires time.Time) {
		if status != "" && status != "active" {
			return
		}
		end := expires.UTC().Format(time.RFC3339)
		switch {
		case !now.Before(expires):
			warnings = append(warnings, fmt.Sprintf("%s %q expired at %s: its requests are refused", kind, name, end))
		case expires.Sub(now) < endsSoon:
			warnings = append(warnings, fmt.Sprintf("%s %q expires at %s, in %s", kind, name, end, duration(expires.Sub(now))))
		}
	}
	for i := range f.Peers {
		add("peer", f.Peers[i].Name, f.Peers[i].Status, f.Peers[i].Expires.Time)
	}
	for i := range f.Clients {
		add("client", f.Clients[i].ID, f.Clients[i].Status, f.Clients[i].Expires.Time)
	}
	return warnings
}
