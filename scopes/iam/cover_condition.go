package iam

import (
	"slices"
	"strconv"
	"strings"
)

// condition is one atom as the cover search knows it: a truth value that depends on one context key, or a free one.
// Statements that say the same share it. An Allow and a Deny do not: a value that cannot be compared fails both.
type condition struct {
	atom
	deny   bool
	opaque bool // a variable in a value, or a resource with one: its truth is free
	text   string
	dim    int // the dimension it looks at
	local  int // its place among that dimension's conditions
}

// newCondition reads one atom of a statement.
func newCondition(a atom, deny bool) condition {
	c := condition{atom: a, deny: deny}
	var sources []string
	for _, v := range a.values {
		sources = append(sources, v.source)
		c.opaque = c.opaque || v.pattern.vars
	}
	slices.Sort(sources)
	sources = slices.Compact(sources)
	c.text = a.String() + " " + a.key + " " + strings.Join(sources, ", ")
	return c
}

// id is equal for conditions that mean the same.
func (c condition) id() string {
	values := make([]string, 0, len(c.values))
	for _, v := range c.values {
		values = append(values, v.source+"\x01"+v.pattern.shape())
	}
	slices.Sort(values)
	head := []string{c.String(), strings.ToLower(c.key), strconv.FormatBool(c.deny)}
	return strings.Join(append(head, slices.Compact(values)...), "\x00")
}

// all tells whether the condition is true of a list where it is true of each value; otherwise it is where it is true
// of one.
func (c condition) all() bool {
	return c.quantifier == quantifierAll || (c.quantifier == quantifierNone && c.negated)
}

// on tells whether the condition holds where its key has these values; nil is a missing key.
func (c condition) on(values []string) bool {
	env := environment{}
	if values != nil {
		env.entries = []entry{{c.key, values}}
	}
	return c.holds(&env, c.deny)
}

// signed is a condition, or its negation.
type signed struct {
	cond int
	want bool
}
