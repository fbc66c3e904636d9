package trust_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/comity-auth/comity/fixtures/spiffe"
	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/ident"
)

// workloads is a registry with a trust domain and a platform that vouch, and a
// client of each.
func workloads(t testing.TB, d *spiffe.Domain) string {
	t.Helper()
	keys, err := json.Marshal(d.Keys(t))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
peers:
  - {name: mesh, domain: acme.example, kind: spiffe, grants: [token-exchange, client-authentication], bundle: {keys: %[1]s}, expires: 2027-11-21T00:00:00Z}
  - {name: cluster, domain: acme.example, issuer: "https://k8s.acme.example", grants: [client-authentication], expires: 2027-11-21T00:00:00Z}
  - {name: plain, domain: acme.example, issuer: "https://as.acme.example", expires: 2027-11-21T00:00:00Z}
clients:
  - {id: svid, auth: federated, federated: {peer: mesh, subject: "spiffe://acme.example/agent"}, expires: 2027-11-21T00:00:00Z}
  - {id: cert, auth: federated, federated: {peer: mesh, subject: "spiffe://acme.example/cert", credential: certificate}, expires: 2027-11-21T00:00:00Z}
  - {id: pod, auth: federated, federated: {peer: cluster, subject: "system:serviceaccount:agents:search"}, expires: 2027-11-21T00:00:00Z}
`, keys)
}

const (
	meshKind    = "kind: spiffe, "
	svidClient  = `federated: {peer: mesh, subject: "spiffe://acme.example/agent"}`
	podClient   = `federated: {peer: cluster, subject: "system:serviceaccount:agents:search"}`
	onlyForOIDC = "only for kind: oidc"
)

func TestTrustDomainsAndWorkloads(t *testing.T) {
	t.Parallel()
	s := compile(t, workloads(t, spiffe.New(t, "acme.example")))
	mesh := s.Peer("mesh")
	if !mesh.SPIFFE || !mesh.Foreign || mesh.Discovery != "static" || len(mesh.JWKS) == 0 || len(mesh.Algorithms) != 9 ||
		!slices.Equal(mesh.TokenTypes, []ident.TokenType{ident.JWT}) || !mesh.VouchesForClients() || s.Peer("plain").VouchesForClients() {
		t.Errorf("got peer %+v", mesh)
	}
	for _, tt := range []struct {
		name, iss, domain string
		want              *trust.Peer
	}{
		{"by its trust domain", "", "acme.example", mesh},
		{"by the issuer that nobody has and its trust domain", "https://oidc.acme.example", "acme.example", mesh},
		{"a registered issuer counts first", "https://as.acme.example", "acme.example", s.Peer("plain")},
		{"the trust domain's ID is its issuer", "spiffe://acme.example", "", mesh},
		{"nobody of another domain", "", "initech.example", nil},
		{"nobody of no domain", "", "", nil},
		{"nobody of a domain by an unknown issuer alone", "https://oidc.acme.example", "", nil},
	} {
		if got := s.PeerOf(tt.iss, tt.domain); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if s.PeerByTrustDomain("") != nil || s.PeerByTrustDomain("initech.example") != nil {
		t.Error("a trust domain that nobody registered is found")
	}
	pod := s.FederatedClient("cluster", "system:serviceaccount:agents:search")
	if pod == nil || pod != s.Client("pod") || pod.ByCertificate() || !s.Client("cert").ByCertificate() {
		t.Errorf("got client %+v", pod)
	}
	for _, who := range [][2]string{{"mesh", "system:serviceaccount:agents:search"}, {"cluster", "system:serviceaccount:agents:Search"}, {"cluster", ""}, {"", ""}} {
		if c := s.FederatedClient(who[0], who[1]); c != nil {
			t.Errorf("%v is client %s, want nobody", who, c.ID)
		}
	}
}

func TestTrustDomainRules(t *testing.T) {
	t.Parallel()
	d := spiffe.New(t, "acme.example")
	text := workloads(t, d)
	all, err := json.Marshal(d.Keys(t))
	if err != nil {
		t.Fatal(err)
	}
	static := "bundle: {keys: " + string(all) + "}"
	jwtOnly := slices.DeleteFunc(d.Keys(t), func(k map[string]any) bool { return k["use"] != "jwt-svid" })
	keys := func(change func(map[string]any)) string {
		list := slices.Clone(jwtOnly)
		change(list[0])
		out, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		jwtOnly = slices.DeleteFunc(d.Keys(t), func(k map[string]any) bool { return k["use"] != "jwt-svid" })
		return "bundle: {keys: " + string(out) + "}"
	}
	const endpoint = "bundle: {endpoint: https://spire.acme.example/bundle"
	for _, row := range []struct{ name, from, to, path, words string }{
		{"requires a bundle", static, "single_use: false", "peers[0].bundle", "missing"},
		{"requires an endpoint or keys", static, "bundle: {}", "peers[0].bundle", "needs an endpoint or keys"},
		{"refuses an empty list of keys", static, "bundle: {keys: []}", "peers[0].bundle", "needs an endpoint or keys"},
		{"refuses an issuer", meshKind, meshKind + "issuer: https://x.example, ", "peers[0].issuer", onlyForOIDC},
		{"refuses discovery", meshKind, meshKind + "discovery: auto, ", "peers[0].discovery", onlyForOIDC},
		{"refuses jwks_uri", meshKind, meshKind + "jwks_uri: https://x.example/k, ", "peers[0].jwks_uri", onlyForOIDC},
		{"refuses jwks", meshKind, meshKind + "jwks: {keys: []}, ", "peers[0].jwks", onlyForOIDC},
		{"refuses jwks_hosts", meshKind, meshKind + "jwks_hosts: [x.example], ", "peers[0].jwks_hosts", onlyForOIDC},
		{"refuses pins, which certificates would pass by", meshKind, meshKind + "pins: [gZQ1BdfqEJ95LmFZ8KjhHmuPxDBkFKFmfqlbsXP-9Dc], ", "peers[0].pins", onlyForOIDC},
		{"refuses EdDSA", meshKind, meshKind + "algorithms: [ES256, EdDSA], ", "peers[0].algorithms[1]", "want one of"},
		{"refuses access tokens", meshKind, meshKind + "token_types: [jwt, access_token], ", "peers[0].token_types[1]", "presented as jwt"},
		{"refuses grants that no SVID is", "grants: [token-exchange, client-authentication]", "grants: [jwt-bearer, client-authentication]", "peers[0].grants[0]", "want one of"},
		{"refuses a domain registered twice", "kind: spiffe,", "kind: spiffe, " + static + ", expires: 2027-11-21T00:00:00Z}\n  - {name: again, domain: acme.example, kind: spiffe,", "peers[1].domain", "for peer mesh"},
		{"refuses a bundle of another kind", "name: plain,", "name: plain, " + static + ",", "peers[2].bundle", "only for kind: spiffe"},
		{"refuses http", static, "bundle: {endpoint: http://spire.acme.example/bundle}", "peers[0].bundle.endpoint", "want an https URI"},
		{"refuses an unknown profile", static, endpoint + ", profile: web}", "peers[0].bundle.profile", "want one of"},
		{"refuses a profile without an endpoint", static, "bundle: {profile: https_web, keys: " + string(all) + "}", "peers[0].bundle.endpoint", "missing"},
		{"refuses keys beside https_web, which would not count", static, endpoint + ", keys: " + string(all) + "}", "peers[0].bundle.keys", "only for"},
		{"refuses an endpoint's ID beside https_web", static, endpoint + ", endpoint_id: spiffe://acme.example/s}", "peers[0].bundle.endpoint_id", "only for"},
		{"requires the ID of an https_spiffe endpoint", static, endpoint + ", profile: https_spiffe, keys: " + string(all) + "}", "peers[0].bundle.endpoint_id", "want the endpoint's"},
		{"refuses an endpoint of another domain", static, endpoint + ", profile: https_spiffe, endpoint_id: spiffe://initech.example/s, keys: " + string(all) + "}", "peers[0].bundle.endpoint_id", "of the domain itself"},
		{"requires an authority for https_spiffe", static, endpoint + ", profile: https_spiffe, endpoint_id: spiffe://acme.example/s}", "peers[0].bundle.keys", "x509-svid"},
		{"refuses a key without use", static, keys(func(k map[string]any) { delete(k, "use") }), "peers[0].bundle.keys[0]", "want use"},
		{"refuses a key of another use", static, keys(func(k map[string]any) { k["use"] = "sig" }), "peers[0].bundle.keys[0]", "want use"},
		{"refuses a key for JWT-SVIDs without kid", static, keys(func(k map[string]any) { delete(k, "kid") }), "peers[0].bundle.keys[0]", "needs a kid"},
		{"refuses an authority without certificate", static, keys(func(k map[string]any) { k["use"] = "x509-svid" }), "peers[0].bundle.keys[0]", "one certificate"},
		{"refuses private keys", static, keys(func(k map[string]any) { k["d"] = "AAAA" }), "peers[0].bundle.keys[0]", "private"},

		{"refuses a peer that is not registered", "peer: cluster", "peer: ghost", "clients[2].federated.peer", "no peer"},
		{"refuses this broker", "peer: cluster", "peer: self", "clients[2].federated.peer", "does not vouch"},
		{"refuses a peer that does not vouch", "peer: cluster", "peer: plain", "clients[2].federated.peer", "grants lack client-authentication"},
		{"refuses a subject that is no SPIFFE ID", svidClient, "federated: {peer: mesh, subject: agent}", "clients[0].federated.subject", "SPIFFE ID of acme.example"},
		{"refuses a subject of another domain", svidClient, "federated: {peer: mesh, subject: 'spiffe://initech.example/agent'}", "clients[0].federated.subject", "SPIFFE ID of acme.example"},
		{"refuses the domain itself", svidClient, "federated: {peer: mesh, subject: 'spiffe://acme.example'}", "clients[0].federated.subject", "SPIFFE ID of acme.example"},
		{"requires a subject", podClient, "federated: {peer: cluster}", "clients[2].federated.subject", "exact sub"},
		{"refuses a workload registered twice", svidClient, `federated: {peer: mesh, subject: "spiffe://acme.example/cert"}`, "clients[1].federated.subject", "is client svid already"},
		{"refuses a certificate of a platform", podClient, podClient[:len(podClient)-1] + ", credential: certificate}", "clients[2].federated.credential", "only for a peer of kind: spiffe"},
		{"refuses an unknown credential", podClient, podClient[:len(podClient)-1] + ", credential: any}", "clients[2].federated.credential", "want one of"},
		{"refuses keys beside a workload", podClient, podClient + ", jwks_uri: https://x.example/k", "clients[2].jwks", "only for"},
		{"refuses a workload without auth: federated", "id: pod, auth: federated", "id: pod, auth: none", "clients[2].federated", "only for auth: federated"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wantProblem(t, edit(t, text, row.from, row.to), row.path, row.words)
		})
	}
	for name, bundle := range map[string]string{
		"https_web":    endpoint + "}",
		"https_spiffe": endpoint + ", profile: https_spiffe, endpoint_id: spiffe://acme.example/spire/server, keys: " + string(all) + "}",
	} {
		p := compile(t, edit(t, text, static, bundle)).Peer("mesh")
		if p.Discovery != "bundle" || p.JWKSURI != "https://spire.acme.example/bundle" || (p.EndpointID != "") != (name == "https_spiffe") || (p.JWKS != nil) != (name == "https_spiffe") {
			t.Errorf("%s: got %+v", name, p)
		}
	}
}

// Two clients that are one workload, and two peers that are one trust domain,
// are nobody: an object of its own can be put without its neighbours.
func TestWorkloadsAreUnique(t *testing.T) {
	t.Parallel()
	d := spiffe.New(t, "acme.example")
	f := parse(t, workloads(t, d))
	c := newCompiler(t)
	st := stateOf(t, f, 1)
	first, err := c.Compile(nil, st)
	if err != nil {
		t.Fatal(err)
	}
	again := f.Clients[0]
	again.ID = "twin"
	twin, err := (&trust.File{Clients: []trust.ClientSpec{again}}).Objects()
	if err != nil {
		t.Fatal(err)
	}
	both, err := c.Compile(first, trust.State{Since: 1, Revision: 2, Objects: twin})
	if err != nil || both.FederatedClient("mesh", "spiffe://acme.example/agent") != nil || len(both.Faulty()) != 2 {
		t.Errorf("two clients: got %v, faulty %v", err, both.Faulty())
	}
	left, err := c.Compile(both, trust.State{Since: 2, Revision: 3, Removed: []trust.Key{{Kind: trust.KindClient, Name: "svid"}}})
	if err != nil || left.FederatedClient("mesh", "spiffe://acme.example/agent") != left.Client("twin") || left.Client("twin") == nil || len(left.Faulty()) != 0 {
		t.Errorf("one left: got %v, faulty %v", err, left.Faulty())
	}
	if first.FederatedClient("mesh", "spiffe://acme.example/agent") != first.Client("svid") {
		t.Error("an older snapshot changed")
	}
	peer := f.Peers[0]
	peer.Name = "mesh-2"
	second, err := (&trust.File{Peers: []trust.PeerSpec{peer}}).Objects()
	if err != nil {
		t.Fatal(err)
	}
	if both, err = c.Compile(first, trust.State{Since: 1, Revision: 2, Objects: second}); err != nil || both.PeerByTrustDomain("acme.example") != nil || len(both.Faulty()) != 2 {
		t.Errorf("two peers: got %v, faulty %v", err, both.Faulty())
	}
}

// What is exported is what was applied, and a change of it is told by field.
func TestTrustDomainRoundTrip(t *testing.T) {
	t.Parallel()
	d := spiffe.New(t, "acme.example")
	f := parse(t, workloads(t, d))
	st := stateOf(t, f, 1)
	back := parse(t, string(roundTrip(t, newCompiler(t), f)))
	back.Clients[0].Federated.Credential = "certificate"
	back.Peers[0].Bundle.Endpoint = "https://spire.acme.example/bundle"
	_, diffs, err := trust.Plan(st, back)
	if err != nil || len(diffs) != 2 || diffs[0].Fields[0].Path != "bundle.endpoint" || diffs[1].Fields[0].Path != "federated.credential" {
		t.Errorf("Plan = %+v, %v", diffs, err)
	}
}
