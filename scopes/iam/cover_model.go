package iam

import (
	"encoding/binary"
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

	shapeAt map[string]uint32 // patterns of languages, numbered by shape
	shapes  []uint32          // used again for each language, as is
	buf     []byte            // this
}

// clause is one statement: a conjunction over three kinds of dimensions.
type clause struct {
	side        side
	deny        bool
	action      int // language; -1 matches none
	notAction   bool
	resource    int // language of the resources that match for sure; -1 matches none
	notResource bool
	loose       []loose // resources that may match
	conds       []int
}

// loose is a resource that may match: it does where cond, a free truth value, is true, and then the resource is in the
// language, which has "*" for a variable.
//
// An evaluation that is unsure of it allows neither on the resource nor on all but it. That settled is false, one free
// truth value for all, stands for that.
type loose struct{ resource, cond, settled int }

func emptyModel(steps *budget) *model {
	return &model{budget: steps,
		actionAt: map[string]int{}, resourceAt: map[string]int{}, condAt: map[string]int{}, dimAt: map[string]int{}, shapeAt: map[string]uint32{}}
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
	c := clause{side: s, deny: st.deny, notAction: st.notAction, notResource: st.notResource}
	c.action = m.language(&m.actions, m.actionAt, st.actions)
	fixed := st.resources // those that match for sure
	if anyUnsure(fixed) {
		fixed = nil
	}
	all := len(fixed) == len(st.resources)
	maybe := func(p *pattern, reading string) {
		c.loose = append(c.loose, loose{m.language(&m.resources, m.resourceAt, []pattern{p.widened()}), m.free(reading), m.free(leftOpen + "all but a resource is the rest of it")})
	}
	var invalid []string // why the statement as a whole may be
	for i := range st.resources {
		switch p := &st.resources[i]; {
		case p.vars && !p.never:
			maybe(p, onVariable("resource "+p.source))
			invalid = append(invalid, p.questions()...)
		case p.open:
			maybe(p, leftOpen+`a "$" stands for itself`)
		default:
			if !all {
				fixed = append(fixed, *p)
			}
			if p.crosses {
				maybe(p, leftOpen+`a "*" goes on across a colon`)
			}
		}
	}
	if st.invalid {
		invalid = append(invalid, leftOpen+"a statement counts that has a variable without a value")
	}
	c.resource = m.language(&m.resources, m.resourceAt, fixed)
	// What takes variables alone is true where they are; elsewhere, that they can be resolved is one more condition.
	if st.notResource || len(fixed) > 0 {
		for _, why := range invalid {
			c.conds = append(c.conds, m.free(why))
		}
	}
	for i := range st.conditions {
		c.conds = append(c.conds, m.condition(newCondition(&st.conditions[i], st.deny)))
	}
	slices.Sort(c.conds)
	c.conds = slices.Compact(c.conds)
	m.stmts = append(m.stmts, c)
}

// anyUnsure tells of a pattern that may match without matching for sure.
func anyUnsure(ps []pattern) bool {
	for i := range ps {
		if ps[i].open || ps[i].vars {
			return true
		}
	}
	return false
}

// leftOpen begins the doubts that AWS's pages cause.
const leftOpen = "AWS's pages leave open whether "

// questions are what the search cannot know of a pattern's variables: whether each has a value.
func (p *pattern) questions() []string {
	var out []string
	for _, t := range p.tokens {
		if t.kind == tokenVariable && (!t.v.hasDefault || t.v.several || p.early) {
			out = append(out, leftOpen+"a statement counts where "+strings.ToLower(t.v.key)+" cannot be resolved")
		}
	}
	return out
}

// widened is the pattern with all that it may take: a "*" at the end of a field goes on across its colon.
func (p pattern) widened() pattern {
	if !p.crosses {
		return p
	}
	p.tokens = slices.Clone(p.tokens)
	for i := range p.tokens {
		p.tokens[i].noColon = p.tokens[i].noColon && !p.tokens[i].ends
	}
	return p
}

// language returns the number of the union of the patterns, the same for the same patterns.
func (m *model) language(list *[]language, at map[string]int, ps []pattern) int {
	m.shapes = m.shapes[:0]
	for i := range ps {
		if !ps[i].never {
			m.shapes = append(m.shapes, m.shape(&ps[i]))
		}
	}
	if len(m.shapes) == 0 {
		return -1
	}
	slices.Sort(m.shapes)
	m.buf = m.buf[:0]
	for _, n := range slices.Compact(m.shapes) {
		m.buf = binary.LittleEndian.AppendUint32(m.buf, n)
	}
	if i, ok := at[string(m.buf)]; ok {
		return i
	}
	at[string(m.buf)] = len(*list)
	l := make(language, 0, len(ps))
	for i := range ps {
		if t, ok := newTrack(&ps[i], foldNone); ok {
			l = append(l, t)
			if ps[i].also != "" {
				l = append(l, textTrack(ps[i].also))
			}
		}
	}
	*list = append(*list, l)
	return len(*list) - 1
}

// shape returns the number of a pattern, the same for the same shape.
func (m *model) shape(p *pattern) uint32 {
	m.buf = p.appendShape(m.buf[:0])
	n, ok := m.shapeAt[string(m.buf)]
	if !ok {
		n = uint32(len(m.shapeAt)) //nolint:gosec // a policy has no 2^32 patterns
		m.shapeAt[string(m.buf)] = n
	}
	return n
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
		m.dims = append(m.dims, dimension{key: strings.ToLower(c.key), single: !c.several})
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

// free returns the number of a condition of unknown truth, the same for the same doubt.
func (m *model) free(doubt string) int {
	id := "\x00" + doubt
	if i, ok := m.condAt[id]; ok {
		return i
	}
	m.condAt[id] = len(m.conds)
	m.conds = append(m.conds, condition{opaque: true, doubt: doubt, dim: len(m.dims)})
	m.dims = append(m.dims, dimension{conds: []int{len(m.conds) - 1}, built: true})
	return len(m.conds) - 1
}
