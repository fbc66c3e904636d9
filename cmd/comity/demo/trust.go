package demo

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

func (a *agent) jwks(d *domain) string {
	text, err := json.Marshal(a.login[d.issuer].JWKS())
	if err != nil {
		panic(err) // public keys always have a JSON form
	}
	return string(text)
}

func (w *world) secretHash(name string) string {
	sum := sha256.Sum256([]byte(w.secrets[name]))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// acmeTrust is what acme.example believes: its own agents may hold tokens for
// globex's broker, for its own printer and for its own broker, which gives its
// agent a grant for globex's in return.
func (w *world) acmeTrust() string {
	return fmt.Sprintf(`peers:
  - name: globex
    domain: globex.example
    issuer: %[1]s
    expires: 2099-01-01T00:00:00Z
resources:
  - audience: %[1]s
    name: The broker of globex.example
    actions: [search.web, docs.read, docs.delete]
    peer: globex
  - audience: %[2]s
    name: Printer
    actions: [printer.print]
  - audience: %[5]s
    name: The broker of acme.example
    actions: [search.web]
clients:
  - id: acme-agent
    auth: private_key_jwt
    jwks: %[3]s
    grants: [client_credentials, token-exchange]
    operator: org:acme
    agent: {id: acme-agent-1, type: llm-autonomous}
    known_as: {globex: acme-agent}
    expires: 2099-01-01T00:00:00Z
  - id: acme-orchestrator
    auth: private_key_jwt
    jwks: %[6]s
    grants: [client_credentials]
    operator: org:acme
    agent: {id: acme-orchestrator-1, type: llm-autonomous}
    expires: 2099-01-01T00:00:00Z
  - id: acme-helper
    auth: private_key_jwt
    jwks: %[7]s
    grants: [client_credentials]
    operator: org:acme
    agent: {id: acme-helper-1, type: llm-autonomous}
    proof: optional
    expires: 2099-01-01T00:00:00Z
  - id: acme-script
    auth: client_secret_basic
    secret_hash: %[4]s
    grants: [client_credentials]
    operator: org:acme
    agent: {id: acme-script-1, type: software}
    proof: optional
    expires: 2099-01-01T00:00:00Z
policies:
  - name: acme-agents
    operator: org:acme
    resources: [%[1]q, %[2]q, %[5]q]
    capabilities:
      - {action: search.web, constraints: {max_requests_per_hour: 100}}
      - docs.read
      - docs.delete
      - printer.print
    oversight: {level: approval, requires_human_approval_for: [docs.delete], approval_reference: %[8]q}
    ttl: 600s
    max_depth: 2
mappings:
  - name: globex-grants
    peer: self
    clients: [acme-agent]
    resources: [%[1]q]
    capabilities: [search.web]
    max_depth: 2
`, w.globex.issuer, printer, w.agent.jwks(w.acme), w.secretHash("acme"), w.acme.issuer,
		w.orchestrator.jwks(w.acme), w.helper.jwks(w.acme), approvals)
}

// globexTrust is what globex.example believes: what acme calls a web search is
// a search of the archive here, no more than 3 times a minute and 50 an hour, and
// not of trackers; and acme's orchestrator may act for acme's other agents, 20
// times an hour.
func (w *world) globexTrust() string {
	return fmt.Sprintf(`peers:
  - name: acme
    domain: acme.example
    issuer: %[1]s
    algorithms: [ES256]
    grants: [token-exchange, jwt-bearer]
    expires: 2099-01-01T00:00:00Z
resources:
  - audience: %[2]s
    name: Archive
    actions: [archive.search, archive.fetch, archive.delete]
clients:
  - id: acme-agent
    auth: private_key_jwt
    jwks: %[3]s
    grants: [token-exchange, jwt-bearer]
    operator: org:acme
    agent: {id: acme-agent-1, type: llm-autonomous}
    known_as: {acme: acme-agent}
    expires: 2099-01-01T00:00:00Z
  - id: acme-orchestrator
    auth: private_key_jwt
    jwks: %[5]s
    known_as: {acme: acme-orchestrator}
    expires: 2099-01-01T00:00:00Z
  - id: acme-script
    auth: client_secret_basic
    secret_hash: %[4]s
    known_as: {acme: acme-script}
    proof: optional
    expires: 2099-01-01T00:00:00Z
mappings:
  - name: acme-research
    peer: acme
    clients: [acme-agent]
    resources: [%[2]q]
    capabilities:
      - action: archive.search
        from: [search.web]
        constraints: {max_requests_per_hour: 50, max_requests_per_minute: 3, domains_blocked: [tracker.example]}
      - {action: archive.delete, from: [docs.delete]}
    ttl: 300s
    max_depth: 2
  - name: acme-delegated
    peer: acme
    clients: [acme-orchestrator]
    presenter: any
    resources: [%[2]q]
    capabilities:
      - action: archive.search
        from: [search.web]
        constraints: {max_requests_per_hour: 20}
    ttl: 120s
    actors: [{issuer: %[1]q, subject: acme-orchestrator-1}]
  - name: acme-script
    peer: acme
    clients: [acme-script]
    resources: [%[2]q]
    capabilities:
      - action: archive.search
        from: [search.web]
        constraints: {max_requests_per_hour: 5}
    ttl: 120s
    proof: optional
`, w.acme.issuer, archive, w.agent.jwks(w.globex), w.secretHash("globex"), w.orchestrator.jwks(w.globex))
}
