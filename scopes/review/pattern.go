package review

import (
	"regexp/syntax"
	"slices"
	"strings"
)

// matches returns texts that an RE2 expression matches as a whole: a short one, and one where repetitions repeat. It
// returns none for what it cannot follow, such as \b.
func matches(pattern string) []string {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	re = re.Simplify()
	var out []string
	for _, m := range []maker{{repeat: 0}, {repeat: 1}, {repeat: 3, last: true}} {
		var b strings.Builder
		if m.write(&b, re) && b.Len() > 0 && !slices.Contains(out, b.String()) {
			out = append(out, b.String())
		}
	}
	slices.Reverse(out) // the fullest reads best
	return out
}

// maker writes one text for an expression.
type maker struct {
	repeat int  // how often what may be left out is there
	last   bool // whether choices take their last branch
}

func (m maker) write(b *strings.Builder, re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginText, syntax.OpEndText, syntax.OpBeginLine, syntax.OpEndLine:
		return true
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
		return true
	case syntax.OpCharClass:
		return m.class(b, re.Rune)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('x')
		return true
	case syntax.OpCapture:
		return m.write(b, re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if !m.write(b, sub) {
				return false
			}
		}
		return true
	case syntax.OpAlternate:
		if m.last {
			return m.write(b, re.Sub[len(re.Sub)-1])
		}
		return m.write(b, re.Sub[0])
	case syntax.OpStar, syntax.OpQuest, syntax.OpPlus:
		n := m.repeat
		switch re.Op {
		case syntax.OpQuest:
			n = min(n, 1)
		case syntax.OpPlus:
			n = max(n, 1)
		default:
		}
		for range n {
			if !m.write(b, re.Sub[0]) {
				return false
			}
		}
		return true
	default:
		return false
	}
}

// class writes a character of the class, a letter or a digit where there is one.
func (m maker) class(b *strings.Builder, ranges []rune) bool {
	in := func(r rune) bool {
		for i := 0; i < len(ranges); i += 2 {
			if r >= ranges[i] && r <= ranges[i+1] {
				return true
			}
		}
		return false
	}
	for _, r := range "xeaA017" {
		if in(r) {
			b.WriteRune(r)
			return true
		}
	}
	if len(ranges) == 0 {
		return false
	}
	b.WriteRune(ranges[0])
	return true
}
