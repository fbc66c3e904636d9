package main

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/comity-auth/comity/trust/ident"
	"github.com/spf13/cobra"
)

func newTokenCommand(a *app) *cobra.Command {
	return group("token", "Get, exchange and read tokens, as an agent does",
		"  comity token issue --issuer https://broker.globex.example --client-id agent --client-secret-file secret.txt --audience https://archive.globex.example\n"+
			"  comity token inspect token.txt",
		newTokenIssueCommand(a), newTokenExchangeCommand(a), newTokenInspectCommand(a),
		newTokenIntrospectCommand(a), newTokenRevokeCommand(a), newTokenProofCommand(a))
}

// tokenFlags are the flags that every request to a token endpoint has: where
// the endpoint is, who asks, and what for.
type tokenFlags struct {
	app *app
	// prefix is how the flags that name the client begin, "to-" for those of the
	// broker that a grant is redeemed at.
	prefix string

	issuer, tokenURL, caFile string

	clientID, secret, keyFile, keyID, method, dpopKey string
	assertion, assertionKind                          string
	certificateFlags

	audiences, resources, scopes, capabilities []string
	taskID, taskPurpose                        string
	ttl                                        time.Duration

	printCurl bool
}

func addTokenFlags(a *app, cmd *cobra.Command) *tokenFlags {
	f := &tokenFlags{app: a}
	flags := cmd.Flags()
	flags.StringVar(&f.issuer, "issuer", "", "issuer whose metadata names the token endpoint")
	flags.StringVar(&f.tokenURL, "token-url", "", "the token endpoint itself")
	flags.StringVar(&f.caFile, "ca-file", "", "PEM certificates to trust besides the system's")
	f.addClientFlags(cmd)
	flags.StringVar(&f.dpopKey, "dpop-key", "", "file with the key to bind the token to; made when absent")
	flags.StringArrayVar(&f.audiences, "audience", nil, "who the token is for")
	flags.StringArrayVar(&f.resources, "resource", nil, "who the token is for, as a URI (RFC 8707)")
	flags.StringArrayVar(&f.scopes, "scope", nil, "scopes to ask for (default: all that is allowed)")
	flags.StringSliceVar(&f.capabilities, "capabilities", nil, "actions to ask for, separated by commas (default: all that is allowed)")
	flags.StringVar(&f.taskID, "task-id", "", "the task that the token is for")
	flags.StringVar(&f.taskPurpose, "task-purpose", "", "what the task is about")
	flags.DurationVar(&f.ttl, "requested-ttl", 0, "ask for less life, such as 2m")
	flags.BoolVar(&f.printCurl, "print-curl", false, "print the request as a curl command and send nothing")
	for _, name := range []string{"ca-file", "dpop-key"} {
		_ = cmd.MarkFlagFilename(name) // fails only for a flag that does not exist
	}
	return f
}

// addClientFlags adds those that say who asks, and how that is proven.
func (f *tokenFlags) addClientFlags(cmd *cobra.Command) {
	flags, where := cmd.Flags(), ""
	if f.prefix != "" {
		where = " at the broker that redeems the grant"
	}
	flags.StringVar(&f.clientID, f.prefix+"client-id", "", "who asks"+where)
	flags.StringVar(&f.secret, f.prefix+"client-secret-file", "", "where the client's secret is"+where+": a file, - for stdin, or env:NAME")
	flags.StringVar(&f.keyFile, f.prefix+"client-key", "", "file with the client's private key, PEM or JWK (private_key_jwt)")
	flags.StringVar(&f.keyID, f.prefix+"client-key-id", "", "kid of that key (default: the JWK's, else the thumbprint)")
	flags.StringVar(&f.assertion, f.prefix+"client-assertion-file", "", "where the token is that the platform gives the client (federated): a file, - for stdin, or env:NAME")
	flags.StringVar(&f.assertionKind, f.prefix+"client-assertion-type", typeBearer, "what that token is: jwt-bearer, or jwt-spiffe for a JWT-SVID")
	flags.StringVar(&f.method, f.prefix+"client-auth", "", "client_secret_basic, client_secret_post, private_key_jwt, tls_client_auth, self_signed_tls_client_auth, federated or none (default: what the credential is for)")
	for _, name := range []string{"client-secret-file", "client-key", "client-assertion-file"} {
		_ = cmd.MarkFlagFilename(f.prefix + name) // fails only for a flag that does not exist
	}
	f.addCertificateFlags(cmd)
}

// check finds what is wrong with the flags before anything is read or sent.
func (f *tokenFlags) check() error {
	switch {
	case f.issuer == "" && f.tokenURL == "":
		return usageError("say where to ask: --issuer or --token-url")
	case f.clientID == "" && f.assertion == "":
		return usageError("say who asks: --client-id")
	case len(f.audiences)+len(f.resources) == 0:
		return usageError("say who the token is for: --audience or --resource")
	case f.ttl < 0 || f.ttl%time.Second != 0:
		return usageError("--requested-ttl is a whole number of seconds above 0")
	}
	if f.issuer != "" {
		if _, err := ident.ParseIssuer(f.issuer); err != nil {
			return usageError("--issuer: %v", err)
		}
	}
	if f.tokenURL != "" {
		if err := checkURL(f.tokenURL); err != nil {
			return usageError("--token-url: %v", err)
		}
	}
	return f.checkCredential()
}

