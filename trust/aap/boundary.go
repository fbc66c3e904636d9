package aap

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/comity-auth/comity/trust/ident"
)

// Kind separates pseudonyms: the same value under two kinds gives two that
// cannot be compared.
type Kind string

// The kinds of identifier that cross as pseudonyms. A subject, an agent's id
// and the holders in a chain are one kind, because who reads the token checks
// that they agree.
const (
	KindAgent Kind = "agent"
	KindTask  Kind = "task"
	KindToken Kind = "token"
)

const minPseudonymKey = 32

// Pseudonymiser replaces identifiers of one domain by names for another: the
// same value always gets the same name, and only who holds the key can tell
// which. It is safe for concurrent use. It never prints its key.
// The zero Pseudonymiser replaces nothing: Cross refuses it.
type Pseudonymiser struct {
	// A pointer, because fmt and slog look into unexported fields.
	key *[sha256.Size]byte
}

// NewPseudonymiser binds a key of at least 32 bytes to an ordered pair of
// domains, so that no two neighbours are told the same name.
func NewPseudonymiser(key []byte, source, target ident.Domain) (Pseudonymiser, error) {
	if len(key) < minPseudonymKey {
		return Pseudonymiser{}, fmt.Errorf("%w: %d bytes", ErrKey, len(key))
	}
	if source.IsZero() || target.IsZero() {
		return Pseudonymiser{}, fmt.Errorf("%w: a domain is missing", ErrKey)
	}
	sum := keyed(key, "comity boundary pseudonym v1", source.String(), target.String())
	return Pseudonymiser{key: &sum}, nil
}

// keyed is HMAC-SHA-256 over the parts, each behind its length.
func keyed(key []byte, parts ...string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		io.WriteString(h, p)
	}
	h.Sum(sum[:0])
	return sum
}

// IsZero reports whether p was never made by NewPseudonymiser.
func (p Pseudonymiser) IsZero() bool { return p.key == nil }

// Pseudonym is the name of value for the other domain: the kind, a dash and
// 128 bits in lower-case base32. It is empty for the empty value and for the
// zero Pseudonymiser.
func (p Pseudonymiser) Pseudonym(kind Kind, value string) string {
	if p.key == nil || value == "" {
		return ""
	}
	sum := keyed(p.key[:], string(kind), value)
	name := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])
	return string(kind) + "-" + strings.ToLower(name)
}

// Format prints that there is something, never what.
func (p Pseudonymiser) Format(f fmt.State, _ rune) { io.WriteString(f, "[redacted]") }

// LogValue keeps the key out of logs.
func (p Pseudonymiser) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// The identifiers that a mapping may let across a boundary after all. Trace,
// jti, txn and sid are not among them and never cross.
const (
	KeepSubject              = "sub" // for the caller: Claims do not hold it
	KeepAgentID              = "agent.id"
	KeepTaskID               = "task.id"
	KeepTaskCreatedBy        = "task.created_by"
	KeepTaskMetadata         = "task.metadata"
	KeepSupervisor           = "oversight.supervisor"
	KeepNotificationEndpoint = "oversight.notification_endpoint"
	KeepLocation             = "context.location"
	KeepChain                = "delegation.chain"
)

// Keepable lists the names that Cross understands in keep.
func Keepable() []string {
	return []string{
		KeepSubject, KeepAgentID, KeepTaskID, KeepTaskCreatedBy, KeepTaskMetadata,
		KeepSupervisor, KeepNotificationEndpoint, KeepLocation, KeepChain,
	}
}

// Cross returns the claims as they may appear in the other domain. Identifiers
// become pseudonyms, and what the other domain has no use for is left out. It
// is for claims as they came in: call it before Derive, so that the holder that
// Derive appends is a local name. The trace is left empty and its scope is the
// domain: the caller draws a fresh one, see WithTrace.
//
// keep lets named identifiers through; an unknown name is ErrKeep and the zero
// Pseudonymiser ErrKey, so that a mistake leaks nothing.
func (c *Claims) Cross(p Pseudonymiser, keep map[string]bool) (*Claims, error) {
	if p.IsZero() {
		return nil, ErrKey
	}
	for name := range keep {
		if !slices.Contains(Keepable(), name) {
			return nil, ErrKeep
		}
	}
	b := boundary{p, keep}
	return &Claims{
		Agent:        b.agent(c.Agent),
		Task:         b.task(c.Task),
		Capabilities: c.Capabilities,
		Oversight:    b.oversight(c.Oversight),
		Delegation:   b.delegation(c.Delegation),
		Context:      b.context(c.Context),
		Audit:        b.audit(c.Audit),
	}, nil
}

