package scopes

import (
	"strings"
	"unicode/utf8"
)

// mark is one place of an IAM pattern.
type mark struct {
	text  string // markVariable
	r     rune   // markRune
	kind  markKind
	colon bool // markOne, markMany: it can take a ":"
}

type markKind uint8

const (
	markRune     markKind = iota // r alone
	markOne                      // "?"
	markMany                     // "*"
	markVariable                 // "${...}": any text, the same wherever the same variable stands
	markNever                    // nothing at all: a variable where IAM has none
)

// reading is how a value's wildcards are read.
type reading uint8

const (
	readText     reading = iota // no wildcards: StringEquals
	readLike                    // wildcards take everything: StringLike
	readResource                // an ARN of Resource: a wildcard stays in its segment, but for a "*" that ends one
	readARN                     // an ARN of a condition: every wildcard stays in its segment
)

// marks reads a pattern and appends it to out. With wide false, colon errs towards yes, and with wide true towards no, so that includes never
// finds a pattern wider than it is.
func marks(out []mark, s string, as reading, wide bool) []mark {
	colons, shifted := 0, false // a variable's own colons can move what follows it into another segment
	for i, skip := 0, 0; i < len(s); i += skip {
		rest := s[i:]
		skip = 1
		open := as == readText || as == readLike || colons >= 5 || shifted && !wide
		switch {
		case strings.HasPrefix(rest, "${") && strings.IndexByte(rest, '}') > 0:
			skip = strings.IndexByte(rest, '}') + 1
			out = append(out, mark{kind: markVariable, text: rest[:skip]})
			if as == readResource && colons < 5 && wide {
				out[len(out)-1].kind = markNever
			}
			shifted = true
		case rest[0] == '?' && as != readText:
			out = append(out, mark{kind: markOne, colon: open})
		case rest[0] == '*' && as != readText:
			last := len(rest) == 1 || rest[1] == ':'
			if !wide {
				last = last || strings.IndexByte("*?$", rest[1]) >= 0
			}
			out = append(out, mark{kind: markMany, colon: open || as == readResource && last})
		default:
			var r rune
			if r, skip = utf8.DecodeRuneInString(rest); r == ':' {
				colons++
			}
			out = append(out, mark{kind: markRune, r: r})
		}
	}
	return out
}

// takes tells whether one place of a wide pattern takes one place of a narrow one, in everything that that can be.
func (w mark) takes(n mark) bool {
	switch w.kind {
	case markRune:
		return n.kind == markRune && n.r == w.r
	case markVariable:
		return n.kind == markVariable && n.text == w.text
	case markOne:
		return n.kind == markRune && (w.colon || n.r != ':') || n.kind == markOne && (w.colon || !n.colon)
	case markNever:
		return false
	case markMany:
	}
	switch n.kind {
	case markRune:
		return w.colon || n.r != ':'
	case markVariable, markNever:
		return w.colon
	case markOne, markMany:
	}
	return w.colon || !n.colon
}

// includes tells whether the wide pattern is proven to take all that the narrow one takes. A yes is right; a no may be
// one that a closer look would turn.
func includes(wide, narrow []mark) bool {
	i, j, star, from := 0, 0, -1, 0
	for {
		switch {
		case i < len(wide) && wide[i].kind == markMany:
			star, from = i, j
			i++
			continue
		case i == len(wide) && j == len(narrow):
			return true
		case i < len(wide) && j < len(narrow) && wide[i].takes(narrow[j]):
			i, j = i+1, j+1
			continue
		}
		if star < 0 || from >= len(narrow) || !wide[star].takes(narrow[from]) {
			return false
		}
		from++
		i, j = star+1, from
	}
}

// includedIn tells whether some of the patterns is proven to take all that the value takes.
func includedIn(wide [][]mark, value string, as reading) bool {
	var room [96]mark // as long as most are
	narrow := marks(room[:0], value, as, false)
	for _, w := range wide {
		if includes(w, narrow) {
			return true
		}
	}
	return false
}
