package trust

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/comity-auth/comity/trust/audit"
)

// What a store reports. Every error of a store either wraps one of these or
// means that the store is unavailable.
var (
	// ErrConflict says that the registry moved since the change was prepared.
	ErrConflict = errors.New("the registry has moved to another revision")
	// ErrNotFound says that what was asked for by name or position is not there.
	ErrNotFound = errors.New("not found")
	// ErrSchema says that the store's schema is not one this binary can use.
	ErrSchema = errors.New("the store's schema does not fit this version")
	// ErrUnavailable says that the store could not answer, or not in time.
	ErrUnavailable = errors.New("the store is unavailable")
)

// Revision counts the changes of a registry. The empty registry is revision 0.
type Revision uint64

// Kind is what a registry object is.
type Kind string

// The kinds of objects, in the order in which a trust file lists them.
const (
	KindPeer     Kind = "peer"
	KindResource Kind = "resource"
	KindClient   Kind = "client"
	KindMapping  Kind = "mapping"
	KindPolicy   Kind = "policy"
)

// Key names an object: a peer, mapping or policy by its name, a client by its
// id, a resource by its audience.
type Key struct {
	Kind Kind
	Name string
}

func (k Key) String() string { return string(k.Kind) + "/" + k.Name }

// Object is one entry of the registry as it is stored: its specification in
// canonical JSON and the SHA-256 of that, by which an unchanged object is
// known. Order sorts the objects of one kind; it need not be dense.
type Object struct {
	Key
	Order int64
	Body  json.RawMessage
	Hash  [sha256.Size]byte
}

// NewObject hashes body.
func NewObject(key Key, order int64, body []byte) Object {
	return Object{Key: key, Order: order, Body: body, Hash: sha256.Sum256(body)}
}

// State is the content of a registry at one revision, or what changed since an
// earlier one.
type State struct {
	Revision Revision
	// Revocations is the sequence number of the newest revocation.
	Revocations uint64
	// Since is the revision that Objects and Removed are relative to. At 0 the
	// state is whole and Removed is empty.
	Since   Revision
	Objects []Object
	Removed []Key
}

// Source hands out the registry. Implementations are safe for concurrent use.
type Source interface {
	// Load returns what changed after since, or the whole registry when since
	// is 0 or no longer known. An unchanged registry gives a state whose
	// Revision equals since. Its success is proof of contact with the store.
	Load(ctx context.Context, since Revision) (State, error)
	// Revocations returns up to limit revocations after a sequence number, in
	// order, without those that were forgotten, and the newest number there is.
	// Fewer than limit are all.
	Revocations(ctx context.Context, after uint64, limit int) (list []Revocation, head uint64, err error)
	// Changed receives a value some time after the registry or its revocations
	// changed. It may receive spurious values and may miss changes; who relies
	// on it polls too.
	Changed() <-chan struct{}
}

// Change is one step of the registry. It is applied whole or not at all.
type Change struct {
	// Base is the revision that the change was prepared on.
	Base   Revision
	Put    []Object
	Remove []Key
	// By says who made the change, Origin through what ("file", "api"), and
	// Comment why.
	By, Origin, Comment string
	// Document is the SHA-256, in hex, of the trust file that the change makes
	// the registry equal to; empty when it does not come from one.
	Document string
	At       time.Time
}

// IsEmpty reports whether the change changes no object.
func (c Change) IsEmpty() bool { return len(c.Put) == 0 && len(c.Remove) == 0 }

