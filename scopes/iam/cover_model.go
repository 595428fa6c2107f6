package iam

import (
	"fmt"
	"slices"
	"strings"
)

// side is one of the two policy sets that are compared.
type side uint8

const (
	sideA side = iota // the one that should cover
	sideB             // the one to be covered
)

// model is two policy sets taken apart into what their statements share: languages of actions, languages of resources,
// and conditions over context keys.
type model struct {
	stmts      []clause
	actions    []language
	resources  []language
	conds      []condition
	dims       []dimension
	evaluators [2]*Evaluator
	budget     *budget
	fixed      map[string][]string // context keys, in lower case, that have these values alone; nil is a missing key

	actionAt, resourceAt, condAt, dimAt map[string]int
}

// clause is one statement: a conjunction over three kinds of dimensions.
type clause struct {
	side        side
	deny        bool
	action      int // language; -1 matches none
	notAction   bool
	resource    int // language of the resources without variables; -1 matches none
	notResource bool
	loose       []loose // resources with variables
	conds       []int
	at          string // for people
}

// loose is a resource with a variable: it matches where cond, a free truth value, is true, and then the resource is in
// the language, which has "*" for the variable.
type loose struct{ resource, cond int }

func emptyModel(steps *budget) *model {
	return &model{budget: steps,
		actionAt: map[string]int{}, resourceAt: map[string]int{}, condAt: map[string]int{}, dimAt: map[string]int{}}
}

// newModel takes the policies of sides A and B apart.
func newModel(a, b *Evaluator, steps *budget) *model {
	m := emptyModel(steps)
	m.evaluators = [2]*Evaluator{sideA: a, sideB: b}
	for s, e := range m.evaluators {
		for i := range e.statements {
			m.add(side(s), &e.statements[i])
		}
	}
	return m
}

func (m *model) add(s side, st *statement) {
	st = pinned(st)
	c := clause{side: s, deny: st.deny, notAction: st.notAction, notResource: st.notResource,
		at: fmt.Sprintf("%s statement %d", st.ref.Policy, st.ref.Index+1)}
	c.action = m.language(&m.actions, m.actionAt, st.actions)
	var fixed []pattern
	for _, p := range st.resources {
		if !p.vars || p.never {
			fixed = append(fixed, p)
			continue
		}
		// Where AWS has no one value for the variable, an Allow of NotResource does not match and any other statement
		// takes it as no match of the pattern; the former is therefore another truth value, not bound to the language.
		name := "resource " + p.source
		if st.notResource && !st.deny {
			name = "no resource " + p.source
		}
		c.loose = append(c.loose, loose{m.language(&m.resources, m.resourceAt, []pattern{p}), m.free(name)})
	}
	c.resource = m.language(&m.resources, m.resourceAt, fixed)
	for _, a := range st.conditions {
		c.conds = append(c.conds, m.condition(newCondition(a, st.deny)))
	}
	slices.Sort(c.conds)
	c.conds = slices.Compact(c.conds)
	m.stmts = append(m.stmts, c)
}

// language returns the number of the union of the patterns, the same for the same patterns.
func (m *model) language(list *[]language, at map[string]int, ps []pattern) int {
	shapes := make([]string, 0, len(ps))
	var l language
	for _, p := range ps {
		if t, ok := newTrack(p, false); ok {
			l = append(l, t)
			shapes = append(shapes, p.shape())
		}
	}
	if len(l) == 0 {
		return -1
	}
	slices.Sort(shapes)
	key := strings.Join(slices.Compact(shapes), "\x00")
	if i, ok := at[key]; ok {
		return i
	}
	at[key] = len(*list)
	*list = append(*list, l)
	return len(*list) - 1
}

// condition returns the number of c, the same for the same condition.
func (m *model) condition(c condition) int {
	id := c.id()
	if i, ok := m.condAt[id]; ok {
		return i
	}
	name := strings.ToLower(c.key)
	if c.opaque {
		name = "\x00" + id
	}
	d, ok := m.dimAt[name]
	if !ok {
		d = len(m.dims)
		m.dimAt[name] = d
		m.dims = append(m.dims, dimension{key: strings.ToLower(c.key), single: singleValued(c.key)})
		if vs, fixed := m.fixed[name]; fixed {
			m.dims[d].fixed, m.dims[d].only = true, vs
		}
		if c.opaque {
			m.dims[d].key, m.dims[d].built = "", true
		}
	}
	i := len(m.conds)
	m.condAt[id] = i
	c.dim, c.local = d, len(m.dims[d].conds)
	m.dims[d].conds = append(m.dims[d].conds, i)
	m.conds = append(m.conds, c)
	return i
}

// free returns the number of a condition of unknown truth.
func (m *model) free(name string) int {
	if i, ok := m.condAt[name]; ok {
		return i
	}
	m.condAt[name] = len(m.conds)
	m.conds = append(m.conds, condition{opaque: true, text: name, dim: len(m.dims)})
	m.dims = append(m.dims, dimension{conds: []int{len(m.conds) - 1}, built: true})
	return len(m.conds) - 1
}
