package vaultacl_test

import (
	"cmp"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/scopes/vaultacl"
)

// world is a small universe in which everything can be tried: all patterns of up to three segments over a tiny alphabet,
// and all paths that they can tell apart. It matches by regular expressions and orders by the words of Vault's
// documentation, and shares no code with the package.
type world struct {
	paths    []string
	index    map[string]int
	patterns []universal
}

type universal struct {
	path    string
	exact   bool
	matches []bool
}

func newWorld() *world {
	w := &world{index: map[string]int{}}
	level := []string{""}
	for depth := range 5 {
		var next []string
		for _, p := range level {
			for _, s := range []string{"a", "ab", "x", "ax", "abx", ""} {
				if depth == 0 && s == "" || depth == 4 && s != "" {
					continue
				}
				w.index[p+s] = len(w.paths)
				w.paths = append(w.paths, p+s)
				next = append(next, p+s+"/")
			}
		}
		level = next
	}
	level = []string{""}
	for range 3 {
		var next []string
		for _, p := range level {
			for _, s := range []string{"a", "ab", "+", ""} {
				for _, end := range []string{"", "*"} {
					if path := p + s + end; !strings.Contains(path, "+*") && path != "" {
						w.patterns = append(w.patterns, w.universal(path))
					}
				}
				if p+s != "" {
					next = append(next, p+s+"/")
				}
			}
		}
		level = next
	}
	return w
}

func (w *world) universal(path string) universal {
	expr := regexp.QuoteMeta(path)
	expr = strings.ReplaceAll(expr, `\+`, `[^/]*`)
	if end, ok := strings.CutSuffix(expr, `\*`); ok {
		expr = end + ".*"
	}
	re := regexp.MustCompile(`\A` + expr + `\z`)
	u := universal{path: path, exact: !strings.ContainsAny(path, "+*")}
	for _, p := range w.paths {
		u.matches = append(u.matches, re.MatchString(p))
	}
	return u
}

// higher is the documentation's list: P1 is of lower priority if its first wildcard is earlier, if it ends in * and P2
// does not, if it has more + segments, if it is shorter, if it is smaller lexicographically.
func higher(a, b string) int {
	star := func(s string) int { return strings.Count(s[max(0, len(s)-1):], "*") }
	return cmp.Or(
		cmp.Compare(strings.IndexAny(b, "+*"), strings.IndexAny(a, "+*")),
		cmp.Compare(star(a), star(b)),
		cmp.Compare(strings.Count(a, "+"), strings.Count(b, "+")),
		cmp.Compare(len(b), len(a)),
		cmp.Compare(b, a),
	)
}

// side is a set of rules: patterns in falling priority, with their capabilities as bits.
type side struct {
	world *world
	rules []chosen
}

type chosen struct {
	u    *universal
	bits int // 1 read, 2 list, 4 sudo, 8 deny
}

func (w *world) side(rng *rand.Rand) side {
	s := side{world: w}
	for range 1 + rng.IntN(4) {
		u := &w.patterns[rng.IntN(len(w.patterns))]
		bits := rng.IntN(8)
		if rng.IntN(6) == 0 {
			bits = 8
		}
		if i := slices.IndexFunc(s.rules, func(c chosen) bool { return c.u == u }); i >= 0 {
			s.rules[i].bits |= bits
			continue
		}
		s.rules = append(s.rules, chosen{u, bits})
	}
	slices.SortFunc(s.rules, func(a, b chosen) int { return higher(a.u.path, b.u.path) })
	return s
}

func (s side) policies() []vaultacl.Policy {
	// Split over two policies, which must not matter.
	out := make([]vaultacl.Policy, 2)
	for i, c := range s.rules {
		for bit, word := range []string{"read", "list", "sudo", "deny"} {
			if c.bits&(1<<bit) != 0 || c.bits == 0 {
				r := vaultacl.PathRule{Path: c.u.path}
				if c.bits != 0 {
					r.Capabilities = []string{word}
				}
				p := &out[(i+bit)%2]
				p.Paths = append(p.Paths, r)
			}
		}
	}
	return out
}

func (s side) find(exact bool, path int) *chosen {
	for i := range s.rules {
		if c := &s.rules[i]; c.u.exact == exact && c.u.matches[path] {
			return c
		}
	}
	return nil
}

// allows answers for a read (bit 1) or a list (bit 2), with sudo (bit 4) or without.
func (s side) allows(path, bits int) bool {
	c := s.find(true, path)
	if bits&2 != 0 {
		trimmed := s.world.index[strings.TrimSuffix(s.world.paths[path], "/")]
		c = cmp.Or(c, s.find(true, trimmed), s.find(false, trimmed))
	}
	c = cmp.Or(c, s.find(false, path))
	return c != nil && c.bits < 8 && c.bits&bits == bits
}

// requests lists the small universe's requests as (path, bits), one for paths that all patterns treat alike.
func (w *world) requests() [][2]int {
	var out [][2]int
	seen := map[string]bool{}
	for i, p := range w.paths {
		kind := []byte{0}
		if strings.HasSuffix(p, "/") {
			kind[0] = 1
		}
		for _, j := range []int{i, w.index[strings.TrimSuffix(p, "/")]} {
			for _, u := range w.patterns {
				kind = append(kind, strconv.FormatBool(u.matches[j])...)
			}
		}
		if seen[string(kind)] {
			continue
		}
		seen[string(kind)] = true
		out = append(out, [2]int{i, 1}, [2]int{i, 5})
		if strings.HasSuffix(p, "/") {
			out = append(out, [2]int{i, 2}, [2]int{i, 6})
		}
	}
	return out
}

func TestCoversAgreesWithTryingEverything(t *testing.T) {
	w := newWorld()
	requests := w.requests()
	cases := 100_000
	if testing.Short() {
		cases = 10_000
	}
	rng := rand.New(rand.NewPCG(3, 4))
	count := map[vaultacl.Answer]int{}
	for i := range cases {
		wide, narrow := w.side(rng), w.side(rng)
		if rng.IntN(2) == 0 { // related sides, so that both answers are common
			wide.rules = append(slices.Clone(narrow.rules[rng.IntN(2)*len(narrow.rules)/2:]), wide.rules[:1]...)
			slices.SortFunc(wide.rules, func(a, b chosen) int { return higher(a.u.path, b.u.path) })
			wide.rules = slices.CompactFunc(wide.rules, func(a, b chosen) bool { return a.u == b.u })
		}
		want := vaultacl.Yes
		for _, r := range requests {
			if narrow.allows(r[0], r[1]) && !wide.allows(r[0], r[1]) {
				want = vaultacl.No
				break
			}
		}
		wp, np := wide.policies(), narrow.policies()
		got := vaultacl.Covers(wp, np)
		count[got.Answer]++
		if got.Answer != want {
			t.Fatalf("%v %s %v, trying everything says %v:\nwide %+v\nnarrow %+v", got.Answer, got.Why, got.Witness, want, wp, np)
		}
		if i%10 > 0 {
			continue
		}
		if d := vaultacl.Diff(wp, np); !d.Complete || (len(d.Gained) == 0) != (want == vaultacl.Yes) {
			t.Fatalf("diff %+v, covers %v", d, want)
		}
	}
	t.Logf("%d paths, %d kinds of requests, %d patterns, answers %v", len(w.paths), len(requests), len(w.patterns), count)
	if count[vaultacl.Yes] < cases/10 || count[vaultacl.No] < cases/10 {
		t.Errorf("the cases show little: %v", count)
	}
}
