package iam

import (
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/actions"
	"github.com/valetkey/valetkey/scopes/internal/glob"
)

// pairs calls try for every two statements until it says that it has changed the policy.
func (s *shrinker) pairs(try func(i, j int) bool) bool {
	for i := range s.p.Statements {
		for j := i + 1; j < len(s.p.Statements); j++ {
			if try(i, j) {
				return true
			}
		}
	}
	return false
}

// mergeOnePlace merges the first two statements that differ in their actions alone, in their resources, or in the values
// of one condition.
func (s *shrinker) mergeOnePlace() bool {
	return s.pairs(func(i, j int) bool {
		m, place, ok := mergeable(s.p.Statements[i], s.p.Statements[j])
		what := fmt.Sprintf("merged statements %d and %d, which differ in %s", i+1, j+1, place)
		return ok && s.take(s.merged(i, j, m), Step{What: what}, s.equal)
	})
}

// merged returns the policy with m for its statements i and j.
func (s *shrinker) merged(i, j int, m Statement) Policy {
	c := s.p.Clone()
	c.Statements[i] = m
	c.Statements = slices.Delete(c.Statements, j, j+1)
	return c
}

func mergeable(a, b Statement) (m Statement, place string, ok bool) {
	if a.Effect != b.Effect {
		return m, "", false
	}
	act := same(a.Action, b.Action, true) && same(a.NotAction, b.NotAction, true)
	res := same(a.Resource, b.Resource, false) && same(a.NotResource, b.NotResource, false)
	values, conditions := mergedCondition(a.Condition, b.Condition)
	m = Policy{Statements: []Statement{a}}.Clone().Statements[0]
	if a.Sid != b.Sid {
		m.Sid = ""
	}
	switch {
	case res && conditions == 0 && len(a.NotAction) == 0 && len(b.NotAction) == 0:
		m.Action, place = union(a.Action, b.Action), "their actions"
	case act && conditions == 0 && len(a.NotResource) == 0 && len(b.NotResource) == 0:
		m.Resource, place = union(a.Resource, b.Resource), "their resources"
	case act && res && conditions == 1:
		m.Condition, place = values, "the values of one condition"
	default:
		return m, "", false
	}
	return m, place, true
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// same tells whether two lists have the same values.
func same(a, b []string, fold bool) bool {
	canonical := func(l []string) []string {
		l = union(l, nil)
		if fold {
			for i := range l {
				l[i] = strings.ToLower(l[i])
			}
			l = union(l, nil)
		}
		return l
	}
	return slices.Equal(canonical(a), canonical(b))
}

// mergedCondition returns a with the values of b, and how many conditions differ in their values; 2 stands for any other
// difference too.
func mergedCondition(a, b map[string]map[string][]string) (map[string]map[string][]string, int) {
	if len(a) != len(b) {
		return nil, 2
	}
	out := cloneCondition(a)
	differ := 0
	for op, keys := range a {
		if len(keys) != len(b[op]) {
			return nil, 2
		}
		for key, vs := range keys {
			other, ok := b[op][key]
			if !ok {
				return nil, 2
			}
			if !same(vs, other, false) {
				out[op][key] = union(vs, other)
				differ++
			}
		}
	}
	return out, differ
}

// dropStatements drops the first statement that the others make superfluous.
func (s *shrinker) dropStatements() bool {
	if len(s.p.Statements) < 2 {
		return false
	}
	for i := range s.p.Statements {
		c := s.p.Clone()
		c.Statements = slices.Delete(c.Statements, i, i+1)
		if s.take(c, Step{What: fmt.Sprintf("dropped statement %d, which the others make superfluous", i+1)}, s.equal) {
			return true
		}
	}
	return false
}

// dropNames drops the Id and the Sids.
func (s *shrinker) dropNames() bool {
	c := s.p.Clone()
	c.ID = ""
	for i := range c.Statements {
		c.Statements[i].Sid = ""
	}
	return s.take(c, Step{What: "dropped the Id and the Sids"}, func(_, _ Policy) bool { return true })
}

// mergeApart merges the first two Allows whose actions cannot take each other's resources, by AWS's own catalogue and so
// for AWS alone: on another server an action on buckets may well take "bucket/*".
func (s *shrinker) mergeApart() bool {
	if s.dialect != DialectAWS {
		return false
	}
	_, date := actions.Snapshot()
	return s.pairs(func(i, j int) bool {
		a, b := s.p.Statements[i], s.p.Statements[j]
		if _, differ := mergedCondition(a.Condition, b.Condition); differ > 0 || a.Effect != Allow || b.Effect != Allow ||
			len(a.Action) == 0 || len(b.Action) == 0 || len(a.Resource) == 0 || len(b.Resource) == 0 ||
			!apart(a.Action, b.Resource) || !apart(b.Action, a.Resource) {
			return false
		}
		m := Policy{Statements: []Statement{a}}.Clone().Statements[0]
		m.Sid, m.Action, m.Resource = "", union(a.Action, b.Action), union(a.Resource, b.Resource)
		// What the merged text takes in is what the two had, and the pairs that no request has.
		x, y := a, b
		x.Sid, y.Sid, x.Resource, y.Resource = "", "", b.Resource, a.Resource
		cross := Policy{Version: s.p.Version, Statements: []Statement{x, y}}
		what := fmt.Sprintf("merged statements %d and %d, whose actions cannot take each other's resources (catalogue of %s)",
			i+1, j+1, date)
		return s.take(s.merged(i, j, m), Step{What: what, Catalogue: true}, func(before, after Policy) bool {
			return s.covered([]Policy{before, cross}, []Policy{after}) && s.covered([]Policy{after}, []Policy{before})
		})
	})
}

// apart tells whether the catalogue knows all the actions, and that none of them can take one of the resources.
func apart(names, resources []string) bool {
	for _, name := range names {
		a, known := actions.Lookup(name)
		if !known {
			return false
		}
		for _, r := range resources {
			p := holes(r)
			// Any action can come with "*" for its resource.
			if p.Match("*") || a.Takes(p) {
				return false
			}
		}
	}
	return true
}

// holes reads a resource with "*" for its variables.
func holes(resource string) glob.Pattern {
	var p glob.Pattern
	for {
		start := strings.Index(resource, "${")
		if start < 0 {
			return append(p, glob.Wild(resource)...)
		}
		p = append(p, glob.Wild(resource[:start])...)
		p = append(p, glob.Token{Hole: true})
		end := strings.IndexByte(resource[start:], '}')
		if end < 0 {
			return p
		}
		resource = resource[start+end+1:]
	}
}
