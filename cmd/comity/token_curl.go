package main

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// curl prints the request as a command for a POSIX shell. Secrets are read by
// that command from where the flags say, and do not stand in it. What has to
// be signed anew for each request stands as a variable, explained above.
func (f *tokenFlags) curl(w io.Writer, form url.Values, subject string) error {
	var late []string
	if subject != "" {
		late = append(late, "--data-urlencode subject_token="+shellSource(subject))
	}
	before, command := f.curlCommand(form, late)
	_, err := fmt.Fprintln(w, strings.Join(append(before, command), "\n"))
	return err
}

// curlCommand is the command, and the lines that have to stand before it. More
// are parameters that hold secrets.
func (f *tokenFlags) curlCommand(form url.Values, more []string) (before []string, command string) {
	form = maps.Clone(form)
	over := f.certificateArgs()
	args := append([]string{"curl -sS --fail-with-body"}, over...)
	var late []string // parameters that hold secrets
	switch f.shownMethod() {
	case authBasic:
		args = append(args, "-u "+shellQuote(url.QueryEscape(f.clientID)+":")+shellSource(f.secret))
	case authPost:
		form.Set("client_id", f.clientID)
		late = append(late, `--data-urlencode client_secret=`+shellSource(f.secret))
	case authKey:
		before = append(before, "# CLIENT_ASSERTION: a JWT (RFC 7523) signed with "+visible(f.keyFile)+", typ client-authentication+jwt, iss and sub "+
			visible(f.clientID)+", aud "+f.issuer+", at most 60 s old, with a jti of its own")
		form.Set("client_assertion_type", assertionType)
		late = append(late, `--data-urlencode client_assertion="$CLIENT_ASSERTION"`)
	case authFederated:
		if f.clientID != "" {
			form.Set("client_id", f.clientID)
		}
		form.Set("client_assertion_type", assertionTypes+f.assertionKind)
		late = append(late, `--data-urlencode client_assertion=`+shellSource(f.assertion))
	default:
		form.Set("client_id", f.clientID)
	}
	late = append(late, more...)
	endpoint := shellQuote(f.tokenURL)
	if f.tokenURL == "" {
		before = append(before, "TOKEN_ENDPOINT=$("+strings.Join(append([]string{"curl -sS --fail"}, over...), " ")+" "+shellQuote(metadataURLs(f.issuer)[0])+" | jq -r "+f.endpointMember()+")")
		endpoint = `"$TOKEN_ENDPOINT"`
	}
	if f.dpopKey != "" {
		before = append(before, "# DPOP_PROOF: a DPoP proof (RFC 9449) for POST and the token endpoint, signed with "+visible(f.dpopKey))
		args = append(args, `-H "DPoP: $DPOP_PROOF"`)
	}
	for _, name := range slices.Sorted(maps.Keys(form)) {
		for _, value := range form[name] {
			args = append(args, "--data-urlencode "+shellQuote(name+"="+value))
		}
	}
	return before, strings.Join(append(append(args, late...), endpoint), " \\\n  ")
}

// shellSource is a word that a shell makes of what a flag names.
func shellSource(source string) string {
	if name, ok := strings.CutPrefix(source, fromEnv); ok && shellName(name) {
		return `"$` + name + `"`
	}
	if source == fromStdin {
		return `"$(cat)"`
	}
	return `"$(cat -- ` + shellQuote(source) + `)"`
}

func shellName(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// shellQuote is single quotes, inside which a shell changes nothing.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
