package glob_test

import (
	"testing"

	"github.com/valetkey/valetkey/scopes/internal/glob"
)

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"", "", true}, {"a", "a", true}, {"a", "b", false}, {"*", "", true}, {"a*", "*b", true}, {"a*c", "a?c", true},
		{"ab*", "a*b", true}, {"a*", "b*", false}, {"?", "", false}, {"?", "??", false}, {"*x*", "*y*", true}, {"a?", "ab", true},
		{"*x", "*x", true}, {"**", "?", true},
	} {
		if got := glob.Overlap(glob.Wild(c.a), glob.Wild(c.b)); got != c.want {
			t.Errorf("%q and %q: %v", c.a, c.b, got)
		}
		if got := glob.Overlap(glob.Wild(c.b), glob.Wild(c.a)); got != c.want {
			t.Errorf("%q and %q turned round: %v", c.b, c.a, got)
		}
	}
}

func TestHolesRespectTheirLimits(t *testing.T) {
	p := append(append(glob.Literal("b:"), glob.Token{Hole: true, Not: "/"}), glob.Literal("x")...)
	for s, want := range map[string]bool{"b:x": true, "b:aax": true, "b:a/x": false, "b:": false} {
		if got := p.Match(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

// A text that a pattern was made from matches it, and two patterns of one text overlap.
func FuzzOverlap(f *testing.F) {
	f.Add("arn:aws:s3:::b/k", uint32(5), uint32(9))
	f.Add("", uint32(0), uint32(1))
	f.Fuzz(func(t *testing.T, s string, m, n uint32) {
		s = s[:min(len(s), 64)]
		a, b := punch(s, m), punch(s, n)
		if !a.Match(s) || !b.Match(s) || !glob.Overlap(a, b) {
			t.Fatalf("%q with holes %b and %b", s, m, n)
		}
	})
}

func punch(s string, mask uint32) glob.Pattern {
	p := glob.Literal(s)
	for i := range p {
		if mask>>(i%32)&1 == 1 {
			p[i] = glob.Token{Hole: true, One: i%3 == 0}
		}
	}
	return p
}
