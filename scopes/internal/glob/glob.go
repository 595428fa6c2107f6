// Package glob answers two questions about wildcard patterns: does a pattern match a text, and can one text match two
// patterns at once.
//
// Laws:
//   - Overlap never says no where a common text exists: a hole is taken as wider than it is, never as narrower.
//
// It knows nothing of ARNs or IAM and keeps no state.
package glob

import "strings"

// Pattern is a sequence of literal bytes and holes. The zero value matches the empty text alone.
type Pattern []Token

// Token is one literal byte, or a hole that takes any bytes, none among them, but those in Not.
type Token struct {
	Hole bool
	Byte byte   // the literal, where Hole is false
	Not  string // bytes the hole cannot take; empty means it takes all
	One  bool   // the hole takes exactly one byte, as "?" does
}

// Literal returns the pattern that matches s alone.
func Literal(s string) Pattern {
	p := make(Pattern, 0, len(s))
	for i := range len(s) {
		p = append(p, Token{Byte: s[i]})
	}
	return p
}

// Wild returns the pattern of s with IAM's wildcards: "*" any bytes, "?" one.
func Wild(s string) Pattern {
	p := Literal(s)
	for i, t := range p {
		switch t.Byte {
		case '*':
			p[i] = Token{Hole: true}
		case '?':
			p[i] = Token{Hole: true, One: true}
		}
	}
	return p
}

// Match tells whether s matches p.
func (p Pattern) Match(s string) bool { return Overlap(p, Literal(s)) }

// Overlap tells whether some text matches both patterns. Its cost is len(a) times len(b).
func Overlap(a, b Pattern) bool {
	// reach[i][j] means that a[:i] and b[:j] have matched a common text.
	w := len(b) + 1
	reach := make([]bool, (len(a)+1)*w)
	reach[0] = true
	for i := 0; i <= len(a); i++ {
		for j := 0; j <= len(b); j++ {
			if reach[i*w+j] {
				advance(a, b, i, j, func(di, dj int) { reach[(i+di)*w+j+dj] = true })
			}
		}
	}
	return reach[len(reach)-1]
}

func advance(a, b Pattern, i, j int, to func(di, dj int)) {
	inA, inB := i < len(a), j < len(b)
	if inA && a[i].Hole && !a[i].One {
		to(1, 0)
	}
	if inB && b[j].Hole && !b[j].One {
		to(0, 1)
	}
	if !inA || !inB {
		return
	}
	s, t := a[i], b[j]
	switch {
	case !s.Hole && !t.Hole:
		if s.Byte == t.Byte {
			to(1, 1)
		}
	case s.Hole && !t.Hole:
		if strings.IndexByte(s.Not, t.Byte) < 0 {
			to(one(s), 1)
		}
	case !s.Hole && t.Hole:
		if strings.IndexByte(t.Not, s.Byte) < 0 {
			to(1, one(t))
		}
	default:
		// Both take some byte: a pair of stars is left through the empty moves above.
		if s.One || t.One {
			to(one(s), one(t))
		}
	}
}

func one(t Token) int {
	if t.One {
		return 1
	}
	return 0
}
