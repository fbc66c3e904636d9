package keys

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/comity-auth/comity/trust"
)

var (
	// ErrNoKey says that there is no key to sign with.
	ErrNoKey = errors.New("no active signing key")
	// ErrRecord says that the stored keys contradict themselves.
	ErrRecord = errors.New("the stored keys are not consistent")
)

// Where a key comes from.
const (
	SourceStore  = "store"
	SourceFile   = "file"
	SourceSigner = "signer" // outside the process: a key service or a token
)

// KeyInfo is what administrators see of a key. It holds nothing secret.
type KeyInfo struct {
	ID        string         `json:"kid"`
	Use       trust.KeyUse   `json:"use"`
	Algorithm string         `json:"alg"`
	State     trust.KeyState `json:"state"`
	// Signing is true for the one key that signs now.
	Signing bool            `json:"signing"`
	Source  string          `json:"source"`
	Public  json.RawMessage `json:"public,omitempty"`
	Created time.Time       `json:"created"`
	Changed time.Time       `json:"changed"`
}

// entry is a key that can sign or verify, and what is said about it.
type entry struct {
	info KeyInfo
	key  *signingKey
}

// state is everything a ring shows. It is immutable.
type state struct {
	active   *signingKey // nil when nothing may sign
	since    time.Time   // when active became so
	external *entry      // the key from outside the store, even if it may not sign
	entries  []entry     // those in the key set, the signing one first
	info     []KeyInfo
	set      jose.JSONWebKeySet
	jwks     []byte
}

// builder makes a state out of the store's records and the key from outside the
// store, if there is one.
type builder struct {
	seal     *Seal
	external *entry
	// prev is the state before, whose keys need not be opened again: a key id
	// is a thumbprint, so the same id is the same key.
	prev *state
}

// build always gives a state, and an error for each thing that kept a record
// out of it. Every key in it was opened from under the seal, so a row that
// somebody wrote into the database cannot become a key that others trust.
func (b builder) build(records []trust.KeyRecord) (*state, error) {
	st := &state{external: b.external}
	external := b.external
	var errs []error
	for _, rec := range records {
		inSet := rec.State == trust.KeyPublished || rec.State == trust.KeyActive || rec.State == trust.KeyRetiring
		own := external != nil && rec.ID == external.key.id
		switch {
		case rec.Use != trust.KeySign:
			st.info = append(st.info, infoOf(rec))
		case own && !inSet:
			st.info = append(st.info, infoOf(rec))
			errs = append(errs, fmt.Errorf("%w: the configured key %s is %s", ErrNoKey, rec.ID, rec.State))
			external = nil
		case own: // the configured one stands for both
		case !inSet:
			st.info = append(st.info, infoOf(rec))
		default:
			e, err := b.open(rec)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if b.external != nil && rec.State == trust.KeyActive {
				e.info.State = trust.KeyRetiring
			}
			st.entries = append(st.entries, e)
		}
	}
	if external != nil {
		st.entries = append(st.entries, *external)
	}
	errs = append(errs, st.choose(b.prev), st.publish())
	return st, errors.Join(errs...)
}

func infoOf(rec trust.KeyRecord) KeyInfo {
	return KeyInfo{ID: rec.ID, Use: rec.Use, Algorithm: rec.Algorithm, State: rec.State, Source: SourceStore,
		Created: rec.Created.UTC(), Changed: rec.Changed.UTC()}
}

func (b builder) open(rec trust.KeyRecord) (entry, error) {
	if b.prev != nil {
		for _, e := range b.prev.entries {
			if e.key.id == rec.ID {
				return entry{infoOf(rec), e.key}, nil
			}
		}
	}
	der, err := b.seal.Open(rec)
	if err != nil {
		return entry{}, err
	}
	signer, err := parsePKCS8(der)
	if err != nil {
		return entry{}, fmt.Errorf("key %q: %w", rec.ID, err)
	}
	key, err := newSigningKey(signer)
	switch {
	case err != nil:
		return entry{}, fmt.Errorf("key %q: %w", rec.ID, err)
	case key.id != rec.ID || key.alg != rec.Algorithm:
		return entry{}, fmt.Errorf("%w: what is sealed as key %q is another key", ErrRecord, rec.ID)
	}
	return entry{infoOf(rec), key}, nil
}

