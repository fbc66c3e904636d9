// Package feed follows the revocation feed of a broker, for resource servers
// that accept its tokens: what was revoked there is known here, in memory,
// within a round trip.
//
// The feed is signed pages of opaque handles and instants: whatever bears the
// handle and was issued before the instant is dead. Tokens carry the handles
// that they can be revoked by in their claim lineage, so that to hold a token
// against the feed is a few look-ups and asks nobody.
//
// Nothing counts but what is signed. A 304 is not, so it is never asked for: the
// follower waits at the broker for news, a short while each time, and is
// answered with a page whether there is any or not. How old its knowledge is
// counts from when the newest page was true, as the page says, not from when it
// was received; a page that is replayed makes nothing fresher.
//
// What was once said under the signature holds until it cannot matter any more,
// even when a later page knows nothing of it: a broker whose registry was
// restored from a backup may have forgotten, and a replica may lag.
//
// The package decides on no token, does not judge how old is too old, and keeps
// nothing on disk.
package feed
