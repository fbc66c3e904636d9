package keys

import (
	"context"
	"crypto"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/trust"
)

// The labels of the keys that are derived from the MAC master key.
const (
	LabelPseudonym  = "pseudonym"   // names that cross a boundary
	LabelDigest     = "digest"      // foreign identifiers in records
	LabelHandle     = "handle"      // what a revocation is matched by
	LabelDecisionID = "decision-id" // see IDs
)

const (
	masterSize      = 32
	masterAlgorithm = "HKDF-SHA-256"
	idsKeySize      = 32
	maxDerived      = 255 * sha256.Size // RFC 5869 section 2.3
)

// Store keeps keys as sealed records. Both methods are as in [trust.Store]:
// safe for concurrent use, and InitKeys adds keys of a use of which there is
// none yet and returns all keys there are then, the winner's to everyone.
type Store interface {
	Keys(ctx context.Context) ([]trust.KeyRecord, error)
	InitKeys(ctx context.Context, keys []trust.KeyRecord) ([]trust.KeyRecord, error)
}

// Options say which keys a ring has. There is no default algorithm.
type Options struct {
	// Algorithm is ES256, EdDSA or RS256: what is generated on first use, and
	// what the signing key must be for, wherever it comes from.
	Algorithm string
	// Seal opens and closes the records. It must be the same on every replica.
	Seal *Seal
	// File names a private key, PEM or JWK, that signs instead of a generated
	// one. Nobody but its owner and group may have access to it.
	File string
	// Signer signs instead of a generated key: a key service or a PKCS #11
	// token. It must be safe for concurrent use. Not together with File. A key
	// that is in the process prints where Options are in an unexported field;
	// give it as a File.
	Signer crypto.Signer
	// Now stamps new keys; time.Now if nil.
	Now func() time.Time
}

// Ring is the set of a broker's keys. Its methods are safe for concurrent use
// and wait for nothing but, in Reload, the store and, in Sign, the signer.
type Ring struct {
	store Store
	opts  *Options // behind a pointer, as is all that may hold key material
	// master and its id never change in the life of a ring: what was derived
	// from it is in use elsewhere.
	masterID string
	master   *[masterSize]byte
	ids      *IDs

	state    atomic.Pointer[state]
	reloadMu sync.Mutex // one Reload at a time, so an older state never replaces a newer
}

// Open loads the keys and generates those that are missing: the MAC master key
// and, unless one is configured, a signing key. Replicas that open one store at
// the same time end with the same keys. With a configured key the stored ones
// stay in the key set as retiring.
//
// Its errors wrap ErrSeal, ErrKey, ErrAlgorithm, ErrPermissions, ErrRecord,
// ErrNoKey or what the store returned. A stored key of another algorithm than
// the configured one is ErrAlgorithm: the store has no step that replaces a
// signing key.
func Open(ctx context.Context, store Store, opts Options) (*Ring, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	r := &Ring{store: store, opts: &opts}
	switch {
	case opts.Seal == nil || opts.Seal.key == nil:
		return nil, fmt.Errorf("open keys: %w: none is open", ErrSeal)
	case opts.File != "" && opts.Signer != nil:
		return nil, fmt.Errorf("open keys: %w: both a key file and a signer are configured", ErrKey)
	}
	if err := checkAlgorithm(opts.Algorithm); err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	external, err := r.readExternal()
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	records, err := r.ensure(ctx, external == nil)
	if err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	if err := r.load(records, external); err != nil {
		return nil, fmt.Errorf("open keys: %w", err)
	}
	return r, nil
}

func (r *Ring) load(records []trust.KeyRecord, external *entry) (err error) {
	if r.masterID, r.master, err = masterOf(r.opts.Seal, records); err != nil {
		return err
	}
	st, err := builder{seal: r.opts.Seal, external: external}.build(records)
	if err != nil {
		return err
	}
	if st.active.alg != r.opts.Algorithm {
		return fmt.Errorf("%w: %s is configured, and the stored key %s is for %s: keep the algorithm, or configure a key file, beside which the stored key stays published",
			ErrAlgorithm, r.opts.Algorithm, st.active.id, st.active.alg)
	}
	if r.ids, err = NewIDs(r.Derive(LabelDecisionID, idsKeySize)); err != nil {
		return err
	}
	r.state.Store(st)
	return nil
}

// readExternal loads the key that is configured outside the store, if any.
func (r *Ring) readExternal() (*entry, error) {
	signer, source, changed := r.opts.Signer, SourceSigner, r.opts.Now().UTC()
	if r.opts.File != "" {
		text, written, err := readSecret(r.opts.File, MaxKeyFile, worldAccess)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
		if signer, err = ParsePrivate(text); err != nil {
			return nil, fmt.Errorf("%s: %w", r.opts.File, err)
		}
		source, changed = SourceFile, written.UTC()
	}
	if signer == nil {
		return nil, nil
	}
	key, err := newSigningKey(signer)
	if err != nil {
		return nil, err
	}
	if key.alg != r.opts.Algorithm {
		return nil, fmt.Errorf("%w: %s is configured, and the configured key is for %s", ErrAlgorithm, r.opts.Algorithm, key.alg)
	}
	return &entry{KeyInfo{ID: key.id, Use: trust.KeySign, Algorithm: key.alg, State: trust.KeyActive,
		Source: source, Created: changed, Changed: changed}, key}, nil
}

