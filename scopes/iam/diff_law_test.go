package iam_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/valetkey/valetkey/scopes/actions"
	"github.com/valetkey/valetkey/scopes/iam"
)

// Every request that one policy allows and the other does not is in a change, and every action of the catalogue with
// such a request is among its names.
func TestDiffMissesNothing(t *testing.T) {
	n := 100
	if testing.Short() || raceEnabled {
		n = 20
	}
	met := 0
	for i := range n {
		g := &generator{r: rand.New(rand.NewPCG(23, uint64(i))), variables: i%3 == 0}
		a, b := []iam.Policy{g.policy(1 + g.r.IntN(3))}, []iam.Policy{g.policy(1 + g.r.IntN(3))}
		d, err := iam.Diff(iam.DialectAWS, a, b)
		if err != nil {
			t.Fatal(err)
		}
		checkKnown(t, a, b, d.Gained)
		checkKnown(t, b, a, d.Lost)
		ea, eb := compiled(t, a...), compiled(t, b...)
		for range 300 {
			q := g.request()
			in, out := verdict(t, ea, q), verdict(t, eb, q)
			if in == out {
				continue
			}
			met++
			changes := d.Gained
			if in {
				changes = d.Lost
			}
			name, known := actions.Lookup(q.Action)
			if !slices.ContainsFunc(changes, func(c iam.Change) bool {
				s := iam.Statement{Effect: iam.Allow, Action: c.Actions, NotAction: c.NotActions, Resource: c.Resources, NotResource: c.NotResources, Condition: c.Condition}
				named := !known || c.More > 0 || slices.Contains(c.Names, name.Name)
				return named && verdict(t, compiled(t, iam.Policy{Statements: []iam.Statement{s}}), q)
			}) {
				t.Fatalf("%+v is in no change of %v\na %s\nb %s", q, changes, show(a), show(b))
			}
		}
	}
	if met < n {
		t.Errorf("only %d requests make a difference", met)
	}
}

func verdict(t *testing.T, e *iam.Evaluator, q iam.Request) bool {
	t.Helper()
	d, err := e.Allows(q)
	if err != nil {
		t.Fatal(err)
	}
	return d.Verdict == iam.Allowed
}

func checkKnown(t *testing.T, a, b []iam.Policy, changes []iam.Change) {
	t.Helper()
	for _, c := range changes {
		if c.Known {
			checkCoverage(t, c.String(), a, b, iam.Coverage{Answer: iam.No, Witness: &c.Witness})
		}
	}
}
