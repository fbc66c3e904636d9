package trust

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/comity-auth/comity/trust/audit"
)

// OnceKind separates the kinds of one-time identifiers, so that none can be
// used up under the name of another.
type OnceKind string

// The kinds.
const (
	OnceAssertion OnceKind = "client_assertion" // issuer: the client; id: jti
	OnceProof     OnceKind = "dpop_proof"       // issuer: the key's thumbprint; id: jti
	OnceSubject   OnceKind = "subject_token"    // issuer: iss; id: jti or digest
	OnceGrant     OnceKind = "grant"            // issuer: iss; id: jti
)

// Once is an identifier that may be used one time. It stands for the identifier
// by a digest, so a store holds no token identifiers.
type Once struct {
	Kind    OnceKind
	Key     [sha256.Size]byte
	Expires time.Time
}

// NewOnce names an identifier by kind, issuer and id. It has to be remembered
// until expires, which callers take as the expiry of what bears it plus leeway.
func NewOnce(kind OnceKind, issuer, id string, expires time.Time) Once {
	h := sha256.New()
	for _, s := range []string{string(kind), issuer, id} {
		fmt.Fprintf(h, "%d:", len(s))
		_, _ = io.WriteString(h, s)
	}
	o := Once{Kind: kind, Expires: expires}
	h.Sum(o.Key[:0])
	return o
}

// Fence is what a decision was made on: the registry's revision and the newest
// revocation known.
type Fence struct {
	Revision    Revision
	Revocations uint64
}

func (f Fence) olderThan(head Fence) bool {
	return f.Revision < head.Revision || f.Revocations < head.Revocations
}

// Entry is a decision to be made durable.
type Entry struct {
	// Record is written when every identifier in Once is new.
	Record audit.Record
	// IfReplayed is written instead when one is not, and then none is used up.
	IfReplayed audit.Record
	Once       []Once
	// Seen is what the decision was made on. A record that allows is committed
	// only while the store has nothing newer; one that refuses always is.
	Seen Fence
	// Siblings is how many requests are under way, this one included. It is a
	// hint: the writer waits a moment for entries that are about to come.
	Siblings int
}

// Ending is how an entry ended. The zero Ending is not valid.
type Ending int

// The ways an entry can end.
const (
	Committed Ending = iota + 1
	// Replayed says that an identifier had been used before: IfReplayed stands
	// in the record.
	Replayed
	// Stale says that the registry moved on: nothing was written, and the
	// request has to be decided again on Outcome.Head or later.
	Stale
)

// Outcome tells how an entry ended and where its record stands.
type Outcome struct {
	Status Ending
	At     audit.Position
	// Replay is the kind of identifier that had been used before.
	Replay OnceKind
	// Head is what the store held when the batch was committed.
	Head Fence
}

// Committer is a store's part of the ledger.
type Committer interface {
	// OpenWriter opens a new chain and returns its number, above 0.
	OpenWriter(ctx context.Context) (uint32, error)
	// Commit runs one transaction: read the fence so that no change can be
	// acknowledged between that and the end of the transaction, insert
	// b.Once() where absent, call b.Settle with the fence and the digests
	// that were inserted, insert the rows it returns, delete the digests it
	// returns as unclaimed. An error means that it is not known whether the
	// transaction took place.
	Commit(ctx context.Context, b *Batch) error
}

// ErrOverloaded says that the ledger's queue is full. It wraps ErrUnavailable.
var ErrOverloaded = fmt.Errorf("%w: the ledger's queue is full", ErrUnavailable)

// LedgerOptions tune a ledger. The zero value takes the defaults.
type LedgerOptions struct {
	Queue   int           // entries that may wait; default 4096
	Batch   int           // entries in one transaction; default 256
	Timeout time.Duration // of one transaction; default 5 s
	// Gather bounds how long an entry waits for siblings; default 2 ms. An
	// entry without siblings never waits.
	Gather time.Duration
	// Observe is called after each transaction, when set.
	Observe func(entries int, took time.Duration, err error)
}

