package vaultacl

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// errStop ends a walk early.
var errStop = errors.New("enough")

// walker visits paths until there is one of every kind: for each set of patterns that can match together there is a
// path that just these match. It goes segment by segment and follows only the patterns that are still open; two ways
// that leave the same patterns open, settled and ended are one.
//
// All paths count, with the odd ones: an empty segment or a "." is cleaned away by Vault's HTTP server, but not where it
// comes in with an escape such as %2f. Leading slashes mean nothing.
type walker struct {
	patterns []pattern
	fresh    string // a text that begins nothing in any pattern
	budget   int    // paths that may still be visited
	seen     map[string]bool
	slashed  []string // visited last: for people, a path without a slash is the plainer example
	visit    func(path string) error
}

func newWalker(budget int, visit func(string) error, acls ...*ACL) *walker {
	w := &walker{budget: budget, seen: map[string]bool{}, visit: visit}
	var texts []string
	for _, a := range acls {
		for _, m := range a.all() {
			w.patterns = append(w.patterns, m.pattern)
			texts = append(texts, m.pattern.text)
		}
	}
	w.fresh = freshFor(texts)
	return w
}

// all lists the rules of the ACL in no particular order.
func (a *ACL) all() []*merged {
	out := slices.Clone(a.segments)
	for _, m := range a.exact {
		out = append(out, m)
	}
	for _, m := range a.prefix {
		out = append(out, m)
	}
	return out
}

// freshFor returns a character that is in none of the texts.
func freshFor(texts []string) string {
	all := strings.Join(texts, "")
	for _, r := range "xyzwvuqjk0123456789abcdefghilmnoprstXYZ" {
		if !strings.ContainsRune(all, r) {
			return string(r)
		}
	}
	for r := rune(0x3b1); ; r++ { // Greek and on; a text cannot have them all
		if !strings.ContainsRune(all, r) {
			return string(r)
		}
	}
}

// run visits all kinds of paths. It returns errStop if visit did, and errBudget when too many are needed.
func (w *walker) run() error {
	open := make([]int, len(w.patterns))
	for i := range open {
		open[i] = i
	}
	if err := w.walk("", 0, open, nil); err != nil {
		return err
	}
	for _, path := range w.slashed {
		if err := w.visit(path); err != nil {
			return err
		}
	}
	return nil
}

// walk goes on from prefix, which is empty or ends in a slash. open are the patterns that have matched so far and are
// not through, settled those that match whatever follows.
func (w *walker) walk(prefix string, depth int, open, settled []int) error {
	for _, seg := range w.segments(depth, open) {
		var next, ended []int
		done := slices.Clone(settled)
		for _, i := range open {
			p := &w.patterns[i]
			ok, all := p.part(depth, seg)
			switch {
			case !ok:
			case all:
				done = append(done, i)
			case depth == len(p.parts)-1:
				ended = append(ended, i)
			default:
				next = append(next, i)
			}
		}
		slices.Sort(done)
		kind := kindOf(depth, next, ended, done)
		if w.seen[kind] {
			continue
		}
		w.seen[kind] = true
		if w.budget -= 2; w.budget < 0 {
			return errBudget
		}
		path := prefix + seg
		if err := w.visit(path); err != nil {
			return err
		}
		slashed := path + "/"
		w.slashed = append(w.slashed, slashed)
		if len(next) == 0 && len(ended) == 0 {
			continue // below, all is as here
		}
		if err := w.walk(slashed, depth+1, next, done); err != nil {
			return err
		}
	}
	return nil
}

// kindOf is a key for what follows after a segment.
func kindOf(depth int, sets ...[]int) string {
	b := strconv.AppendInt(make([]byte, 0, 64), int64(depth), 10)
	for _, set := range sets {
		b = append(b, '|')
		for _, i := range set {
			b = append(strconv.AppendInt(b, int64(i), 10), ',')
		}
	}
	return string(b)
}

// segments returns one segment of every kind that the open patterns can tell apart: each that a pattern names, each
// that only begins as a pattern's last part does, and one that none knows.
func (w *walker) segments(depth int, open []int) []string {
	out := make([]string, 1, len(open)+1)
	out[0] = w.fresh
	for _, i := range open {
		p := &w.patterns[i]
		switch part := p.parts[depth]; {
		case p.glob && depth == len(p.parts)-1:
			if part != "" {
				out = append(out, part+w.fresh)
			}
		case part == "+" && p.wild, part == "" && depth == 0:
			// Takes the unknown segment, or nothing.
		default:
			out = append(out, part)
		}
	}
	// The odd ones last: for people, they are the worse examples.
	named := out[1:]
	slices.SortFunc(named, func(a, b string) int { return cmp.Or(cmp.Compare(oddness(a), oddness(b)), cmp.Compare(a, b)) })
	return out[:1+len(slices.Compact(named))]
}

func oddness(segment string) int {
	if segment == "" || segment == "." || segment == ".." {
		return 1
	}
	return 0
}
