package ident

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The conditions a parser reports. Each parse error wraps exactly one.
var (
	ErrDomain    = errors.New("not a trust domain")
	ErrIssuer    = errors.New("not an issuer identifier")
	ErrAudience  = errors.New("not an audience")
	ErrScope     = errors.New("not a scope")
	ErrTokenType = errors.New("not a known token type")
	ErrClientID  = errors.New("not a client identifier")
	ErrName      = errors.New("not a name")
)

const (
	maxDomain   = 255
	maxIssuer   = 512
	maxAudience = 2048
	maxClientID = 256
	maxName     = 64
	maxScope    = 256
	maxScopes   = 256
)

// Domain names a trust domain, such as "globex.example".
// The zero Domain is not valid and matches nothing.
type Domain struct{ name string }

// ParseDomain accepts lower-case letters, digits, dots, dashes and underscores
// (the SPIFFE trust domain grammar), 1 to 255 bytes, with no empty label.
func ParseDomain(s string) (Domain, error) {
	if s == "" || len(s) > maxDomain {
		return Domain{}, fmt.Errorf("%w: length %d", ErrDomain, len(s))
	}
	for i := range len(s) {
		c := s[i]
		if !isLower(c) && !isDigit(c) && c != '.' && c != '-' && c != '_' {
			return Domain{}, fmt.Errorf("%w: byte %d is %#x", ErrDomain, i, c)
		}
	}
	if slices.Contains(strings.Split(s, "."), "") {
		return Domain{}, fmt.Errorf("%w: empty label", ErrDomain)
	}
	return Domain{name: s}, nil
}

func (d Domain) String() string { return d.name }

// IsZero reports whether d was never parsed.
func (d Domain) IsZero() bool { return d.name == "" }

// MarshalText returns the domain as it was parsed.
func (d Domain) MarshalText() ([]byte, error) { return []byte(d.name), nil }

// Issuer identifies a token issuer (RFC 8414 section 2, RFC 7519 section
// 4.1.1). Issuers are compared byte for byte.
// The zero Issuer is not valid and matches nothing.
type Issuer struct{ uri string }

// ParseIssuer accepts an https URI in canonical spelling without userinfo,
// query or fragment; http is accepted for a literal loopback address only.
func ParseIssuer(s string) (Issuer, error) {
	if s == "" || len(s) > maxIssuer {
		return Issuer{}, fmt.Errorf("%w: length %d", ErrIssuer, len(s))
	}
	u, err := url.Parse(s)
	if err != nil {
		return Issuer{}, fmt.Errorf("%w: not a URI", ErrIssuer)
	}
	if err := checkIssuerURL(s, u); err != nil {
		return Issuer{}, fmt.Errorf("%w: %w", ErrIssuer, err)
	}
	return Issuer{uri: s}, nil
}

func checkIssuerURL(s string, u *url.URL) error {
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("the scheme must be https")
	case u.Scheme == "http" && !IsLoopbackHost(u.Hostname()):
		return errors.New("http is for literal loopback addresses only")
	case u.User != nil:
		return errors.New("user information is not allowed")
	case u.RawQuery != "" || u.ForceQuery || strings.ContainsAny(s, "?#"):
		return errors.New("query and fragment are not allowed")
	case u.Hostname() == "":
		return errors.New("the host is missing")
	case u.Host != strings.ToLower(u.Host):
		return errors.New("the host must be in lower case")
	case !canonicalHost(u.Hostname()):
		return errors.New("the host must be a name or an address in its shortest spelling")
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80", strings.HasSuffix(u.Host, ":"):
		return errors.New("the default port must be left out")
	case !canonicalPort(u.Port()):
		return errors.New("the port must be from 1 to 65535 without leading zeros")
	case strings.ContainsAny(s, "%\\\"<>^`{|}") || strings.ContainsAny(u.Path, "[]") || !printable(s):
		return errors.New("only what RFC 3986 section 3.3 lets a path hold unescaped is allowed")
	case strings.Contains(u.Path, "//"):
		return errors.New("the path has an empty segment")
	}
	for seg := range strings.SplitSeq(u.Path, "/") {
		if seg == "." || seg == ".." {
			return errors.New("the path has a dot segment")
		}
	}
	if u.Scheme+"://"+u.Host+u.Path != s {
		return errors.New("the spelling is not canonical")
	}
	return nil
}

// canonicalHost reports whether the host, without brackets or port, is a name
// without empty labels or an address as it prints. Other spellings of an
// address ("127.1", "0x7f000001") are what some resolvers take for one.
func canonicalHost(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.String() == host
	}
	if _, err := ParseDomain(host); err != nil {
		return false
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	return !isDigit(last[0])
}

