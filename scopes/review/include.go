package review

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"

	"github.com/valetkey/valetkey/scopes/plaintext"
)

// maxStates bounds the search of beyond.
const maxStates = 20_000

// beyond looks for a text that one RE2 expression matches as a whole and another does not, the shortest. None is found
// where ok is true and the text is empty: there is none, among the characters that a parameter's value may hold. Where
// ok is false it could not be told: an expression has \b or a line's end in it, or too many states.
//
// It walks the two programs side by side, each as the set of places it can be at.
func beyond(wide, narrow string) (text string, ok bool) {
	w, n := program(wide), program(narrow)
	if w == nil || n == nil {
		return "", false
	}
	type node struct {
		w, n []uint32
		text string
	}
	alphabet := letters(w, n)
	start := node{w: closure(w, []uint32{uint32(w.Start)}, true), n: closure(n, []uint32{uint32(n.Start)}, true)} //nolint:gosec // an index
	queue, seen := []node{start}, map[string]bool{}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if at.text != "" && matched(w, at.w) && !matched(n, at.n) {
			return at.text, true
		}
		for _, r := range alphabet {
			next := node{w: step(w, at.w, r), text: at.text + string(r)}
			if len(next.w) == 0 {
				continue
			}
			next.n = step(n, at.n, r)
			if key := fmt.Sprint(next.w, next.n); !seen[key] {
				if len(seen) == maxStates {
					return "", false
				}
				seen[key] = true
				queue = append(queue, next)
			}
		}
	}
	return "", true
}

// program compiles an expression; nil where it has what closure does not follow.
func program(pattern string) *syntax.Prog {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil
	}
	p, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil
	}
	for _, i := range p.Inst {
		if i.Op == syntax.InstEmptyWidth && syntax.EmptyOp(i.Arg)&^(syntax.EmptyBeginText|syntax.EmptyEndText) != 0 { //nolint:gosec // a flag
			return nil
		}
	}
	return p
}

// letters returns one character of each kind that the programs tell apart and that a value may hold.
func letters(programs ...*syntax.Prog) []rune {
	cuts := []rune{' ', 'a', '0', 0x7f, unicode.MaxRune}
	for _, p := range programs {
		for _, i := range p.Inst {
			for _, r := range i.Rune {
				cuts = append(cuts, r, r+1)
				for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
					cuts = append(cuts, f, f+1)
				}
			}
		}
	}
	for _, r := range `*?${}\"` {
		cuts = append(cuts, r, r+1)
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var out []rune
	for i, r := range cuts[:len(cuts)-1] {
		for ; r < cuts[i+1] && r <= unicode.MaxRune; r++ {
			if plaintext.Visible(r) && !strings.ContainsRune(`*?${}\"`, r) {
				out = append(out, r)
				break
			}
		}
	}
	// Letters and digits first, so that a witness reads well.
	plain := func(r rune) bool { return r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)) }
	slices.SortStableFunc(out, func(x, y rune) int {
		switch {
		case plain(x) == plain(y):
			return 0
		case plain(x):
			return -1
		}
		return 1
	})
	return out
}

// closure follows what takes no character, and returns the places that take one or are the end, sorted.
func closure(p *syntax.Prog, from []uint32, atStart bool) []uint32 {
	seen := map[uint32]bool{}
	var out []uint32
	for len(from) > 0 {
		pc := from[len(from)-1]
		from = from[:len(from)-1]
		if seen[pc] {
			continue
		}
		seen[pc] = true
		switch i := p.Inst[pc]; i.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			from = append(from, i.Out, i.Arg)
		case syntax.InstCapture, syntax.InstNop:
			from = append(from, i.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(i.Arg)&syntax.EmptyBeginText != 0 && !atStart { //nolint:gosec // a flag
				continue
			}
			if syntax.EmptyOp(i.Arg)&syntax.EmptyEndText != 0 { //nolint:gosec // a flag
				out = append(out, pc) // matched looks on from here
				continue
			}
			from = append(from, i.Out)
		case syntax.InstFail:
		default:
			out = append(out, pc)
		}
	}
	slices.Sort(out)
	return out
}

// step takes one character.
func step(p *syntax.Prog, at []uint32, r rune) []uint32 {
	var next []uint32
	for _, pc := range at {
		if i := p.Inst[pc]; i.Op != syntax.InstMatch && i.Op != syntax.InstEmptyWidth && i.MatchRune(r) {
			next = append(next, i.Out)
		}
	}
	return closure(p, next, false)
}

// matched tells whether a text that is not empty may end here: nothing that has to begin a text holds at its end.
func matched(p *syntax.Prog, at []uint32) bool {
	seen := map[uint32]bool{}
	for at = slices.Clone(at); len(at) > 0; {
		pc := at[len(at)-1]
		at = at[:len(at)-1]
		if seen[pc] {
			continue
		}
		seen[pc] = true
		switch i := p.Inst[pc]; i.Op {
		case syntax.InstMatch:
			return true
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(i.Arg)&syntax.EmptyBeginText == 0 { //nolint:gosec // a flag
				at = append(at, i.Out)
			}
		case syntax.InstCapture, syntax.InstNop:
			at = append(at, i.Out)
		case syntax.InstAlt, syntax.InstAltMatch:
			at = append(at, i.Out, i.Arg)
		default:
		}
	}
	return false
}
