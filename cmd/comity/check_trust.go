package main

import (
	"os"

	"github.com/comity-auth/comity/cmd/comity/config"
	"github.com/comity-auth/comity/cmd/comity/node"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/ident"
)

// checkTrust reports what is wrong with a trust file under a configuration:
// a config.Problems, or any other error. Fields of cfg that are themselves wrong
// keep their default.
func checkTrust(path string, cfg *config.Config) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	settings := node.Settings(cfg)
	if settings.Domain.IsZero() {
		settings.Domain = ident.MustDomain("unset.invalid")
	}
	if settings.Issuer.IsZero() {
		settings.Issuer = ident.MustIssuer("https://unset.invalid")
	}
	compiler, err := trust.NewCompiler(settings)
	if err != nil {
		return err
	}
	_, found := compiler.ParseFile(text)
	var problems config.Problems
	for _, p := range found {
		problems = append(problems, config.Problem{Path: p.Path, Line: p.Line, Origin: path, Message: p.Message})
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}
