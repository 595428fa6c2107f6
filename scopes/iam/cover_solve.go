package iam

import "slices"

// rule is a statement at one place, an action and a resource that it matches: a conjunction of conditions.
type rule []signed

// place is what the statements of both sides say of one set of actions and one set of resources.
type place struct {
	bAllow, bDeny, aAllow, aDeny []rule
}

// settled tells whether nothing at the place can be in b and not in a, whatever the context.
func (p *place) settled() bool {
	always := func(rs []rule) bool { return slices.ContainsFunc(rs, func(r rule) bool { return len(r) == 0 }) }
	return len(p.bAllow) == 0 || always(p.bDeny) || (len(p.aDeny) == 0 && always(p.aAllow))
}

// solver looks for a context in b and not in a at one place. It is a search over signed conditions, by the tree of the
// statements to falsify; a branch ends as soon as one key has no state left.
//
// Its cost is at most the product of the statements' numbers of conditions; the theory of each key, not the search,
// keeps real policies small.
type solver struct {
	m      *model
	assign []int8 // by condition: 0 open, 1 true, -1 false
	found  func(*solver) bool
	failed bool // the budget has ended

	cs []constraint // used again at each look
}

// solve calls found for each assignment under which b allows and a does not, until found says true.
func (m *model) solve(p *place, found func(*solver) bool) (stopped, ok bool) {
	s := &solver{m: m, assign: make([]int8, len(m.conds)), found: found}
	var free [][]rule // what must all be false
	free = append(free, append(slices.Clone(p.bDeny), p.aAllow...))
	starts := []rule{nil}
	for _, d := range p.aDeny {
		starts = append(starts, d)
		free = append(free, p.bDeny)
	}
	for _, allow := range p.bAllow {
		for i, start := range starts {
			clear(s.assign)
			if s.all(allow) && s.all(start) && s.none(free[i]) {
				return true, true
			}
			if s.failed {
				return false, false
			}
		}
	}
	return false, true
}

// all makes every condition of a rule true.
func (s *solver) all(r rule) bool {
	for _, c := range r {
		if !s.set(c) {
			return false
		}
	}
	return true
}

// set gives a condition its sign and tells whether its key still has a state. The caller takes it back.
func (s *solver) set(c signed) bool {
	sign := int8(-1)
	if c.want {
		sign = 1
	}
	if s.assign[c.cond] != 0 {
		return s.assign[c.cond] == sign
	}
	s.assign[c.cond] = sign
	_, ok := s.state(s.m.conds[c.cond].dim)
	return ok && !s.failed
}

// none makes every rule false, in every way there is.
func (s *solver) none(rules []rule) bool {
	next, more := s.tightest(rules)
	if !more {
		return s.found(s)
	}
	if !s.m.budget.spend(1 + len(rules)) {
		s.failed = true
		return false
	}
	var trail []int
	defer func() {
		for _, c := range trail {
			s.assign[c] = 0
		}
	}()
	// One condition is false, and those before it true: the branches have nothing in common.
	for _, c := range next {
		if s.assign[c.cond] != 0 {
			continue // it is true, as the rule is not false
		}
		if s.set(signed{c.cond, !c.want}) && s.none(rules) {
			return true
		}
		if s.failed {
			return false
		}
		s.assign[c.cond] = 0
		if !s.set(c) {
			s.assign[c.cond] = 0
			return false
		}
		trail = append(trail, c.cond)
	}
	return false
}

// tightest returns the rule that is not false yet and has the fewest open conditions: one that has none ends the branch.
func (s *solver) tightest(rules []rule) (best rule, more bool) {
	least := 0
	for _, r := range rules {
		open, isFalse := 0, false
		for _, c := range r {
			v := s.assign[c.cond]
			if v == 0 {
				open++
			} else if (v > 0) != c.want {
				isFalse = true
				break
			}
		}
		if !isFalse && (!more || open < least) {
			best, least, more = r, open, true
		}
	}
	return best, more
}

// state returns what a dimension can be under the signs given so far.
func (s *solver) state(dim int) (state, bool) {
	d := &s.m.dims[dim]
	if d.key == "" {
		return state{}, true // a free truth value is what it is taken for
	}
	if !d.build(s.m.conds, s.m.budget) {
		s.failed = true
		return state{}, false
	}
	cs := s.cs[:0]
	for local, c := range d.conds {
		if v := s.assign[c]; v != 0 {
			cs = append(cs, constraint{local, v > 0, s.m.conds[c].quantifier, s.m.conds[c].family == familyNull})
		}
	}
	s.cs = cs
	if !s.m.budget.spend(1 + len(d.states)) {
		s.failed = true
		return state{}, false
	}
	return d.find(cs)
}
