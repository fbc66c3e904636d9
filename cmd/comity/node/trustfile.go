package node

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/comity-auth/comity/trust"
	"github.com/comity-auth/comity/trust/aap"
	"github.com/comity-auth/comity/trust/audit"
)

// ErrDrift says that the trust file and the registry were both changed since
// one was made equal to the other, so neither may overwrite the other unasked.
var ErrDrift = errors.New("the registry was changed since the trust file was last applied; run comity diff, then comity apply")

// fromFile is the origin of changes that the trust file made.
const fromFile = "file"

// document is the trust file with the policies of the policies folder.
type document struct {
	file   *trust.File
	digest string
}

// readTrust reads the configured trust file and policy folder; nil when neither
// is configured.
func (n *Node) readTrust() (*document, error) {
	if n.cfg.Trust == "" && n.cfg.Policies == "" {
		return nil, nil
	}
	sum := sha256.New()
	f := &trust.File{}
	if n.cfg.Trust != "" {
		text, err := os.ReadFile(n.cfg.Trust)
		if err != nil {
			return nil, err
		}
		_, _ = sum.Write(text)
		parsed, problems := n.compiler.ParseFile(text)
		if len(problems) > 0 {
			return nil, fmt.Errorf("%s: %w", n.cfg.Trust, problems)
		}
		f = parsed
	}
	if n.cfg.Policies != "" {
		specs, err := n.readPolicies(f.Resources, sum)
		if err != nil {
			return nil, err
		}
		f.Policies = append(f.Policies, specs...)
		if problems := n.compiler.Check(f, nil); len(problems) > 0 {
			return nil, fmt.Errorf("%s: %w", n.cfg.Policies, problems)
		}
	}
	return &document{f, fmt.Sprintf("%x", sum.Sum(nil))}, nil
}

// policyFiles lists the policy folder in the order of names.
func policyFiles(folder string) ([]string, error) {
	if folder == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(folder)
	var out []string
	for _, e := range entries {
		if !e.IsDir() && strings.EqualFold(filepath.Ext(e.Name()), ".json") {
			out = append(out, filepath.Join(folder, e.Name()))
		}
	}
	return out, err
}

// readPolicies turns a folder of AAP policy files into policies. Each reaches
// the registered resources whose vocabulary has any of its actions. The error
// names every file that is bad.
func (n *Node) readPolicies(resources []trust.ResourceSpec, sum io.Writer) ([]trust.PolicySpec, error) {
	paths, err := policyFiles(n.cfg.Policies)
	if err != nil {
		return nil, err
	}
	var out []trust.PolicySpec
	var errs []error
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		// The name counts too: it is the policy's.
		fmt.Fprintf(sum, "\n%s %d\n%s", filepath.Base(path), len(text), text)
		spec, err := n.policyOf(path, text, resources)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
			continue
		}
		out = append(out, spec)
	}
	return out, errors.Join(errs...)
}

func (n *Node) policyOf(path string, text []byte, resources []trust.ResourceSpec) (trust.PolicySpec, error) {
	p, err := aap.ParsePolicyFile(text)
	if err != nil {
		return trust.PolicySpec{}, err
	}
	base := strings.ToLower(filepath.Base(path))
	return trust.PolicyOf(strings.TrimSuffix(base, ".json"), p, resources, n.cfg.Tokens.MaxTTL)
}

// checkTrust refuses a bad trust file before the store is asked for anything.
func (n *Node) checkTrust(context.Context) (err error) {
	if n.compiler, err = trust.NewCompiler(Settings(&n.cfg)); err != nil {
		return err
	}
	_, err = n.readTrust()
	return err
}

// applyAtStart makes the registry equal to the trust file if that changed since
// it was last applied and nobody changed the registry meanwhile.
func (n *Node) applyAtStart(ctx context.Context) error {
	err := n.applyTrust(ctx)
	if errors.Is(err, ErrDrift) {
		n.reportDrift(ctx)
		return nil
	}
	return err
}

func (n *Node) reportDrift(ctx context.Context) {
	n.log.WarnContext(ctx, "trust file not applied", "event", "trust.drift", "error", ErrDrift.Error())
}

// applyTrust wraps ErrDrift when the file may not be applied.
func (n *Node) applyTrust(ctx context.Context) error {
	doc, err := n.readTrust()
	if err != nil || doc == nil {
		return err
	}
	for range 3 {
		// Whoever was first, replica or administrator: look at what there is now.
		if err = n.applyDocument(ctx, doc); !errors.Is(err, trust.ErrConflict) {
			break
		}
	}
	return err
}

func (n *Node) applyDocument(ctx context.Context, doc *document) error {
	state, err := n.store.Load(ctx, 0)
	if err != nil {
		return err
	}
	last, err := n.lastFromFile(ctx, state.Revision)
	if err != nil || last.Document == doc.digest {
		return err
	}
	change, diffs, err := trust.Plan(state, doc.file)
	if err != nil {
		return err
	}
	// A registry that somebody else made equal to the file has not drifted; the
	// empty change takes note of that, for the next time that the file changes.
	if last.Revision != state.Revision && !change.IsEmpty() {
		return ErrDrift
	}
	change.By, change.Origin, change.Comment = "serve", fromFile, "the trust file changed"
	change.Document, change.At = doc.digest, time.Now()
	revision, err := n.store.Apply(ctx, change)
	if err != nil {
		return err
	}
	n.log.InfoContext(ctx, "trust file applied", "event", "trust.applied", "revision", uint64(revision), "changes", len(diffs))
	return nil
}

// lastFromFile finds the newest change up to head that the trust file made. It
// is not what the store calls applied: that may be a document from elsewhere.
func (n *Node) lastFromFile(ctx context.Context, head trust.Revision) (trust.Applied, error) {
	const page = 256
	for to := uint64(head); to > 0; {
		from := to - min(to, page)
		rows, err := n.store.Records(ctx, audit.Position{Writer: trust.RegistryWriter, Seq: from}, int(to-from))
		if err != nil {
			return trust.Applied{}, err
		}
		for _, row := range slices.Backward(rows) {
			var rec struct {
				Origin   string         `json:"origin"`
				Document string         `json:"document"`
				Revision trust.Revision `json:"revision"`
			}
			if err := json.Unmarshal(row.Body, &rec); err != nil {
				return trust.Applied{}, fmt.Errorf("registry change %d: %w", row.Seq, err)
			}
			if rec.Origin == fromFile {
				return trust.Applied{Document: rec.Document, Revision: rec.Revision}, nil
			}
		}
		to = from
	}
	return trust.Applied{}, nil
}