// canonicalPort reports whether the port is left out or written one way only.
func canonicalPort(port string) bool {
	if port == "" {
		return true
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n != 0 && port[0] != '0'
}

func (i Issuer) String() string { return i.uri }

// IsZero reports whether i was never parsed.
func (i Issuer) IsZero() bool { return i.uri == "" }

// Host is the host, with its port if any, that the issuer names.
func (i Issuer) Host() string {
	_, rest, _ := strings.Cut(i.uri, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// MarshalText returns the issuer as it was parsed.
func (i Issuer) MarshalText() ([]byte, error) { return []byte(i.uri), nil }

// IsLoopbackHost reports whether host is a literal loopback address. Names,
// "localhost" included, are not: what they resolve to is somebody's choice.
func IsLoopbackHost(host string) bool {
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}

// Audience names a party that a token may be addressed to (RFC 7519 section
// 4.1.3): a resource server or another domain's authorization server.
// The zero Audience is not valid and matches nothing.
type Audience struct{ name string }

// ParseAudience accepts 1 to 2048 bytes of printable ASCII without blanks,
// quotes or backslashes, and never "*" or a string that holds one.
func ParseAudience(s string) (Audience, error) {
	if s == "" || len(s) > maxAudience {
		return Audience{}, fmt.Errorf("%w: length %d", ErrAudience, len(s))
	}
	if !printable(s) || strings.ContainsAny(s, "\"\\*<>") {
		return Audience{}, fmt.Errorf("%w: it holds a character that is not allowed", ErrAudience)
	}
	return Audience{name: s}, nil
}

// ParseResource accepts what RFC 8707 section 2 calls a resource: an absolute
// URI without a fragment. It is an audience like any other.
func ParseResource(s string) (Audience, error) {
	a, err := ParseAudience(s)
	if err != nil {
		return Audience{}, err
	}
	u, err := url.Parse(s)
	if err != nil || !u.IsAbs() || strings.Contains(s, "#") || u.Host == "" && u.Opaque == "" {
		return Audience{}, fmt.Errorf("%w: a resource is an absolute URI without a fragment", ErrAudience)
	}
	return a, nil
}

func (a Audience) String() string { return a.name }

// IsZero reports whether a was never parsed.
func (a Audience) IsZero() bool { return a.name == "" }

// MarshalText returns the audience as it was parsed.
func (a Audience) MarshalText() ([]byte, error) { return []byte(a.name), nil }

// ClientID identifies a client of this broker (RFC 6749 section 2.2).
// It holds no "/", so no client can be taken for a subject, which the broker
// always prefixes with a peer's name and a slash (RFC 9700 section 4.15).
// The zero ClientID is not valid and matches nothing.
type ClientID struct{ id string }

// ParseClientID accepts 1 to 256 bytes of letters, digits and "-._~:@".
func ParseClientID(s string) (ClientID, error) {
	if s == "" || len(s) > maxClientID {
		return ClientID{}, fmt.Errorf("%w: length %d", ErrClientID, len(s))
	}
	for i := range len(s) {
		if c := s[i]; !isLower(c) && !isUpper(c) && !isDigit(c) && !strings.ContainsRune("-._~:@", rune(c)) {
			return ClientID{}, fmt.Errorf("%w: byte %d is %#x", ErrClientID, i, c)
		}
	}
	return ClientID{id: s}, nil
}

func (c ClientID) String() string { return c.id }

// IsZero reports whether c was never parsed.
func (c ClientID) IsZero() bool { return c.id == "" }

// MarshalText returns the identifier as it was parsed.
func (c ClientID) MarshalText() ([]byte, error) { return []byte(c.id), nil }

// Name is the short handle of a registry object: a peer, a mapping, a policy.
// The zero Name is not valid and matches nothing.
type Name struct{ name string }

// ParseName accepts 1 to 64 lower-case letters, digits, dashes, dots and
// underscores, beginning with a letter or a digit.
func ParseName(s string) (Name, error) {
	if s == "" || len(s) > maxName {
		return Name{}, fmt.Errorf("%w: length %d", ErrName, len(s))
	}
	for i := range len(s) {
		c := s[i]
		if !isLower(c) && !isDigit(c) && (i == 0 || c != '-' && c != '.' && c != '_') {
			return Name{}, fmt.Errorf("%w: byte %d is %#x", ErrName, i, c)
		}
	}
	return Name{name: s}, nil
}

func (n Name) String() string { return n.name }

// IsZero reports whether n was never parsed.
func (n Name) IsZero() bool { return n.name == "" }

// MarshalText returns the name as it was parsed.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.name), nil }

// Scopes is a set of scope tokens (RFC 6749 section 3.3), in the order in which
// they were first named. The zero Scopes is empty and entitles to nothing.
// Values are immutable.
type Scopes struct{ list []string }

// ParseScope checks one scope token.
func ParseScope(s string) error {
	if s == "" || len(s) > maxScope {
		return fmt.Errorf("%w: length %d", ErrScope, len(s))
	}
	if !printable(s) || strings.ContainsAny(s, "\"\\") {
		return fmt.Errorf("%w: it holds a character that RFC 6749 section 3.3 does not allow", ErrScope)
	}
	return nil
}

// ParseScopes reads the space-separated form. The empty string is the empty set.
func ParseScopes(s string) (Scopes, error) {
	if s == "" {
		return Scopes{}, nil
	}
	return NewScopes(strings.Split(s, " "))
}

// NewScopes checks each token and drops repetitions.
func NewScopes(tokens []string) (Scopes, error) {
	if len(tokens) > maxScopes {
		return Scopes{}, fmt.Errorf("%w: more than %d of them", ErrScope, maxScopes)
	}
	out := make([]string, 0, len(tokens))
	for _, t := range tokens {
		if err := ParseScope(t); err != nil {
			return Scopes{}, err
		}
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return Scopes{list: out}, nil
}

// String is the space-separated form.
func (s Scopes) String() string { return strings.Join(s.list, " ") }

// Len is the number of scopes in the set.
func (s Scopes) Len() int { return len(s.list) }

// IsZero reports whether the set is empty.
func (s Scopes) IsZero() bool { return len(s.list) == 0 }

// Has reports whether the scope is in the set.
func (s Scopes) Has(scope string) bool { return slices.Contains(s.list, scope) }

// List returns a copy of the tokens.
func (s Scopes) List() []string { return slices.Clone(s.list) }

// Filter returns the scopes for which keep holds, in the same order.
func (s Scopes) Filter(keep func(string) bool) Scopes {
	var out []string
	for _, t := range s.list {
		if keep(t) {
			out = append(out, t)
		}
	}
	return Scopes{list: out}
}

// MarshalText is the space-separated form.
func (s Scopes) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// TokenType is a token type identifier of RFC 8693 section 3 or a later
// registration. The zero TokenType is not valid and matches nothing.
type TokenType struct{ urn string }

// The token types that this broker accepts or issues. The variables are never
// assigned to.
var (
	AccessToken = TokenType{"urn:ietf:params:oauth:token-type:access_token"}
	IDToken     = TokenType{"urn:ietf:params:oauth:token-type:id_token"}
	JWT         = TokenType{"urn:ietf:params:oauth:token-type:jwt"}
	// IDJAG is an identity assertion authorization grant. It can be asked for
	// and is redeemed as a grant; it is never a subject token.
	IDJAG = TokenType{"urn:ietf:params:oauth:token-type:id-jag"}
)

// ParseTokenType accepts the identifiers listed above, in full.
func ParseTokenType(s string) (TokenType, error) {
	for _, t := range []TokenType{AccessToken, IDToken, JWT} {
		if s == t.urn {
			return t, nil
		}
	}
	return TokenType{}, ErrTokenType
}

// ParseRequestedTokenType accepts what may be asked for: all that may be
// presented but ID tokens, and IDJAG.
func ParseRequestedTokenType(s string) (TokenType, error) {
	for _, t := range []TokenType{AccessToken, JWT, IDJAG} {
		if s == t.urn {
			return t, nil
		}
	}
	return TokenType{}, ErrTokenType
}

// ParseTokenTypeName accepts the short form that trust files use, such as
// "access_token".
func ParseTokenTypeName(s string) (TokenType, error) {
	return ParseTokenType("urn:ietf:params:oauth:token-type:" + s)
}

func (t TokenType) String() string { return t.urn }

// Short is the form that trust files and records use, such as "access_token".
func (t TokenType) Short() string {
	return strings.TrimPrefix(t.urn, "urn:ietf:params:oauth:token-type:")
}

// IsZero reports whether t was never parsed.
func (t TokenType) IsZero() bool { return t.urn == "" }

// MarshalText returns the full identifier.
func (t TokenType) MarshalText() ([]byte, error) { return []byte(t.urn), nil }

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// printable reports whether s is visible ASCII only: no blanks, no controls.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
