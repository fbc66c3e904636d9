package main

import (
	"os"

	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/cmd/comity/node"
	"github.com/comity-auth/comity/cmd/comity/settings"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/ident"
)

// checkTrust reports what is wrong with a trust file under a configuration:
// a settings.Problems, or any other error. Fields of cfg that are themselves wrong
// keep their default.
func checkTrust(path string, cfg *config.Config) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
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
		return err
	}
	_, found := compiler.ParseFile(text)
	var problems settings.Problems
	for _, p := range found {
		problems = append(problems, settings.Problem{Path: p.Path, Line: p.Line, Origin: path, Message: p.Message})
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}
