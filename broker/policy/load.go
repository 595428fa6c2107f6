package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/valetkey/valetkey/scopes/plaintext"
)

const (
	policiesDir = "policies"
	// ownPrefix begins the ids of policies that valetkey itself adds.
	ownPrefix = "valetkey."
	floorID   = ownPrefix + "floor"
)

var policyID = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,127}$`)

// policy is one loaded policy.
type policy struct {
	id      cedar.PolicyID
	reason  string // may be empty
	cedar   *cedar.Policy
	demands demands
	scopes  []string // nil: all of the catalog
}

// text is the policy's line in a list of reasons.
func (p *policy) text() string {
	if p.reason == "" {
		return string(p.id)
	}
	return string(p.id) + ": " + p.reason
}

// loader collects every error, so that an author sees all of them at once.
type loader struct {
	validator *validate.Validator
	names     vocabulary
	policies  map[cedar.PolicyID]*policy
	errs      []error
}

// readFiles reads dir/policies/*.cedar.
func (l *loader) readFiles(dir string) error {
	files, err := filepath.Glob(filepath.Join(escapeGlob(dir), policiesDir, "*.cedar"))
	if err != nil {
		return fmt.Errorf("listing policies: %w", err)
	}
	if len(files) == 0 {
		return fmt.Errorf("no .cedar file in %s: nothing would be permitted", filepath.Join(dir, policiesDir))
	}
	for _, file := range files { // Glob sorts
		if err := checkName(file); err != nil {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading policies: %w", err)
		}
		l.parse(filepath.ToSlash(file), data)
	}
	if len(l.policies) == 0 && len(l.errs) == 0 {
		return fmt.Errorf("no policy in %s: nothing would be permitted", filepath.Join(dir, policiesDir))
	}
	return nil
}

// checkName refuses a file whose name would be lines of its own in every error.
func checkName(file string) error {
	if name := filepath.Base(file); plaintext.Line(name) != nil {
		return fmt.Errorf("%q: the name of a file is one line of characters that can be seen", name)
	}
	return nil
}

// escapeGlob keeps a folder's own name from being a pattern.
func escapeGlob(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

func (l *loader) parse(file string, data []byte) {
	list, err := cedar.NewPolicyListFromBytes(file, data)
	if err != nil {
		l.fail(strings.ReplaceAll(err.Error(), "<input>", file))
		return
	}
	for _, p := range list {
		l.add(p)
	}
}

func (l *loader) fail(text string) { l.errs = append(l.errs, errors.New(text)) }

// add checks one policy of a file.
func (l *loader) add(p *cedar.Policy) {
	pos := p.Position()
	where := fmt.Sprintf("%s:%d:%d", pos.Filename, pos.Line, pos.Column)
	annotations := p.Annotations()
	id := cedar.PolicyID(annotations["id"])
	switch {
	case id == "":
		l.fail(where + `: policy has no @id("...")`)
		return
	case !policyID.MatchString(string(id)):
		l.fail(fmt.Sprintf("%s: @id %q: want %s", where, id, policyID))
		return
	case strings.HasPrefix(string(id), ownPrefix):
		l.fail(fmt.Sprintf("%s: @id %q: %q is kept for valetkey's own policies", where, id, ownPrefix))
		return
	}
	for name := range annotations {
		if name != "id" && name != "reason" {
			l.fail(fmt.Sprintf("%s: policy %q: unknown annotation @%s: want @id and @reason", where, id, name))
		}
	}
	if err := plaintext.Prose(string(annotations["reason"])); err != nil {
		l.fail(fmt.Sprintf("%s: policy %q: its @reason has %v", where, id, err))
	}
	if first := l.policies[id]; first != nil {
		at := first.cedar.Position()
		l.fail(fmt.Sprintf("%s: @id %q is taken by the policy at %s:%d:%d", where, id, at.Filename, at.Line, at.Column))
		return
	}
	entry, err := l.check(id, p)
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			l.fail(fmt.Sprintf("%s: policy %q: %s", where, id, line))
		}
		// Registered all the same, so that a repeat of the id is seen. Nothing is loaded after an error.
		entry = &policy{cedar: p}
	}
	l.policies[id] = entry
}

// check validates a policy and finds what the index and the search need to know about it.
func (l *loader) check(id cedar.PolicyID, p *cedar.Policy) (*policy, error) {
	parsed, err := parseJSON(p)
	if err != nil {
		return nil, err
	}
	if err := l.validator.Policy("", (*ast.Policy)(p.AST())); err != nil {
		return nil, errors.Join(err, misplacedClaim(parsed))
	}
	entry := &policy{id: id, cedar: p, reason: string(p.Annotations()["reason"])}
	if entry.demands, err = analyse(parsed, l.names); err != nil {
		return nil, err
	}
	if entry.scopes, err = scopesOf(parsed, l.names.isScope); err != nil {
		return nil, err
	}
	return entry, nil
}

// floor is law 6, as a policy.
func (l *loader) floor(approvals int) error {
	var p cedar.Policy
	text := fmt.Sprintf(`@id(%q)
@reason("destructive and admin requests need %d distinct approvers")
forbid (principal, action, resource)
when { ["destructive", "admin"].contains(context.tier) }
unless { context.approvals.any >= %d };`, floorID, approvals, approvals)
	if err := p.UnmarshalCedar([]byte(text)); err != nil {
		return fmt.Errorf("parsing the floor: %w", err)
	}
	entry, err := l.check(floorID, &p)
	if err != nil {
		return fmt.Errorf("checking the floor: %w", err)
	}
	l.policies[floorID] = entry
	return nil
}

// scopesOf reads from a policy's head which scopes it can apply to; nil is all. No scope at all is an error.
func scopesOf(p policyJSON, isScope func(string) bool) ([]string, error) {
	actions, err := headNames(p.Action, actionType, isScope)
	if err != nil {
		return nil, err
	}
	resources, err := headNames(p.Resource, scopeType, isScope)
	switch {
	case err != nil:
		return nil, err
	case actions == nil:
		return resources, nil
	case resources == nil:
		return actions, nil
	}
	both := slices.DeleteFunc(actions, func(name string) bool { return !slices.Contains(resources, name) })
	if len(both) == 0 {
		return nil, errors.New("never applies: its action and its resource name different scopes")
	}
	return both, nil
}

// headNames reads one constraint of the head. There is no hierarchy of scopes or actions, so `in` means `==`.
func headNames(s scopeJSON, want types.EntityType, isScope func(string) bool) ([]string, error) {
	entities := s.Entities
	if s.Entity != nil {
		entities = append(entities, *s.Entity)
	}
	if s.In != nil {
		entities = append(entities, s.In.Entity)
	}
	if len(entities) == 0 {
		return nil, nil // All, or is TYPE: the validator has seen to the type
	}
	var names []string
	for _, e := range entities {
		if e.Type != string(want) || !isScope(e.ID) {
			return nil, fmt.Errorf("the catalog has no scope %q, named as %s", e.ID, e.Type)
		}
		names = insert(names, e.ID)
	}
	return names, nil
}
