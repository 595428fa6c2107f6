package iam

import (
	"net/netip"
	"strings"
)

// compare tells how a value v of the request stands to a value of the policy, and what became of its variables; negation
// is the caller's.
//
// NOTE: On the page on condition operators
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html) these are not
// said, so they are unsure: a value of the request that is no number, date, address, ARN and so on, as the operator wants
// it; "True" for "true"; a date without a time during its day or month, since it is not said whether that is an instant
// or all of it; an address of a network that has host bits, and IPv4 in IPv6 notation; an IPv6 address without a prefix,
// for which the page names a "default prefix value of /32"; letters that are equal but for case and not of ASCII.
func (a *atom) compare(o *operand, v string, env *environment) (answer, resolution) {
	switch a.family {
	case familyString:
		if a.relation == relationFold {
			return o.pattern.equalFold(v, env)
		}
		return o.pattern.match(v, env)
	case familyARN:
		if !isARN(v) {
			return a.unread(env), resolved
		}
		return o.pattern.match(v, env)
	case familyNumeric:
		d, ok := parseDecimal(v)
		if !ok {
			return a.unread(env), resolved
		}
		return ordered(d.compare(o.number), a.relation), resolved
	case familyDate:
		t, ok := parseDate(v)
		switch {
		case !ok:
			return a.unread(env), resolved
		case t.unclear(o.date.from), o.date.unclear(t.from):
			return unsure, resolved
		}
		return ordered(t.from.Compare(o.date.from), a.relation), resolved
	case familyBool:
		b, ok := parseBool(v)
		if !ok {
			return a.unread(env), resolved
		}
		same := o.boolean.certain(is(b.value == o.boolean.value))
		if !b.plain {
			same = same.and(env.about())
		}
		return same, resolved
	case familyBinary:
		b, ok := parseBinary(v)
		if !ok {
			return a.unread(env), resolved
		}
		return is(b == o.binary), resolved
	case familyIP:
		ip, err := netip.ParseAddr(v)
		if err != nil || ip.Zone() != "" {
			return a.unread(env), resolved
		}
		return o.network.contains(ip, env), resolved
	default: // familyNull, which asks for no value
		return no, resolved
	}
}

// unread is the answer for a value of the request that is not what the operator compares.
func (a *atom) unread(env *environment) answer {
	switch env.reading {
	case readingNone:
		return unsure
	case readingFalse:
		return is(a.negated) // which makes the condition false
	default:
		return no
	}
}

func ordered(c int, r relation) answer {
	switch r {
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

// equalFold is match for a pattern without wildcards, whatever the case.
func (p *pattern) equalFold(v string, env *environment) (answer, resolution) {
	whole, r := p.head, resolved
	if !p.exact {
		var room [8]token
		var ts []token
		if ts, r = env.substitute(room[:0], p); r == valueless {
			return no, r
		} else if r != resolved {
			return unsure, r
		}
		var b strings.Builder
		for i := range ts {
			b.WriteString(ts[i].text)
		}
		whole = b.String()
	}
	a := no
	switch {
	case len(v) == len(whole) && hasPrefix(v, asciiLower(whole), true):
		a = yes
	case strings.EqualFold(v, whole):
		a = unsure
	}
	if p.open {
		a = a.and(unsure)
	}
	return a, r
}
