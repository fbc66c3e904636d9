package demo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/comity-auth/comity/cmd/comity/demo"
	"github.com/comity-auth/comity/fixtures/pg"
)

// held fails the test unless the whole story held, step by step.
func held(t *testing.T, report *demo.Report, out string) {
	t.Helper()
	if !report.OK || len(report.Steps) < 18 {
		t.Errorf("got ok %v and %d steps, want all of the story:\n%s", report.OK, len(report.Steps), out)
	}
	for _, s := range report.Steps {
		if !s.OK || s.Name == "" || s.Detail == "" {
			t.Errorf("step %+v did not hold, or does not say what it did", s)
		}
		if !strings.Contains(out, s.Name) {
			t.Errorf("the step %q is not printed", s.Name)
		}
	}
}

// tell tells the story with a temporary folder that nobody else uses, and wants
// that folder empty afterwards. Not parallel: TMPDIR is the process's.
func tell(t *testing.T, o demo.Options) {
	t.Helper()
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	var out bytes.Buffer
	o.Out = &out
	began := time.Now()
	report, err := demo.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	held(t, report, out.String())
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the story took %s, want 5 s at most", took)
	}
	left, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("the story left %s behind", e.Name())
	}
}

func TestStoryOnTheEmbeddedStore(t *testing.T) { tell(t, demo.Options{}) }

func TestStoryOnPostgres(t *testing.T) {
	dsn := pg.New(t)
	tell(t, demo.Options{Store: dsn})
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var schemas []string
	err = conn.QueryRow(t.Context(), `SELECT coalesce(array_agg(nspname::text), '{}') FROM pg_namespace
		WHERE nspname NOT LIKE 'pg\_%' AND nspname NOT IN ('public', 'information_schema')`).Scan(&schemas)
	if err != nil || len(schemas) > 0 {
		t.Errorf("the story left the schemas %v behind (%v)", schemas, err)
	}
	var tables int
	err = conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`).Scan(&tables)
	if err != nil || tables > 0 {
		t.Errorf("the story left %d tables behind (%v)", tables, err)
	}
}

// A store that cannot be reached is an error and leaves nothing behind.
func TestStoryWithoutItsStore(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	report, err := demo.Run(t.Context(), demo.Options{Store: "postgres://nobody@127.0.0.1:1/none?sslmode=disable"})
	if err == nil || report != nil {
		t.Errorf("Run = %v, %v, want an error and no report", report, err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("the story left %v behind (%v)", left, err)
	}
}

// The report is what scripts read: these names are promises.
func TestReportAsJSON(t *testing.T) {
	report, err := demo.Run(t.Context(), demo.Options{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var shape struct {
		OK    *bool `json:"ok"`
		Steps []struct {
			Name   *string `json:"name"`
			OK     *bool   `json:"ok"`
			Detail *string `json:"detail"`
		} `json:"steps"`
	}
	if err := dec.Decode(&shape); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if shape.OK == nil || !*shape.OK || len(shape.Steps) == 0 {
		t.Fatalf("got %s, want ok and steps", text)
	}
	for i, s := range shape.Steps {
		if s.Name == nil || s.OK == nil || s.Detail == nil {
			t.Errorf("step %d lacks a member: %s", i, text)
		}
	}
	if strings.Contains(string(text), "eyJ") {
		t.Error("the report holds a token")
	}
}

// screen gathers what is printed while it is printed.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// What --keep prints can be pasted into a shell.
func TestKeptStoryCanBeTriedByHand(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out screen
	ended := make(chan error, 1)
	go func() {
		report, err := demo.Run(ctx, demo.Options{Out: &out, Keep: true})
		if err == nil && !report.OK {
			err = fmt.Errorf("the story did not hold")
		}
		ended <- err
	}()
	lines := kept(t, &out, ended)
	script := strings.Join(lines, "\n")
	got, err := exec.CommandContext(t.Context(), "sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, got, script)
	}
	var body struct {
		Token string `json:"access_token"`
		Kind  string `json:"issued_token_type"`
	}
	if err := json.Unmarshal(got, &body); err != nil || body.Token == "" || body.Kind == "" {
		t.Errorf("got %s, want a token", got)
	}
	metrics := regexp.MustCompile(`http://\S+/metrics`).FindString(out.String())
	if got, err := exec.CommandContext(t.Context(), "curl", "-sf", metrics).Output(); err != nil || !bytes.Contains(got, []byte("aap_as_token_exchange_total")) {
		t.Errorf("%s: %v, want metrics", metrics, err)
	}
	admin := regexp.MustCompile(`admin of globex.example: (\S+) with the credential in (\S+)`).FindStringSubmatch(out.String())
	if admin == nil {
		t.Fatal("where the admin API is was not printed")
	}
	list := `curl -sf -H "Authorization: Bearer $(cat ` + admin[2] + `)" ` + admin[1] + `/admin/v1/registry`
	if got, err := exec.CommandContext(t.Context(), "sh", "-ec", list).Output(); err != nil || !bytes.Contains(got, []byte("acme-research")) {
		t.Errorf("%s: %v, want the registry", list, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v after the interrupt, want nil", err)
	}
}

// kept waits until the story invites to try, and returns the lines to paste.
func kept(t *testing.T, out *screen, ended <-chan error) (lines []string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for !strings.Contains(out.String(), "Interrupt to stop") {
		select {
		case err := <-ended:
			t.Fatalf("the story ended: %v\n%s", err, out)
		case <-limit:
			t.Fatalf("no invitation in:\n%s", out)
		case <-tick.C:
		}
	}
	for line := range strings.Lines(out.String()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "TOKEN=") || strings.HasPrefix(line, "curl ") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 2 {
		t.Fatalf("got %d lines to paste, want 2:\n%s", len(lines), out)
	}
	return lines
}
