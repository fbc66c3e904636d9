package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/trust/ident"
	"github.com/spf13/cobra"
)

// chainFlags are those of an exchange in two legs: a grant of the home broker,
// redeemed at the foreign one (identity and authorization chaining across
// domains).
type chainFlags struct {
	home *tokenFlags
	to   *tokenFlags // the foreign broker
	kind string      // of the grant

	scopes, capabilities []string // in the foreign vocabulary
}

func addChainFlags(f *tokenFlags, cmd *cobra.Command) *chainFlags {
	c := &chainFlags{home: f, to: &tokenFlags{app: f.app, prefix: "to-"}}
	flags := cmd.Flags()
	flags.StringVar(&c.kind, "grant", "jwt", "with --via chaining, the grant to ask for: jwt or id-jag")
	c.to.addClientFlags(cmd)
	flags.StringArrayVar(&c.scopes, "to-scope", nil, "scopes to ask the redeeming broker for (default: all that is allowed)")
	flags.StringSliceVar(&c.capabilities, "to-capabilities", nil, "actions to ask the redeeming broker for (default: all that is allowed)")
	return c
}

// complete gives the second leg what it shares with the first, and finds what is
// wrong with its flags.
func (c *chainFlags) complete(subject string) error {
	if len(c.home.audiences) != 1 {
		return usageError("--via chaining needs one --audience: the issuer of the broker that redeems the grant")
	}
	if c.kind != "jwt" && c.kind != "id-jag" {
		return usageError("--grant is jwt or id-jag")
	}
	to := c.to
	to.issuer, to.caFile, to.dpopKey, to.ttl = c.home.audiences[0], c.home.caFile, c.home.dpopKey, c.home.ttl
	to.resources, to.scopes, to.capabilities = c.home.resources, c.scopes, c.capabilities
	if _, err := ident.ParseIssuer(to.issuer); err != nil {
		return usageError("--audience: %v", err)
	}
	if to.clientID == "" && to.assertion == "" {
		to.clientID = c.home.clientID
	}
	if to.certFile == "" && to.certKeyFile == "" { // the grant may be bound to it
		to.certificateFlags = c.home.certificateFlags
	}
	c.home.ttl = 0 // it is about the token, not about the grant
	if to.assertion == fromStdin && (subject == fromStdin || c.home.secret == fromStdin || c.home.assertion == fromStdin) ||
		to.secret == fromStdin && c.home.assertion == fromStdin {
		return usageError("only one of the credentials and tokens can be read from stdin")
	}
	if to.secret == fromStdin && (subject == fromStdin || c.home.secret == fromStdin) {
		return usageError("--to-client-secret-file and another secret cannot both be read from stdin")
	}
	return to.checkCredential()
}

// unused finds flags that mean something only with --via chaining.
func (c *chainFlags) unused(cmd *cobra.Command) error {
	for _, name := range []string{"grant", "to-client-id", "to-client-secret-file", "to-client-key", "to-client-key-id", "to-client-auth",
		"to-client-assertion-file", "to-client-assertion-type",
		"to-client-cert", "to-client-cert-key",
		"to-scope", "to-capabilities"} {
		if cmd.Flags().Changed(name) {
			return usageError("--%s goes with --via chaining", name)
		}
	}
	return nil
}

func (c *chainFlags) requested() string { return "urn:ietf:params:oauth:token-type:" + c.kind }

// forms are the two requests, without the subject token and the grant.
func (c *chainFlags) forms(first url.Values) (leg1, leg2 url.Values) {
	first.Set("requested_token_type", c.requested())
	return first, c.to.form(exchange.GrantJWTBearer)
}

// ask walks both legs and prints the token of the second.
func (c *chainFlags) ask(cmd *cobra.Command, form url.Values) error {
	homeWeb, err := c.home.open()
	if err != nil {
		return err
	}
	defer homeWeb.close()
	abroadWeb, err := c.to.open()
	if err != nil {
		return err
	}
	defer abroadWeb.close()
	atHome, err := c.home.credential(cmd)
	if err != nil {
		return err
	}
	abroad, err := c.to.credential(cmd)
	if err != nil {
		return err
	}
	abroad.proof = atHome.proof // the grant is bound to that key
	leg1, leg2 := c.forms(form)
	grant, err := c.home.request(cmd, homeWeb, atHome, leg1)
	if err != nil {
		return leg(firstOf(c.home.issuer, c.home.tokenURL), err)
	}
	if err := c.check(grant, atHome, homeWeb); err != nil {
		return leg(firstOf(c.home.issuer, c.home.tokenURL), err)
	}
	leg2.Set("assertion", grant.token.Reveal())
	token, err := c.to.request(cmd, abroadWeb, abroad, leg2)
	if err != nil {
		return leg(c.to.issuer, err)
	}
	return c.to.print(cmd, abroadWeb, abroad, token)
}

// leg says which broker an error is of, and keeps its exit code.
func leg(issuer string, err error) error {
	return fmt.Errorf("%s: %w", visible(issuer), err)
}

// check refuses to carry on with what is not the grant that was asked for: an
// access token is none of the other broker's business, and a grant that lost
// its key could be redeemed by whoever reads it.
func (c *chainFlags) check(g *granted, of *credential, shown *web) error {
	if !g.isGrant() || g.issued != c.requested() {
		return errors.New("the answer of the token endpoint holds no grant of the kind that was asked for")
	}
	jkt, x5t, _ := confirmation(g.token)
	switch {
	case of.proof != nil && jkt != of.proof.JKT():
		return errors.New("the grant is not bound to the key that was proven")
	case of.proof == nil && shown.shows != "" && x5t != shown.shows:
		return errUnboundGrant
	}
	return nil
}

// curl prints both requests, the second with what the first gives.
func (c *chainFlags) curl(w io.Writer, form url.Values, subject string) error {
	leg1, leg2 := c.forms(form)
	before, first := c.home.curlCommand(leg1, []string{"--data-urlencode subject_token=" + shellSource(subject)})
	between, second := c.to.curlCommand(leg2, []string{`--data-urlencode assertion="$GRANT"`})
	lines := append(before, "GRANT=$("+first+" | jq -r .access_token)")
	_, err := fmt.Fprintln(w, strings.Join(append(append(lines, between...), second), "\n"))
	return err
}
