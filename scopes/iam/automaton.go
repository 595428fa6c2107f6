package iam

import (
	"encoding/binary"
	"slices"
	"unicode"
)

// A language is a set of texts: those that one of its tracks matches. Negation is the caller's business.
type language []track

// track is a pattern as an automaton walks it: a sequence of steps over characters (runes), as "?" takes a character.
type track []step

// step is one literal character or a hole.
type step struct {
	kind stepKind
	char rune // a literal's character
	fold bool // a literal that ignores case, by Unicode's simple folding as strings.EqualFold does
	seg  bool // a hole that does not take ':'
}

type stepKind uint8

const (
	stepChar stepKind = iota
	stepOne           // any one character
	stepMany          // any characters, none among them
	stepEnd           // the pattern has matched; in a product alone
)

// product walks the automata of several languages at once, state by state and only as far as a text can lead.
//
// A state is a set of positions in all patterns, so the walk is the subset construction of the union automaton. It has
// as many states as the patterns' tries have nodes where stars stand at the ends only, and up to two to the number of
// inner stars where patterns have many; the budget ends that case.
type product struct {
	langs  int
	steps  []step  // all patterns, one after another, each closed with stepEnd
	owner  []int32 // the language of each position
	starts []int32
	budget *budget

	// hopeless tells of a state that no text after it can make interesting, given which languages can still accept.
	hopeless func(alive bits) bool

	forever []int32 // by language: its first trailing star, or -1
	mark    []int32 // the generation in which a position was added last
	gen     int32
	ever    []bool // by language: a trailing star is reached, so it accepts whatever follows
	alive   bits
}

func newProduct(langs []language, b *budget) *product {
	p := &product{langs: len(langs), budget: b, alive: newBits(len(langs)), ever: make([]bool, len(langs))}
	for l, patterns := range langs {
		for _, pat := range patterns {
			p.starts = append(p.starts, int32(len(p.steps))) //nolint:gosec // a policy has no 2^31 characters
			p.steps = append(p.steps, pat...)
			p.steps = append(p.steps, step{kind: stepEnd})
			for range len(pat) + 1 {
				p.owner = append(p.owner, int32(l))
			}
		}
	}
	p.mark = make([]int32, len(p.steps))
	p.forever = slices.Repeat([]int32{-1}, len(langs))
	for pos := range p.steps {
		if l := p.owner[pos]; p.forever[l] < 0 && p.trailing(int32(pos)) {
			p.forever[l] = int32(pos)
		}
	}
	return p
}

// node is one state and how it was reached.
type node struct {
	at     []int32
	parent int32
	by     rune
}

// explore calls visit once for every combination of accepting languages that some text has, with a shortest such text.
// It stops where visit returns false or the budget ends, and then returns false.
func (p *product) explore(visit func(accepts bits, text string) bool) bool {
	first := slices.Clone(p.close(nil, p.starts))
	nodes := []node{{at: first, parent: -1}}
	seen := map[string]bool{string(appendState(nil, first)): true}
	met := map[string]bool{}
	var key []byte
	for i := 0; i < len(nodes); i++ {
		at := nodes[i].at
		accepts := newBits(p.langs)
		for _, pos := range at {
			if p.steps[pos].kind == stepEnd {
				accepts.set(int(p.owner[pos]))
			}
		}
		if k := accepts.key(); !met[k] {
			met[k] = true
			if !visit(accepts, text(nodes, i)) {
				return false
			}
		}
		more := p.successors(at, func(r rune, next []int32) bool {
			if !p.budget.spend(len(next) + 1) {
				return false
			}
			if p.dead(next) {
				return true
			}
			key = appendState(key[:0], next)
			if !seen[string(key)] {
				seen[string(key)] = true
				nodes = append(nodes, node{at: slices.Clone(next), parent: int32(i), by: r}) //nolint:gosec // the budget is smaller
			}
			return true
		})
		if !more {
			return false
		}
	}
	return true
}

