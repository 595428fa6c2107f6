package iam

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxInstances is how many assignments of policy variables are tried for a witness.
const maxInstances = 32

// instance looks for a witness with every policy variable fixed to one value: the policies are then without variables
// and the search is exact. A witness is a witness; that there is none means nothing, and the explorer is then before.
func (m *model) instance(steps int, before *explorer) *explorer {
	for _, fixed := range m.assignments() {
		env := environment{}
		for k, vs := range fixed {
			if vs != nil {
				env.entries = append(env.entries, entry{k, vs})
			}
		}
		n := emptyModel(&budget{left: steps / maxInstances, deadline: m.budget.deadline})
		n.fixed, n.evaluators = fixed, m.evaluators
		for s, e := range m.evaluators {
			for _, st := range e.statements {
				st.resources, st.invalid = env.fixAll(st.resources)
				st.conditions = slices.Clone(st.conditions)
				for i, a := range st.conditions {
					a.values = slices.Clone(a.values)
					for j := range a.values {
						a.values[j].pattern, _ = env.fix(a.values[j].pattern)
					}
					st.conditions[i] = a
				}
				n.add(side(s), &st)
			}
		}
		x := newExplorer(n)
		x.run()
		if x.witness != nil {
			return x
		}
	}
	return before
}

// assignments returns what to fix the variables to: each to a name of its own that means nothing, then each key to every
// value that the conditions on it tell apart, then all to nothing. A nil list is a missing key.
func (m *model) assignments() []map[string][]string {
	plain, none := map[string][]string{}, map[string][]string{}
	for _, e := range m.evaluators {
		for _, s := range e.statements {
			ps := slices.Clone(s.resources)
			for _, a := range s.conditions {
				for _, v := range a.values {
					ps = append(ps, v.pattern)
				}
			}
			for _, p := range ps {
				for _, t := range p.tokens {
					if t.kind == tokenVariable {
						key := strings.ToLower(t.v.key)
						if plain[key] == nil {
							plain[key], none[key] = []string{fmt.Sprint("valet", len(plain)+1)}, nil
						}
					}
				}
			}
		}
	}
	if len(plain) == 0 {
		return nil
	}
	out := []map[string][]string{plain}
	for _, key := range slices.Sorted(maps.Keys(plain)) {
		d, ok := m.dimAt[key]
		if !ok {
			continue
		}
		for _, s := range m.dims[d].states {
			if s.real && len(s.values) == 1 && len(out) < maxInstances-1 {
				with := maps.Clone(plain)
				with[key] = s.values
				out = append(out, with)
			}
		}
	}
	return append(out, none)
}

// fixAll fixes patterns, and tells whether a variable of one may make its statement invalid.
func (e *environment) fixAll(ps []pattern) (out []pattern, invalid bool) {
	out = make([]pattern, len(ps))
	for i, p := range ps {
		var r resolution
		out[i], r = e.fix(p)
		invalid = invalid || r >= unresolved
	}
	return out, invalid
}

// fix returns the pattern with the variables' values in it. One that cannot be resolved stays as it is, for the search to
// take as free.
func (e *environment) fix(p pattern) (pattern, resolution) {
	if !p.vars || p.never {
		return p, resolved
	}
	q := pattern{source: p.source, fold: p.fold, arn: p.arn, open: p.open, crosses: p.crosses}
	var r resolution
	switch q.tokens, r = e.substitute(nil, &p); r {
	case resolved:
		return q.settle(), r
	case valueless:
		q.never, q.tokens = true, nil
		return q, r
	default:
		return p, r
	}
}
