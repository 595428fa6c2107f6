package vaultacl

import (
	"cmp"
	"strings"
)

// pattern is a rule's path as Vault matches it.
type pattern struct {
	text  string   // without the "*"
	parts []string // text cut at the slashes
	glob  bool     // any suffix may follow the last part
	wild  bool     // a part "+" is any segment; only then: in an exact or a prefix rule a "+" is a plus
	first int      // where the first wildcard is; 0 for an exact rule
	plus  int      // how many parts are "+"
}

// parsePattern reads a path by Vault's own tests. They take "a/+b" for a path with wildcards, though its "+b" is matched
// as it is: it only loses the priority of an exact path.
func parsePattern(path string) pattern {
	p := pattern{text: path}
	p.wild = path == "+" || strings.Contains(path, "/+") || strings.HasPrefix(path, "+/")
	p.text, p.glob = strings.CutSuffix(path, "*")
	p.parts = strings.Split(p.text, "/")
	switch {
	case p.wild:
		p.first = strings.Index(path, "+")
		for _, s := range p.parts {
			if s == "+" {
				p.plus++
			}
		}
	case p.glob:
		p.first = len(p.text)
	}
	return p
}

// compare orders patterns with wildcards by falling priority: the later first wildcard, then no "*", then fewer "+",
// then the longer, then the greater text.
func (p pattern) compare(q pattern) int {
	bit := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(q.first, p.first),
		cmp.Compare(bit(p.glob), bit(q.glob)),
		cmp.Compare(p.plus, q.plus),
		cmp.Compare(len(q.text), len(p.text)),
		cmp.Compare(q.text, p.text),
	)
}

// part tells whether part i of the pattern takes a segment, and whether that settles it for all that follows.
func (p pattern) part(i int, segment string) (ok, settled bool) {
	want := p.parts[i]
	last := p.glob && i == len(p.parts)-1
	switch {
	case last:
		// A "+" cannot stand here: "+*" is forbidden.
		return strings.HasPrefix(segment, want), true
	case p.wild && want == "+":
		return true, false
	}
	return want == segment, false
}

// match tells whether the pattern takes a path.
func (p pattern) match(path string) bool {
	rest, more := path, true
	for i := range p.parts {
		if !more {
			return false
		}
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if ok, _ := p.part(i, segment); !ok {
			return false
		}
	}
	return p.glob || !more
}
