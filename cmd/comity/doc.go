// Command comity runs the broker of a trust domain and everything around it.
//
// The package reads configuration, builds the objects and starts and stops
// them; it takes no decision about a token. One file holds one subcommand.
package main
