package iam

import "strings"

// compare tells how a value v of the request stands to a value of the policy; negation is the caller's.
func (a *atom) compare(o *operand, v string, env *environment) answer {
	switch a.family {
	case familyString:
		if a.relation == relationFold {
			return o.pattern.equalFold(v, env)
		}
		return o.pattern.match(v, env)
	case familyARN:
		return o.pattern.match(v, env)
	case familyNumeric:
		d, ok := parseDecimal(v)
		return ordered(ok, func() int { return d.compare(o.number) }, a.relation)
	case familyDate:
		t, ok := parseDate(v)
		return ordered(ok, func() int { return t.Compare(o.date) }, a.relation)
	case familyBool:
		b, ok := parseBool(v)
		return equal(ok, b == o.boolean)
	case familyBinary:
		b, ok := parseBinary(v)
		return equal(ok, b == o.binary)
	case familyIP:
		ip, ok := parseAddress(v)
		return equal(ok, o.network.Contains(ip))
	default: // familyNull, which asks for no value
		return no
	}
}

func equal(readable, same bool) answer {
	if !readable {
		return unsure
	}
	return is(same)
}

func ordered(readable bool, compare func() int, r relation) answer {
	if !readable {
		return unsure
	}
	switch c := compare(); r {
	case relationLess:
		return is(c < 0)
	case relationLessEqual:
		return is(c <= 0)
	case relationGreater:
		return is(c > 0)
	case relationGreaterEqual:
		return is(c >= 0)
	default:
		return is(c == 0)
	}
}

// equalFold is match for a pattern without wildcards, under Unicode's simple folding.
func (p *pattern) equalFold(v string, env *environment) answer {
	if p.exact {
		return is(strings.EqualFold(v, p.head))
	}
	var room [32]token
	ts, known := env.substitute(room[:0], p.tokens)
	if known != yes {
		return known
	}
	var whole strings.Builder
	for i := range ts {
		whole.WriteString(ts[i].text)
	}
	return is(strings.EqualFold(v, whole.String()))
}
