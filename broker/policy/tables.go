package policy

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/valetkey/valetkey/scopes"
)

// tableTime is the time that tables decide at where a case names none: a Wednesday at noon.
const tableTime = "2025-01-01T12:00:00Z"

// Report is what running tables showed.
type Report struct {
	// Files is how many table files were run.
	Files int
	// Cases are in order of file and position; never empty.
	Cases []Case
	// Unused names, sorted, the policies that made no outcome in any case.
	Unused []string
}

// Failed counts the cases that did not go as told.
func (r Report) Failed() int {
	n := 0
	for _, c := range r.Cases {
		if !c.Passed() {
			n++
		}
	}
	return n
}

// Case is one case of a table.
type Case struct {
	File, Name string
	// Got is the verdict; its Outcome is 0 where there was an error.
	Got Verdict
	// Err is why there is no verdict; nil where there is one.
	Err error
	// Failures say what differs from what was expected; empty means that the case passed.
	Failures []string
}

// Passed reports whether everything went as told.
func (c Case) Passed() bool { return len(c.Failures) == 0 }

type tableFile struct {
	Tests []tableCase `yaml:"tests"`
}

type tableCase struct {
	Name    string       `yaml:"name"`
	Request tableRequest `yaml:"request"`
	Expect  tableExpect  `yaml:"expect"`
}

type tableRequest struct {
	Agent       string         `yaml:"agent"`
	Scope       string         `yaml:"scope"`
	Params      map[string]any `yaml:"params"`
	Environment string         `yaml:"environment"`
	OnBehalfOf  string         `yaml:"on_behalf_of"`
	TTL         string         `yaml:"ttl"` // as in "15m"; empty is the scope's default
	Approvals   map[string]int `yaml:"approvals"`
	Now         string         `yaml:"now"` // RFC 3339; empty is tableTime
}

// tableExpect compares what it names; the outcome it has to name, and needs with an outcome of needs_approval.
type tableExpect struct {
	Outcome  string         `yaml:"outcome"`
	Policies *[]string      `yaml:"policies"`
	Reasons  *[]string      `yaml:"reasons"`
	Needs    map[string]int `yaml:"needs"`
	TTL      string         `yaml:"ttl"`
}

// RunTables decides every case of the tables in dir/tests, or in dir itself where that is the folder of tables, with
// the catalog and the policies of catalogDir and the default floor. Cases that fail are in the report; tables that
// cannot be run, and no tables at all, are errors.
func RunTables(dir, catalogDir string) (Report, error) {
	cat, err := scopes.Load(catalogDir)
	if err != nil {
		return Report{}, fmt.Errorf("loading catalog: %w", err)
	}
	engine, err := Load(catalogDir, cat)
	if err != nil {
		return Report{}, err
	}
	if info, err := os.Stat(filepath.Join(dir, "tests")); err == nil && info.IsDir() {
		dir = filepath.Join(dir, "tests")
	}
	files, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*.yaml"))
	if err != nil {
		return Report{}, fmt.Errorf("listing policy tests: %w", err)
	}
	if len(files) == 0 {
		return Report{}, fmt.Errorf("%w: no policy tests (*.yaml) in %s", ErrLoad, dir)
	}
	t := tables{engine: engine, catalog: cat, used: map[string]bool{}}
	for _, file := range files {
		err := checkName(file)
		if err == nil {
			err = t.run(file)
		}
		if err != nil {
			return Report{}, fmt.Errorf("%w: %w", ErrLoad, err)
		}
	}
	t.report.Files = len(files)
	for _, id := range engine.ids() {
		if !t.used[id] {
			t.report.Unused = append(t.report.Unused, id)
		}
	}
	return t.report, nil
}

