package aap

import (
	"fmt"
	"reflect"
	"strconv"
)

// Names says which spellings of the top-level claims are read.
// The zero Names is the strict one.
type Names uint8

const (
	// NamesShort reads agent, task and so on, and refuses aap_agent and the
	// like: to overlook them would be to overlook the limits they carry.
	NamesShort Names = iota
	// NamesAlias reads the aap_* names of the -00 draft as well.
	NamesAlias
)

// Options says how much is tolerated. The zero Options is the strictest.
type Options struct {
	Names Names
	// MaxPurpose is the longest task.purpose, in characters. Zero is 256, the
	// draft's limit; the schema's 500 is the most that can be set.
	MaxPurpose int
}

const (
	defaultPurpose  = 256
	schemaPurpose   = 500
	maxCapabilities = 64
	maxOrigin       = 128 // agent.id, task.id and each holder in a chain
	maxType         = 64
	maxOperator     = 256
	maxTrace        = 256
)

func claimNames() []string {
	return []string{"agent", "task", "capabilities", "oversight", "delegation", "context", "audit"}
}

// Parse reads the profile's claims from a token's payload, whose numbers are
// json.Number and in which repeated members were refused. It returns nil and no
// error when the token has none of them; a token that has any must have all
// that are required. Members that the profile does not know are ignored, except
// constraints, which Constraints.Unknown lists.
//
// Errors wrap one of this package's sentinels.
func Parse(claims map[string]any, opts Options) (*Claims, error) {
	own, err := canonicalNames(claims, opts.Names)
	if err != nil || len(own) == 0 {
		return nil, err
	}
	o := newObject(own)
	c := &Claims{
		Agent:        o.agent(),
		Task:         o.task(opts),
		Capabilities: o.capabilities(),
		Oversight:    o.oversight(),
		Context:      o.context(),
		Audit:        o.audit(),
	}
	// Delegation comes last: its errors have protocol codes of their own,
	// which stand behind those of a token that is malformed elsewhere.
	c.Delegation = o.delegation()
	if o.faults.first != nil {
		return nil, o.faults.first
	}
	return c, nil
}

// UnmarshalJSON reads claims as Parse does with the zero Options, and refuses
// a document without any.
func (c *Claims) UnmarshalJSON(b []byte) error {
	m, err := decodeStrict(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrShape, err)
	}
	got, err := Parse(m, Options{})
	if err != nil {
		return err
	}
	if got == nil {
		return fmt.Errorf("%w: there are none", ErrShape)
	}
	*c = *got
	return nil
}

// canonicalNames picks the profile's claims out of the payload, by their short
// names.
func canonicalNames(claims map[string]any, names Names) (map[string]any, error) {
	var own map[string]any
	for _, name := range claimNames() {
		value, short := claims[name]
		alias, long := claims["aap_"+name]
		switch {
		case !short && !long:
			continue
		case short && long && !reflect.DeepEqual(value, alias):
			return nil, fmt.Errorf("%w: %s and aap_%s differ", ErrNames, name, name)
		case !short && names != NamesAlias:
			return nil, fmt.Errorf("%w: aap_%s is not accepted", ErrNames, name)
		case !short:
			value = alias
		}
		if own == nil {
			own = make(map[string]any, len(claimNames()))
		}
		own[name] = value
	}
	return own, nil
}

func (o *object) agent() *Agent {
	a := o.requiredObject("agent")
	if a == nil {
		return nil
	}
	out := &Agent{
		ID:                   a.needID("id", maxOrigin),
		Type:                 a.needID("type", maxType),
		Operator:             a.needID("operator", maxOperator),
		Name:                 a.id("name", maxText),
		Version:              a.id("version", maxText),
		Model:                a.model("model"),
		CapabilitiesVerified: a.boolean("capabilities_verified"),
	}
	if r := a.object("runtime"); r != nil {
		out.Runtime = &AgentRuntime{Environment: r.id("environment", maxText), Attested: r.boolean("attested")}
	}
	if c := a.object("certification"); c != nil {
		out.Certification = &Certification{
			Authority: c.id("authority", maxText), Level: c.id("level", maxText), Expires: c.timestamp("expires"),
		}
	}
	return out
}

