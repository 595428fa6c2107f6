package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/valetkey/valetkey/broker/spiffepath"
	"github.com/valetkey/valetkey/scopes"
)

// DefaultFloor is how many distinct approvers destructive and admin requests need, where the operator says nothing.
const DefaultFloor = 2

// Config says what to load.
type Config struct {
	// Dir is the catalog folder; policies are in Dir/policies.
	Dir string
	// Catalog is what Dir's scopes loaded to. An engine decides requests of this catalog alone.
	Catalog *scopes.Catalog
	// DestructiveApprovals replaces DefaultFloor; nil keeps it. 0 is no floor, and has to be written out.
	DestructiveApprovals *int
	// AgentPaths are the path templates that the broker's identity step tries, in order. Where it is not nil it has
	// to equal agent_paths of policies/policy.yaml, or policies would be checked against attributes that do not come.
	AgentPaths []string
}

// Engine is a set of loaded policies. It never changes and is safe for concurrent use.
type Engine struct {
	sets      map[string]*set
	scopes    map[string]scopeFacts
	attrs     []attribute
	templates []spiffepath.Template
	groups    []string // with AnyGroup, sorted
	nobody    types.Record
	// environments are those of the settings.
	environments environments
	schema       []byte
	count        int
}

// Load reads dir/policies and checks them against the catalog that dir loaded to, with the default floor.
func Load(dir string, cat *scopes.Catalog) (*Engine, error) {
	return New(Config{Dir: dir, Catalog: cat})
}

// New loads an engine, all or nothing. Its errors wrap ErrLoad and name file, line and column of every bad policy.
func New(cfg Config) (*Engine, error) {
	if cfg.Catalog == nil || len(cfg.Catalog.Scopes()) == 0 {
		return nil, fmt.Errorf("%w: no catalog to check policies against", ErrLoad)
	}
	floor := DefaultFloor
	if cfg.DestructiveApprovals != nil {
		floor = *cfg.DestructiveApprovals
	}
	if floor < 0 || floor > maxApprovals {
		return nil, fmt.Errorf("%w: floor of %d approvals: want 0 to %d", ErrLoad, floor, maxApprovals)
	}
	s, err := readSettings(filepath.Join(cfg.Dir, policiesDir, settingsFile))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	if cfg.AgentPaths != nil && !slices.Equal(cfg.AgentPaths, s.AgentPaths) {
		return nil, fmt.Errorf("%w: %s: agent_paths %q differ from the broker's path templates %q", ErrLoad,
			filepath.Join(cfg.Dir, policiesDir, settingsFile), s.AgentPaths, cfg.AgentPaths)
	}
	e, err := prepare(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	for _, scope := range cfg.Catalog.Scopes() {
		e.scopes[scope.Name()] = newScopeFacts(scope)
	}
	if err := e.load(cfg.Dir, floor); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	return e, nil
}

// prepare makes an engine without scopes and policies.
func prepare(s settings) (*Engine, error) {
	e := &Engine{scopes: map[string]scopeFacts{}, environments: s.Environments}
	for _, text := range s.AgentPaths {
		t, err := spiffepath.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("reading agent_paths: %w", err)
		}
		for _, name := range t.Attributes() {
			if name == attrTrustDomain || name == attrPath {
				return nil, fmt.Errorf("reading agent_paths: %q: attribute %q is taken", text, name)
			}
		}
		e.templates = append(e.templates, t)
	}
	e.attrs = agentAttributes(e.templates)
	e.groups = slices.Sorted(slices.Values(append(slices.Clone(s.ApprovalGroups), AnyGroup)))
	e.nobody = countsRecord(e.groups, nil)
	return e, nil
}

// load reads the policies of dir and checks them against the scopes, attributes and groups already in e.
func (e *Engine) load(dir string, floor int) error {
	names := slices.Sorted(maps.Keys(e.scopes))
	generated := generateSchema(e.scopes, e.attrs, e.groups)
	resolved, err := generated.Resolve()
	if err != nil {
		return fmt.Errorf("generating the policy schema: %w", err)
	}
	if e.schema, err = generated.MarshalCedar(); err != nil {
		return fmt.Errorf("printing the policy schema: %w", err)
	}
	l := &loader{
		validator: validate.New(resolved, validate.WithStrict()),
		names:     vocabulary{scopes: names, agentAttributes: []string{attrPath, attrTrustDomain}, params: map[string]bool{}, environments: e.environments.names()},
		policies:  map[cedar.PolicyID]*policy{},
	}
	for _, a := range e.attrs {
		l.names.agentAttributes = append(l.names.agentAttributes, a.name)
	}
	for _, f := range e.scopes {
		for name := range f.params {
			l.names.params[name] = true
		}
	}
	if err := e.environments.check(l.names.agentAttributes, l.names.params); err != nil {
		return fmt.Errorf("%s: %w", filepath.ToSlash(filepath.Join(dir, policiesDir, settingsFile)), err)
	}
	if err := l.readFiles(dir); err != nil {
		return err
	}
	if len(l.errs) > 0 {
		return errors.Join(l.errs...)
	}
	e.count = len(l.policies)
	if floor > 0 {
		if err := l.floor(floor); err != nil {
			return err
		}
	}
	e.sets, err = index(l.policies, names)
	return err
}

// Schema is the Cedar schema generated from the catalog, for editors and people.
func (e *Engine) Schema() []byte { return slices.Clone(e.schema) }

// Len is the number of policies in the files.
func (e *Engine) Len() int { return e.count }

// Groups names the groups whose approvals policies may count, sorted, AnyGroup among them.
func (e *Engine) Groups() []string { return slices.Clone(e.groups) }

// Decide answers one question. Where it returns an error, which wraps ErrPolicy, the answer is no and the Decision
// is the zero one; a denial is a Decision, not an error.
func (e *Engine) Decide(ctx context.Context, in Input) (Decision, error) {
	if err := ctx.Err(); err != nil {
		return Decision{}, fmt.Errorf("%w: deciding: %w", ErrPolicy, err)
	}
	if !in.Agent.Valid() {
		return Decision{}, fmt.Errorf("%w: no authenticated agent", ErrPolicy)
	}
	if in.TTL == 0 {
		in.TTL = in.Request.TTL()
	}
	subject := Subject{ID: in.Agent.ID(), Attributes: in.Agent.Attributes()}
	verdict, err := e.judge(question{subject, wishOf(in.Request), in.Task, in.Approvals, in.Now, in.TTL})
	if err != nil {
		return Decision{}, fmt.Errorf("%w: deciding for agent %q: %w", ErrPolicy, in.Agent.ID(), err)
	}
	return Decision{
		verdict: verdict, agent: in.Agent, request: in.Request, task: in.Task,
		approvals: maps.Clone(in.Approvals), at: in.Now, mark: new(byte),
	}, nil
}

// judge is the one code path: Decide and the tables both come here.
func (e *Engine) judge(q question) (Verdict, error) {
	f, err := e.factsOf(q)
	if err != nil {
		return Verdict{}, err
	}
	s := &search{set: e.sets[f.scope], facts: f}
	return s.verdict()
}
