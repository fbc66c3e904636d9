// Package sqlite keeps a domain's registry, ledger and keys in one SQLite file:
// the store of a broker that runs on one machine. It implements [trust.Store].
//
// Every change is synced to disk before it is acknowledged (WAL, synchronous
// FULL). One connection writes and a few read, so a reader never waits for a
// writer. Several processes may open one file, as the broker and its commands
// do, provided that they run on one machine: WAL does not work over a network
// file system.
//
// The package holds no rule about what a registry may contain and sees no
// secret that is not sealed.
package sqlite
