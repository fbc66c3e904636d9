// Package demo tells Comity's story with real parts: two trust domains as two
// brokers with their own keys, stores and listeners on loopback, an agent with
// its own key, and a guarded resource. Every step is a request over HTTP from
// outside the brokers, and every step checks what came back.
package demo

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Options are how the story is told.
type Options struct {
	// Out receives one line a step; nil for none.
	Out io.Writer
	// Store is a Postgres URL; empty for an embedded store a domain.
	Store string
	// Keep leaves the domains running after the story until the context ends.
	Keep bool
}

// Step is one line of the story.
type Step struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// Report is how the story went.
type Report struct {
	OK    bool   `json:"ok"`
	Steps []Step `json:"steps"`
}

// Run tells the story. The error is about what could not be set up; whether the
// story held is in the report.
func Run(ctx context.Context, o Options) (rep *Report, err error) {
	if o.Out == nil {
		o.Out = io.Discard
	}
	w, err := newWorld(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := w.close(); err == nil && cerr != nil {
			err = cerr
		}
	}()
	fmt.Fprintf(o.Out, "Two trust domains on loopback:\n  acme.example    %s\n  globex.example  %s\n  the archive, a resource of globex.example, at %s\n\n",
		w.acme.issuer, w.globex.issuer, w.archive.url)
	s := &story{world: w, report: Report{OK: true}}
	began := time.Now()
	for _, chapter := range s.chapters() {
		chapter(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	verdict := "Every step held"
	if !s.report.OK {
		verdict = "SOME STEPS DID NOT HOLD"
	}
	fmt.Fprintf(o.Out, "\n%s: %d steps in %s.\n", verdict, len(s.report.Steps), time.Since(began).Round(time.Millisecond))
	if o.Keep && s.report.OK {
		if err := w.keep(ctx); err != nil {
			return nil, err
		}
	}
	return &s.report, nil
}

// story gathers what one step leaves for the next.
type story struct {
	*world
	report Report

	home       answer // the agent's token at home
	crossed    answer // what it became in globex.example
	grant      answer // acme.example's grant for globex.example's broker
	homeTrace  string
	crossTrace string
}

// step runs one check and reports it: sent is what was asked, and got what came
// back, or what was wrong with it.
func (s *story) step(name string, check func() (sent, got string, err error)) {
	sent, got, err := check()
	st := Step{Name: name, OK: err == nil, Detail: sent + " -> " + got}
	mark := "ok  "
	if err != nil {
		mark, s.report.OK = "FAIL", false
		st.Detail = sent + " -> " + err.Error()
	}
	s.report.Steps = append(s.report.Steps, st)
	fmt.Fprintf(s.opts.Out, "%s %2d. %s\n         %s\n", mark, len(s.report.Steps), st.Name, st.Detail)
}

// want turns an answer that is not the expected one into an error.
func want(a answer, status int, code string) error {
	switch {
	case a.status != status:
		return fmt.Errorf("status %d, want %d: %s", a.status, status, a.said())
	case code != a.code:
		return fmt.Errorf("error %q, want %q", a.code, code)
	}
	return nil
}