// boundary builds each claim from what may cross, rather than removing what
// may not: a field that is added later stays behind until someone decides.
type boundary struct {
	Pseudonymiser
	keep map[string]bool
}

// pass is the value itself if its name is kept, else nothing.
func (b boundary) pass(name, value string) string {
	if b.keep[name] {
		return value
	}
	return ""
}

// rename is the value itself if its name is kept, else its pseudonym.
func (b boundary) rename(name string, kind Kind, value string) string {
	if b.keep[name] {
		return value
	}
	return b.Pseudonym(kind, value)
}

func (b boundary) agent(a *Agent) *Agent {
	if a == nil {
		return nil
	}
	return &Agent{
		ID:                   b.rename(KeepAgentID, KindAgent, a.ID),
		Type:                 a.Type,
		Operator:             a.Operator,
		Model:                a.Model,   // deny lists on the other side need it
		Runtime:              a.Runtime, // so does the rule about attestation
		CapabilitiesVerified: a.CapabilitiesVerified,
	}
}

func (b boundary) task(t *Task) *Task {
	if t == nil {
		return nil
	}
	out := &Task{
		ID:              b.rename(KeepTaskID, KindTask, t.ID),
		Purpose:         t.Purpose,
		CreatedBy:       b.pass(KeepTaskCreatedBy, t.CreatedBy),
		ExpiresAt:       t.ExpiresAt, // a limit; created_at is none and tells tasks apart
		Priority:        t.Priority,
		Category:        t.Category,
		Topic:           t.Topic,
		DataSensitivity: t.DataSensitivity,
	}
	if b.keep[KeepTaskMetadata] {
		out.Metadata = t.Metadata
	}
	return out
}

func (b boundary) oversight(o *Oversight) *Oversight {
	if o == nil {
		return nil
	}
	return &Oversight{
		Level:                    o.Level,
		RequiresHumanApprovalFor: o.RequiresHumanApprovalFor,
		ApprovalReference:        o.ApprovalReference, // without it nobody knows whom to ask
		NotifyOn:                 o.NotifyOn,
		NotificationEndpoint:     b.pass(KeepNotificationEndpoint, o.NotificationEndpoint),
		Supervisor:               b.pass(KeepSupervisor, o.Supervisor),
		ApprovalTimeout:          o.ApprovalTimeout,
	}
}

// delegation leaves out the record of earlier reductions and instants: they
// name the other domain's actions and the seconds in which it issued.
func (b boundary) delegation(d *Delegation) *Delegation {
	if d == nil {
		return nil
	}
	out := &Delegation{
		Depth:     d.Depth,
		MaxDepth:  d.MaxDepth,
		Chain:     make([]string, len(d.Chain)),
		ParentJTI: b.Pseudonym(KindToken, d.ParentJTI),
	}
	for i, holder := range d.Chain {
		out.Chain[i] = b.rename(KeepChain, KindAgent, holder)
	}
	return out
}

func (b boundary) context(c *Context) *Context {
	if c == nil {
		return nil
	}
	out := Context{
		NetworkZone:    c.NetworkZone,
		TimeWindow:     c.TimeWindow,
		GeoRestriction: c.GeoRestriction,
		Environment:    c.Environment,
	}
	if b.keep[KeepLocation] {
		out.Location = c.Location
	}
	if out == (Context{}) {
		return nil
	}
	return &out
}

func (b boundary) audit(a *Audit) *Audit {
	if a == nil {
		a = &Audit{}
	}
	return &Audit{
		TraceIDScope:        "domain",
		LogLevel:            a.LogLevel,
		RetentionPeriod:     a.RetentionPeriod,
		ComplianceFramework: a.ComplianceFramework,
		PIILogging:          a.PIILogging,
		RequiredFields:      a.RequiredFields,
		TamperEvident:       a.TamperEvident,
	}
}
