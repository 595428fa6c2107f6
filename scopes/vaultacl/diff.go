package vaultacl

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Delta is what changes from one set of policies to another.
type Delta struct {
	// Gained is what the second allows and the first does not; Lost is the reverse. The widest tier comes first.
	Gained []Change `json:"gained"` // empty, not nil, as Lost
	Lost   []Change `json:"lost"`
	// Complete is false where something may be missing; Why says what.
	Complete bool   `json:"complete"`
	Why      string `json:"why,omitempty"`
}

// Empty tells whether the two sets allow the same.
func (d Delta) Empty() bool { return len(d.Gained) == 0 && len(d.Lost) == 0 && d.Complete }

// Change is access that one side has and the other has not, as far as one path decides about it.
type Change struct {
	// Path is the path that decides on the side that has the access, and Rules are that side's rules for it.
	Path  string `json:"path"`
	Rules []Ref  `json:"rules"`
	// Operations are those for which it differs, sorted. Sudo: it also differs where sudo is needed, or only there.
	Operations []Operation `json:"operations"`
	Sudo       bool        `json:"sudo,omitempty"`
	// Tier is the harm that the operations can do anywhere under Path, with the reason.
	Tier    Tier   `json:"tier"`
	TierWhy string `json:"reason,omitempty"`
	// Witness is a request of the widest tier among them, which Allows confirms. Known is false if only a doubt was
	// found, which Why names: there may be no change at all, and Witness may pass on both sides.
	Known   bool    `json:"known"`
	Witness Request `json:"witness"`
	Why     string  `json:"why,omitempty"`

	witnessTier Tier
}

// What is the change in words, without its evidence: "delete, read on secret/data/+/*".
func (c Change) What() string {
	ops := make([]string, len(c.Operations))
	for i, op := range c.Operations {
		ops[i] = string(op)
	}
	out := strings.Join(ops, ", ") + " on " + c.Path
	if c.Sudo {
		out += ", also where sudo is needed"
	}
	return out
}

// Diff says what changes from a to b. See Covers for what a request is and how templates are filled.
func Diff(a, b []Policy) Delta { return DiffWithin(Budget, a, b) }

// DiffWithin is Diff with a budget of its own, in paths and for each direction.
func DiffWithin(budget int, a, b []Policy) Delta {
	d := Delta{Gained: []Change{}, Lost: []Change{}, Complete: true}
	if samePolicies(a, b) {
		return d
	}
	var whyGained, whyLost string
	d.Gained, whyGained = gains(budget, a, b)
	d.Lost, whyLost = gains(budget, b, a)
	d.Why = cmp.Or(whyGained, whyLost)
	d.Complete = d.Why == ""
	return d
}

// Tier returns the widest tier of what was gained; doubts count.
func (d Delta) Tier() Tier {
	t := TierNone
	for _, c := range d.Gained {
		t = max(t, c.Tier)
	}
	return t
}

// gains lists what b allows and a does not.
func gains(budget int, a, b []Policy) (out []Change, why string) {
	out = []Change{}
	type key struct {
		policy string
		index  int
		known  bool
	}
	byRule := map[key]*Change{}
	why, err := compare(budget, a, b, func(c comparison) error {
		f := include(c.wide, c.narrow, c.op)
		if f.answer == Yes {
			return nil
		}
		cause := f.why
		if f.answer == No {
			if checked := c.refuted(f.request); checked.Answer != No {
				f.answer, cause = Unknown, checked.Why
			}
		}
		first := c.narrow.refs[0]
		k := key{first.Policy, first.Index, f.answer == No}
		ch := byRule[k]
		if ch == nil {
			ch = &Change{Path: first.Path, Rules: c.narrow.refs, Known: k.known, Why: cause}
			byRule[k] = ch
		}
		ch.add(c.asked(f.request))
		return nil
	})
	if errors.Is(err, errBudget) {
		why = fmt.Sprintf("more than %d kinds of paths: %v", budget, err)
	}
	for _, c := range byRule {
		slices.Sort(c.Operations)
		c.Tier, c.TierWhy = TierOf(templateAsWildcard(c.Path), c.words())
		out = append(out, *c)
	}
	slices.SortFunc(out, func(x, y Change) int {
		return cmp.Or(cmp.Compare(y.Tier, x.Tier), cmp.Compare(x.Path, y.Path), cmp.Compare(fmt.Sprint(x.Known), fmt.Sprint(y.Known)))
	})
	return out, why
}

// add takes an operation into the change, and its request as the witness if it is of a wider tier.
func (c *Change) add(r Request) {
	if !slices.Contains(c.Operations, r.Operation) {
		c.Operations = append(c.Operations, r.Operation)
	}
	c.Sudo = c.Sudo || r.Sudo
	words := []string{string(r.Operation)}
	if r.Sudo {
		words = append(words, "sudo")
	}
	if t, _ := TierOf(r.Path, words); t > c.witnessTier {
		c.witnessTier, c.Witness = t, r
	}
}

// words lists the capabilities that the change is about.
func (c *Change) words() []string {
	var out []string
	for _, op := range c.Operations {
		out = append(out, string(op))
	}
	if c.Sudo {
		out = append(out, "sudo")
	}
	return out
}