func (p *product) dead(at []int32) bool {
	if p.hopeless == nil {
		return false
	}
	clear(p.alive)
	for _, pos := range at {
		p.alive.set(int(p.owner[pos]))
	}
	return p.hopeless(p.alive)
}

// close adds what is reached without a character, drops what cannot matter, and sorts. Of a language that accepts
// whatever follows, one trailing star is left, always the same.
func (p *product) close(into, from []int32) []int32 {
	p.gen++
	into = into[:0]
	clear(p.ever)
	ever := false
	for _, pos := range from {
		for p.mark[pos] != p.gen {
			p.mark[pos] = p.gen
			into = append(into, pos)
			if p.steps[pos].kind != stepMany {
				break
			}
			if p.trailing(pos) {
				p.ever[p.owner[pos]], ever = true, true
			}
			pos++
		}
	}
	if ever {
		into = slices.DeleteFunc(into, func(pos int32) bool { return p.ever[p.owner[pos]] })
		for l, is := range p.ever {
			if is {
				into = append(into, p.forever[l], p.forever[l]+1)
			}
		}
	}
	slices.Sort(into)
	return into
}

// trailing tells of a star that ends its pattern and takes everything.
func (p *product) trailing(pos int32) bool {
	return p.steps[pos].kind == stepMany && !p.steps[pos].seg && p.steps[pos+1].kind == stepEnd
}

// successors calls to with each character that a position at hand tells apart, and once for all others.
func (p *product) successors(at []int32, to func(r rune, next []int32) bool) bool {
	type move struct {
		r   rune
		pos int32
	}
	var moves []move
	var holes []int32
	colon := false
	for _, pos := range at {
		s := p.steps[pos]
		switch s.kind {
		case stepChar:
			moves = append(moves, move{s.char, pos})
			if s.fold {
				for r := unicode.SimpleFold(s.char); r != s.char; r = unicode.SimpleFold(r) {
					moves = append(moves, move{r, pos})
				}
			}
		case stepOne, stepMany:
			holes = append(holes, pos)
			colon = colon || s.seg
		case stepEnd:
		}
	}
	slices.SortFunc(moves, func(a, b move) int { return int(a.r) - int(b.r) })
	var raw, next []int32
	through := func(r rune) {
		for _, pos := range holes {
			s := p.steps[pos]
			switch {
			case s.seg && r == ':':
			case s.kind == stepOne:
				raw = append(raw, pos+1)
			default:
				raw = append(raw, pos)
			}
		}
	}
	told := make([]rune, 0, 8)
	for i := 0; i < len(moves); {
		r := moves[i].r
		told = append(told, r)
		raw = raw[:0]
		for ; i < len(moves) && moves[i].r == r; i++ {
			raw = append(raw, moves[i].pos+1)
		}
		through(r)
		next = p.close(next, raw)
		if !to(r, next) {
			return false
		}
	}
	if colon && !slices.Contains(told, ':') {
		told = append(told, ':')
		raw = raw[:0]
		through(':')
		next = p.close(next, raw)
		if !to(':', next) {
			return false
		}
	}
	raw = raw[:0]
	r := other(told)
	through(r)
	next = p.close(next, raw)
	return to(r, next)
}

// other picks a character that is none of told, nor ':', nor a wildcard.
func other(told []rune) rune {
	for _, r := range "xyzabcdefghijklmnopqrstuvw0123456789-_/." {
		if !slices.Contains(told, r) {
			return r
		}
	}
	r := rune(0x3b1) // letters of alphabets that policies seldom use; there are more than told can hold
	for slices.Contains(told, r) {
		r++
	}
	return r
}

func text(nodes []node, i int) string {
	var rs []rune
	for ; nodes[i].parent >= 0; i = int(nodes[i].parent) {
		rs = append(rs, nodes[i].by)
	}
	slices.Reverse(rs)
	return string(rs)
}

func appendState(buf []byte, at []int32) []byte {
	for _, pos := range at {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(pos)) //nolint:gosec // positions are not negative
	}
	return buf
}