func (o *object) requiredObject(name string) *object {
	if !o.need(name) {
		return nil
	}
	return o.object(name)
}

func (o *object) model(name string) Model {
	if _, ok := o.m[name].(map[string]any); !ok {
		return Model{Text: o.id(name, maxText)}
	}
	m := o.object(name)
	out := Model{
		Provider: m.id("provider", maxOperator),
		ID:       m.needID("id", maxOperator),
		Version:  m.id("version", maxOperator),
	}
	return out
}

func (o *object) task(opts Options) *Task {
	t := o.requiredObject("task")
	if t == nil {
		return nil
	}
	purpose := defaultPurpose
	if opts.MaxPurpose > 0 {
		purpose = min(opts.MaxPurpose, schemaPurpose)
	}
	out := &Task{
		ID:              t.needID("id", maxOrigin),
		CreatedBy:       t.id("created_by", maxText),
		CreatedAt:       t.seconds("created_at"),
		ExpiresAt:       t.seconds("expires_at"),
		Priority:        t.oneOf("priority", "low", "medium", "high", "critical"),
		Category:        t.id("category", maxText),
		Topic:           t.id("topic", maxText),
		DataSensitivity: t.id("data_sensitivity", maxText),
	}
	if t.need("purpose") {
		out.Purpose = t.text("purpose", purpose)
	}
	if m := t.object("metadata"); m != nil {
		out.Metadata = m.m
	}
	return out
}

func (o *object) capabilities() []Capability {
	if !o.need("capabilities") {
		return nil
	}
	l := o.list("capabilities")
	if l == nil {
		return nil
	}
	if len(l) == 0 || len(l) > maxCapabilities {
		o.fail(ErrLength, "capabilities", "has none or too many")
		return nil
	}
	out := make([]Capability, 0, len(l))
	for i, v := range l {
		m, ok := v.(map[string]any)
		if !ok {
			o.fail(ErrShape, "capabilities["+strconv.Itoa(i)+"]", "is not an object")
			return nil
		}
		out = append(out, o.child("capabilities", i, m).capability())
	}
	return out
}

func (o *object) capability() Capability {
	var c Capability
	if o.need("action") {
		c.Action = o.action("action")
	}
	if k := o.object("constraints"); k != nil {
		k.as = ErrConstraint
		c.Constraints = k.constraints()
	}
	c.Description = o.text("description", maxText)
	c.Resources = o.ids("resources", maxURI)
	if c.Resources != nil && len(c.Resources) == 0 {
		o.fail(ErrShape, "resources", "is empty")
	}
	if k := o.object("conditions"); k != nil && len(k.m) > 0 {
		c.Conditions = k.m
	}
	return c
}

func (o *object) action(name string) Action {
	s, ok := o.m[name].(string)
	if !ok {
		o.fail(ErrShape, name, "is not a string")
		return Action{}
	}
	a, err := ParseAction(s)
	if err != nil {
		o.failAction(err, name)
	}
	return a
}

func (o *object) oversight() *Oversight {
	v := o.object("oversight")
	if v == nil {
		return nil
	}
	out := &Oversight{
		RequiresHumanApprovalFor: v.actions("requires_human_approval_for"),
		ApprovalReference:        v.id("approval_reference", maxURI),
		NotifyOn:                 v.actions("notify_on"),
		NotificationEndpoint:     v.id("notification_endpoint", maxURI),
		Supervisor:               v.id("supervisor", maxText),
	}
	if s := v.oneOf("level", levelNames()...); s != "" {
		n, _ := ordinal(s, levelNames())
		out.Level = Level(n)
	}
	out.ApprovalTimeout, _ = v.integer("approval_timeout", 1, maxInteger)
	return out
}

// ParseOversight reads one oversight object with json.Number numbers.
func ParseOversight(m map[string]any) (*Oversight, error) {
	o := newObject(map[string]any{"oversight": m})
	out := o.oversight()
	if o.faults.first != nil {
		return nil, o.faults.first
	}
	return out, nil
}
