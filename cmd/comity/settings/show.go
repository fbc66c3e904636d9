package settings

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/comity-auth/comity/trust/ident"
)

const redacted = "[redacted]"

// Setting is one key with its value in force, fit to be shown to anybody.
type Setting struct {
	Path   string `json:"path"`
	Value  any    `json:"value"` // string, bool, int, []string or a list of objects; credentials redacted
	Origin Origin `json:"origin"`
}

// Settings lists every key with its value and origin, in the order of the
// file. Credentials are redacted.
func (l *Loaded) Settings() []Setting {
	out := make([]Setting, len(l.keys))
	for i, k := range l.keys {
		out[i] = Setting{Path: k.Path, Value: k.plain(), Origin: l.Origins[k.Path]}
	}
	return out
}

// WriteYAML writes the configuration in force as a file would hold it, with
// credentials redacted, and with the origin behind each key if asked.
func (l *Loaded) WriteYAML(w io.Writer, origins Comments) error {
	group := ""
	var b strings.Builder
	for _, s := range l.Settings() {
		k, _ := find(l.keys, s.Path)
		if k.EnvOnly && s.Value == "" {
			continue
		}
		g, name := k.split()
		if g != group && g != "" {
			fmt.Fprintf(&b, "%s:\n", g)
		}
		group = g
		comment := ""
		if origins == WithOrigins {
			comment = "  # " + s.Origin.String()
		}
		if list, ok := k.Field.(List); ok && len(list.each()) > 0 {
			fmt.Fprintf(&b, "%s%s:%s\n", indent(g), name, comment)
			writeObjects(&b, list)
			continue
		}
		fmt.Fprintf(&b, "%s%s: %s%s\n", indent(g), name, literal(s.Value), comment)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeObjects writes what the objects of a list say beyond the defaults. A list
// of objects is a key at the top.
func writeObjects(b *strings.Builder, list List) {
	for _, object := range list.each() {
		keys := said(list, object)
		if len(keys) == 0 {
			b.WriteString("  - {}\n")
		}
		for i, k := range keys {
			mark := "  "
			if i == 0 {
				mark = "- "
			}
			fmt.Fprintf(b, "  %s%s: %s\n", mark, k.Path, literal(k.plain()))
		}
	}
}

// Comments says what WriteYAML puts behind each key.
type Comments int

// What can stand behind a key.
const (
	NoComments Comments = iota
	WithOrigins
)

func indent(group string) string {
	if group == "" {
		return ""
	}
	return "  "
}

// plain is the key's value as JSON and YAML know values, redacted.
func (k Key) plain() any {
	switch p := k.Field.(type) {
	case *string:
		if k.Secret && (k.Scheme == "" || !strings.HasPrefix(*p, k.Scheme)) {
			return RedactURL(*p)
		}
		return *p
	case *bool:
		return *p
	case *int:
		return *p
	case *time.Duration:
		return Short(*p)
	case *[]string:
		return redactList(*p, k.Secret)
	case *[]netip.Prefix:
		out := make([]string, len(*p))
		for i, n := range *p {
			out[i] = n.String()
		}
		return out
	case List:
		return objects(p)
	case *ident.Domain:
		return p.String()
	case *ident.Issuer:
		return p.String()
	}
	if k.isSet() {
		return redacted
	}
	return ""
}

func redactList(list []string, secret bool) []string {
	out := slices.Clone(list)
	for i, s := range out {
		if secret {
			out[i] = RedactURL(s)
		}
	}
	return append([]string{}, out...)
}

// RedactURL takes what may be a credential out of a URL: the password, and
// every query value, since drivers take passwords there too. What is not a
// URL is redacted as a whole, but for an SQLite file's name.
func RedactURL(s string) string {
	if s == "" {
		return s
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.Host == "" {
		return redacted
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), redacted)
	}
	query := u.Query()
	for name, values := range query {
		if strings.Contains(name, "pass") || strings.Contains(name, "token") || strings.Contains(name, "key") {
			for i := range values {
				values[i] = redacted
			}
			u.RawQuery = query.Encode()
		}
	}
	if out := u.String(); out != s {
		return strings.ReplaceAll(out, url.QueryEscape(redacted), redacted)
	}
	return s
}

// Short writes a duration without the zero parts that time.Duration adds.
func Short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// literal writes a value in YAML, quoting text that could be taken for
// something else.
func literal(v any) string {
	switch v := v.(type) {
	case string:
		return quoteText(v)
	case []map[string]any:
		return "[]" // others are not written in one line
	case []string:
		items := make([]string, len(v))
		for i, s := range v {
			items[i] = quoteText(s)
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return fmt.Sprint(v)
}

// quoteText leaves plain words alone; JSON's quoting is YAML's too.
func quoteText(s string) string {
	word := regexp.MustCompile(`^[A-Za-z0-9/][A-Za-z0-9./_-]*$`)
	number := regexp.MustCompile(`^[0-9.]+$|^[0-9][0-9_.a-fA-FxXoOeE]*$|^[0-9]+-[0-9]+-[0-9]+`)
	reserved := []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
	if word.MatchString(s) && !number.MatchString(s) && !slices.Contains(reserved, strings.ToLower(s)) {
		return s
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return `""` // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}
