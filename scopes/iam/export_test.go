package iam

import (
	"slices"
	"time"
)

// CoversPlain is Covers without the search for names that people know in a witness, for tests that ask a lot.
func CoversPlain(d Dialect, a, b []Policy) (Coverage, error) {
	return covers(d, a, b, limits{steps: maxSteps, time: maxTime, plain: true})
}

// CoversWithin is Covers with fewer steps.
func CoversWithin(d Dialect, a, b []Policy, steps int) (Coverage, error) {
	return covers(d, a, b, limits{steps: steps, time: maxTime})
}

// GlobalEndpoints is the table of services with one endpoint.
func GlobalEndpoints() map[string]string { return globalEndpoints }

// CoversBy is Covers by another clock.
func CoversBy(d Dialect, a, b []Policy, now func() time.Time) (Coverage, error) {
	return covers(d, a, b, limits{steps: maxSteps, time: maxTime, now: now})
}

// DiffBy is Diff by another clock.
func DiffBy(d Dialect, a, b []Policy, now func() time.Time) (Delta, error) { return diff(d, a, b, now) }

// CheckAndCompile returns, by kind of policy, what check and what compile say.
func CheckAndCompile(p Policy) map[kind][2]error {
	out := map[kind][2]error{}
	for _, k := range []kind{kindIdentity, kindSession, kindResource} {
		_, err := p.compile(k)
		out[k] = [2]error{p.check(k), err}
	}
	return out
}

// GrantedBoth returns what the Allows name together, as Bind finds it and action by action.
func GrantedBoth(p Policy) (fast, slow []pair, err error) {
	if fast, err = granted(&p); err != nil {
		return nil, nil, err
	}
	var each []pair
	for _, s := range p.Statements {
		if s.Effect == Allow {
			each = append(each, pair{union(s.Action, nil), union(s.Resource, nil)})
		}
	}
	slow = joined(each)
	slices.SortFunc(slow, func(a, b pair) int { return slices.Compare(a.actions, b.actions) })
	return fast, slow, nil
}

// Meet tells whether some action can match both patterns.
func Meet(x, y string) bool { return meet(x, y) }
