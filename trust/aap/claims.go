package aap

import "time"

// Claims is everything the profile puts into a token. Agent, Task and at least
// one capability are always there in claims that were parsed; the rest may be
// nil. Claims are immutable by convention: copy before changing.
type Claims struct {
	Agent        *Agent       `json:"agent,omitempty"`
	Task         *Task        `json:"task,omitempty"`
	Capabilities []Capability `json:"capabilities,omitempty"`
	Oversight    *Oversight   `json:"oversight,omitempty"`
	Delegation   *Delegation  `json:"delegation,omitempty"`
	Context      *Context     `json:"context,omitempty"`
	Audit        *Audit       `json:"audit,omitempty"`
}

// Expiry is the earliest instant at which the claims themselves end: the task,
// the session or the context's window. ok is false when nothing in them ends.
func (c *Claims) Expiry() (at time.Time, ok bool) {
	sooner := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	if c.Task != nil && c.Task.ExpiresAt != 0 {
		sooner(time.Unix(c.Task.ExpiresAt, 0).UTC())
	}
	if c.Context != nil && c.Context.TimeWindow != nil {
		sooner(c.Context.TimeWindow.End)
	}
	if c.Context != nil && c.Context.Session != nil && !c.Context.Session.ExpiresAt.IsZero() {
		sooner(c.Context.Session.ExpiresAt.Time())
	}
	return at, ok
}

// Agent says which agent holds the authority and who answers for it.
type Agent struct {
	ID       string `json:"id"`       // 1 to 128 characters
	Type     string `json:"type"`     // 1 to 64 characters, free text
	Operator string `json:"operator"` // 1 to 256 characters, the tenant key

	Name                 string         `json:"name,omitempty"`
	Version              string         `json:"version,omitempty"`
	Model                Model          `json:"model,omitzero"`
	Runtime              *AgentRuntime  `json:"runtime,omitempty"`
	CapabilitiesVerified bool           `json:"capabilities_verified,omitempty"`
	Certification        *Certification `json:"certification,omitempty"`
}

// AgentRuntime says where the agent runs and whether that was attested.
type AgentRuntime struct {
	Environment string `json:"environment,omitempty"`
	Attested    bool   `json:"attested"`
}

// Certification is informational.
type Certification struct {
	Authority string    `json:"authority,omitempty"`
	Level     string    `json:"level,omitempty"`
	Expires   Timestamp `json:"expires,omitzero"`
}

// Task says what the agent is doing. Times are seconds since the epoch; zero
// means absent.
type Task struct {
	ID      string `json:"id"`      // 1 to 128 characters
	Purpose string `json:"purpose"` // 1 to 256 characters

	CreatedBy       string         `json:"created_by,omitempty"`
	CreatedAt       int64          `json:"created_at,omitempty"`
	ExpiresAt       int64          `json:"expires_at,omitempty"`
	Priority        string         `json:"priority,omitempty"` // low, medium, high, critical
	Category        string         `json:"category,omitempty"`
	Topic           string         `json:"topic,omitempty"`
	DataSensitivity string         `json:"data_sensitivity,omitempty"`
	Metadata        map[string]any `json:"metadata,omitempty"`
}

// Capability is one thing the agent may do. Capabilities with the same action
// are alternatives; the constraints inside one hold together.
type Capability struct {
	Action      Action         `json:"action"`
	Constraints Constraints    `json:"constraints,omitzero"`
	Description string         `json:"description,omitempty"`
	Resources   []string       `json:"resources,omitempty"`
	Conditions  map[string]any `json:"conditions,omitempty"` // no rule is defined: whoever sees any refuses
}

// Delegation says how far the authority has travelled from its origin.
type Delegation struct {
	Depth     int      `json:"depth"`     // 0 to 10; 0 is the original token
	MaxDepth  int      `json:"max_depth"` // 0 to 10; 0 may not be delegated
	Chain     []string `json:"chain"`     // origin first, current holder last; Depth+1 entries
	ParentJTI string   `json:"parent_jti,omitempty"`

	PrivilegeReduction *PrivilegeReduction `json:"privilege_reduction,omitempty"`
	IssuedAtDepth      map[int]int64       `json:"issued_at_depth,omitempty"` // depth to seconds since the epoch
}

// PrivilegeReduction describes what a derived token lost against its parent.
type PrivilegeReduction struct {
	CapabilitiesRemoved []Action `json:"capabilities_removed"`
	ConstraintsAdded    []string `json:"constraints_added"`   // names of constraints the parent did not have
	LifetimeReducedBy   int64    `json:"lifetime_reduced_by"` // seconds
}

// Context is where and when the authority holds. The draft and its schema
// describe different objects; this is their union.
type Context struct {
	NetworkZone    string      `json:"network_zone,omitempty"`
	TimeWindow     *TimeWindow `json:"time_window,omitempty"`
	GeoRestriction string      `json:"geo_restriction,omitempty"`

	Environment string          `json:"environment,omitempty"` // production, staging, development, testing
	Location    *Location       `json:"location,omitempty"`
	Runtime     *ContextRuntime `json:"runtime,omitempty"`
	Session     *Session        `json:"session,omitempty"`
	Correlation *Correlation    `json:"correlation,omitempty"`
}

// Location is where the agent runs. Region is an ISO 3166-1 alpha-2 code.
type Location struct {
	Region     string `json:"region,omitempty"`
	Datacenter string `json:"datacenter,omitempty"`
	IPAddress  string `json:"ip_address,omitempty"`
}

// ContextRuntime is informational.
type ContextRuntime struct {
	Platform   string `json:"platform,omitempty"`
	InstanceID string `json:"instance_id,omitempty"`
	Version    string `json:"version,omitempty"`
}

// Session bounds the authority to a session of the issuing domain.
type Session struct {
	ID        string    `json:"id,omitempty"`
	StartedAt Timestamp `json:"started_at,omitzero"`
	ExpiresAt Timestamp `json:"expires_at,omitzero"`
}

// Correlation is informational.
type Correlation struct {
	RequestID       string `json:"request_id,omitempty"`
	ParentRequestID string `json:"parent_request_id,omitempty"`
}

// Audit says how use of the token is to be recorded.
type Audit struct {
	TraceID             string   `json:"trace_id,omitempty"`       // 1 to 256 characters
	TraceIDScope        string   `json:"trace_id_scope,omitempty"` // task, session, agent, domain
	SessionID           string   `json:"session_id,omitempty"`
	LogLevel            string   `json:"log_level,omitempty"`        // none, minimal, standard, full, debug
	RetentionPeriod     int64    `json:"retention_period,omitempty"` // days
	LogDestination      string   `json:"log_destination,omitempty"`
	ComplianceFramework []string `json:"compliance_framework,omitempty"`
	PIILogging          string   `json:"pii_logging,omitempty"` // prohibited, hashed, encrypted, allowed
	RequiredFields      []string `json:"required_fields,omitempty"`
	TamperEvident       bool     `json:"tamper_evident,omitempty"`
}

// WithTrace returns the claims with another trace identifier and scope.
func (c *Claims) WithTrace(id, scope string) *Claims {
	out, audit := *c, Audit{}
	if c.Audit != nil {
		audit = *c.Audit
	}
	audit.TraceID, audit.TraceIDScope = id, scope
	out.Audit = &audit
	return &out
}
