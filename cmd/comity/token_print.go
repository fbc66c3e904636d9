package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// What people look for first.
var (
	headerOrder = []string{"alg", "typ", "kid"}
	claimOrder  = []string{"iss", "sub", "aud", "client_id", "azp", "scope", "exp", "nbf", "iat", "jti", "cnf", "act"}
	timeNames   = []string{"exp", "nbf", "iat", "auth_time", "updated_at", "expires_at", "created_at"}
)

func (t *inspected) print(w io.Writer, now time.Time) error {
	var b strings.Builder
	switch {
	case t.Verified:
		fmt.Fprintf(&b, "verified with key %s\n", t.Key)
	case t.Problem != "":
		fmt.Fprintf(&b, "not verified: %s\n", t.Problem)
	default:
		b.WriteString("not verified: anybody can write what follows; --issuer or --jwks verifies it\n")
	}
	b.WriteString("\nheader\n")
	lines(&b, t.Header, headerOrder, now)
	b.WriteString("\nclaims\n")
	lines(&b, t.Claims, claimOrder, now)
	b.WriteString("\nnotes\n")
	for _, n := range t.Notes {
		fmt.Fprintf(&b, "  %s\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// printMembers writes the members of an answer, a line each.
func printMembers(w io.Writer, o object, now time.Time) error {
	var b strings.Builder
	lines(&b, o, append([]string{"active"}, claimOrder...), now)
	_, err := io.WriteString(w, b.String())
	return err
}

// line is one value with the path that leads to it.
type line struct{ path, value string }

func lines(b *strings.Builder, o object, order []string, now time.Time) {
	var out []line
	for _, name := range ordered(o, order) {
		out = flatten(out, oneLine(name), name, o[name], now)
	}
	width := 0
	for _, l := range out {
		if len(l.path) <= 40 {
			width = max(width, len(l.path))
		}
	}
	for _, l := range out {
		fmt.Fprintf(b, "  %-*s  %s\n", width, l.path, l.value)
	}
}

// ordered lists the known names first, then the others by name.
func ordered(o object, order []string) []string {
	var out []string
	for _, name := range order {
		if _, ok := o[name]; ok {
			out = append(out, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(order, name) {
			out = append(out, name)
		}
	}
	return out
}

// flatten appends the lines of a value, one for each scalar in it. Lists of
// scalars stay on one.
func flatten(out []line, path, name string, v any, now time.Time) []line {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return append(out, line{path, "{}"})
		}
		for _, member := range slices.Sorted(maps.Keys(v)) {
			out = flatten(out, path+"."+oneLine(member), member, v[member], now)
		}
		return out
	case []any:
		if !slices.ContainsFunc(v, composed) {
			words := make([]string, len(v))
			for i := range v {
				if words[i] = scalar("", v[i], now); strings.Contains(words[i], ", ") && words[i][0] != '"' {
					words[i] = strconv.Quote(words[i])
				}
			}
			return append(out, line{path, "[" + strings.Join(words, ", ") + "]"})
		}
		for i := range v {
			out = flatten(out, path+"["+strconv.Itoa(i)+"]", "", v[i], now)
		}
		return out
	}
	return append(out, line{path, scalar(name, v, now)})
}

func composed(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

func scalar(name string, v any, now time.Time) string {
	switch v := v.(type) {
	case string:
		return oneLine(v)
	case json.Number:
		if at, ok := instant(v); ok && slices.Contains(timeNames, name) {
			return at.Format(time.RFC3339) + " (" + distance(at.Sub(now)) + ")"
		}
		return v.String()
	case nil:
		return "null"
	}
	return fmt.Sprint(v)
}

// oneLine is text of a token as it may reach a terminal: as it is when that is
// harmless and unmistakable, else quoted.
func oneLine(s string) string {
	for _, r := range s {
		if r != ' ' && !unicode.IsPrint(r) || r == unicode.ReplacementChar || r == '"' {
			return strconv.QuoteToASCII(s)
		}
	}
	if s == "" || s != strings.TrimSpace(s) {
		return strconv.Quote(s)
	}
	return s
}

// instant is a NumericDate (RFC 7519 section 2) that a calendar can show.
func instant(v any) (time.Time, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := n.Float64()
	if err != nil || seconds < 0 || seconds > 253402300799 { // the year 9999
		return time.Time{}, false
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), true
}

func distance(d time.Duration) string {
	if d < 0 {
		return duration(-d) + " ago"
	}
	return "in " + duration(d)
}

// duration is a length of time in the two units that matter.
func duration(d time.Duration) string {
	const day = 24 * time.Hour
	d = d.Truncate(time.Second)
	switch {
	case d >= 2*day:
		return strconv.FormatInt(int64(d/day), 10) + " days"
	case d >= time.Hour:
		d = d.Truncate(time.Minute)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func decodePart(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("line break")
	}
	return base64.RawURLEncoding.DecodeString(s)
}
