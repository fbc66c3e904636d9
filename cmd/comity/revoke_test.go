package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/broker/admin"
	"github.com/comity-auth/comity/trust"
)

func TestRevokeAtEveryWidth(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	o.run(t, 0, "apply", "-f", o.write(t, "trust.yaml", sampleTrust))
	for i, tc := range []struct {
		args []string
		kind trust.RevocationKind
	}{
		{[]string{"--jti", "4f2a"}, trust.RevokeToken},
		{[]string{"--jti", "4f2a", "--issuer", "https://as.acme.example"}, trust.RevokeToken},
		{[]string{"--subject", "acme/alice"}, trust.RevokeSubject},
		{[]string{"--agent", "agent-1"}, trust.RevokeAgent},
		{[]string{"--client", "acme-agent", "--comment", "stolen laptop"}, trust.RevokeClient},
		{[]string{"--operator", "org:acme"}, trust.RevokeOperator},
		{[]string{"--mapping", "acme-research"}, trust.RevokeMapping},
		{[]string{"--policy", "agents"}, trust.RevokePolicy},
		{[]string{"--peer", "acme", "--before", time.Now().Add(-time.Hour).Format(time.RFC3339)}, trust.RevokePeer},
		{[]string{"--peer-key", "0ZcO"}, trust.RevokePeerKey},
		{[]string{"--kid", "0ZcO"}, trust.RevokeKey},
		{[]string{"--all", "--comment", "the worst day"}, trust.RevokeAll},
	} {
		stdout, _ := o.run(t, 0, append([]string{"revoke", "--json"}, tc.args...)...)
		var got admin.Revoked
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || got.Kind != string(tc.kind) || got.Head != uint64(i)+1 {
			t.Errorf("%v: got %s (%v), want kind %s, number %d", tc.args, stdout, err, tc.kind, i+1)
		}
	}
	list, _, err := o.store.Revocations(t.Context(), 0, 100)
	if err != nil || len(list) != 12 || list[0].Handle == list[1].Handle || list[4].Comment != "stolen laptop" {
		t.Errorf("the store holds %+v, %v", list, err)
	}
}

func TestRevokeDryRun(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	stdout, stderr := o.run(t, 0, "revoke", "--client", "acme-agnet", "--dry-run")
	if !strings.Contains(stdout, "no: dry run") || !strings.Contains(stderr, "no client of that name is registered") {
		t.Errorf("stdout:\n%s\nstderr: %s", stdout, stderr)
	}
	if _, head, err := o.store.Revocations(t.Context(), 0, 1); err != nil || head != 0 {
		t.Errorf("the store is at revocation %d, %v, want none", head, err)
	}
	stdout, _ = o.run(t, 0, "revoke", "--client", "acme-agent", "--print-curl")
	if !strings.Contains(stdout, `'{"kind":"client","value":"acme-agent"}'`) || !strings.Contains(stdout, "/admin/v1/revocations") {
		t.Errorf("curl = %s", stdout)
	}
}

func TestRevokeWrongUsage(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	for name, args := range map[string][]string{
		"nothing named":            {},
		"two widths":               {"--client", "a", "--peer", "b"},
		"a width and all":          {"--client", "a", "--all", "--comment", "x"},
		"all without a comment":    {"--all"},
		"not all":                  {"--all=false"},
		"an empty value":           {"--client", ""},
		"an issuer of a client":    {"--client", "a", "--issuer", "https://as.acme.example"},
		"an instant that is none":  {"--client", "a", "--before", "yesterday"},
		"an argument without flag": {"acme-agent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if stdout, stderr := o.run(t, 2, append([]string{"revoke"}, args...)...); stdout != "" || stderr == "" {
				t.Errorf("stdout %q, stderr %q, want the mistake on stderr", stdout, stderr)
			}
		})
	}
	if _, head, err := o.store.Revocations(t.Context(), 0, 1); err != nil || head != 0 {
		t.Errorf("the store is at revocation %d, %v, want none", head, err)
	}
}

// RV-04: a store that fails is a failure of the command.
func TestRV04RevokeCommandFailsWithTheStore(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	if err := o.store.Close(); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr := o.run(t, 1, "revoke", "--client", "acme-agent"); stdout != "" || stderr == "" {
		t.Errorf("stdout %q, stderr %q, want the failure on stderr", stdout, stderr)
	}
}
