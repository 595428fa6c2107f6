package iam

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/scopes/actions"
)

// Delta is what one set of policies allows and another does not, both ways. Both lists are empty where Covers says Yes
// both ways.
type Delta struct {
	Gained []Change `json:"gained"` // the second allows it, the first does not; empty, not nil, as Lost
	Lost   []Change `json:"lost"`   // the first allows it, the second does not
}

// Empty tells whether the two sets allow the same.
func (d Delta) Empty() bool { return len(d.Gained) == 0 && len(d.Lost) == 0 }

// Tier is the widest tier of what was gained; doubts count.
func (d Delta) Tier() actions.Class {
	t := actions.ClassUnspecified
	for _, c := range d.Gained {
		t = max(t, c.Tier)
	}
	return t
}

// Change is one Allow, or the part of it that makes a difference, in the words of the policy that has it. Denies of
// that policy are not in the words, but nothing that they deny makes a change.
type Change struct {
	Policy    int    `json:"policy"`    // which policy of its set, from 0
	Statement int    `json:"statement"` // which statement, from 0
	Sid       string `json:"sid,omitempty"`

	// One of the two of each.
	Actions      []string `json:"actions,omitempty"`
	NotActions   []string `json:"not_actions,omitempty"`
	Resources    []string `json:"resources,omitempty"`
	NotResources []string `json:"not_resources,omitempty"`

	Condition map[string]map[string][]string `json:"condition,omitempty"`

	// Tier is the widest class of the actions that make the difference: those of the catalogue, and ClassAdmin for
	// names it does not know. What a wildcard may take in later has no class.
	Tier  actions.Class `json:"tier"`
	Names []string      `json:"names"`          // the catalogue's actions that make the difference, sorted; the first maxNames
	More  int           `json:"more,omitempty"` // how many further ones there are

	// Known tells whether the difference is proven; then Witness is a request that makes it, with an action of the
	// widest class that the catalogue has among them. Otherwise Why says what could not be told, and there may be none.
	Known   bool    `json:"known"`
	Witness Request `json:"witness,omitzero"`
	Why     string  `json:"why,omitempty"`
}

// maxNames is how many actions a Change names, or a reason of a Risk.
const maxNames = 20

// The bounds of one Diff: steps in each direction, of which each question has maxSteps at most, and time.
const (
	diffSteps = 100_000_000
	diffTime  = 20 * time.Second
)

// Diff tells what b allows and a does not, and what a allows and b does not. It asks Covers about each Allow, then
// about halves of its actions and resources until each half makes a difference or none, so that it costs up to the
// number of patterns times one Covers of what they have in common; actions without wildcards that no statement tells
// apart are one. Past 100 million steps, or 20 seconds, an Allow is told whole.
func Diff(d Dialect, a, b []Policy) (Delta, error) { return diff(d, a, b, nil) }

func diff(d Dialect, a, b []Policy, now func() time.Time) (Delta, error) {
	ea, err := Compile(d, a, nil, nil)
	if err != nil {
		return Delta{}, fmt.Errorf("comparing the first policies: %w", err)
	}
	eb, err := Compile(d, b, nil, nil)
	if err != nil {
		return Delta{}, fmt.Errorf("comparing the second policies: %w", err)
	}
	end := within(diffTime, now)
	return Delta{Gained: beyond(ea, eb, b, end), Lost: beyond(eb, ea, a, end)}, nil
}

// differ finds what one compiled set allows and base does not.
type differ struct {
	base  *Evaluator
	denys []statement // of the set
	left  int         // steps
	deadline
}

// over tells whether steps or time have ended.
func (d *differ) over() bool { return d.left <= 0 || d.passed() }

