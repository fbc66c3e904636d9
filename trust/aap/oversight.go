package aap

import (
	"slices"
)

// Oversight says what a human must see or allow. It states intent; the
// resource server enforces it.
type Oversight struct {
	Level                    Level    `json:"level,omitzero"`
	RequiresHumanApprovalFor []Action `json:"requires_human_approval_for,omitempty"`
	ApprovalReference        string   `json:"approval_reference,omitempty"`
	NotifyOn                 []Action `json:"notify_on,omitempty"`
	NotificationEndpoint     string   `json:"notification_endpoint,omitempty"`
	Supervisor               string   `json:"supervisor,omitempty"`
	ApprovalTimeout          int64    `json:"approval_timeout,omitempty"` // seconds
}

// Requires reports whether the action must not be completed without a human.
func (o *Oversight) Requires(a Action) bool {
	return o != nil && slices.Contains(o.RequiresHumanApprovalFor, a)
}

// Notifies reports whether overseers are to be told of the action.
func (o *Oversight) Notifies(a Action) bool {
	return o != nil && slices.Contains(o.NotifyOn, a)
}

// MergeOversight is the stricter of two in every respect: the lists are united
// and so never shrink, the level is the higher, the time to approve the
// shorter. Of texts that can be only one, local's wins where it has one.
// Either may be nil; the result shares nothing that could be written to.
func MergeOversight(token, local *Oversight) *Oversight {
	if token == nil && local == nil {
		return nil
	}
	var a, b Oversight
	if token != nil {
		a = *token
	}
	if local != nil {
		b = *local
	}
	return &Oversight{
		Level:                    max(a.Level, b.Level),
		RequiresHumanApprovalFor: unite(a.RequiresHumanApprovalFor, b.RequiresHumanApprovalFor),
		ApprovalReference:        either(b.ApprovalReference, a.ApprovalReference),
		NotifyOn:                 unite(a.NotifyOn, b.NotifyOn),
		NotificationEndpoint:     either(b.NotificationEndpoint, a.NotificationEndpoint),
		Supervisor:               either(b.Supervisor, a.Supervisor),
		ApprovalTimeout:          lower(a.ApprovalTimeout, b.ApprovalTimeout),
	}
}

// unite keeps the order of first mention and drops repetitions.
func unite[T comparable](a, b []T) []T {
	out := make([]T, 0, len(a)+len(b))
	for _, v := range slices.Concat(a, b) {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func either(first, second string) string {
	if first != "" {
		return first
	}
	return second
}

// lower is the smaller of two limits, of which zero is none.
func lower(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
