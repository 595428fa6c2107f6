package review

import (
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes"
)

// parameters compares what each parameter takes.
func (p *pair) parameters() {
	kept := map[string]bool{}
	for _, q := range p.b.Params() {
		old, ok := p.names[q.Name]
		if !ok {
			p.note("parameter %s is new", q.Name)
			continue
		}
		kept[old] = true
		was, _ := param(p.a, old)
		p.parameter(was, q)
	}
	for _, q := range p.a.Params() {
		if !kept[q.Name] {
			p.note("parameter %s is gone", q.Name)
		}
	}
}

func (p *pair) parameter(was, is scopes.Param) {
	if is.List && !was.List {
		p.gain(Change{Kind: KindParameter, What: fmt.Sprintf("parameter %s takes several values at once", is.Name), Known: true})
	} else if was.List && !is.List {
		p.lose(Change{Kind: KindParameter, What: fmt.Sprintf("parameter %s takes one value alone", is.Name)})
	}
	more := newlyTaken(is, was, p.a)
	less := newlyTaken(was, is, p.b)
	if len(more.values) > 0 || more.doubt != "" {
		p.gain(more.change(is.Name, takes(is)+" (was: "+takes(was)+")"))
	}
	if len(less.values) > 0 {
		p.lose(less.change(was.Name, takes(was)+" (now: "+takes(is)+")"))
	}
}

// taken is what one side of a parameter takes and the other does not.
type taken struct {
	values []string // examples, or all of them where the values are listed
	listed bool
	doubt  string // why nothing could be told, where there is no example
}

// newlyTaken looks for values that one side takes and the other's scope refuses.
func newlyTaken(is, was scopes.Param, other *scopes.Scope) taken {
	t := taken{listed: len(is.Allowed) > 0}
	if same(is, was) {
		return t
	}
	var tries []string
	switch {
	case is.Type == scopes.TypeInteger && !t.listed:
		tries = []string{fmt.Sprint(is.Min), fmt.Sprint(is.Max)}
	case len(was.Allowed) > 0 || t.listed:
		tries = samples(is, 0)
	case is.Type == scopes.TypePattern && was.Type == scopes.TypePattern:
		text, ok := beyond(is.Pattern, was.Pattern)
		if ok && text == "" {
			return t
		}
		tries = append(samples(is, 0), text)
		t.doubt = "the two patterns could not be compared"
	default:
		tries = samples(is, 0)
		t.doubt = fmt.Sprintf("neither %s nor %s lists its values, and no example tells them apart", form(was), form(is))
	}
	for _, v := range tries {
		if other.Accepts(was.Name, v) != nil {
			t.values = append(t.values, v)
		}
	}
	if len(t.values) > 0 {
		t.doubt = ""
	}
	return t
}

// same tells whether two parameters take the same values.
func same(x, y scopes.Param) bool {
	return x.Type == y.Type && x.Pattern == y.Pattern && x.Min == y.Min && x.Max == y.Max && slices.Equal(x.Allowed, y.Allowed)
}

func (t taken) change(name, words string) Change {
	c := Change{Kind: KindParameter, What: "parameter " + name + " takes " + words, Why: t.doubt}
	if len(t.values) == 0 {
		return c
	}
	c.Known, c.Witness = true, name+"="+t.values[0]
	if t.listed {
		c.What = "parameter " + name + " takes " + list(t.values)
	}
	return c
}

// takes says what a parameter takes.
func takes(p scopes.Param) string {
	if len(p.Allowed) > 0 {
		return "only " + list(p.Allowed)
	}
	return "any " + form(p)
}

func form(p scopes.Param) string {
	switch p.Type {
	case scopes.TypePattern:
		return "match of " + p.Pattern
	case scopes.TypeInteger:
		return fmt.Sprintf("integer from %d to %d", p.Min, p.Max)
	default:
		return string(p.Type)
	}
}

// list names values, the first ten.
func list(values []string) string {
	if len(values) > 10 {
		return fmt.Sprintf("%s and %d more", strings.Join(values[:10], ", "), len(values)-10)
	}
	return strings.Join(values, ", ")
}
