package trust_test

import (
	"strings"
	"testing"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/audit"
)

type auditCheck = audit.Check

func TestProofOfPossession(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, client, peer string
		lines              []string
		dpop, certificate  bool
		want               error
	}{
		{"accepts a proof across domains", "lax", "acme", nil, true, false, nil},
		{"refuses none across domains by default", "lax", "acme", nil, false, false, trust.ErrProof},
		{"accepts a certificate where any proof will do", "lax", "acme", nil, false, true, nil},
		{"accepts none across domains when mapping and client say so", "lax", "acme", []string{"proof: optional"}, false, false, nil},
		{"refuses none when the client wants one by default", "acme-agent", "acme", []string{"proof: optional"}, false, false, trust.ErrProof},
		{"refuses none when the mapping wants one", "lax", "branch", []string{"proof: required"}, false, false, trust.ErrProof},
		{"accepts none inside the domain", "lax", "branch", nil, false, false, nil},
		{"refuses none inside the domain to a client that wants one", "acme-agent", "branch", nil, false, false, trust.ErrProof},
		{"refuses none when the mapping wants dpop", "lax", "branch", []string{"proof: dpop"}, false, false, trust.ErrProof},
		{"refuses a certificate when the mapping wants dpop", "acme-agent", "acme", []string{"proof: dpop"}, false, true, trust.ErrProof},
		{"refuses a certificate when the client wants dpop", "strict", "acme", []string{"proof: optional"}, false, true, trust.ErrProof},
		{"accepts dpop when the client wants it", "strict", "acme", []string{"proof: optional"}, true, false, nil},
		{"refuses dpop when the mapping wants a certificate", "lax", "acme", []string{"proof: mtls"}, true, false, trust.ErrCertificate},
		{"accepts a certificate when the mapping wants one", "lax", "acme", []string{"proof: mtls"}, false, true, nil},
		{"refuses a certificate alone when both are wanted", "lax", "acme", []string{"proof: both"}, false, true, trust.ErrProof},
		{"refuses dpop alone when both are wanted", "lax", "acme", []string{"proof: both"}, true, false, trust.ErrCertificate},
		{"accepts both when both are wanted", "lax", "acme", []string{"proof: both"}, true, true, nil},
		{"wants both when mapping and client want one each", "strict", "acme", []string{"proof: mtls"}, true, false, trust.ErrCertificate},
		{"accepts both when mapping and client want one each", "strict", "acme", []string{"proof: mtls"}, true, true, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, strings.Replace(research(append([]string{reads}, row.lines...)...), "peer: acme\n", "peer: "+row.peer+"\n", 1))
			_, _, err := decide(t, s, ask(t, s, scoped("archive.read"), as(s, row.client, row.peer), func(a *trust.Ask) {
				a.DPoP, a.Certificate = row.dpop, row.certificate
			}))
			wantErr(t, err, row.want)
		})
	}
}
