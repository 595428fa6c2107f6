package iam_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/actions"
	"github.com/valetkey/valetkey/scopes/iam"
)

// Every published set of actions that leads to wider rights is told as a way, out of that set's own actions, and is admin.
func TestAssessTellsPublishedEscalations(t *testing.T) {
	text, err := os.ReadFile("testdata/escalations.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(text)) {
		name, list, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		seen++
		set := strings.Fields(list)
		for _, a := range set {
			if known, ok := actions.Lookup(a); !ok || known.Name != a {
				t.Errorf("%s: %q is not in the catalogue", name, a)
			}
		}
		r := iam.Assess(iam.DialectAWS, allowing(set...))
		if r.Tier != actions.ClassAdmin || len(r.Ways) == 0 {
			t.Errorf("%s: tier %s, ways %v", name, r.Tier, r.Ways)
		}
		for _, w := range r.Ways {
			for _, a := range slices.Concat(w.Actions, w.OneOf) {
				if !slices.Contains(set, a) || len(w.OneOf) == 0 || w.Why == "" {
					t.Errorf("%s: way %s: %s", name, w, w.Why)
				}
			}
		}
		for i := range set { // more rights never hide a way
			if more := iam.Assess(iam.DialectAWS, allowing(append(slices.Clone(set), "s3:GetObject", set[i])...)); len(more.Ways) != len(r.Ways) {
				t.Errorf("%s: %d ways with more rights, %d before", name, len(more.Ways), len(r.Ways))
			}
		}
	}
	if seen < 200 {
		t.Errorf("only %d sets", seen)
	}
}

// What takes a role leads nowhere new without iam:PassRole, and iam:PassRole nowhere without something to take a role.
func TestAssessPairsRolesWithPassRole(t *testing.T) {
	pairs := 0
	for _, service := range actions.Services() {
		for _, a := range actions.OfService(service) {
			if !a.TakesRole() {
				continue
			}
			pairs++
			both := iam.Assess(iam.DialectAWS, allowing("iam:PassRole", a.Name)).Ways
			if !slices.ContainsFunc(both, func(w iam.Way) bool {
				return slices.Equal(w.Actions, []string{"iam:PassRole"}) && slices.Equal(w.OneOf, []string{a.Name})
			}) {
				t.Errorf("iam:PassRole + %s: %v", a.Name, both)
			}
			if alone := iam.Assess(iam.DialectAWS, allowing(a.Name)).Ways; len(alone) > 0 && !a.Gains() {
				t.Errorf("%s alone: %v", a.Name, alone)
			}
		}
	}
	if pairs < 700 {
		t.Errorf("only %d actions take a role", pairs)
	}
	if alone := iam.Assess(iam.DialectAWS, allowing("iam:PassRole", "s3:GetObject")).Ways; len(alone) > 0 {
		t.Errorf("iam:PassRole alone: %v", alone)
	}
}

// Administrators have every way: each action that leads to wider rights is in one.
func TestAssessFindsEveryWay(t *testing.T) {
	r := iam.Assess(iam.DialectAWS, administrator())
	told := map[string]bool{}
	for _, w := range r.Ways {
		for _, a := range w.OneOf {
			told[a] = true
		}
	}
	for _, service := range actions.Services() {
		for _, a := range actions.OfService(service) {
			if (a.Gains() || a.TakesRole()) && !told[a.Name] {
				t.Errorf("%s is in no way", a.Name)
			}
		}
	}
	if r.Tier != actions.ClassAdmin || !r.Blast.AccountWide || r.Blast.Total() < 20_000 {
		t.Errorf("%d ways, tier %d, %s", len(r.Ways), r.Tier, r.Blast)
	}
	if first := r.Ways[0].OneOf[0]; !strings.HasPrefix(first, "iam:") {
		t.Errorf("the first way is %s", r.Ways[0])
	}
}

func TestWayString(t *testing.T) {
	for want, w := range map[string]iam.Way{
		"a:B": {OneOf: []string{"a:B"}}, "p:R + a:B": {Actions: []string{"p:R"}, OneOf: []string{"a:B"}},
		"p:R + one of a:B, a:C":                  {Actions: []string{"p:R"}, OneOf: []string{"a:B", "a:C"}},
		"one of a:B, a:C, a:D, a:E and 1 other":  {OneOf: []string{"a:B", "a:C", "a:D", "a:E", "a:F"}},
		"one of a:B, a:C, a:D, a:E and 2 others": {OneOf: []string{"a:B", "a:C", "a:D", "a:E", "a:F", "a:G"}},
	} {
		if got := w.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// allowing is one Allow of the actions on everything.
func allowing(names ...string) iam.Policy {
	return iam.Policy{Version: iam.Version, Statements: []iam.Statement{{Effect: iam.Allow, Action: names, Resource: []string{"*"}}}}
}
