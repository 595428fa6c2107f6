package iam

import (
	"fmt"
	"slices"
)

// dimension is one context key: what it can be, as far as the conditions on it tell that apart.
type dimension struct {
	key    string // lower case; empty for a free truth value
	conds  []int  // conditions of the model, by local number
	single bool   // a request has one value of the key at most
	built  bool

	fixed bool     // the key is what only says and nothing else
	only  []string // nil is a missing key

	states []state
	many   []answer // by local number: what a condition that looks at no value, Null, says of several
}

// state is what a key can be: missing, there and empty, or one value of those that no condition of the dimension tells
// apart.
type state struct {
	present bool
	values  []string
	real    bool     // a request can have it, and AWS's pages say what the conditions are then
	doubt   string   // else: what nobody knows; empty where that is what the conditions are of these values
	truth   []answer // by local number of the condition
}

// build finds the states. It returns false where the budget ends.
func (d *dimension) build(conds []condition, b *budget) bool {
	if d.built {
		return true
	}
	own := make([]*condition, len(d.conds))
	for i, c := range d.conds {
		own[i] = &conds[c]
		d.many = append(d.many, own[i].on([]string{"x", "y"}, readingNone))
	}
	if d.fixed {
		d.states = readAs(own, d.only)
		d.built = true
		return true
	}
	kinds, ok := partitions(own, b)
	if !ok {
		return false
	}
	known := map[string]int{}
	add := func(s state) {
		k := truthKey(s.truth)
		if i, have := known[k]; have {
			if s.real && !d.states[i].real {
				d.states[i] = s
			}
			return
		}
		known[k] = len(d.states)
		d.states = append(d.states, s)
	}
	// Of the values: what is known to exist, the samples of all kinds.
	for _, kind := range kinds {
		for _, v := range kind.values {
			if !b.spend(len(own)) {
				return false
			}
			for _, s := range readAs(own, []string{v}) {
				add(s)
			}
		}
	}
	// What cannot be ruled out: with numbers, texts and so on under one key, every combination but those of one text.
	if len(kinds) > 1 && !d.combine(own, kinds, add, b) {
		return false
	}
	d.states = append(readAs(own, nil), d.states...)
	if !d.single {
		d.states = append(d.states, readAs(own, []string{})...)
	}
	d.built = true
	return true
}

// readAs returns the states of a list of values. Where AWS's pages say all, that is one. Else there is one in which every
// condition fails the request, as it does to an evaluation; one for each reading, if they say different things of such
// values; and otherwise one in which the conditions that are unsure may be anything.
func readAs(own []*condition, values []string) []state {
	in := func(r reading, real bool) state {
		s := state{present: values != nil, values: values, real: real, truth: make([]answer, len(own))}
		for i, c := range own {
			s.truth[i] = c.on(values, r)
		}
		return s
	}
	plain := in(readingNone, true)
	if !slices.Contains(plain.truth, unsure) {
		return []state{plain}
	}
	safe := in(readingNone, false)
	for i := range safe.truth {
		if safe.truth[i] == unsure {
			safe.truth[i] = is(own[i].deny)
		}
	}
	out := []state{safe}
	for _, r := range readings {
		if s := in(r, false); !slices.Equal(s.truth, plain.truth) {
			out = append(out, s)
		}
	}
	if len(out) == 1 {
		out = append(out, plain)
	}
	return out
}

// why says what nobody knows of a state that is not real.
func (d *dimension) why(s state) string {
	if s.doubt != "" {
		return s.doubt
	}
	return fmt.Sprintf("%sa condition on %s is true if that is %q", leftOpen, d.key, s.values)
}

// combine adds every combination of one class from each kind.
func (d *dimension) combine(own []*condition, kinds []partition, add func(state), b *budget) bool {
	first := truths(own, "")
	for i, c := range own {
		if sortOf(c) != sortNone {
			first[i] = no
		}
	}
	combos := [][]answer{first}
	for _, kind := range kinds {
		seen := map[string]bool{}
		var next [][]answer
		for _, v := range kind.values {
			if kind.sort == sortText && alone(own, v) {
				continue
			}
			t := truths(own, v)
			for i, c := range own {
				if sortOf(c) != kind.sort {
					t[i] = no
				}
			}
			if seen[truthKey(t)] {
				continue
			}
			seen[truthKey(t)] = true
			for _, c := range combos {
				if !b.spend(len(own)) {
					return false
				}
				sum := slices.Clone(c)
				for i := range sum {
					sum[i] = sum[i].or(t[i])
				}
				next = append(next, sum)
			}
		}
		combos = next
	}
	for _, c := range combos {
		add(state{present: true, truth: c, doubt: fmt.Sprintf("condition key %q is compared both as text and as something else", d.key)})
	}
	return true
}