func beyond(base, set *Evaluator, policies []Policy, end deadline) []Change {
	d := &differ{base: base, left: diffSteps, deadline: end}
	for _, s := range set.statements {
		if s.deny {
			d.denys = append(d.denys, s)
		}
	}
	out := []Change{}
	i := 0
	for n, p := range policies {
		for j, s := range p.Statements {
			if st := set.statements[i]; !st.deny {
				for _, c := range d.changes(st, s) {
					c.Policy, c.Statement, c.Sid = n, j, s.Sid
					out = append(out, c)
				}
			}
			i++
		}
	}
	return out
}

// ask compares one Allow, under the Denies of its set, with the base.
func (d *differ) ask(st statement, l limits) Coverage {
	e := &Evaluator{semantics: d.base.semantics, statements: append([]statement{st}, d.denys...), layers: []string{LayerIdentity}, context: true}
	l.steps = min(maxSteps, max(d.left, 1))
	b := &budget{left: l.steps, deadline: d.deadline}
	if d.passed() {
		b.left = -1
		return Coverage{Why: b.why(l.steps)}
	}
	c := decide(d.base, e, l, b)
	d.left -= l.steps - b.left
	return c
}

// changes takes one Allow apart.
func (d *differ) changes(st statement, s Statement) []Change {
	whole := Change{Actions: s.Action, NotActions: s.NotAction, Resources: s.Resource, NotResources: s.NotResource,
		Condition: s.Condition}
	if d.ask(st, limits{plain: true}).Answer == Yes {
		return nil
	}
	// The resources that make a difference, for each action that does; actions with the same ones are told together.
	type group struct{ actions, resources []int }
	groups := map[string]*group{}
	var order []string
	for _, same := range d.alike(st) {
		one := st
		if !st.notAction {
			one.actions = st.actions[same[0] : same[0]+1]
		}
		n := 1
		if !st.notResource {
			n = len(st.resources)
		}
		rs := d.differing(one, n, func(st *statement, from, to int) {
			if !st.notResource {
				st.resources = st.resources[from:to]
			}
		})
		if len(rs) == 0 {
			continue
		}
		key := fmt.Sprint(rs)
		if groups[key] == nil {
			groups[key] = &group{resources: rs}
			order = append(order, key)
		}
		groups[key].actions = append(groups[key].actions, same...)
	}
	for _, g := range groups {
		slices.Sort(g.actions)
	}
	var out []Change
	for _, key := range order {
		c, part := whole, st
		if !st.notAction {
			c.Actions, part.actions = pick(s.Action, groups[key].actions), pick(st.actions, groups[key].actions)
		}
		if !st.notResource {
			c.Resources, part.resources = pick(s.Resource, groups[key].resources), pick(st.resources, groups[key].resources)
		}
		out = append(out, d.finish(c, part, d.ask(part, limits{})))
	}
	return out
}

// alike returns the numbers of the statement's actions that make a difference, in sets: actions without wildcards that no
// statement tells apart are one set, and an action with a wildcard is a set of its own.
func (d *differ) alike(st statement) [][]int {
	if st.notAction {
		return [][]int{{0}}
	}
	others := slices.Concat(d.denys, d.base.statements)
	at := map[string]int{}
	var out [][]int
	var wild []int
	takers := newTakers(others)
	var key []byte
	for i := range st.actions {
		if !st.actions[i].exact {
			wild = append(wild, i)
			continue
		}
		key = takers.of(st.actions[i].head).appendKey(key[:0])
		if n, ok := at[string(key)]; ok {
			out[n] = append(out[n], i)
			continue
		}
		at[string(key)] = len(out)
		out = append(out, []int{i})
	}
	all := st.actions
	only := func(at []int) statement {
		one := st
		one.actions = pick(all, at)
		return one
	}
	out = slices.DeleteFunc(out, func(same []int) bool { return !d.over() && d.ask(only(same[:1]), limits{plain: true}).Answer == Yes })
	for _, i := range d.differing(only(wild), len(wild), func(st *statement, from, to int) { st.actions = st.actions[from:to] }) {
		out = append(out, []int{wild[i]})
	}
	return out
}

