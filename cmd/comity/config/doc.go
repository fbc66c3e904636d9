// Package config is the configuration of a broker: the table of its keys, and
// the rules that say whether the settings do not contradict one another and are
// safe to start with. How they are read is in package settings.
//
// The package opens no listener and no store, reads no key material, and does
// not read the trust file.
package config