// Ledger makes decisions durable: one writer takes what waits and commits it in
// one transaction, so a thousand concurrent requests share one commit. Its
// records form one chain, begun when it was opened.
type Ledger struct {
	store Committer
	opts  LedgerOptions
	queue chan *pending
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once

	head audit.Head // owned by run
}

type pending struct {
	entry   Entry
	body    []byte // entry.Record, encoded
	outcome Outcome
	err     error
	ready   chan struct{}
}

// NewLedger starts the writer. Close it before the store.
func NewLedger(store Committer, opts LedgerOptions) *Ledger {
	opts.Queue = cmp.Or(opts.Queue, 4096)
	opts.Batch = cmp.Or(opts.Batch, 256)
	opts.Timeout = cmp.Or(opts.Timeout, 5*time.Second)
	opts.Gather = cmp.Or(opts.Gather, 2*time.Millisecond)
	l := &Ledger{store: store, opts: opts, queue: make(chan *pending, opts.Queue),
		stop: make(chan struct{}), done: make(chan struct{})}
	go l.run()
	return l
}

// Commit makes the entry durable and tells how it ended. The record is durable
// when it returns without error. It wraps ErrUnavailable when the entry is not,
// or may not be, durable: then no token may leave. Once the entry is queued,
// the context no longer matters. It is safe for concurrent use.
func (l *Ledger) Commit(ctx context.Context, e Entry) (Outcome, error) {
	if err := ctx.Err(); err != nil {
		return Outcome{}, err
	}
	body, err := e.Record.Encode()
	if err != nil {
		return Outcome{}, err
	}
	p := &pending{entry: e, body: body, ready: make(chan struct{})}
	select {
	case <-l.stop:
		return Outcome{}, fmt.Errorf("%w: the ledger is closed", ErrUnavailable)
	case l.queue <- p:
	default:
		return Outcome{}, ErrOverloaded
	}
	select {
	case <-p.ready:
		return p.outcome, p.err
	case <-l.done:
	}
	select {
	case <-p.ready:
		return p.outcome, p.err
	default:
		return Outcome{}, fmt.Errorf("%w: the ledger is closed", ErrUnavailable)
	}
}

// Close commits what waits and stops the writer.
func (l *Ledger) Close() {
	l.once.Do(func() { close(l.stop) })
	<-l.done
}

func (l *Ledger) run() {
	defer close(l.done)
	batch := make([]*pending, 0, l.opts.Batch)
	for {
		select {
		case p := <-l.queue:
			batch = l.gather(l.fill(append(batch[:0], p)))
			l.commit(batch)
		case <-l.stop:
			for batch = l.fill(batch[:0]); len(batch) > 0; batch = l.fill(batch[:0]) {
				l.commit(batch)
			}
			return
		}
	}
}

// gather waits a moment for the entries that requests under way will bring, so
// that they share one transaction.
func (l *Ledger) gather(batch []*pending) []*pending {
	var limit <-chan time.Time
	for expected(batch) > len(batch) && len(batch) < l.opts.Batch {
		if limit == nil {
			timer := time.NewTimer(l.opts.Gather)
			defer timer.Stop()
			limit = timer.C
		}
		select {
		case p := <-l.queue:
			batch = l.fill(append(batch, p))
		case <-limit:
			return batch
		case <-l.stop:
			return batch
		}
	}
	return batch
}

// expected is what the newest entry of a batch says is under way.
func expected(batch []*pending) int { return batch[len(batch)-1].entry.Siblings }

// fill takes what waits, without waiting.
func (l *Ledger) fill(batch []*pending) []*pending {
	for len(batch) < l.opts.Batch {
		select {
		case p := <-l.queue:
			batch = append(batch, p)
		default:
			return batch
		}
	}
	return batch
}

