// Package reload is about what running processes read from files again: it tells
// whether files changed, and holds the certificates of listeners.
package reload
