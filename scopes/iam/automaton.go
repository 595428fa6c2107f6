package iam

import (
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
	fold folding
	seg  bool // a hole that does not take ':'
}

// folding is how a literal ignores case.
type folding uint8

const (
	foldNone    folding = iota
	foldASCII           // of the letters a to z alone
	foldUnicode         // Unicode's simple folding, as strings.EqualFold
)

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

	states states

	// What is used again at each state.
	moves      []move
	holes      []int32
	raw, after []int32
	told       []rune
}

// move is a character that a position takes.
type move struct {
	r   rune
	pos int32
}

func newProduct(langs []language, b *budget) *product {
	p := &product{langs: len(langs), budget: b, alive: newBits(len(langs)), ever: make([]bool, len(langs))}
	patterns, steps := 0, 0
	for _, l := range langs {
		patterns += len(l)
		for _, pat := range l {
			steps += len(pat) + 1
		}
	}
	p.starts, p.steps = make([]int32, 0, patterns), make([]step, 0, steps)
	numbers := make([]int32, 2*steps+len(langs))
	p.owner, p.mark, p.forever = numbers[:0:steps], numbers[steps:2*steps:2*steps], numbers[2*steps:]
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
	for l := range p.forever {
		p.forever[l] = -1
	}
	for pos := range p.steps {
		if l := p.owner[pos]; p.forever[l] < 0 && p.trailing(int32(pos)) {
			p.forever[l] = int32(pos)
		}
	}
	return p
}

// explore calls visit once for every combination of accepting languages that some text has, with a shortest such text.
// It stops where visit returns false or the budget ends, and then returns false.
func (p *product) explore(visit func(accepts bits, text string) bool) bool {
	p.states.add(p.close(nil, p.starts), -1, 0)
	met := map[string]bool{}
	accepts := newBits(p.langs)
	var key []byte
	for i := 0; i < len(p.states.nodes); i++ {
		if p.states.nodes[i].dead {
			continue
		}
		at := p.states.nodes[i].at
		clear(accepts)
		for _, pos := range at {
			if p.steps[pos].kind == stepEnd {
				accepts.set(int(p.owner[pos]))
			}
		}
		if key = accepts.appendKey(key[:0]); !met[string(key)] {
			met[string(key)] = true
			if !visit(accepts, p.states.text(i)) {
				return false
			}
		}
		more := p.successors(at, func(r rune, next []int32) bool {
			if !p.budget.spend(len(next) + 1) {
				return false
			}
			if n := p.states.add(next, int32(i), r); n != nil { //nolint:gosec // the budget is smaller
				n.dead = p.dead(next)
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
	moves, holes := p.moves[:0], p.holes[:0]
	colon := false
	for _, pos := range at {
		s := p.steps[pos]
		switch s.kind {
		case stepChar:
			moves = append(moves, move{s.char, pos})
			if s.fold != foldNone {
				for r := unicode.SimpleFold(s.char); r != s.char; r = unicode.SimpleFold(r) {
					if s.fold == foldUnicode || (r < unicode.MaxASCII && s.char < unicode.MaxASCII) {
						moves = append(moves, move{r, pos})
					}
				}
			}
		case stepOne, stepMany:
			holes = append(holes, pos)
			colon = colon || s.seg
		case stepEnd:
		}
	}
	p.moves, p.holes = moves, holes
	slices.SortFunc(moves, func(a, b move) int { return int(a.r) - int(b.r) })
	raw, told := p.raw[:0], p.told[:0]
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
	next := func(r rune) bool {
		through(r)
		p.after = p.close(p.after, raw)
		p.raw, raw = raw, raw[:0]
		return to(r, p.after)
	}
	for i := 0; i < len(moves); {
		r := moves[i].r
		told = append(told, r)
		for ; i < len(moves) && moves[i].r == r; i++ {
			raw = append(raw, moves[i].pos+1)
		}
		if !next(r) {
			return false
		}
	}
	if colon && !slices.Contains(told, ':') {
		told = append(told, ':')
		if !next(':') {
			return false
		}
	}
	p.told = told
	return next(other(told))
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