// choose picks the key that signs: the only active one. Where that cannot be
// told, the key that signed before goes on if it is still in the set.
func (st *state) choose(prev *state) error {
	var active []int
	for i, e := range st.entries {
		if e.info.State == trust.KeyActive {
			active = append(active, i)
		}
	}
	var err error
	switch len(active) {
	case 0:
		err = ErrNoKey
	case 1:
		if err = st.activate(active[0], prev); err == nil {
			return nil
		}
	default:
		err = fmt.Errorf("%w: %d signing keys are active", ErrRecord, len(active))
	}
	if prev != nil && prev.active != nil {
		same := func(e entry) bool { return e.key.id == prev.active.id }
		if i := slices.IndexFunc(st.entries, same); i >= 0 {
			return errors.Join(err, st.activate(i, prev))
		}
	}
	return err
}

// activate makes entry i the one that signs, once it has shown that it can.
func (st *state) activate(i int, prev *state) error {
	e := &st.entries[i]
	if prev == nil || prev.active != e.key {
		if err := e.key.prove(); err != nil {
			return err
		}
	}
	e.info.Signing = true
	st.active, st.since = e.key, e.info.Changed
	return nil
}

// publish orders the keys, the signing one first and then by age, and encodes
// the set.
func (st *state) publish() error {
	slices.SortFunc(st.entries, func(a, b entry) int { return compareInfo(a.info, b.info) })
	st.set.Keys = []jose.JSONWebKey{} // an empty set is a list too
	for i := range st.entries {
		e := &st.entries[i]
		jwk := jose.JSONWebKey{Key: e.key.public, KeyID: e.key.id, Algorithm: e.key.alg, Use: "sig"}
		public, err := json.Marshal(jwk)
		if err != nil {
			return fmt.Errorf("encode key %s: %w", e.key.id, err)
		}
		e.info.Public = public
		st.info = append(st.info, e.info)
		st.set.Keys = append(st.set.Keys, jwk)
	}
	slices.SortFunc(st.info, compareInfo)
	var err error
	if st.jwks, err = json.Marshal(st.set); err != nil {
		return fmt.Errorf("encode key set: %w", err)
	}
	return nil
}

func compareInfo(a, b KeyInfo) int {
	rank := func(k KeyInfo) int {
		if k.Signing {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
}

// masterOf opens the one active MAC key.
func masterOf(seal *Seal, records []trust.KeyRecord) (string, *[masterSize]byte, error) {
	var id string
	var master []byte
	for _, rec := range records {
		if rec.Use != trust.KeyMAC || rec.State != trust.KeyActive {
			continue
		}
		if id != "" {
			return "", nil, fmt.Errorf("%w: more than one MAC key is active", ErrRecord)
		}
		plain, err := seal.Open(rec)
		if err != nil {
			return "", nil, err
		}
		id, master = rec.ID, plain
	}
	if len(master) != masterSize {
		return "", nil, fmt.Errorf("%w: there is no active MAC key of %d bytes", ErrRecord, masterSize)
	}
	return id, (*[masterSize]byte)(master), nil
}

func newMaster(seal *Seal, now time.Time) (trust.KeyRecord, error) {
	master, name := randomBytes(masterSize), randomBytes(8)
	rec := trust.KeyRecord{ID: fmt.Sprintf("mac-%x", name), Use: trust.KeyMAC, Algorithm: masterAlgorithm,
		State: trust.KeyActive, Created: now, Changed: now}
	return rec, seal.Seal(&rec, master)
}

func newSigner(alg string, seal *Seal, now time.Time) (trust.KeyRecord, error) {
	signer, err := Generate(alg)
	if err != nil {
		return trust.KeyRecord{}, err
	}
	key, err := newSigningKey(signer)
	if err != nil {
		return trust.KeyRecord{}, err
	}
	public, err := json.Marshal(jose.JSONWebKey{Key: key.public, KeyID: key.id, Algorithm: key.alg, Use: "sig"})
	if err != nil {
		return trust.KeyRecord{}, fmt.Errorf("encode key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return trust.KeyRecord{}, fmt.Errorf("encode key: %w", err)
	}
	rec := trust.KeyRecord{ID: key.id, Use: trust.KeySign, Algorithm: alg, State: trust.KeyActive,
		Public: public, Created: now, Changed: now}
	return rec, seal.Seal(&rec, der)
}
