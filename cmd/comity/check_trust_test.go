package main

import (
	"slices"
	"testing"
	"time"

	"github.com/comity-auth/comity/trust"
)

func TestEndings(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) trust.Time { return trust.Time{Time: now.Add(d)} }
	got := endings(&trust.File{
		Peers: []trust.PeerSpec{
			{Name: "ends-now", Expires: at(0)},
			{Name: "ended-but-suspended", Expires: at(-time.Hour), Status: "suspended"},
			{Name: "ends-late", Expires: at(endsSoon)},
			{Name: "ends-soon", Expires: at(endsSoon - time.Second), Status: "active"},
		},
		Clients: []trust.ClientSpec{{ID: "ended", Expires: at(-time.Hour)}},
	}, now)
	want := []string{
		`peer "ends-now" expired at 2026-11-25T12:00:00Z: its requests are refused`,
		`peer "ends-soon" expires at 2026-12-25T11:59:59Z, in 29 days`,
		`client "ended" expired at 2026-11-25T11:00:00Z: its requests are refused`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("endings() = %q, want %q", got, want)
	}
}