// differing returns the numbers under n of what makes a difference alone, by halves.
func (d *differ) differing(st statement, n int, keep func(st *statement, from, to int)) []int {
	var out []int
	var look func(from, to int)
	look = func(from, to int) {
		part := st
		keep(&part, from, to)
		if !d.over() && d.ask(part, limits{plain: true}).Answer == Yes {
			return
		}
		if to-from == 1 || d.over() {
			for i := from; i < to; i++ {
				out = append(out, i)
			}
			return
		}
		look(from, (from+to)/2)
		look((from+to)/2, to)
	}
	if n > 0 {
		look(0, n)
	}
	return out
}

func pick[T any](list []T, at []int) []T {
	out := make([]T, len(at))
	for i, n := range at {
		out[i] = list[n]
	}
	return out
}

// finish writes the evidence and the tier into a change.
func (d *differ) finish(c Change, st statement, answer Coverage) Change {
	c.Actions, c.NotActions = slices.Clone(c.Actions), slices.Clone(c.NotActions)
	c.Resources, c.NotResources = slices.Clone(c.Resources), slices.Clone(c.NotResources)
	c.Condition = cloneCondition(c.Condition)
	c.Known, c.Why = answer.Answer == No, answer.Why
	if answer.Witness != nil {
		c.Witness = *answer.Witness
	}
	names, unknown := d.names(st)
	widest := ""
	for _, name := range names {
		if class, _ := actions.Classify(name); class > c.Tier {
			c.Tier, widest = class, name
		}
	}
	if class, _ := actions.Classify(c.Witness.Action); c.Known && widest != "" && class != c.Tier {
		one := st
		one.notAction, one.actions = false, []pattern{actionPattern(widest)}
		if w := d.ask(one, limits{}); w.Answer == No {
			c.Witness = *w.Witness
		}
	}
	if unknown || len(names) == 0 {
		c.Tier = actions.ClassAdmin
	}
	c.More = max(0, len(names)-maxNames)
	c.Names = names[:len(names)-c.More]
	return c
}

// names returns the catalogue's actions that make a difference, and whether the statement names an action that the
// catalogue does not have. Actions that no statement tells apart are asked about once.
func (d *differ) names(st statement) (names []string, unknown bool) {
	names = []string{}
	if !st.notAction {
		for i := range st.actions {
			p := &st.actions[i]
			_, known := actions.Lookup(p.source)
			unknown = unknown || (!strings.ContainsAny(p.source, "*?") && !known)
		}
	}
	told := map[string]bool{}
	takers := newTakers(slices.Concat([]statement{st}, d.denys, d.base.statements))
	var key []byte
	for _, service := range servicesOf([]statement{st}) {
		if d.over() {
			return names, true // what is left counts as unknown
		}
		for _, a := range actions.OfService(service) {
			in := takers.of(a.Name)
			if !in.has(0) {
				continue
			}
			key = in.appendKey(key[:0])
			differs, asked := told[string(key)]
			if !asked {
				one := st
				one.notAction, one.actions = false, []pattern{actionPattern(a.Name)}
				differs = d.ask(one, limits{plain: true}).Answer != Yes
				told[string(key)] = differs
			}
			if differs {
				names = append(names, a.Name)
			}
		}
	}
	slices.Sort(names)
	return names, unknown
}

// String is the change for people, on one line.
func (c Change) String() string {
	if !c.Known {
		return c.What() + "; perhaps: " + c.Why
	}
	return fmt.Sprintf("%s; for one, %s on %s", c.What(), c.Witness.Action, c.Witness.Resource)
}

// What is the change in words, without its evidence: "s3:GetObject on arn:aws:s3:::b/* when aws:SourceVpc StringEquals
// vpc-1".
func (c Change) What() string {
	return words(c.Actions, c.NotActions, c.Resources, c.NotResources, c.Condition)
}
