package valkey

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// ErrURL means that a server's URL is not acceptable. No text of it is repeated,
// since it may hold a password.
var ErrURL = errors.New("valkey: want redis:// or rediss://, then [[user]:password@]host[:port][/database] and nothing else")

// maxURL is the longest URL looked at, in bytes.
const maxURL = 2048

// address is a server's URL in parts.
type address struct {
	tls                bool
	host               string // with port
	name               string // the host alone, for the server's certificate
	username, password string
	database           int
}

func parseURL(s string) (address, error) {
	if len(s) > maxURL || strings.ContainsAny(s, "?#") {
		return address{}, ErrURL
	}
	u, err := url.Parse(s)
	if err != nil || u.Opaque != "" || u.Scheme != "redis" && u.Scheme != "rediss" {
		return address{}, ErrURL
	}
	a := address{tls: u.Scheme == "rediss", name: u.Hostname()}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || a.name == "" || strings.HasSuffix(u.Host, ":") {
		return address{}, ErrURL
	}
	a.host = net.JoinHostPort(a.name, port)
	if u.User != nil {
		a.username = u.User.Username()
		if a.password, _ = u.User.Password(); a.password == "" {
			return address{}, ErrURL
		}
	}
	a.database, err = parseDatabase(u.Path)
	return a, err
}

// parseDatabase reads a path: none, or the number of a database as it is
// written in decimal.
func parseDatabase(path string) (int, error) {
	name := strings.TrimPrefix(path, "/")
	if name == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(name, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != name {
		return 0, ErrURL
	}
	return int(n), nil
}
