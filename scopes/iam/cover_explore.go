package iam

import (
	"encoding/binary"
	"slices"
)

// explorer walks the sets of actions that no statement tells apart, then under each the sets of resources, then the
// contexts. It ends with a witness, or knows that there is none, or has met something it cannot tell.
type explorer struct {
	m       *model
	regions map[string]bool // sets of statements that have been walked
	places  map[string]bool // combinations of rules that have been solved
	witness *Request
	doubt   string // why a candidate could not be confirmed
	tries   int    // candidates that were not confirmed
	in      bits   // the statements of the region at hand
}

func newExplorer(m *model) *explorer {
	return &explorer{m: m, regions: map[string]bool{}, places: map[string]bool{}}
}

// maxTries is how many candidates Allows may refuse before the search gives up.
const maxTries = 256

// run returns false where the budget or the tries ended before the search did.
func (x *explorer) run() bool {
	m := x.m
	langs := append(slices.Clone(m.actions), actionUniverse())
	universe := len(m.actions)
	p := newProduct(langs, m.budget)
	wanted, any := newBits(len(langs)), false // where b may allow something
	for i := range m.stmts {
		if c := &m.stmts[i]; c.side == sideB && !c.deny {
			if any = any || c.notAction; !c.notAction && c.action >= 0 {
				wanted.set(c.action)
			}
		}
	}
	p.hopeless = func(alive bits) bool { return !alive.has(universe) || !any && !alive.meets(wanted) }
	return p.explore(func(accepts bits, action string) bool {
		if !accepts.has(universe) {
			return true
		}
		in := newBits(len(m.stmts))
		for i := range m.stmts {
			c := &m.stmts[i]
			if (c.action >= 0 && accepts.has(c.action)) != c.notAction {
				in.set(i)
			}
		}
		return x.region(in, action)
	})
}

// region takes the statements that match one set of actions. It returns false to stop.
func (x *explorer) region(in bits, action string) bool {
	key := in.key()
	if x.regions[key] {
		return true
	}
	x.regions[key] = true
	if x.m.trivial(in) {
		return true
	}
	x.in = in
	langs, at := x.m.resourcesOf(in)
	universe := len(langs)
	p := newProduct(append(langs, x.m.evaluators[sideA].server.universe()), x.m.budget)
	wanted, any := newBits(universe+1), false
	for i := range x.m.stmts {
		c := &x.m.stmts[i]
		if c.side != sideB || c.deny || !in.has(i) {
			continue
		}
		if any = any || c.notResource; c.resource >= 0 {
			wanted.set(at[c.resource])
		}
		for _, l := range c.loose {
			wanted.set(at[l.resource])
		}
	}
	p.hopeless = func(alive bits) bool { return !any && !alive.meets(wanted) }
	return p.explore(func(accepts bits, resource string) bool {
		if !accepts.has(universe) {
			return true
		}
		pl := x.m.place(in, func(lang int) bool { return lang >= 0 && accepts.has(at[lang]) })
		return x.place(&pl, action, resource)
	})
}

// trivial tells whether a set of statements needs no look at resources: b allows nothing there, or a everything.
func (m *model) trivial(in bits) bool {
	var p place
	for i := range m.stmts {
		if !in.has(i) {
			continue
		}
		c := &m.stmts[i]
		switch whole := len(c.conds) == 0 && m.whole(c); {
		case c.side == sideB && !c.deny:
			p.bAllow = append(p.bAllow, rule{{}})
		case c.side == sideB && whole:
			p.bDeny = append(p.bDeny, nil)
		case c.side == sideA && c.deny:
			p.aDeny = append(p.aDeny, rule{{}})
		case c.side == sideA && whole:
			p.aAllow = append(p.aAllow, nil)
		}
	}
	return p.settled()
}

// whole tells whether the statement takes every resource because it says "*".
func (m *model) whole(c *clause) bool {
	return !c.notResource && c.resource >= 0 && slices.ContainsFunc(m.resources[c.resource], func(t track) bool {
		return len(t) == 1 && t[0].kind == stepMany && !t[0].seg
	})
}

// resourcesOf returns the resource languages of a set of statements, and where each is among them.
func (m *model) resourcesOf(in bits) (langs []language, at map[int]int) {
	at = map[int]int{}
	add := func(l int) {
		if _, have := at[l]; !have && l >= 0 {
			at[l] = len(langs)
			langs = append(langs, m.resources[l])
		}
	}
	for i := range m.stmts {
		if !in.has(i) {
			continue
		}
		c := &m.stmts[i]
		add(c.resource)
		for _, l := range c.loose {
			add(l.resource)
		}
	}
	return langs, at
}

// place returns the rules of a set of statements for the resources that are in the languages that accepts names.
func (m *model) place(in bits, accepts func(lang int) bool) place {
	var p place
	for i := range m.stmts {
		if !in.has(i) {
			continue
		}
		c := &m.stmts[i]
		list := &p.aAllow
		switch {
		case c.side == sideB && c.deny:
			list = &p.bDeny
		case c.side == sideB:
			list = &p.bAllow
		case c.deny:
			list = &p.aDeny
		}
		base := make(rule, 0, len(c.conds))
		for _, k := range c.conds {
			base = append(base, signed{k, true})
		}
		fixed := accepts(c.resource)
		switch {
		case fixed && c.notResource:
		case fixed:
			*list = append(*list, base)
		case c.notResource:
			for _, l := range c.loose {
				if !accepts(l.resource) {
					continue
				}
				base = append(base, signed{l.cond, false})
				if !c.deny {
					base = append(base, signed{l.settled, true})
				}
			}
			*list = append(*list, base)
		default:
			for _, l := range c.loose {
				if accepts(l.resource) {
					*list = append(*list, append(slices.Clone(base), signed{l.cond, true}))
				}
			}
		}
	}
	return p
}

// place solves one place, unless one like it has been solved.
func (x *explorer) place(p *place, action, resource string) bool {
	if p.settled() {
		return true
	}
	key := p.key()
	if x.places[key] {
		return true
	}
	x.places[key] = true
	stopped, ok := x.m.solve(p, func(s *solver) bool { return x.candidate(s, action, resource) })
	return ok && !stopped
}

func (p *place) key() string {
	var b []byte
	for _, rules := range [][]rule{p.bAllow, p.bDeny, p.aAllow, p.aDeny} {
		b = binary.AppendVarint(b, int64(len(rules)))
		for _, r := range rules {
			b = binary.AppendVarint(b, int64(len(r)))
			for _, c := range r {
				n := int64(c.cond) + 1
				if !c.want {
					n = -n
				}
				b = binary.AppendVarint(b, n)
			}
		}
	}
	return string(b)
}