// Record is the change as the registry's own audit chain holds it: who, when,
// what by name and hash, and no content.
func (c Change) Record(to Revision) ([]byte, error) {
	type put struct {
		Object string `json:"object"`
		Hash   string `json:"sha256"`
	}
	rec := struct {
		At       time.Time `json:"at"`
		Event    string    `json:"event"`
		Revision Revision  `json:"revision"`
		By       string    `json:"by"`
		Origin   string    `json:"origin"`
		Comment  string    `json:"comment,omitempty"`
		Document string    `json:"document,omitempty"`
		Put      []put     `json:"put,omitempty"`
		Removed  []string  `json:"removed,omitempty"`
	}{At: c.At.UTC(), Event: "registry.change", Revision: to, By: c.By, Origin: c.Origin, Comment: c.Comment, Document: c.Document}
	for _, o := range c.Put {
		rec.Put = append(rec.Put, put{o.Key.String(), fmt.Sprintf("%x", o.Hash)})
	}
	for _, k := range c.Remove {
		rec.Removed = append(rec.Removed, k.String())
	}
	return json.Marshal(rec)
}

// RegistryWriter is the writer number of the registry's own audit chain, whose
// sequence numbers are the revisions.
const RegistryWriter = 0

// Applied tells which trust file the registry was last made equal to.
type Applied struct {
	Document string   // hex SHA-256 of the file; empty when none ever was
	Revision Revision // the revision that made it so
}

// KeyRecord is a secret of the broker at rest: a signing key or a MAC key.
// Sealed is ciphertext; no store ever sees the key itself.
type KeyRecord struct {
	ID        string // the RFC 7638 thumbprint of a signing key, a random name otherwise
	Use       KeyUse
	Algorithm string
	State     KeyState
	Public    json.RawMessage // public JWK of a signing key
	Sealed    []byte
	Created   time.Time
	// Changed is when State last changed.
	Changed time.Time
}

// KeyUse says what a key is for.
type KeyUse string

// The uses of a key.
const (
	KeySign KeyUse = "sign"
	KeyMAC  KeyUse = "mac"
)

// KeyState is a stage in the life of a key.
type KeyState string

// The stages, in order; revoked may follow any.
const (
	KeyPublished KeyState = "published" // in the key set, not signing yet
	KeyActive    KeyState = "active"    // signing
	KeyRetiring  KeyState = "retiring"  // in the key set, no longer signing
	KeyRetired   KeyState = "retired"   // kept for the audit alone
	KeyRevoked   KeyState = "revoked"   // nothing signed with it counts
)

// Store is everything the broker asks of a database. The parts that need only
// some of it declare a smaller interface of their own. All methods are safe for
// concurrent use; an error that wraps none of this package's sentinels means
// the store is unavailable.
type Store interface {
	Source
	Committer

	// Apply makes one change durable and returns the new revision. It wraps
	// ErrConflict when the registry is not at c.Base.
	Apply(ctx context.Context, c Change) (Revision, error)
	// Revoke makes revocations durable as one, numbers them, and returns the
	// newest number. It excludes changes and the ledger's transactions as Apply
	// does, so that no token is committed afterwards on a decision that did not
	// know of them. One record of it all stands in an audit chain of the
	// revocations' own. It wraps ErrRevocation when CheckRevocations does.
	Revoke(ctx context.Context, list []Revocation) (head uint64, err error)
	// Applied tells which trust file was applied last.
	Applied(ctx context.Context) (Applied, error)

	// Record reads one record. It wraps ErrNotFound.
	Record(ctx context.Context, at audit.Position) (audit.Row, error)
	// Records reads up to limit records of one writer after seq, in order.
	// Writer 0 gives the registry's own chain.
	Records(ctx context.Context, after audit.Position, limit int) ([]audit.Row, error)
	// Writers lists the writers that ever opened a chain, with the head of each.
	Writers(ctx context.Context) ([]audit.Head, error)

	// Keys lists all keys.
	Keys(ctx context.Context) ([]KeyRecord, error)
	// InitKeys adds keys of a use of which there is none yet, and returns all
	// keys there are then. When two processes race, one wins and both see its keys.
	InitKeys(ctx context.Context, keys []KeyRecord) ([]KeyRecord, error)

	// Expire deletes one-time identifiers and revocations that expired before
	// now and returns how many there were.
	Expire(ctx context.Context, now time.Time) (int64, error)
	// Ping reports whether the store answers.
	Ping(ctx context.Context) error
	// Close releases everything and waits for what is under way.
	Close() error
}