// ids names every policy, the floor too, sorted.
func (e *Engine) ids() []string {
	all := map[string]bool{}
	for _, s := range e.sets {
		for _, p := range s.policies {
			all[string(p.id)] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

type tables struct {
	engine  *Engine
	catalog *scopes.Catalog
	report  Report
	used    map[string]bool
}

func (t *tables) run(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading policy tests: %w", err)
	}
	var table tableFile
	if err := strictYAML(file, data, &table); err != nil {
		return err
	}
	if len(table.Tests) == 0 {
		return fmt.Errorf("%s: no tests", file)
	}
	names := map[string]bool{}
	for i, c := range table.Tests {
		if c.Name == "" || names[c.Name] {
			return fmt.Errorf("%s: test %d: its name %q is empty or taken", file, i+1, c.Name)
		}
		names[c.Name] = true
		want, err := c.Expect.parse()
		if err != nil {
			return fmt.Errorf("%s: test %q: %w", file, c.Name, err)
		}
		got := Case{File: file, Name: c.Name}
		got.Got, got.Err = t.decide(c.Request)
		if got.Err != nil {
			got.Failures = []string{got.Err.Error()}
		} else {
			got.Failures = want.differences(got.Got)
		}
		for _, id := range got.Got.PolicyIDs {
			t.used[id] = true
		}
		t.report.Cases = append(t.report.Cases, got)
	}
	return nil
}

// decide supposes an agent and asks; only a Verdict comes back, which no step of the path takes.
func (t *tables) decide(r tableRequest) (Verdict, error) {
	subject, err := t.engine.Suppose(r.Agent)
	if err != nil {
		return Verdict{}, err
	}
	query := scopes.Query{Scope: r.Scope, Params: map[string][]string{}}
	for name, value := range r.Params {
		list, ok := value.([]any)
		if !ok {
			list = []any{value}
		}
		for _, v := range list {
			query.Params[name] = append(query.Params[name], fmt.Sprint(v))
		}
	}
	if r.TTL != "" {
		if query.TTL, err = time.ParseDuration(r.TTL); err != nil {
			return Verdict{}, fmt.Errorf("request ttl: %w", err)
		}
	}
	now, err := time.Parse(time.RFC3339, cmp.Or(r.Now, tableTime))
	if err != nil {
		return Verdict{}, fmt.Errorf("request now: %w", err)
	}
	for group := range r.Approvals {
		if !slices.Contains(t.engine.groups, group) {
			return Verdict{}, fmt.Errorf("approvals of group %q, which %s does not declare", group, settingsFile)
		}
	}
	// Policies look at nothing that tells one enforcer from another, so the first speaks for all.
	requests, err := t.catalog.ResolveAll(query)
	if err != nil {
		return Verdict{}, fmt.Errorf("resolving scope %q: %w", r.Scope, err)
	}
	request := requests[0]
	return t.engine.judge(question{
		subject: subject, wish: wishOf(request), task: Task{Environment: r.Environment, OnBehalfOf: r.OnBehalfOf},
		approvals: r.Approvals, now: now, ttl: request.TTL(),
	})
}

// Suppose makes the subject that an ID would be, by the agent_paths of the settings, tried in order.
func (e *Engine) Suppose(id string) (Subject, error) {
	parsed, err := spiffeid.FromString(id)
	if err != nil {
		return Subject{}, fmt.Errorf("agent %q: %w", id, err)
	}
	if len(e.templates) == 0 {
		return Subject{ID: parsed}, nil
	}
	for _, t := range e.templates {
		if attrs, ok := t.Match(parsed); ok {
			return Subject{ID: parsed, Attributes: attrs}, nil
		}
	}
	return Subject{}, fmt.Errorf("agent %q fits none of agent_paths in %s", id, settingsFile)
}

// expectation is a parsed tableExpect; nil and zero fields are not compared.
type expectation struct {
	outcome           Outcome
	policies, reasons *[]string
	needs             []Need
	ttl               time.Duration
}

func (x tableExpect) parse() (expectation, error) {
	e := expectation{policies: x.Policies, reasons: x.Reasons}
	for _, o := range []Outcome{Allow, Deny, NeedsApproval} {
		if x.Outcome == o.String() {
			e.outcome = o
		}
	}
	switch {
	case e.outcome == 0:
		return e, fmt.Errorf("expected outcome %q: want %s, %s or %s", x.Outcome, Allow, Deny, NeedsApproval)
	case (e.outcome == NeedsApproval) != (len(x.Needs) > 0):
		return e, fmt.Errorf("expected needs go with outcome %s, and only with it", NeedsApproval)
	case e.outcome == Deny && x.TTL != "":
		return e, fmt.Errorf("a denial has no ttl to expect")
	}
	for _, group := range slices.Sorted(maps.Keys(x.Needs)) {
		e.needs = append(e.needs, Need{Group: group, Approvals: x.Needs[group]})
	}
	if x.TTL != "" {
		var err error
		if e.ttl, err = time.ParseDuration(x.TTL); err != nil {
			return e, fmt.Errorf("expected ttl: %w", err)
		}
	}
	return e, nil
}

func (e expectation) differences(got Verdict) []string {
	var out []string
	if got.Outcome != e.outcome {
		out = append(out, fmt.Sprintf("outcome %s, expected %s (%s)", got.Outcome, e.outcome, strings.Join(got.Reasons, "; ")))
	}
	if !slices.Equal(got.Needs, e.needs) {
		out = append(out, fmt.Sprintf("needs %v, expected %v", got.Needs, e.needs))
	}
	if e.policies != nil && !slices.Equal(got.PolicyIDs, slices.Sorted(slices.Values(*e.policies))) {
		out = append(out, fmt.Sprintf("policies %q, expected %q", got.PolicyIDs, *e.policies))
	}
	if e.reasons != nil && !slices.Equal(got.Reasons, slices.Sorted(slices.Values(*e.reasons))) {
		out = append(out, fmt.Sprintf("reasons %q, expected %q", got.Reasons, *e.reasons))
	}
	if e.ttl != 0 && got.TTL != e.ttl {
		out = append(out, fmt.Sprintf("ttl %v, expected %v", got.TTL, e.ttl))
	}
	return out
}
