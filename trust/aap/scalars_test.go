package aap_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/trust/aap"
)

func TestTimesAreRFC3339(t *testing.T) {
	t.Parallel()
	read := func(s string) (*aap.TimeWindow, error) {
		var c aap.Constraints
		err := json.Unmarshal([]byte(`{"time_window": {"start": "`+s+`", "end": "2030-01-01T00:00:00Z"}}`), &c)
		return c.TimeWindow, err
	}
	want := time.Date(2025, 1, 1, 9, 0, 0, 0, time.UTC)
	for _, s := range []string{
		"2025-01-01T09:00:00Z", "2025-01-01T09:00:00.000000000Z", "2025-01-01T10:30:00+01:30", "2025-01-01T00:00:00-09:00",
		"2024-12-31T10:00:00.0-23:00",
	} {
		if w, err := read(s); err != nil || !w.Start.Equal(want) || w.Start.Location() != time.UTC {
			t.Errorf("%q reads %v, %v; want %v", s, w, err, want)
		}
	}
	for _, s := range []string{
		"", "2025-01-01", "2025-01-01 09:00:00Z", "2025-01-01T09:00:00", "2025-01-01t09:00:00z", "2025-01-01T9:00:00Z",
		"2025-01-01T09:00:00,5Z", "2025-01-01T09:00:00.Z", "2025-01-01T09:00:00.1234567890Z", "2025-01-01T09:00:00+24:00",
		"2025-01-01T09:00:00+01:60", "2025-01-01T09:00:00+0100", "2025-01-01T09:00:00+01", "2025-13-01T09:00:00Z",
		"2025-02-30T09:00:00Z", "2025-01-01T24:00:00Z", "2025-01-01T09:00:60Z", "2025-01-01T09:00:00Zx", "+2025-01-01T09:00:00Z",
		"0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z",
	} {
		if w, err := read(s); !errors.Is(err, aap.ErrConstraint) {
			t.Errorf("%q reads %v, %v; want ErrConstraint", s, w, err)
		}
	}
}

func TestTimestampKeepsItsForm(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	with := func(v string) (*aap.Claims, error) {
		patch := `{"context": {"session": {"expires_at": ` + v + `}}}`
		return aap.Parse(merge(payload(t, good), payload(t, patch)).(map[string]any), aap.Options{})
	}
	for _, form := range []string{`1735689600`, `"2025-01-01T00:00:00Z"`} {
		c, err := with(form)
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		s := c.Context.Session.ExpiresAt
		if !s.Time().Equal(at) || !s.Equal(aap.Seconds(at)) || marshal(t, s) != form {
			t.Errorf("%s reads %v and is written %s", form, s.Time(), marshal(t, s))
		}
	}
	for _, form := range []string{`"tomorrow"`, `1.5`, `0`, `true`, `{}`} {
		if _, err := with(form); !errors.Is(err, aap.ErrShape) {
			t.Errorf("%s: %v, want ErrShape", form, err)
		}
	}
}

func TestOrderedNames(t *testing.T) {
	t.Parallel()
	var c aap.Classification
	for _, s := range []string{"public", "internal", "confidential", "restricted"} {
		before := c
		if err := c.UnmarshalText([]byte(s)); err != nil || c <= before || c.String() != s {
			t.Errorf("%s reads %v, %v; want it above %v", s, c, err, before)
		}
	}
	var l aap.Level
	for _, s := range []string{"none", "notification", "approval", "supervised"} {
		before := l
		if err := l.UnmarshalText([]byte(s)); err != nil || l <= before || l.String() != s {
			t.Errorf("%s reads %v, %v; want it above %v", s, l, err, before)
		}
	}
	for _, s := range []string{"", "Public", "none ", "secret"} {
		if _, err := aap.ParseClassification(s); !errors.Is(err, aap.ErrConstraint) {
			t.Errorf("classification %q: %v, want ErrConstraint", s, err)
		}
		if _, err := aap.ParseLevel(s); !errors.Is(err, aap.ErrShape) {
			t.Errorf("level %q: %v, want ErrShape", s, err)
		}
	}
	if aap.Classification(9).String() != "" || aap.Level(0).String() != "" {
		t.Error("a value out of range has a name")
	}
}

func TestParseOversight(t *testing.T) {
	t.Parallel()
	o, err := aap.ParseOversight(payload(t, `{"level": "approval", "requires_human_approval_for": ["a", "a", "b"]}`))
	if err != nil || o.Level != aap.LevelApproval || len(o.RequiresHumanApprovalFor) != 2 {
		t.Errorf("ParseOversight = %+v, %v; want two actions", o, err)
	}
	for _, text := range []string{
		`{"level": 1}`, `{"level": ""}`, `{"requires_human_approval_for": "a"}`, `{"requires_human_approval_for": [1]}`,
		`{"notify_on": ["a."]}`, `{"approval_reference": "a\u0000"}`, `{"approval_timeout": 1.5}`,
	} {
		if o, err := aap.ParseOversight(payload(t, text)); !errors.Is(err, aap.ErrShape) || o != nil {
			t.Errorf("%s: %+v, %v; want ErrShape", text, o, err)
		}
	}
}

func TestListsAreBounded(t *testing.T) {
	t.Parallel()
	list := func(n int) string {
		return `{"domains_blocked": [` + strings.TrimSuffix(strings.Repeat(`"a.org",`, n), ",") + `]}`
	}
	if c := constraints(t, list(256)); len(c.DomainsBlocked) != 256 {
		t.Errorf("256 entries read %d", len(c.DomainsBlocked))
	}
	var c aap.Constraints
	if err := json.Unmarshal([]byte(list(257)), &c); !errors.Is(err, aap.ErrConstraint) {
		t.Errorf("257 entries: %v, want ErrConstraint", err)
	}
}

func TestNamesOfConstraints(t *testing.T) {
	t.Parallel()
	c := parse(t, good).Capabilities[0].Constraints
	if got := len(c.Names()); got != 15 {
		t.Errorf("%d names, want all 15: %v", got, c.Names())
	}
	if !c.HasRate() || constraints(t, `{"max_request_size": 1}`).HasRate() {
		t.Error("X06 HasRate does not tell counters from sizes")
	}
}

func TestModelForms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, claim, want string
		err               error
	}{
		{"4.3 a string is kept", `"maker-large"`, `"maker-large"`, nil},
		{"4.3 an object becomes a string", `{"provider": "maker", "id": "large"}`, `"maker/large"`, nil},
		{"an object may hold more", `{"id": "large", "weights": "open"}`, `"large"`, nil},
		{"an object without id", `{"provider": "maker", "id": null}`, ``, aap.ErrShape},
		{"an empty string", `""`, ``, aap.ErrLength},
		{"a number", `7`, ``, aap.ErrShape},
	} {
		m := payload(t, good)
		m["agent"].(map[string]any)["model"] = payload(t, `{"m": `+tt.claim+`}`)["m"]
		if o, ok := m["agent"].(map[string]any)["model"].(map[string]any); ok && o["id"] == nil {
			delete(o, "id")
		}
		c, err := aap.Parse(m, aap.Options{})
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
		}
		if err == nil && marshal(t, c.Agent.Model) != tt.want {
			t.Errorf("%s: written %s, want %s", tt.name, marshal(t, c.Agent.Model), tt.want)
		}
	}
}
