package iam

import (
	"fmt"
	"slices"
	"strings"
)

// condition is one atom as the cover search knows it: a truth value that depends on one context key, or a free one.
// Statements that say the same share it. An Allow and a Deny do not: what is unsure fails a request in both.
type condition struct {
	atom
	deny   bool
	opaque bool   // its truth is free: a variable in a value, or in a resource, or a question that AWS's pages leave open
	doubt  string // of a free one: why nobody can tell
	dim    int    // the dimension it looks at
	local  int    // its place among that dimension's conditions
}

// newCondition reads one atom of a statement.
func newCondition(a *atom, deny bool) condition {
	c := condition{atom: *a, deny: deny}
	for i := range a.values {
		c.opaque = c.opaque || a.values[i].pattern.vars
	}
	if c.opaque {
		var sources []string
		for i := range a.values {
			sources = append(sources, a.values[i].source)
		}
		c.doubt = onVariable(a.String() + " " + a.key + " " + strings.Join(union(sources, nil), ", "))
	}
	return c
}

func onVariable(text string) string {
	return fmt.Sprintf("whether %q holds depends on a policy variable", text)
}

// id is equal for conditions that mean the same.
func (c *condition) id() string {
	b := appendSized(make([]byte, 0, 128), c.name)
	b = append(appendSized(b, strings.ToLower(c.key)), flags(c.deny))
	value := func(b []byte, i int) []byte {
		return c.values[i].pattern.appendShape(appendSized(b, c.values[i].source))
	}
	if len(c.values) == 1 {
		return string(value(b, 0))
	}
	values := make([]string, len(c.values))
	for i := range values {
		values[i] = string(value(nil, i))
	}
	slices.Sort(values)
	for _, v := range slices.Compact(values) {
		b = appendSized(b, v)
	}
	return string(b)
}

// on returns what the condition says, in one reading, where its key has these values; nil is a missing key.
func (c *condition) on(values []string, r reading) answer {
	var room [1]entry
	env := environment{reading: r}
	if values != nil {
		room[0] = entry{c.key, values}
		env.entries = room[:]
	}
	return c.holds(&env)
}

// signed is a condition, or its negation.
type signed struct {
	cond int
	want bool
}