// alone tells whether a text is the only one of its class, since some condition names it: then all that the others, of
// any sort, say of it is known.
func alone(conds []*condition, text string) bool {
	return slices.ContainsFunc(conds, func(c *condition) bool {
		return c.family == familyString && c.relation != relationFold && slices.ContainsFunc(c.values, func(v operand) bool {
			return v.pattern.exact && v.pattern.head == text
		})
	})
}

func truths(conds []*condition, value string) []answer {
	out := make([]answer, len(conds))
	for i, c := range conds {
		out[i] = c.on([]string{value}, readingNone)
	}
	return out
}

func truthKey(t []answer) string {
	b := make([]byte, len(t))
	for i, is := range t {
		b[i] = byte(is)
	}
	return string(b)
}

// constraint is a condition of the dimension, by local number, and what it must be.
type constraint struct {
	local      int
	want       bool
	quantifier quantifier
	null       bool
}

// fits tells whether an answer is what is wanted: for sure, or perhaps.
func (c constraint) fits(a answer, sure bool) bool {
	if !c.want {
		a = a.not()
	}
	return a.sure() || (!sure && a.maybe())
}

// find looks for a state under which every constraint holds: one under which they hold for sure and that is real, or
// else any.
func (d *dimension) find(cs []constraint) (state, bool) {
	s, found := d.findWhere(cs, true)
	if found && s.real {
		return s, true
	}
	if t, ok := d.findWhere(cs, false); ok {
		return t, true
	}
	return s, found
}

func (d *dimension) findWhere(cs []constraint, sure bool) (state, bool) {
	unreal := -1
	for i := range d.states {
		s := &d.states[i]
		if slices.ContainsFunc(cs, func(c constraint) bool { return !c.fits(s.truth[c.local], sure) }) {
			continue
		}
		if s.real {
			return *s, true
		}
		if unreal < 0 {
			unreal = i
		}
	}
	if !d.single && !d.fixed {
		if s, ok := d.list(cs, sure); ok && (s.real || unreal < 0) {
			return s, true
		}
	}
	if unreal < 0 {
		return state{}, false
	}
	return d.states[unreal], true
}

// list looks for several values. A condition over all values limits what each may be; one over some value needs one. One
// without a quantifier is never sure of several values; it may be false of any, and true where it may be true of one.
func (d *dimension) list(cs []constraint, sure bool) (state, bool) {
	var each, some []constraint
	for _, c := range cs {
		switch {
		case c.null:
			if !c.fits(d.many[c.local], sure) {
				return state{}, false
			}
		case c.quantifier == quantifierNone && sure:
			return state{}, false
		case c.quantifier == quantifierNone && !c.want:
		case c.quantifier != quantifierNone && (c.quantifier == quantifierAll) == c.want:
			each = append(each, c)
		default:
			some = append(some, c)
		}
	}
	out := state{present: true, real: true}
	var allowed []state
	for _, s := range d.states {
		one := s.present && (len(s.values) == 1 || s.values == nil)
		if one && !slices.ContainsFunc(each, func(k constraint) bool { return !k.fits(s.truth[k.local], sure) }) {
			allowed = append(allowed, s)
		}
	}
	take := func(s state) {
		if out.real = out.real && s.real; !s.real {
			out.doubt = d.why(s)
		}
		for _, v := range s.values {
			if !slices.Contains(out.values, v) {
				out.values = append(out.values, v)
			}
		}
	}
	for _, k := range some {
		best := -1
		for i, s := range allowed {
			if k.fits(s.truth[k.local], sure) && (best < 0 || (s.real && !allowed[best].real)) {
				best = i
			}
		}
		if best < 0 {
			return state{}, false
		}
		take(allowed[best])
	}
	if len(some) == 0 && len(allowed) > 0 {
		take(allowed[0]) // any two will do: what is wanted are several
		take(allowed[len(allowed)-1])
	}
	return out, len(allowed) > 0
}