func (f *tokenFlags) checkCredential() error {
	if err := f.checkCertificate(); err != nil || f.byCertificate() {
		return err
	}
	given := 0
	for _, source := range []string{f.secret, f.keyFile, f.assertion} {
		if source != "" {
			given++
		}
	}
	if given > 1 {
		return usageError("a client authenticates with a secret, a key or a token of its platform, not with several")
	}
	fits := map[string]bool{authNone: given == 0, authKey: f.keyFile != "", authBasic: f.secret != "", authPost: f.secret != "",
		authFederated: f.assertion != ""}
	ok, known := fits[f.authMethod()]
	switch {
	case f.authMethod() == "":
		return usageError("say how the client authenticates: --%[1]sclient-secret-file, --%[1]sclient-key, --%[1]sclient-assertion-file, --%[1]sclient-cert or --%[1]sclient-auth none", f.prefix)
	case !known:
		return usageError("--%sclient-auth is client_secret_basic, client_secret_post, private_key_jwt, tls_client_auth, self_signed_tls_client_auth, federated or none", f.prefix)
	case !ok:
		return usageError("--%sclient-auth %s does not go with the credential that was given", f.prefix, f.method)
	case f.keyFile != "" && f.issuer == "":
		return usageError("--client-key needs --issuer: the assertion is addressed to it")
	case f.assertionKind != typeBearer && f.assertionKind != typeSPIFFE:
		return usageError("--%sclient-assertion-type is jwt-bearer or jwt-spiffe", f.prefix)
	case f.assertionKind != typeBearer && f.assertion == "":
		return usageError("--%[1]sclient-assertion-type goes with --%[1]sclient-assertion-file", f.prefix)
	}
	return nil
}

// authMethod is the method that was named, or that the credential is for.
func (f *tokenFlags) authMethod() string {
	switch {
	case f.method != "":
		return f.method
	case f.secret != "":
		return authBasic
	case f.keyFile != "":
		return authKey
	case f.assertion != "":
		return authFederated
	}
	return ""
}

// form is the request without any credential.
func (f *tokenFlags) form(grant string) url.Values {
	form := url.Values{"grant_type": {grant}}
	add := func(name string, values ...string) {
		for _, v := range values {
			if v != "" {
				form.Add(name, v)
			}
		}
	}
	add("audience", f.audiences...)
	add("resource", f.resources...)
	add("scope", strings.Join(f.scopes, " "))
	add("capabilities", strings.Join(f.capabilities, " "))
	add("task_id", f.taskID)
	add("task_purpose", f.taskPurpose)
	if f.ttl > 0 {
		add("requested_ttl", strconv.FormatInt(int64(f.ttl/time.Second), 10))
	}
	return form
}

// ask sends a request and prints the token that it gets.
func (f *tokenFlags) ask(cmd *cobra.Command, form url.Values) error {
	web, err := f.open()
	if err != nil {
		return err
	}
	defer web.close()
	c, err := f.credential(cmd)
	if err != nil {
		return err
	}
	answer, err := f.request(cmd, web, c, form)
	if err != nil {
		return err
	}
	return f.print(cmd, web, c, answer)
}

// request sends a request to the token endpoint that the flags name.
func (f *tokenFlags) request(cmd *cobra.Command, web *web, c *credential, form url.Values) (*granted, error) {
	endpoint := f.tokenURL
	if endpoint == "" {
		about, err := web.discover(cmd.Context(), f.issuer)
		if err != nil {
			return nil, err
		}
		if endpoint, err = about.endpoint(web, "token_endpoint"); err != nil {
			return nil, err
		}
	}
	answer, err := web.token(cmd.Context(), endpoint, form, c)
	if refused, ok := errors.AsType[*tokenError](err); ok {
		return nil, withExit(refused.exitCode(), err)
	}
	return answer, err
}

// print says what was granted: a token that can be used.
func (f *tokenFlags) print(cmd *cobra.Command, web *web, c *credential, answer *granted) error {
	if answer.isGrant() {
		return errUnknownType
	}
	if c.proof != nil && !strings.EqualFold(answer.Type, "DPoP") {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: the token is not bound to the key; whoever holds it can use it")
	}
	if _, x5t, says := confirmation(answer.token); c.proof == nil && web.shows != "" && says && x5t != web.shows {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: the token is not bound to the certificate; whoever holds it can use it")
	}
	if f.app.json {
		return printJSON(cmd.OutOrStdout(), answer.whole)
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), answer.token.Reveal())
	return err
}
