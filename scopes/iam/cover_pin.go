package iam

import (
	"slices"
	"strings"
)

// pinned returns the statement with those variables written out that its own conditions leave one value: where
// "aws:username" must equal "bob", "${aws:username}" is "bob". That holds for keys of one value at most; of several
// values, AWS takes none for the variable.
func pinned(st *statement) *statement {
	values := map[string]string{} // by key in lower case
	for _, a := range st.conditions {
		if a.family == familyString && a.relation == relationEqual && !a.negated && !a.ifExists && a.quantifier == quantifierNone &&
			len(a.values) == 1 && a.values[0].pattern.exact && !a.values[0].pattern.open && !a.several && plainValue(a.values[0].pattern.head) {
			values[strings.ToLower(a.key)] = a.values[0].pattern.head
		}
	}
	if len(values) == 0 {
		return st
	}
	out := *st
	out.resources = slices.Clone(st.resources)
	for i, p := range out.resources {
		out.resources[i] = pin(p, values)
	}
	out.conditions = slices.Clone(st.conditions)
	for i, a := range out.conditions {
		if a.family != familyString && a.family != familyARN {
			continue
		}
		a.values = slices.Clone(a.values)
		for j := range a.values {
			a.values[j].pattern = pin(a.values[j].pattern, values)
		}
		out.conditions[i] = a
	}
	return &out
}

// pin writes the known variables of a pattern out.
func pin(p pattern, values map[string]string) pattern {
	if !p.vars || p.never || p.early {
		return p
	}
	q := pattern{source: p.source, fold: p.fold, arn: p.arn, open: p.open, crosses: p.crosses}
	for _, t := range p.tokens {
		if t.kind == tokenVariable {
			if v, known := values[strings.ToLower(t.v.key)]; known {
				q.tokens = literal(q.tokens, v)
				continue
			}
		}
		if t.kind == tokenLiteral {
			q.tokens = literal(q.tokens, t.text)
			continue
		}
		q.tokens = append(q.tokens, t)
	}
	return q.settle()
}

// settle finishes a pattern some of whose variables have become text.
func (p pattern) settle() pattern {
	p.count()
	p.finish()
	if p.arn && !p.vars {
		p.tokens, p.open = separate(p.tokens, p.open)
		p.exact, p.prefix, p.head = false, false, ""
		p.finish()
	}
	return p
}