func (l *Ledger) commit(entries []*pending) {
	ctx, cancel := context.WithTimeout(context.Background(), l.opts.Timeout)
	defer cancel()
	began := time.Now()
	b, err := l.write(ctx, entries)
	if l.opts.Observe != nil {
		l.opts.Observe(len(entries), time.Since(began), err)
	}
	for i, p := range entries {
		switch {
		case err != nil:
			p.err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		case b.errs[i] != nil:
			p.err = b.errs[i]
		default:
			p.outcome = b.outcomes[i]
		}
		close(p.ready)
	}
}

// write commits one batch. After an error it is not known where the chain
// ends, so the next batch begins a new one.
func (l *Ledger) write(ctx context.Context, entries []*pending) (*Batch, error) {
	if l.head.Writer == 0 {
		writer, err := l.store.OpenWriter(ctx)
		if err != nil {
			return nil, fmt.Errorf("open a record chain: %w", err)
		}
		l.head = audit.Head{Position: audit.Position{Writer: writer}}
	}
	b := &Batch{entries: entries, from: l.head}
	err := l.store.Commit(ctx, b)
	if err == nil && !b.settled {
		err = errors.New("the store did not settle the batch")
	}
	if err != nil {
		l.head = audit.Head{}
		return nil, err
	}
	l.head = b.to
	return b, nil
}

// Batch is what a ledger hands its store to commit.
type Batch struct {
	entries []*pending
	from    audit.Head

	settled  bool
	to       audit.Head
	outcomes []Outcome
	errs     []error // of entries that could not be written
}

// Once lists the distinct identifiers of the batch in the order of their
// digests, so that two processes never wait for each other crosswise.
func (b *Batch) Once() []Once {
	var all []Once
	for _, p := range b.entries {
		all = append(all, p.entry.Once...)
	}
	slices.SortFunc(all, func(x, y Once) int {
		return cmp.Or(bytes.Compare(x.Key[:], y.Key[:]), y.Expires.Compare(x.Expires))
	})
	return slices.CompactFunc(all, func(x, y Once) bool { return x.Key == y.Key })
}

// Settlement is what a store has to write before it commits.
type Settlement struct {
	Rows []audit.Row
	// Times are those of the rows.
	Times []time.Time
	// Unclaimed are identifiers that were inserted and belong to no entry that
	// was committed.
	Unclaimed [][sha256.Size]byte
}

// Settle decides how each entry ends. The first entry of the batch that names a
// fresh identifier claims it; one entry's replay takes nothing from its
// neighbours. A store calls it once per attempt.
func (b *Batch) Settle(head Fence, fresh [][sha256.Size]byte) (Settlement, error) {
	free := make(map[[sha256.Size]byte]bool, len(fresh))
	for _, k := range fresh {
		free[k] = true
	}
	b.settled, b.to = true, b.from
	b.outcomes, b.errs = make([]Outcome, len(b.entries)), make([]error, len(b.entries))
	var s Settlement
	for i, p := range b.entries {
		out, body, at := p.settle(head, free)
		if out.Status == Replayed {
			body, b.errs[i] = p.entry.IfReplayed.Encode()
		}
		if body != nil {
			row := b.to.Append(body)
			b.to, out.At = row.Head(), row.Position
			s.Rows, s.Times = append(s.Rows, row), append(s.Times, at)
		}
		b.outcomes[i] = out
	}
	for _, k := range fresh {
		if free[k] {
			s.Unclaimed = append(s.Unclaimed, k)
		}
	}
	return s, nil
}

// settle ends one entry; the body is for one that is committed.
func (p *pending) settle(head Fence, free map[[sha256.Size]byte]bool) (out Outcome, body []byte, at time.Time) {
	out.Head = head
	if p.entry.Record.Outcome == audit.Allow && p.entry.Seen.olderThan(head) {
		out.Status = Stale
		return out, nil, at
	}
	for _, o := range p.entry.Once {
		if !free[o.Key] {
			out.Status, out.Replay = Replayed, o.Kind
			return out, nil, p.entry.IfReplayed.At
		}
	}
	for _, o := range p.entry.Once {
		delete(free, o.Key)
	}
	out.Status = Committed
	return out, p.body, p.entry.Record.At
}
