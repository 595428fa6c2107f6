package iam

import (
	"slices"
	"strconv"
)

// dimension is one context key: what values it can have, as far as the conditions on it tell them apart.
type dimension struct {
	key    string // lower case; empty for a free truth value
	conds  []int  // conditions of the model, by local number
	single bool   // AWS gives the key at most one value
	built  bool
	fixed  bool     // the key is what only says and nothing else
	only   []string // nil is a missing key

	absent, empty []bool // by local number: whether the condition holds without the key (or as only), or with no values
	classes       []class
}

// class is a set of values that no condition of the dimension tells apart.
type class struct {
	value string // one of them
	real  bool   // value is one of them; otherwise nobody knows whether there is one
	truth []bool // by local number, for the value alone
}

// state is what a dimension can be: the key is missing, or has some values.
type state struct {
	present bool
	values  []string
	real    bool
}

// build finds the classes. It returns false where the budget ends.
func (d *dimension) build(conds []condition, b *budget) bool {
	if d.built {
		return true
	}
	own := make([]condition, len(d.conds))
	for i, c := range d.conds {
		own[i] = conds[c]
		d.absent = append(d.absent, own[i].on(nil))
		d.empty = append(d.empty, own[i].on([]string{}))
	}
	if d.fixed {
		for i := range own {
			d.absent[i] = own[i].on(d.only)
		}
		d.built = true
		return true
	}
	kinds, ok := partitions(own, b)
	if !ok {
		return false
	}
	// What is known to exist: the sample values of all kinds.
	known := map[string]int{}
	add := func(c class) {
		k := truthKey(c.truth)
		if i, have := known[k]; have {
			d.classes[i].real = d.classes[i].real || c.real
			return
		}
		known[k] = len(d.classes)
		d.classes = append(d.classes, c)
	}
	for _, kind := range kinds {
		for _, v := range kind.values {
			if !b.spend(len(own)) {
				return false
			}
			add(class{value: v, real: true, truth: truths(own, v)})
		}
	}
	// What cannot be ruled out: with numbers, texts and so on under one key, every combination but those of one text.
	if len(kinds) > 1 && !d.combine(own, kinds, add, b) {
		return false
	}
	d.built = true
	return true
}

// combine adds every combination of one class from each kind.
func (d *dimension) combine(own []condition, kinds []partition, add func(class), b *budget) bool {
	first := truths(own, "")
	for i, c := range own {
		first[i] = first[i] && sortOf(c) == sortNone
	}
	combos := [][]bool{first}
	for _, kind := range kinds {
		seen := map[string]bool{}
		var next [][]bool
		for _, v := range kind.values {
			if kind.sort == sortText && alone(own, v) {
				continue
			}
			t := truths(own, v)
			for i, c := range own {
				t[i] = t[i] && sortOf(c) == kind.sort
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
					sum[i] = sum[i] || t[i]
				}
				next = append(next, sum)
			}
		}
		combos = next
	}
	for _, c := range combos {
		add(class{truth: c})
	}
	return true
}

// alone tells whether a text is the only one of its class, since some condition names it: then all that the others, of
// any sort, say of it is known.
func alone(conds []condition, text string) bool {
	return slices.ContainsFunc(conds, func(c condition) bool {
		return c.family == familyString && c.relation != relationFold && slices.ContainsFunc(c.values, func(v operand) bool {
			return v.pattern.exact && v.pattern.head == text
		})
	})
}

func truths(conds []condition, value string) []bool {
	out := make([]bool, len(conds))
	for i, c := range conds {
		out[i] = c.on([]string{value})
	}
	return out
}

func truthKey(t []bool) string {
	b := make([]byte, len(t))
	for i, is := range t {
		b[i] = strconv.FormatBool(is)[0]
	}
	return string(b)
}

// constraint is a condition of the dimension, by local number, and what it must be.
type constraint struct {
	local int
	want  bool
	all   bool // see condition.all
}

// find looks for a state under which every constraint holds; a real one where there is one.
func (d *dimension) find(cs []constraint) (state, bool) {
	fits := func(truth []bool) bool {
		for _, c := range cs {
			if truth[c.local] != c.want {
				return false
			}
		}
		return true
	}
	if fits(d.absent) {
		return state{present: d.only != nil, values: d.only, real: true}, true
	}
	if d.fixed {
		return state{}, false
	}
	unreal := false
	for _, c := range d.classes {
		if fits(c.truth) {
			if c.real {
				return state{present: true, values: []string{c.value}, real: true}, true
			}
			unreal = true
		}
	}
	if fits(d.empty) {
		return state{present: true, values: []string{}, real: true}, true
	}
	if !d.single {
		if s, ok := d.list(cs); ok && (s.real || !unreal) {
			return s, true
		}
	}
	return state{present: true}, unreal
}

// list looks for several values. A condition over all values limits what each may be; one over some value needs one.
func (d *dimension) list(cs []constraint) (state, bool) {
	var allowed []class
	for _, c := range d.classes {
		ok := true
		for _, k := range cs {
			if k.all == k.want && c.truth[k.local] != k.want {
				ok = false
				break
			}
		}
		if ok {
			allowed = append(allowed, c)
		}
	}
	if len(allowed) == 0 {
		return state{}, false
	}
	s := state{present: true, real: true}
	for _, k := range cs {
		if k.all == k.want {
			continue
		}
		best := -1
		for i, c := range allowed {
			if c.truth[k.local] == k.want && (best < 0 || (c.real && !allowed[best].real)) {
				best = i
			}
		}
		if best < 0 {
			return state{}, false
		}
		s.real = s.real && allowed[best].real
		if !slices.Contains(s.values, allowed[best].value) {
			s.values = append(s.values, allowed[best].value)
		}
	}
	return s, len(s.values) > 0
}