// ensure returns the stored keys after adding those that are missing.
func (r *Ring) ensure(ctx context.Context, needSigner bool) ([]trust.KeyRecord, error) {
	records, err := r.store.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	has := func(use trust.KeyUse) bool {
		return slices.ContainsFunc(records, func(k trust.KeyRecord) bool { return k.Use == use })
	}
	now := r.opts.Now().UTC()
	var missing []trust.KeyRecord
	if !has(trust.KeyMAC) {
		rec, err := newMaster(r.opts.Seal, now)
		if err != nil {
			return nil, fmt.Errorf("generate MAC key: %w", err)
		}
		missing = append(missing, rec)
	}
	if needSigner && !has(trust.KeySign) {
		rec, err := newSigner(r.opts.Algorithm, r.opts.Seal, now)
		if err != nil {
			return nil, fmt.Errorf("generate signing key: %w", err)
		}
		missing = append(missing, rec)
	}
	if len(missing) == 0 {
		return records, nil
	}
	if records, err = r.store.InitKeys(ctx, missing); err != nil {
		return nil, fmt.Errorf("store new keys: %w", err)
	}
	return records, nil
}

// Reload reads the store and the key file again and swaps what changed in at
// once. It generates nothing. When the store cannot be read everything stays as
// it is. When a part is bad, the file or a new record, the error says so and
// the rest takes effect: a bad file leaves the key of the last good one, and a
// key that was revoked stops signing whatever else is wrong. The configured
// algorithm is not compared again, because replicas follow the store. Another
// MAC key is refused: it takes a restart.
func (r *Ring) Reload(ctx context.Context) error {
	r.reloadMu.Lock()
	defer r.reloadMu.Unlock()
	records, err := r.store.Keys(ctx)
	if err != nil {
		return fmt.Errorf("reload keys: %w", err)
	}
	prev := r.state.Load()
	external, fileErr := r.reloadExternal(prev)
	st, buildErr := builder{seal: r.opts.Seal, external: external, prev: prev}.build(records)
	r.state.Store(st)
	if err := errors.Join(fileErr, buildErr, r.checkMaster(records)); err != nil {
		return fmt.Errorf("reload keys: %w", err)
	}
	return nil
}

// reloadExternal reads the key file again. Without a file, or with a bad one,
// the key stays that of prev.
func (r *Ring) reloadExternal(prev *state) (*entry, error) {
	if r.opts.File == "" {
		return prev.external, nil
	}
	e, err := r.readExternal()
	if err != nil {
		return prev.external, err
	}
	if prev.external != nil && prev.external.key.id == e.key.id {
		e.key = prev.external.key // it is proved, and its headers are made
	}
	return e, nil
}

func (r *Ring) checkMaster(records []trust.KeyRecord) error {
	for _, rec := range records {
		if rec.ID == r.masterID && rec.Use == trust.KeyMAC && rec.State == trust.KeyActive {
			return nil
		}
	}
	return fmt.Errorf("%w: the MAC key %s is no longer the active one; restart", ErrRecord, r.masterID)
}

// JWKS is the public key set (RFC 7517 section 5) as JSON: published, active
// and retiring keys. The bytes stay the same until the keys change, and are the
// caller's own.
func (r *Ring) JWKS() []byte { return slices.Clone(r.state.Load().jwks) }

// PublicJWKS is the same set, parsed.
func (r *Ring) PublicJWKS() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: slices.Clone(r.state.Load().set.Keys)}
}

// KeyIDs lists the ids of the keys in the set, the signing key's first.
func (r *Ring) KeyIDs() []string {
	var ids []string
	for _, e := range r.state.Load().entries {
		ids = append(ids, e.key.id)
	}
	return ids
}

// ActiveAge is how long before now the signing key became active, and 0 when
// there is none. Of a key file it is the age of the file.
func (r *Ring) ActiveAge(now time.Time) time.Duration {
	st := r.state.Load()
	if st.active == nil {
		return 0
	}
	return max(0, now.Sub(st.since))
}

// Algorithm is the algorithm of the signing key, and empty when there is none.
func (r *Ring) Algorithm() string {
	if k := r.state.Load().active; k != nil {
		return k.alg
	}
	return ""
}

// Info lists every key there is or was, the signing key first, then newest
// first.
func (r *Ring) Info() []KeyInfo {
	info := slices.Clone(r.state.Load().info)
	for i := range info {
		info[i].Public = slices.Clone(info[i].Public)
	}
	return info
}

// IDs makes decision ids that every replica of this broker can open.
func (r *Ring) IDs() *IDs { return r.ids }

// Derive gives n bytes for the use that label names, by HKDF-SHA-256 (RFC 5869)
// from the MAC master key: the same on every replica and after every restart,
// and unrelated for every other label. For one label a shorter key is the
// beginning of a longer one. label and n are constants of the program: an empty
// label or an n outside 1 to 8160 panics.
func (r *Ring) Derive(label string, n int) []byte {
	if label == "" || n < 1 || n > maxDerived {
		panic(fmt.Sprintf("keys: no key of %d bytes can be derived for %q", n, label))
	}
	key, err := hkdf.Key(sha256.New, r.master[:], nil, "comity derive v1 "+label, n)
	if err != nil {
		panic("keys: " + err.Error())
	}
	return key
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
