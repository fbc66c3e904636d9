// Package postgres keeps a domain's registry, ledger and keys in PostgreSQL, 14
// or later: the store of any number of brokers that serve one domain. It
// implements [trust.Store].
//
// A registry change takes an advisory lock for itself and a batch of the ledger
// shares it, so nothing decided on an old registry is committed after a change
// was acknowledged. The lock queue is fair: a change waits for the batches
// under way and for none that come later.
//
// Nothing depends on the state of a session: names are qualified, settings are
// those of one transaction, statements are unnamed. A pooler in transaction
// mode may stand between, except for migrations and notifications, which take
// a direct connection.
//
// The package holds no rule about what a registry may contain and sees no
// secret that is not sealed.
package postgres
